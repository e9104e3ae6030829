"""How alike are the masks of two predictors on the same clip, told the same?"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass

from sam2_video.evaluation.metrics import region_similarity
from sam2_video.evaluation.protocols import make_protocol
from sam2_video.evaluation.sequences import VosSequence
from sam2_video.types import FrameResult
from sam2_video.video_predictor import VideoPredictor

LEAST_IOU = 0.99  # of bfloat16 with float32: mean over the masks of a clip


@dataclass(frozen=True)
class Agreement:
    """IoU of each object's two masks on each frame of one clip, in the order of frames."""

    clip: str
    ious: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.ious)

    @property
    def lowest(self) -> float:
        return min(self.ious)

    @property
    def is_good(self) -> bool:
        """Is it what bfloat16 is held to?"""
        return self.mean >= LEAST_IOU


def compare_tracking(
    one: VideoPredictor, other: VideoPredictor, sequence: VosSequence, protocol: str = "mask"
) -> Agreement:
    """Let both track a sequence as a protocol says, frame by frame next to each other.

    Frames on which an object is given are not counted: a mask that was given agrees with itself.
    """
    given = {(k.first, k.object_id) for k in sequence.objects}
    runs = (make_protocol(protocol).run(predictor, sequence, seed=0) for predictor in (one, other))
    ious = [
        region_similarity(mask, b.masks[k])
        for a, b in zip(*runs, strict=True)
        for k, mask in a.masks.items()
        if (a.frame, k) not in given
    ]
    return Agreement(sequence.name, tuple(ious))


def mask_ious(one: FrameResult, other: FrameResult) -> Iterator[float]:
    """IoU of the masks of each object in two results of the same frame."""
    for mine, theirs in zip(one.masks, other.masks, strict=True):
        yield region_similarity(mine, theirs)
