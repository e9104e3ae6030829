"""Settings that make tracking faster and less exact: off by default, in reach everywhere, on record."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import sam2_video
from sam2_video.benchmark.contestants import PRESENCE
from sam2_video.cli import app
from sam2_video.config import model_names
from sam2_video.demo_clip import draw_demo_clip
from sam2_video.memory import MemoryPolicy
from sam2_video.model.sam2 import SAM2
from sam2_video.types import CheckpointError, ConfigError
from sam2_video.video_predictor import VideoPredictor

ASKED = ("memory.recent=2", "memory.stride=3", "memory.prompted=1", "memory.pointers=4", "memory.pool=2")


def small(*overrides: str) -> SAM2:
    torch.manual_seed(0)
    model = sam2_video.build_model("nano", ["image_size=64", *overrides])
    assert isinstance(model, SAM2)
    with torch.no_grad():  # every object present: of those that are not, all masks are alike
        model.get_parameter(PRESENCE).fill_(10.0)
    return model


def test_they_are_off_by_default() -> None:
    for name in model_names():
        if not name.startswith("sam_vit"):
            with torch.device("meta"):
                model = sam2_video.build_model(name)
            assert isinstance(model, SAM2) and model.memory_attention.pool == 1
            assert VideoPredictor(model).memory == MemoryPolicy() == MemoryPolicy(6, None, 15, 1)


def test_a_configuration_says_what_is_recalled() -> None:
    model = small(*ASKED)
    assert VideoPredictor(model).memory == MemoryPolicy(recent=2, prompted=1, pointers=4, stride=3)
    assert model.memory_attention.pool == 2
    assert VideoPredictor(model, memory=MemoryPolicy(recent=3)).memory.recent == 3  # who says it has the word


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("memory.recent=7", "time codes for 6 frames"),
        ("memory.recent=few", "must be a whole number, got 'few'"),
        ("memory.stride=0", "stride at least 1"),
        ("memory.pool=3", "1 or 2, got 3"),
        ("memory.recents=3", "recents"),
    ],
)
def test_mistakes_are_told(override: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        VideoPredictor(small(override))


def test_the_command_obeys_and_keeps_them_on_record(tmp_path: Path) -> None:
    demo = draw_demo_clip(tmp_path / "clip.mp4", frames=6)
    ys, xs = np.nonzero(demo.masks(0)[1])
    base = ["track", str(demo.path), "--click", f"0:1:{int(np.median(xs))},{int(np.median(ys))}"]
    base += ["--save", "masks", "image_size=64"]
    for out, more in (("exact", []), ("pooled", ["memory.pool=2"]), ("fewer", ["memory.recent=0"])):
        result = CliRunner().invoke(app, [*base, *more, "--out", str(tmp_path / out)])
        assert result.exit_code == 0, result.output
        record = json.loads((tmp_path / out / "run.json").read_text())
        assert record["model"]["overrides"] == ["image_size=64", *more]


def results(predictor: VideoPredictor) -> list[torch.Tensor]:
    frames = [np.roll(np.eye(64, dtype=np.uint8)[..., None].repeat(3, 2) * 255, t, axis=0) for t in range(5)]
    with predictor.open(frames) as session:
        session.prompt(frame=0, object_id=1, box=(8, 8, 50, 50))
        return [result.logits for result in session.propagate()]


def test_each_changes_what_is_tracked_and_nothing_before() -> None:
    exact = results(VideoPredictor(small()))
    for override in ("memory.pool=2", "memory.recent=1", "memory.pointers=0"):
        model = small(override)
        model.load_state_dict(small().state_dict())
        other = results(VideoPredictor(model))
        torch.testing.assert_close(other[0], exact[0], rtol=0, atol=0)  # no memory is read there
        assert not torch.equal(other[-1], exact[-1]), override


def test_a_session_is_not_resumed_with_pooled_memories_that_it_did_not_have(tmp_path: Path) -> None:
    frames = [np.zeros((64, 64, 3), np.uint8)] * 2
    with VideoPredictor(small()).open(frames) as session:
        session.prompt(frame=0, object_id=1, box=(8, 8, 50, 50))
        session.save(tmp_path / "work.sam2")
    VideoPredictor(small()).resume(tmp_path / "work.sam2", frames).close()
    with pytest.raises(CheckpointError, match="memory_pool 1, not 2"):
        VideoPredictor(small("memory.pool=2")).resume(tmp_path / "work.sam2", frames)
