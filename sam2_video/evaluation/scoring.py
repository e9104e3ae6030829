"""Scoring what lies in a folder: one job for each sequence, then the means of all.

Scores are computed from the files, never from what a tracker still has in memory: who reads the files later
finds the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sam2_video.evaluation.predictions import SequencePredictions
from sam2_video.evaluation.scores import MetricOptions, ObjectScore, score_objects
from sam2_video.evaluation.sequences import VosSequence
from sam2_video.evaluation.workers import Advance
from sam2_video.types import DataError


@dataclass(frozen=True)
class Scored:
    """What came of scoring one sequence. `error` says why there are no scores."""

    name: str
    scores: tuple[ObjectScore, ...] = ()
    seen: frozenset[int] = frozenset()  # ids that predictions show on frames that count
    error: str = ""


@dataclass(frozen=True)
class ScoreJob:
    """The predictions of one sequence to be compared with its truth. `single`: see `SequencePredictions`."""

    sequence: VosSequence
    folder: Path  # of this sequence's predictions
    options: MetricOptions
    single: bool = False

    @property
    def name(self) -> str:
        return self.sequence.name

    @property
    def frames(self) -> int:
        return len(self.sequence.frame_names)

    def run(self, worker: Any, advance: Advance) -> Scored:
        """Score the sequence; what is wrong with its files is in the answer."""
        read = SequencePredictions(self.folder, self.sequence, self.single)
        try:
            scores = tuple(score_objects(self.sequence, read, self.options))
        except DataError as error:
            return Scored(self.name, error=str(error))
        finally:
            advance(self.frames)
        return Scored(self.name, scores, frozenset(read.seen))

    def failed(self, error: str) -> Scored:
        """Say that a worker could not do it."""
        return Scored(self.name, error=error)
