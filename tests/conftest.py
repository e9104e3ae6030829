"""Options and defaults of the whole test suite."""

from __future__ import annotations

import json
import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing in a default run may reach for a hub


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--network", action="store_true", help="also run tests that need the internet")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    import torch

    for item in items:
        if item.get_closest_marker("network") and not config.getoption("--network"):
            item.add_marker(pytest.mark.skip(reason="needs the internet: pytest --network"))
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run a demo by name, with words, beside clip/, a folder of three pictures, with the toy model."""
    from PIL import Image

    from sam2_video.checkpoint import save_weights
    from tests.toys import TOY_OVERRIDES, toy_clip, toy_model

    monkeypatch.chdir(tmp_path)
    header = {"sam2_video.config": "nano", "sam2_video.overrides": json.dumps(TOY_OVERRIDES)}
    save_weights(toy_model(), Path("toy.safetensors"), header)
    Path("clip").mkdir()
    for frame, rgb in enumerate(toy_clip(3)):
        Image.fromarray(rgb).save(f"clip/{frame:05d}.png")

    def run(demo: str, *words: str) -> None:
        monkeypatch.setattr(sys, "argv", [demo, *words, "--model", "toy.safetensors"])
        path = Path(__file__).resolve().parents[1] / "demos" / f"{demo}.py"
        runpy.run_path(str(path), run_name="__main__")

    return run
