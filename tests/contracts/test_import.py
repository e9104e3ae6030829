"""`import sam2_video` is light, leaves nothing behind and offers what it promises."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import sam2_video

ROOT = Path(__file__).resolve().parents[2]

PROBE = """
import sys
import sam2_video
heavy = {"hydra", "omegaconf", "cv2", "av", "decord", "huggingface_hub", "PIL", "torch"} & set(sys.modules)
assert not heavy, f"import sam2_video loads {sorted(heavy)}"
from sam2_video import FrameResult, VideoPredictor, build_model
import torch
assert not torch.cuda.is_initialized(), "CUDA was started"
lazy = {"hydra", "cv2", "av", "decord", "huggingface_hub", "PIL"} & set(sys.modules)
assert not lazy, f"the public names load {sorted(lazy)}"
build_model("sam2.1_hiera_tiny", ["image_size=64", "model.trunk.embed_dim=8", "model.trunk.stages=[1,1,1,1]",
    "model.trunk.global_att_blocks=[2]", "model.neck.backbone_channel_list=[64,32,16,8]"])
from hydra.core.global_hydra import GlobalHydra
assert not GlobalHydra().is_initialized(), "Hydra state was left behind"
"""


def test_import_is_light_and_leaves_nothing_behind() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_public_names_are_sorted_and_exist() -> None:
    assert sam2_video.__all__ == sorted(sam2_video.__all__)
    for name in sam2_video.__all__:
        assert getattr(sam2_video, name) is not None
    assert set(sam2_video.__all__) <= set(dir(sam2_video))


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(sam2_video, "nothing_of_this_name")


def test_version_is_told_once_and_the_same() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## \[(\d+\.\d+\.\d+)\]", changelog, re.MULTILINE)
    assert newest is not None and newest[1] == sam2_video.__version__
    assert metadata.version("sam2_video") == sam2_video.__version__
