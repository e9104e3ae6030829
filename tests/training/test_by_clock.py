"""A run by the clock ends when its time is over, with every stage in its turn."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sam2_video.training import by_clock
from sam2_video.training.batches import make_clips
from sam2_video.training.by_clock import ClockTrainer, stage_at
from sam2_video.training.loop import train
from sam2_video.types import CheckpointError, ConfigError
from tests.training.test_loop import CLIPS, PICTURES, toy_settings

STAGES = (replace(PICTURES, steps=1), replace(CLIPS, steps=3))


class Clock:
    """Every look at it takes a tenth of a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 0.1
        return self.now


def test_stages_share_the_time() -> None:
    assert [stage_at(STAGES, progress) for progress in (0.0, 0.24, 0.26, 0.99, 1.0)] == [0, 0, 1, 1, 1]


def test_it_ends_with_its_time(stills_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(by_clock, "time", clock)
    settings = toy_settings(stills_folder, stages=STAGES, minutes=4 / 60)
    trainer = ClockTrainer(settings, tmp_path)
    trainer.run(make_clips(settings))
    rows = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    stages = [row["stage"] for row in rows]
    assert stages[0] == "pictures" and stages[-1] == "clips" and stages == sorted(stages, reverse=True)
    assert 0 < stages.count("pictures") < stages.count("clips")
    rates = [float(row["learning_rate"]) for row in rows]
    assert rates[-1] < 0.2 * max(rates), "the rate falls with the clock"
    assert 4 < clock.now < 6
    assert (tmp_path / "last.safetensors").is_file()


def test_it_goes_on_with_the_time_that_is_left(stills_folder: Path, tmp_path: Path) -> None:
    settings = toy_settings(stills_folder, stages=STAGES, minutes=1.0)
    first = ClockTrainer(settings, tmp_path)
    first.seconds, first.step = 59.9, 5
    first.save()
    with pytest.raises(CheckpointError, match="stages"):
        ClockTrainer(replace(settings, stages=STAGES[:1]), tmp_path)
    second = ClockTrainer(settings, tmp_path)
    assert second.progress == pytest.approx(59.9 / 60) and second.step == 5
    second.run(make_clips(settings))
    assert second.is_over and second.step < 60


def test_a_run_by_the_clock_is_told_by_its_settings(stills_folder: Path, tmp_path: Path) -> None:
    train(toy_settings(stills_folder, stages=STAGES, minutes=0.01), tmp_path)
    assert json.loads((tmp_path / "settings.json").read_text())["minutes"] == 0.01
    with pytest.raises(ConfigError, match="minutes"):
        ClockTrainer(toy_settings(stills_folder, minutes=0.0), tmp_path / "none")


def test_batches_that_do_not_fit_are_taken_in_parts(
    stills_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sam2_video.training import loop
    from sam2_video.training.batches import Batch, load_batches
    from sam2_video.training.losses import Losses

    real, sizes = loop.roll_out, []

    def short_of_memory(model, batch: Batch, plan, dice) -> Losses:  # type: ignore[no-untyped-def]
        sizes.append(batch.masks.shape[1])
        if sizes[-1] > 1:
            raise torch.cuda.OutOfMemoryError("no room")
        return real(model, batch, plan, dice)

    settings = toy_settings(stills_folder)
    trainer = loop.Trainer(settings, tmp_path)
    batch = next(load_batches(make_clips(settings), settings, 2))
    monkeypatch.setattr(loop, "roll_out", short_of_memory)
    before = [parameter.clone() for parameter in trainer.model.parameters()]
    trainer.advance(batch)
    trainer.advance(batch)
    assert sizes == [2, 1, 1, 1, 1] and trainer.cuts == 2
    assert any(not torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))


def test_a_gradient_that_is_not_finite_changes_nothing(stills_folder: Path, tmp_path: Path) -> None:
    from sam2_video.training.batches import load_batches
    from sam2_video.training.loop import Trainer

    settings = toy_settings(stills_folder)
    trainer = Trainer(settings, tmp_path)
    batch = next(load_batches(make_clips(settings), settings, 2))
    trainer.advance(batch)
    with torch.no_grad():
        trainer.model.sam_mask_decoder.iou_token.weight.fill_(torch.inf)
    before = [parameter.clone() for parameter in trainer.model.parameters()]
    _, norm = trainer.advance(batch)
    assert not norm.isfinite()
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))
