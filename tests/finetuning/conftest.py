"""A network of a second's training, and drawn data to train it on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import sam2_video
from sam2_video.checkpoint import save_weights
from sam2_video.finetuning import FinetuneSettings, load_settings
from sam2_video.model.sam2 import SAM2
from tests.evaluation.datasets.builders import write_labels
from tests.finetuning.drawn import pictures, write_rgb

TOY = (
    *("image_size=64", "width=32", "memory_width=16", "model.trunk.embed_dim=8"),
    *("model.trunk.stages=[1,1,1,1]", "model.neck.backbone_channel_list=[64,32,16,8]"),
    *("model.memory_attention.num_layers=1", "model.trunk.global_att_blocks=[2]"),
)
Settings = Callable[..., FinetuneSettings]


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a network that is small, and sure that there is an object."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = sam2_video.build_model("nano", overrides=TOY)
    assert isinstance(model, SAM2)
    with torch.no_grad():
        model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(20.0)
    path = tmp_path_factory.mktemp("toy") / "toy.safetensors"
    save_weights(model, path, {"sam2_video.config": "nano", "sam2_video.overrides": json.dumps(TOY)})
    return path


@pytest.fixture(scope="session")
def voc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pictures in VOC's layout: six to train on, two to validate on."""
    root = tmp_path_factory.mktemp("voc") / "VOC"
    names = []
    for name, rgb, labels in pictures(8):
        write_rgb(root / f"JPEGImages/{name}.png", rgb)
        write_labels(root / f"SegmentationObject/{name}.png", labels)
        names.append(name)
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("\n".join(names[:6]) + "\n")
    (lists / "val.txt").write_text("\n".join(names[6:]) + "\n")
    return root


@pytest.fixture
def settings(toy: Path, voc: Path) -> Settings:
    """Settings of a run of a second or two on the pictures; `settings("key=value", ...)` changes them."""

    def make(*overrides: str, config: str = "finetune") -> FinetuneSettings:
        return load_settings(config, [*toy_overrides(toy, voc), *overrides])

    return make


def toy_overrides(toy: Path, voc: Path) -> list[str]:
    return [
        *(f"model={toy}", f"data.folder={voc}", "data.workers=0", "device=cpu", "threads=1", "log_every=1"),
        *("schedule.epochs=2", "schedule.batch=2", "schedule.warmup_steps=1", "schedule.learning_rate=1e-3"),
    ]


def tensors(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(path))
