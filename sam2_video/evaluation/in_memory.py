"""Tracking and scoring in one go, with nothing written: for validation while training, and for experiments.

summary = track_and_score(VideoPredictor(model), data.sequences, "mask", max_frames=20)
summary.overall.jandf
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sam2_video.evaluation.protocols import FramePrediction, make_protocol
from sam2_video.evaluation.scores import MetricOptions, Summary, score_objects, summarise
from sam2_video.evaluation.sequences import Bools, EvaluatedObject, VosSequence
from sam2_video.video_predictor import VideoPredictor


def track_and_score(
    predictor: VideoPredictor,
    sequences: Iterable[VosSequence],
    protocol: str = "mask",
    *,
    overlapping: bool = False,
    max_frames: int | None = None,
    options: MetricOptions | None = None,
) -> Summary:
    """Track every object of every sequence as a protocol says, and score it frame by frame as it comes.

    `overlapping`: see `make_protocol`. `max_frames` stops each sequence early, which is quicker and easier;
    the last frame that is left does not count then. Raises DataError for truth that cannot be used, and where
    no frame counts.
    """
    scores = []
    for whole in sequences:
        sequence = whole if max_frames is None else Beginning(whole, max_frames)
        run = make_protocol(protocol, overlapping=overlapping).run(predictor, sequence, seed=0)
        scores += score_objects(sequence, _Following(run), options)
    return summarise(scores)


@dataclass(frozen=True)
class Beginning:
    """The first frames of a sequence, `count` at most."""

    inner: VosSequence
    count: int

    @property
    def name(self) -> str:
        return self.inner.name

    @cached_property
    def frame_names(self) -> tuple[str, ...]:
        return self.inner.frame_names[: self.count]

    @property
    def size(self) -> tuple[int, int]:
        return self.inner.size

    @cached_property
    def objects(self) -> tuple[EvaluatedObject, ...]:
        """Those that begin in time; the last frame counts only where it is not one that was cut out."""
        if len(self.inner.frame_names) <= self.count:
            return self.inner.objects
        last = len(self.frame_names) - 1
        return tuple(
            replace(one, scored=tuple(frame for frame in one.scored if frame < last))
            for one in self.inner.objects
            if one.first <= last
        )

    def image(self, frame: int) -> NDArray[np.uint8]:
        return self.inner.image(frame)

    def masks(self, frame: int) -> Mapping[int, Bools] | None:
        return self.inner.masks(frame)

    def void(self, frame: int) -> Bools | None:
        return self.inner.void(frame)


class _Following:
    """A `PredictionReader` for ascending frames, which tracks as far as it is asked for."""

    def __init__(self, predictions: Iterator[FramePrediction]) -> None:
        self._predictions = predictions

    def __call__(self, frame: int) -> Mapping[int, Bools] | None:
        return next((found.masks for found in self._predictions if found.frame == frame), None)
