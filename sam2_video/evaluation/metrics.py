"""Region similarity J and boundary accuracy F of video object segmentation, as DAVIS 2017 defines them.

score = score_sequence(predicted, truth)      # two sequences of (H, W) masks; first and last frame not scored
score.j, score.f, score.jandf                 # 0..1
average_score(scores)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, hypot

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.generic]  # (H, W); anything but 0 is the object


@dataclass(frozen=True)
class Score:
    """Mean region similarity and boundary accuracy, 0..1."""

    j: float
    f: float

    @property
    def jandf(self) -> float:
        return (self.j + self.f) / 2


def region_similarity(predicted: Mask, truth: Mask) -> float:
    """Return intersection over union (J); two empty masks agree."""
    a, b = _pair(predicted, truth)
    either = np.count_nonzero(a | b)
    return float(np.count_nonzero(a & b) / either) if either else 1.0


def boundary_accuracy(predicted: Mask, truth: Mask, bound: float = 0.008) -> float:
    """Return the F-measure of the two outlines, matched within `bound` of the diagonal, rounded up.

    Two masks without an outline agree.
    """
    a, b = _pair(predicted, truth)
    outline_a, outline_b = outline(a), outline(b)
    count_a, count_b = np.count_nonzero(outline_a), np.count_nonzero(outline_b)
    if not count_a or not count_b:
        return float(count_a == count_b)
    reach = ceil(bound * hypot(*a.shape))
    precision = np.count_nonzero(outline_a & _near(outline_b, reach)) / count_a
    recall = np.count_nonzero(outline_b & _near(outline_a, reach)) / count_b
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark pixels unlike their right, lower or lower right neighbour; the frame's border is no edge."""
    out = np.zeros_like(mask)
    out[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    out[:-1] |= mask[:-1] != mask[1:]
    out[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return out


def score_sequence(predicted: Iterable[Mask], truth: Iterable[Mask], *, skip_ends: bool = True) -> Score:
    """Average J and F over the frames of one object.

    The first frame is given and DAVIS leaves out the last as well; `skip_ends=False` scores all. Raises
    ValueError when the lengths differ or no frame is left to score.
    """
    pairs = list(zip(predicted, truth, strict=True))
    scored = pairs[1:-1] if skip_ends else pairs
    if not scored:
        raise ValueError(f"no frame to score: {len(pairs)} given, the first and last are not scored")
    j = np.mean([region_similarity(a, b) for a, b in scored])
    f = np.mean([boundary_accuracy(a, b) for a, b in scored])
    return Score(float(j), float(f))


def average_score(scores: Sequence[Score]) -> Score:
    """Average over objects: each counts once, however long its clip. Raises ValueError for none."""
    if not scores:
        raise ValueError("no scores to average")
    return Score(float(np.mean([s.j for s in scores])), float(np.mean([s.f for s in scores])))


def _pair(predicted: Mask, truth: Mask) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    if predicted.shape != truth.shape or predicted.ndim != 2:
        raise ValueError(
            f"masks of {predicted.shape} and {truth.shape} cannot be compared: expected one (H, W)"
        )
    return predicted.astype(bool), truth.astype(bool)


def _near(line: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """Mark pixels within `reach` of the line: its dilation by a disc, by way of exact distances."""
    import cv2

    distance = cv2.distanceTransform((~line).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance <= reach + 1e-3)
