"""Training that ends when its time is over: for a machine rented by the minute, whatever its speed.

    sam2-video train nano stills=STILLS device=cuda minutes=8

Stages and learning rate go by the clock: a stage's `steps` are its share of the time. So the curriculum is
complete on any machine, and a faster one takes more steps. Such a run can be resumed, but not repeated.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from sam2_video.training.batches import Batch, MakesClips, stream_batches
from sam2_video.training.loop import Trainer
from sam2_video.training.settings import Stage, TrainSettings
from sam2_video.types import ConfigError

AHEAD = 2  # batches that each worker makes ahead: with more, new stages would begin late


class ClockTrainer(Trainer):
    """One run in one folder that takes `minutes` of training, validation and saving included."""

    def __init__(self, settings: TrainSettings, folder: Path) -> None:
        if not settings.minutes:
            raise ConfigError("a run by the clock needs minutes=NUMBER, more than 0")
        self._budget = 60 * settings.minutes
        self._began: float | None = None
        self._index = 0
        super().__init__(settings, folder)
        if self.team.size > 1:
            raise ConfigError("a run by the clock has one process: the clocks of several would part them")

    @property
    def elapsed(self) -> float:
        """Seconds since the run began, those before a resume included."""
        if self._began is None:
            return self.seconds
        return time.monotonic() - self._began

    @property
    def is_over(self) -> bool:
        return self.elapsed >= self._budget

    @property
    def progress(self) -> float:
        return min(self.elapsed / self._budget, 1.0)

    @property
    def stage(self) -> Stage:
        return self.settings.stages[self._index]

    def _batches(self, clips: MakesClips) -> Iterator[Batch]:
        self._began = time.monotonic() - self.seconds
        asked: deque[int] = deque()  # stages of the batches that are under way
        batches = stream_batches(clips, self.settings, self._ask(asked), self.team, ahead=AHEAD)
        while not self.is_over:
            batch = next(batches)
            self._index = asked.popleft()
            yield batch

    def _ask(self, asked: deque[int]) -> Iterator[tuple[int, int]]:
        """Ask for batches of the stage whose time it is."""
        clip = self.step * max(stage.batch for stage in self.settings.stages)
        while True:
            index = stage_at(self.settings.stages, self.progress)
            asked.append(index)
            yield index, clip
            clip += self.settings.stages[index].batch


def stage_at(stages: tuple[Stage, ...], progress: float) -> int:
    """Which stage it is when a share of the time lies behind; `steps` are the stages' shares."""
    left = progress * sum(stage.steps for stage in stages)
    for index, stage in enumerate(stages):
        if left < stage.steps:
            return index
        left -= stage.steps
    return len(stages) - 1
