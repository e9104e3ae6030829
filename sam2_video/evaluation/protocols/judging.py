"""What a person who knows the truth sees while a tracker runs: how good each mask is, and the worst frame."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from sam2_video.evaluation.metrics import Score, compare
from sam2_video.evaluation.protocols.clicking import Clicks
from sam2_video.evaluation.results import Round
from sam2_video.evaluation.sequences import Bools, EvaluatedObject, VosSequence
from sam2_video.types import DataError
from sam2_video.video_predictor import VideoPredictor


@dataclass(frozen=True)
class FrameTruth:
    """The truth of one frame, read once for all objects."""

    frame: int
    size: tuple[int, int]
    masks: Mapping[int, Bools]
    void: Bools | None

    @classmethod
    def read(cls, sequence: VosSequence, frame: int) -> FrameTruth:
        """Raises DataError, also for a frame that is not annotated."""
        masks = sequence.masks(frame)
        if masks is None:
            raise DataError(f"{sequence.name}: frame {frame} is to be scored but has no annotation")
        return cls(frame, sequence.size, masks, sequence.void(frame))

    def of(self, object_id: int) -> Bools:
        """Return the mask of an object, an empty one where it is absent."""
        found = self.masks.get(object_id)
        return np.zeros(self.size, dtype=np.bool_) if found is None else found

    def score(self, one: EvaluatedObject, predicted: Bools) -> Score:
        return compare(predicted, self.of(one.object_id), self.void)


@dataclass
class Tally:
    """Sums of J and F over the frames that count."""

    j: float = 0.0
    f: float = 0.0
    frames: int = 0

    def add(self, score: Score) -> None:
        self.j, self.f, self.frames = self.j + score.j, self.f + score.f, self.frames + 1

    def copy(self) -> Tally:
        return replace(self)

    def round(self, one: EvaluatedObject, number: int, frame: int, clicks: Clicks) -> Round:
        return Round(one.object_id, number, frame, clicks, self.j / self.frames, self.f / self.frames)


def frames_to_judge(one: EvaluatedObject) -> frozenset[int]:
    """The frames that count from the first of an object on: they are looked at, and may be clicked on."""
    return frozenset(frame for frame in one.scored if frame >= one.first)


def tallies_before(sequence: VosSequence) -> dict[int, Tally]:
    """Score the frames that count before an object is given, for each: nothing is predicted there."""
    tallies = {one.object_id: Tally() for one in sequence.objects}
    nothing = np.zeros(sequence.size, dtype=np.bool_)
    for frame in sorted({frame for one in sequence.objects for frame in one.scored if frame < one.first}):
        truth = FrameTruth.read(sequence, frame)
        for one in sequence.objects:
            if frame < one.first and frame in one.scored:
                tallies[one.object_id].add(truth.score(one, nothing))
    return tallies


def fill_up(rounds: list[Round], count: int) -> list[Round]:
    """Repeat the last round of one object, without clicks, until there are `count`."""
    more = range(len(rounds) + 1, count + 1)
    return rounds + [replace(rounds[-1], number=number, clicks=()) for number in more]


def check_truth(sequence: VosSequence) -> None:
    """Raise DataError where there is no truth to correct by."""
    if not any(one.scored for one in sequence.objects):
        raise DataError(
            f"sequence {sequence.name} has no frame that counts: corrections need the truth of a clip; "
            "this one is too short, or its truth is kept elsewhere. Use mask, box, click1, click3 or click5"
        )


def independent(predictor: VideoPredictor) -> VideoPredictor:
    """Return a predictor whose objects do not compete for pixels: each is judged for itself."""
    if not predictor.non_overlapping:
        return predictor
    predictor = copy.copy(predictor)
    predictor.non_overlapping = False
    return predictor
