"""Region similarity J and boundary accuracy F of video object segmentation, as DAVIS 2017 defines them.

score = compare(predicted, truth)             # (H, W) masks
score.j, score.f, score.jandf                 # 0..1
statistics([score.j, ...]).mean               # of an object over time
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from sam2_video.evaluation.boundary import f_measure, reach_in_pixels

Mask = NDArray[np.generic]  # (H, W); anything but 0 is the object
Bools = NDArray[np.bool_]
BOUND = 0.008  # of the diagonal: how far apart outlines may be to match, in DAVIS and all that follow it


@dataclass(frozen=True)
class Score:
    """Mean region similarity and boundary accuracy, 0..1."""

    j: float
    f: float

    @property
    def jandf(self) -> float:
        return (self.j + self.f) / 2


@dataclass(frozen=True)
class Statistics:
    """What DAVIS says of a curve over time: its mean, how often it is above one half, and how it falls."""

    mean: float
    recall: float
    decay: float  # first quarter of the frames minus the last


def region_similarity(predicted: Mask, truth: Mask, void: Bools | None = None) -> float:
    """Return intersection over union (J); two empty masks agree. Void pixels do not count."""
    return compare(predicted, truth, void, boundary=False).j


def boundary_accuracy(predicted: Mask, truth: Mask, bound: float = BOUND, void: Bools | None = None) -> float:
    """Return the F-measure of the two outlines, matched within `bound`, rounded up to whole pixels.

    `bound` is a share of the diagonal, from 1 on a number of pixels. Two masks without an outline agree.
    Void pixels belong to neither mask.
    """
    return compare(predicted, truth, void, bound=bound).f


def compare(
    predicted: Mask, truth: Mask, void: Bools | None = None, *, bound: float = BOUND, boundary: bool = True
) -> Score:
    """Return J and F of one mask; F is NaN where `boundary` is False.

    Raises ValueError for unlike shapes, and for a `bound` below 0.
    """
    a, b = cut_pair(predicted, truth, void)
    reach = reach_in_pixels(bound, truth.shape)
    both, either = np.count_nonzero(a & b), np.count_nonzero(a | b)
    j = both / either if either else 1.0
    return Score(float(j), f_measure(a, b, reach) if boundary else nan)


def statistics(values: Sequence[float]) -> Statistics:
    """Mean, recall and decay of one object's J or F over time. Raises ValueError for no values.

    The quarters are those of the published DAVIS 2017 evaluation: their ends are rounded, and a frame at an
    end belongs to both quarters. (There they are kept in eight bits, so that beyond 256 frames its decay is
    of other frames than it says; here it is of the first and the last quarter of any clip.) Where a value
    was not measured, NaN, all three are NaN.
    """
    if not values:
        raise ValueError("no values to describe")
    curve = np.asarray(values, dtype=np.float64)
    if np.isnan(curve).any():
        return Statistics(nan, nan, nan)
    ends = np.round(np.linspace(1, len(curve), 5) + 1e-10).astype(int) - 1
    first, last = curve[ends[0] : ends[1] + 1], curve[ends[3] : ends[4] + 1]
    return Statistics(float(curve.mean()), float((curve > 0.5).mean()), float(first.mean() - last.mean()))


def cut_pair(
    predicted: Mask, truth: Mask, void: Bools | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return both masks as 0 and 1, without void pixels, cut to where they are and a pixel around them.

    Counts and outlines are those of the whole masks. Raises ValueError for unlike shapes.
    """
    if predicted.shape != truth.shape or predicted.ndim != 2:
        raise ValueError(
            f"masks of {predicted.shape} and {truth.shape} cannot be compared: expected one (H, W)"
        )
    a, b = _zeros_and_ones(predicted), _zeros_and_ones(truth)
    if void is not None:
        if void.shape != truth.shape:
            raise ValueError(f"void pixels of {void.shape} do not belong to masks of {truth.shape}")
        counts = _zeros_and_ones(void == 0)
        a, b = a & counts, b & counts
    return _cut(a, b)


def _zeros_and_ones(mask: Mask) -> NDArray[np.uint8]:
    return np.ascontiguousarray(mask if mask.dtype == np.bool_ else mask != 0).view(np.uint8)


def _cut(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Cut both masks to where one of them is, with a pixel around: nothing else has an outline."""
    import cv2

    x, y, width, height = cv2.boundingRect(cv2.bitwise_or(a, b))
    window = np.s_[max(y - 1, 0) : y + height + 1, max(x - 1, 0) : x + width + 1]
    return np.ascontiguousarray(a[window]), np.ascontiguousarray(b[window])
