"""Where a person would click: the middle of an object, or of the thickest part of an error."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]


def centre_of_error(predicted: Bools, truth: Bools, void: Bools | None = None) -> tuple[int, int, int] | None:
    """Return (x, y, label) in the middle of the thickest wrong part of a (H, W) mask; None without error.

    Label 1: the object is missed there; 0: it is not there. Pixels of `void` are not wrong.
    """
    wrong = predicted.astype(bool) != truth.astype(bool)
    if void is not None:
        wrong &= ~void
    return thickest_error(wrong, truth.astype(bool)) if wrong.any() else None


def box_of(mask: Bools) -> tuple[float, float, float, float]:
    """Return x0, y0, x1, y1 of the tight box around a mask, last column and row included."""
    ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(xs[0]), float(ys[0]), float(xs[-1]), float(ys[-1])


def deepest(region: Bools) -> tuple[int, int, float]:
    """Return the pixel farthest from the region's edge (the frame's border is one) and that distance."""
    import cv2

    padded = np.pad(region.astype(np.uint8), 1)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    # Squared distances between pixels are whole numbers. OpenCV's last digits vary from call to call, and
    # with them the winner of a tie: rounded, the same region always gives the same pixel.
    squared = np.rint(depth * depth)
    y, x = divmod(int(squared.argmax()), region.shape[1])
    return x, y, float(np.sqrt(squared[y, x]))


def thickest_error(wrong: Bools, truth: Bools) -> tuple[int, int, int]:
    """Missing and surplus parts are measured apart: side by side they are two errors, not a thicker one."""
    x, y, depth = deepest(wrong & truth)
    x0, y0, depth0 = deepest(wrong & ~truth)
    return (x, y, 1) if depth >= depth0 else (x0, y0, 0)
