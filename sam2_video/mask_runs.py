"""Masks of large pictures in little memory: run lengths, made from windows and cut into windows again.

Runs go down columns, as COCO's do. All of it works on whole arrays, and looks only at the part of the picture
that a mask fills.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sam2_video.postprocess import RunLengths

Bits = NDArray[np.bool_]
Size = tuple[int, int]  # (H, W)


@dataclass(frozen=True)
class Runs:
    """A mask of an (H, W) picture as the places where its runs begin and end, counted down the columns."""

    size: Size
    starts: NDArray[np.int64]  # (R,) ascending
    ends: NDArray[np.int64]  # (R,) the place after the last pixel; ends[k] < starts[k + 1]

    @classmethod
    def of_window(cls, bits: Bits, left: int, top: int, size: Size) -> Runs:
        """The mask whose pixels lie in `bits`, a window of the picture with this left upper corner."""
        height = size[0]
        columns = np.zeros((bits.shape[1], bits.shape[0] + 1), dtype=np.int8)
        columns[:, :-1] = bits.T
        steps = np.diff(columns, prepend=np.int8(0), axis=1)
        first, last = (steps == 1).nonzero(), (steps == -1).nonzero()  # both column by column: they pair up
        starts = (left + first[0]) * height + top + first[1]
        ends = (left + last[0]) * height + top + last[1]
        apart = starts[1:] != ends[:-1]  # a run to the foot of a column goes on at the head of the next one
        keep = np.ones(1, dtype=bool)
        return cls(size, starts[np.concatenate([keep[: len(starts)], apart])],
                   ends[np.concatenate([apart, keep[: len(ends)]])])  # fmt: skip

    @classmethod
    def of_mask(cls, mask: Bits) -> Runs:
        """The runs of an (H, W) mask."""
        return cls.of_window(np.asarray(mask, dtype=bool), 0, 0, (mask.shape[0], mask.shape[1]))

    @classmethod
    def of_lengths(cls, lengths: RunLengths) -> Runs:
        """What `lengths` writes, read back. Raises ValueError where the counts do not fill the picture."""
        height, width = lengths["size"]
        counts = np.asarray(lengths["counts"], dtype=np.int64)
        if (counts < 0).any() or counts.sum() != height * width:
            raise ValueError(f"runs of {counts.sum()} pixels do not fill {height} x {width}")
        borders = np.cumsum(counts)
        ends = borders[1::2]
        return cls((height, width), borders[::2][: len(ends)], ends)

    @cached_property
    def area(self) -> int:
        """Pixels of the mask."""
        return int((self.ends - self.starts).sum())

    @cached_property
    def box(self) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1, last column and row included; zeros for an empty mask."""
        if not len(self.starts):
            return 0, 0, 0, 0
        height = self.size[0]
        first, last = self.starts, self.ends - 1
        x0, x1 = int(first[0] // height), int(last[-1] // height)
        if (first // height != last // height).any():  # a run that goes on in the next column has both edges
            return x0, 0, x1, height - 1
        return x0, int((first % height).min()), x1, int((last % height).max())

    def lengths(self) -> RunLengths:
        """COCO's uncompressed form: runs of 0 and 1 in turn, beginning with 0."""
        borders = np.stack([self.starts, self.ends], axis=1).ravel()
        total = self.size[0] * self.size[1]
        counts = np.diff(borders, prepend=0, append=total)
        if len(borders) and counts[-1] == 0:
            counts = counts[:-1]
        return {"size": [int(side) for side in self.size], "counts": counts.tolist()}

    def window(self, box: tuple[int, int, int, int] | None = None) -> Bits:
        """The mask inside a box, last column and row included; left out: inside its own."""
        x0, y0, x1, y1 = box or self.box
        height = self.size[0]
        # Only the columns of the box are filled, whole.
        low, high = x0 * height, (x1 + 1) * height
        starts, ends = np.clip(self.starts, low, high) - low, np.clip(self.ends, low, high) - low
        borders = np.stack([starts, ends], axis=1).ravel()
        counts = np.diff(borders, prepend=0, append=high - low)
        flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
        return np.ascontiguousarray(flat.reshape(x1 + 1 - x0, height)[:, y0 : y1 + 1].T)

    def mask(self) -> Bits:
        """(H, W)."""
        height, width = self.size
        return self.window((0, 0, width - 1, height - 1))

    def moved(self, left: int, top: int, size: Size) -> Runs:
        """The same mask in a picture of `size`, whose part from (left, top) on this one is."""
        if (left, top) == (0, 0) and size == self.size:
            return self
        if not len(self.starts):
            return Runs(size, self.starts, self.ends)
        x0, y0, _, _ = self.box
        return Runs.of_window(self.window(), left + x0, top + y0, size)

    def overlap(self, other: Runs) -> int:
        """Pixels that two masks of one picture share."""
        if not len(self.starts) or not len(other.starts):
            return 0
        return int((_covered(other, self.ends) - _covered(other, self.starts)).sum())


def _covered(runs: Runs, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many pixels of a mask lie before each of these places."""
    before = np.concatenate([[0], np.cumsum(runs.ends - runs.starts)])
    index = np.searchsorted(runs.starts, places, side="right")  # runs that began at or before the place
    inside = np.minimum(places, runs.ends[np.maximum(index - 1, 0)]) - runs.starts[np.maximum(index - 1, 0)]
    return np.where(index > 0, before[np.maximum(index - 1, 0)] + inside, 0)


def mask_iou(left: list[Runs], right: list[Runs]) -> NDArray[np.float64]:
    """(len(left), len(right)) overlaps over unions; 0 where both are empty."""
    out = np.zeros((len(left), len(right)))
    boxes = [np.array([runs.box for runs in side]).reshape(-1, 4) for side in (left, right)]
    starts_in_time = boxes[0][:, None, :2] <= boxes[1][None, :, 2:]
    ends_in_time = boxes[0][:, None, 2:] >= boxes[1][None, :, :2]
    for i, k in np.argwhere(np.all(starts_in_time & ends_in_time, axis=2)):
        shared = left[i].overlap(right[k])
        either = left[i].area + right[k].area - shared
        out[i, k] = shared / either if either else 0.0
    return out
