"""The demos run, from arguments to files, with a small model of random weights."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

from sam2_video.checkpoint import save_weights
from sam2_video.sources import VideoFile
from tests.toys import FRAME_SIZE, TOY_OVERRIDES, toy_clip, toy_model

DEMOS = Path(__file__).resolve().parents[1] / "demos"


def test_every_demo_is_short_and_tested_here() -> None:
    assert [file.name for file in sorted(DEMOS.glob("*.py"))] == ["track_video.py"]
    assert all(len(file.read_text(encoding="utf-8").splitlines()) <= 120 for file in DEMOS.glob("*.py"))


def test_track_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, clip, out = tmp_path / "toy.safetensors", tmp_path / "clip", tmp_path / "cut.mp4"
    header = {"sam2_video.config": "nano", "sam2_video.overrides": json.dumps(TOY_OVERRIDES)}
    save_weights(toy_model(), model, header)
    clip.mkdir()
    for frame, rgb in enumerate(toy_clip(3)):
        Image.fromarray(rgb).save(clip / f"{frame:05d}.png")
    monkeypatch.setattr(sys, "argv", ["track_video", str(clip), "13", "16", str(out), "--model", str(model)])
    runpy.run_path(str(DEMOS / "track_video.py"), run_name="__main__")
    with VideoFile(out) as cut:
        assert cut.count == 3 and cut.size == FRAME_SIZE
        assert (cut.read(1) > 240).all(axis=2).any(), "what is not the object is white"
