"""How well two outlines agree, exactly as by dilation with a disc, on bits instead of pixels.

The definition (Perazzi et al. 2016, section 4; the published DAVIS 2017 evaluation) dilates each outline by a
disc and counts how much of the other one it covers. Here a picture is one Python integer, a bit per pixel:
a dilation is a few shifts of that integer, and counting is `bit_count`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, hypot
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Bytes: TypeAlias = NDArray[np.uint8]  # (h, w) of 0 and 1


def outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark pixels unlike their right, lower or lower right neighbour; the frame's border is no edge."""
    return np.asarray(_outline(np.ascontiguousarray(mask).view(np.uint8)).view(np.bool_))


def reach_in_pixels(bound: float, size: tuple[int, int]) -> int:
    """Return the distance within which outlines match: `bound` in pixels from 1 on, else of the diagonal.

    More than the diagonal is the diagonal: everything is near then. Raises ValueError for no distance.
    """
    diagonal = hypot(*size)
    if not bound >= 0:  # NaN included
        raise ValueError(
            f"outlines cannot match within {bound}: expected a share of the diagonal, as 0.008, or pixels"
        )
    return ceil(min(bound if bound >= 1 else bound * diagonal, diagonal))


def matched_shares(predicted: Bytes, truth: Bytes, reach: float) -> tuple[float, float]:
    """Share of the predicted outline near the true one (precision), and the other way round (recall).

    Without any outline on either side both are 1, with one on one side only both are 0. Both masks are (h, w)
    of 0 and 1 and may be cut out of larger ones, as long as a pixel is left around each object wherever the
    frame has one.
    """
    disc = _disc(reach)
    (a, stride), (b, _) = _bits(_outline(predicted), disc.margin), _bits(_outline(truth), disc.margin)
    count_a, count_b = a.bit_count(), b.bit_count()
    if not count_a or not count_b:
        return (float(count_a == count_b),) * 2
    near_a, near_b = _dilate(a, stride, disc), _dilate(b, stride, disc)
    return (a & near_b).bit_count() / count_a, (b & near_a).bit_count() / count_b


def f_measure(predicted: Bytes, truth: Bytes, reach: float) -> float:
    """Return the harmonic mean of the two shares; 0 where both are. Masks as in `matched_shares`."""
    precision, recall = matched_shares(predicted, truth, reach)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _outline(mask: Bytes) -> Bytes:
    """A pixel is on the outline where the 2 x 2 block to its lower right is not all alike."""
    import cv2

    block = np.ones((2, 2), np.uint8)
    most = cv2.dilate(mask, block, anchor=(0, 0), borderType=cv2.BORDER_REPLICATE)
    least = cv2.erode(mask, block, anchor=(0, 0), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.bitwise_xor(most, least), dtype=np.uint8)


def _bits(picture: Bytes, margin: int) -> tuple[int, int]:
    """A picture as one integer, row after row with the lowest bit first, and the bits from row to row.

    At least `margin` empty bits follow each row: what is shifted out of a row sideways ends up there.
    """
    height, width = picture.shape
    stride = -(-(width + margin) // 8) * 8
    rows = np.zeros((height, stride), np.uint8)
    rows[:, :width] = picture
    return int.from_bytes(np.packbits(rows, bitorder="little").tobytes(), "little"), stride


@dataclass(frozen=True)
class _Disc:
    """Pixels around (0, 0): rows of (down, first to the right, last to the right), the shortest first."""

    rows: tuple[tuple[int, int, int], ...]
    margin: int  # how far it reaches sideways


@lru_cache(maxsize=64)
def _disc(radius: float) -> _Disc:
    """Draw a disc as the published evaluations do, by scikit-image's `disk` and with OpenCV's middle.

    Where the radius is no whole number its middle lies beside the pixel that it is drawn around.
    """
    steps = np.arange(-radius, radius + 1)
    middle = len(steps) // 2
    rows = []
    for k, step in enumerate(steps):
        inside = np.flatnonzero(steps**2 + step**2 <= radius**2) - middle
        if inside.size:
            rows.append((k - middle, int(inside[0]), int(inside[-1])))
    rows.sort(key=lambda row: row[2] - row[1])
    return _Disc(tuple(rows), max(max(-left, right) for _, left, right in rows))


def _dilate(bits: int, stride: int, disc: _Disc) -> int:
    """Dilate by a disc: each of its rows is a run of bits, and one run grows into the next longer one."""
    out, length = 0, 0
    for down, left, right in disc.rows:
        bits, length = _smear(bits, right - left - length), right - left
        shift = down * stride + right
        out |= bits >> shift if shift >= 0 else bits << -shift
    return out


def _smear(bits: int, length: int) -> int:
    """The union of `bits` shifted by 0 to `length`, in as many steps as that number has binary digits."""
    done = 1
    while done <= length:
        step = min(done, length + 1 - done)
        bits |= bits << step
        done += step
    return bits
