"""Runs are described by YAML and checked before anything slow begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from sam2_video.training.settings import Stage, TrainSettings, load_settings
from sam2_video.types import ConfigError


def stage(**changes: object) -> Stage:
    return Stage(**{"name": "s", "steps": 4, "frames": 2, "batch": 2, "size": 64, **changes})  # type: ignore[arg-type]


def test_the_packaged_run_names_its_stages_in_order(tmp_path: Path) -> None:
    settings = load_settings("nano", [f"stills={tmp_path}", "seed=3", "stages.main.steps=7"])
    assert settings.model == "nano" and settings.seed == 3
    assert [s.name for s in settings.stages] == ["pictures", "main", "long"]
    assert settings.stages[1].steps == 7
    assert settings.exclude == ("voc2007-seg",)


def test_a_stage_can_be_left_out(tmp_path: Path) -> None:
    settings = load_settings("nano", [f"stills={tmp_path}", "stages.pictures=null"])
    assert settings.stages[0].name == "main"


def test_steps_are_located_in_their_stage(tmp_path: Path) -> None:
    settings = TrainSettings("nano", (stage(steps=3), stage(steps=2)), stills=str(tmp_path))
    assert [settings.locate(step) for step in range(5)] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    with pytest.raises(IndexError):
        settings.locate(5)


def test_progress_follows_the_work_of_stages(tmp_path: Path) -> None:
    cheap, dear = stage(steps=10, size=64), stage(steps=10, size=128)  # four times the pixels
    settings = TrainSettings("nano", (cheap, dear), stills=str(tmp_path))
    assert settings.progress(0) == 0.0
    assert settings.progress(10) == pytest.approx(0.2)
    assert settings.progress(15) == pytest.approx(0.6)
    assert settings.progress(20) == 1.0


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"size": 100}, "multiple of 32"),
        ({"steps": 0}, "at least 1"),
        ({"frames": 1, "mask_prompts": 0.5}, "mask prompt"),
    ],
)
def test_an_impossible_stage_is_refused(change: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        stage(**change)


@pytest.mark.parametrize(
    ("overrides", "word"),
    [
        ([], "nothing to train on"),
        (["stills=/no/such/folder"], "does not exist"),
        (["stills=.", "precision=float16"], "precision"),
        (["stills=.", "speed=9"], "speed"),
        (["stills=.", "+speed=9"], "speed"),
        (["stills=.", "+stages.full.colour=9"], "colour"),
    ],
)
def test_a_run_that_cannot_work_is_refused(overrides: list[str], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        load_settings("nano", overrides)
