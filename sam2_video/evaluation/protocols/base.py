"""What a protocol is, and what all of them need: a sequence as a clip, results as masks by object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol as Structure
from typing import runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sam2_video.evaluation.results import Round
from sam2_video.evaluation.sequences import Bools, EvaluatedObject, VosSequence
from sam2_video.sources.base import Source
from sam2_video.types import upsample_logits
from sam2_video.video_predictor import VideoPredictor


@dataclass(frozen=True)
class FramePrediction:
    """The masks of all objects of a sequence on one frame; they are empty before an object begins."""

    frame: int
    masks: dict[int, Bools]  # (H, W) at the size of the frames; to be read only, and may be shared


@runtime_checkable
class Protocol(Structure):
    """How a tracker is told what to follow, and when. Made afresh for each sequence, see `make_protocol`."""

    name: str
    rounds: list[Round]  # filled by interactive protocols, whole when `run` is exhausted

    def run(self, predictor: VideoPredictor, sequence: VosSequence, seed: int) -> Iterator[FramePrediction]:
        """Yield the predictions of all frames in ascending order.

        Interactive protocols yield what holds after their last interaction. Nothing is drawn at random but
        from `seed`. Raises DataError for truth that cannot be used.
        """


class SequenceFrames(Source):
    """The frames of a sequence as a clip; each is read when it is asked for, and not kept."""

    def __init__(self, sequence: VosSequence) -> None:
        self.name = sequence.name
        self.count: int | None = len(sequence.frame_names)
        self.latest = -1  # the frame that was read last
        self._sequence = sequence

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of every frame."""
        return self._sequence.size

    def read(self, frame: int) -> NDArray[np.uint8]:
        """Return one frame, (H, W, 3) RGB. Raises DataError, EndOfClip past the end."""
        self._check(frame)
        self.latest = frame
        return self._sequence.image(frame)

    def frame_name(self, frame: int) -> str:
        """Return the name that the data set gives the frame."""
        return self._sequence.frame_names[frame]


def masks_by_object(
    object_ids: Sequence[int], logits: Tensor, size: tuple[int, int], *, overlapping: bool
) -> dict[int, Bools]:
    """Return the mask of each object from (N, h, w) logits, at the size (H, W) of the frames.

    Where masks must not overlap, the largest logit wins a pixel: the rule of `FrameResult.label_map`.
    """
    full = upsample_logits(logits, size)
    found = np.asarray((full > 0).numpy())
    if not overlapping and len(found) > 1:
        found &= np.asarray(full.argmax(dim=0).numpy()) == np.arange(len(found))[:, None, None]
    return dict(zip(object_ids, found, strict=True))


def predict(frame: int, found: Mapping[int, Bools], sequence: VosSequence) -> FramePrediction:
    """Return a prediction of all objects; those that were not found are absent."""
    empty = np.zeros(sequence.size, dtype=np.bool_)
    ids = [one.object_id for one in sequence.objects]
    return FramePrediction(frame, {k: found.get(k, empty) for k in ids})


class Arrivals:
    """The objects of a sequence, handed out on the frames that they begin on."""

    def __init__(self, sequence: VosSequence) -> None:
        self._waiting = sorted(sequence.objects, key=lambda one: (one.first, one.object_id))

    @property
    def start(self) -> int | None:
        """The frame that the next object begins on, None where all have begun."""
        return self._waiting[0].first if self._waiting else None

    def on(self, frame: int) -> Iterator[EvaluatedObject]:
        """Hand out the objects that begin on a frame."""
        while self.start == frame:
            yield self._waiting.pop(0)
