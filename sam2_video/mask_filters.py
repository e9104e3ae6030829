"""What automatic masks are sorted out by: duplicates, cut-off masks, small regions. Arrays only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sam2_video.mask_grid import Box
from sam2_video.mask_runs import Bits, Runs

Boxes = NDArray[np.float32]  # (N, 4) x0, y0, x1, y1
Rows = NDArray[np.int64]
EDGE_PIXELS = 20  # a box this near to where a crop ends is taken for cut off
NMS_BLOCK = 1024
Floats = NDArray[np.float32]


def box_iou(left: Boxes, right: Boxes) -> NDArray[np.float64]:
    """(N, 4), (M, 4) -> (N, M). NaN where both boxes have no area.

    Sides are x1 - x0, as the reference measures them: the box of one pixel has none.
    """
    low = np.maximum(left[:, None, :2], right[None, :, :2])
    high = np.minimum(left[:, None, 2:], right[None, :, 2:])
    inner = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (left, right)]
    with np.errstate(invalid="ignore"):
        ratio = inner / (areas[0][:, None] + areas[1][None] - inner)
    return np.asarray(ratio, dtype=np.float64)


def nms(boxes: Boxes, scores: Floats, threshold: float) -> Rows:
    """Non-maximum suppression: the rows that stay, best score first, equal scores in the order they came in.

    A box goes if its IoU with a better one that stays is above the threshold.
    """
    order = np.argsort(-scores, kind="stable")
    kept = np.zeros(0, dtype=np.int64)
    for first in range(0, len(order), NMS_BLOCK):
        block = order[first : first + NMS_BLOCK]
        block = block[~(box_iou(boxes[block], boxes[kept]) > threshold).any(axis=1)]
        kept = np.concatenate([kept, block[_survivors(box_iou(boxes[block], boxes[block]) > threshold)]])
    return kept


def _survivors(beats: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Who is left, where `beats[i, k]` says that the better i would push out k.

    Whether a row stays depends on better rows only, so going over all of them again and again settles one
    after the other, in practice nearly all at once.
    """
    beats = np.triu(beats, k=1)
    stays: NDArray[np.bool_] = np.ones(len(beats), dtype=bool)
    while True:
        now = ~np.any(beats & stays[:, None], axis=0)
        if (now == stays).all():
            return stays
        stays = now


def cut_off(boxes: Boxes, crop: Box, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Which boxes, in pixels of the picture, end near an edge of their crop that is none of the picture."""
    height, width = size
    ends = np.array(crop, dtype=np.float32)
    picture = np.array([0, 0, width, height], dtype=np.float32)
    near = np.abs(boxes - ends) <= EDGE_PIXELS
    return np.asarray((near & ~(np.abs(boxes - picture) <= EDGE_PIXELS)).any(axis=1))


Region = Literal["holes", "islands"]


def without_small_regions(runs: Runs, area: int) -> Runs:
    """The mask with holes, then islands, of less than `area` pixels removed; the very same if it has none.

    Regions are 8-connected. A mask that consists of islands only keeps the largest.
    """
    bits, left, top = _window_with_rim(runs)
    beyond = _beyond(runs, bits.shape, left, top)
    if any(pixels < area for _, _, pixels in beyond):  # what surrounds the mask may count as a hole itself
        bits, left, top, beyond = runs.mask(), 0, 0, []
    filled = _without(bits, area, "holes", beyond)
    cleaned = _without(bits if filled is None else filled, area, "islands")
    if cleaned is None:
        cleaned = filled
    return runs if cleaned is None else Runs.of_window(cleaned, left, top, runs.size)


def _window_with_rim(runs: Runs) -> tuple[Bits, int, int]:
    """The window of a mask and a pixel or two around it, as far as the picture reaches; its corner."""
    height, width = runs.size
    x0, y0, x1, y1 = runs.box
    x0, y0, x1, y1 = max(x0 - 1, 0), max(y0 - 1, 0), min(x1 + 1, width - 1), min(y1 + 1, height - 1)
    # OpenCV numbers regions by blocks of 2 x 2: from an even corner on, in the order of the whole picture.
    x0, y0 = x0 - x0 % 2, y0 - y0 % 2
    return runs.window((x0, y0, x1, y1)), x0, y0


def _beyond(runs: Runs, shape: tuple[int, ...], left: int, top: int) -> list[tuple[int, int, int]]:
    """Background outside of a window as (row, column of a pixel of the window it touches, its area).

    What surrounds the window is of one piece, except where the window reaches across the whole picture.
    """
    height, width = runs.size
    right, below = width - left - shape[1], height - top - shape[0]  # what is left over on the other sides
    if shape[0] == height:
        return [(0, 0, left * height)] * bool(left) + [(0, shape[1] - 1, right * height)] * bool(right)
    if shape[1] == width:
        return [(0, 0, top * width)] * bool(top) + [(shape[0] - 1, 0, below * width)] * bool(below)
    corner = (0 if top else shape[0] - 1, 0 if left else shape[1] - 1)  # of the rim: background all along
    return [(*corner, height * width - shape[0] * shape[1])]


def _without(bits: Bits, area: int, what: Region, beyond: Sequence[tuple[int, int, int]] = ()) -> Bits | None:
    """The window without small regions of a kind; None where there are none."""
    import cv2

    searched = ~bits if what == "holes" else bits
    _, labels, stats, _ = cv2.connectedComponentsWithStats(searched.astype(np.uint8), connectivity=8)
    sizes = stats[:, cv2.CC_STAT_AREA].astype(np.int64)
    for row, column, more in beyond:
        sizes[labels[row, column]] += more
    small = sizes < area
    small[0] = False  # what was not searched
    if not small.any():
        return None
    if what == "holes":
        return np.asarray(bits | small[labels])
    if small[1:].all():
        small[1 + int(sizes[1:].argmax())] = False
    return np.asarray(bits & ~small[labels])
