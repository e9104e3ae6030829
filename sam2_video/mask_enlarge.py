"""Low-resolution logits at the size of a picture, only where a mask is and never all at once.

Enlarging is linear in each direction: a product with a band matrix for the rows and one for the columns. The
weights are those of `FrameTransform.restore`, so numbers agree with it up to the rounding of the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sam2_video.transforms import FrameTransform, PaddedTransform, Size

CPU_BLOCK, GPU_BLOCK = 2**16, 2**26  # numbers that are made at once: what stays in a core's cache, or a lot
BAND = 128  # columns that share one product


@dataclass(frozen=True)
class Axis:
    """How one side grows from `n` cells to `m` pixels."""

    weights: Tensor  # (m, n) float32, on the model's device
    first: NDArray[np.int64]  # (m,) the first cell that a pixel is made of
    last: NDArray[np.int64]  # (m,) the last one

    @classmethod
    def of(cls, cells: int, steps: list[tuple[int, int]], device: torch.device) -> Axis:
        """`steps`: the sides it is brought to in turn, and what is kept of each from its beginning."""
        table = torch.eye(cells)[None]  # (1, cells, cells): what each cell adds to each pixel
        for side, kept in steps:
            table = F.interpolate(table, size=side, mode="linear", align_corners=False)[..., :kept]
        weights = table[0].T.contiguous()
        used = (weights != 0).numpy()
        first, last = used.argmax(axis=1), cells - 1 - used[:, ::-1].argmax(axis=1)
        return cls(weights.to(device), first, last)

    def pixels(self, low: int, high: int) -> tuple[int, int]:
        """First and last pixel that the cells from `low` to `high` have a part in."""
        after = int(np.searchsorted(self.last, low, side="left"))
        return after, int(np.searchsorted(self.first, high, side="right")) - 1

    def cells(self, low: int, high: int) -> tuple[int, int]:
        """First and last cell that the pixels from `low` to `high` are made of."""
        return int(self.first[low]), int(self.last[high])


Window = tuple[int, int, int, int]  # x0, y0, x1, y1, last column and row included


@dataclass(frozen=True)
class Measured:
    """What filters ask of a mask at the size of its picture."""

    inner: int  # pixels above threshold + offset
    outer: int  # pixels above threshold - offset
    box: Window  # of the pixels above the threshold; zeros if there are none
    area: int  # number of these pixels

    @property
    def stability(self) -> np.float32:
        """IoU of the masks at the two shifted thresholds; NaN where both are empty."""
        with np.errstate(invalid="ignore"):
            return np.float32(self.inner) / np.float32(self.outer)


NOTHING = Measured(0, 0, (0, 0, 0, 0), 0)


@dataclass(frozen=True)
class Patch:
    """The part of a mask's low-resolution logits that its pixels are made of."""

    logits: Tensor
    left: int  # place of the patch, in cells
    top: int
    box: Window  # of the mask, in pixels


class Enlarger:
    """Enlarges (h, w) logits of pictures of one size, in windows."""

    def __init__(self, transform: FrameTransform, cells: int, size: Size, device: torch.device) -> None:
        self.size = size
        self.rows, self.columns = (
            Axis.of(cells, _steps(transform, side, extent), device)
            for side, extent in zip(size, transform.extent(size), strict=True)
        )
        self._block = CPU_BLOCK if device.type == "cpu" else GPU_BLOCK

    def measure(self, logits: Tensor, threshold: float, offset: float) -> list[Measured]:
        """(N, h, w) logits -> what filters ask of each mask."""
        hot = logits > threshold - offset
        rows, columns = hot.any(dim=2).cpu().numpy(), hot.any(dim=1).cpu().numpy()
        out = []
        for mask, ys, xs in zip(logits, rows, columns, strict=True):
            if not ys.any():
                out.append(NOTHING)
                continue
            y0, y1 = self.rows.pixels(*_ends(ys))
            x0, x1 = self.columns.pixels(*_ends(xs))
            # Cells of the padding, and between the pixels of a small picture, are part of no pixel.
            shown = y0 <= y1 and x0 <= x1
            out.append(self._measure(mask, (x0, y0, x1, y1), threshold, offset) if shown else NOTHING)
        return out

    def _measure(self, logits: Tensor, window: Window, threshold: float, offset: float) -> Measured:
        x0, y0, x1, y1 = window
        inner = outer = area = 0
        rows, columns = np.zeros(y1 - y0 + 1, dtype=bool), np.zeros(x1 - x0 + 1, dtype=bool)
        for top, values in self._blocks(logits, 0, 0, window):
            inner += _count(values > threshold + offset)
            outer += _count(values > threshold - offset)
            hit = values > threshold
            area += _count(hit)
            rows[top - y0 : top - y0 + len(hit)] = hit.any(dim=1).cpu().numpy()
            columns |= hit.any(dim=0).cpu().numpy()
        if not area:
            return Measured(inner, outer, (0, 0, 0, 0), 0)
        (top, bottom), (left, right) = _ends(rows), _ends(columns)
        return Measured(inner, outer, (x0 + left, y0 + top, x0 + right, y0 + bottom), area)

    def patch(self, logits: Tensor, box: Window) -> Patch:
        """Keep what is needed of (h, w) logits to make the mask in this box again."""
        r0, r1 = self.rows.cells(box[1], box[3])
        c0, c1 = self.columns.cells(box[0], box[2])
        return Patch(logits[r0 : r1 + 1, c0 : c1 + 1].clone(), c0, r0, box)

    def bits(self, patch: Patch, threshold: float) -> NDArray[np.bool_]:
        """The mask inside its box."""
        blocks = self._blocks(patch.logits, patch.left, patch.top, patch.box)
        return np.concatenate([(values > threshold).cpu().numpy() for _, values in blocks])

    def _blocks(self, logits: Tensor, left: int, top: int, window: Window) -> Iterator[tuple[int, Tensor]]:
        """Rows of the enlarged window in blocks: (first row, values); `logits` begin at cell (left, top)."""
        x0, y0, x1, y1 = window
        wide = self._widen(logits, left, x0, x1)
        step = max(8, self._block // (x1 + 1 - x0))
        for low in range(y0, y1 + 1, step):
            high = min(low + step - 1, y1)
            r0, r1 = self.rows.cells(low, high)
            yield low, self.rows.weights[low : high + 1, r0 : r1 + 1] @ wide[r0 - top : r1 + 1 - top]

    def _widen(self, logits: Tensor, left: int, x0: int, x1: int) -> Tensor:
        parts = []
        step = BAND if logits.device.type == "cpu" else x1 + 1 - x0
        for low in range(x0, x1 + 1, step):
            high = min(low + step - 1, x1)
            c0, c1 = self.columns.cells(low, high)
            parts.append(
                logits[:, c0 - left : c1 + 1 - left] @ self.columns.weights[low : high + 1, c0 : c1 + 1].T
            )
        return torch.cat(parts, dim=1)


def _steps(transform: FrameTransform, side: int, extent: int) -> list[tuple[int, int]]:
    """The sides that `restore` brings one side of the logits to, and what it keeps of each."""
    if isinstance(transform, PaddedTransform):
        return [(transform.size, extent), (side, side)]
    return [(side, side)]


def _ends(hit: NDArray[np.bool_]) -> tuple[int, int]:
    return int(hit.argmax()), len(hit) - 1 - int(hit[::-1].argmax())


def _count(hit: Tensor) -> int:
    # NumPy counts bits many times faster than torch does on a CPU.
    return int(np.count_nonzero(hit.numpy()) if hit.device.type == "cpu" else hit.count_nonzero())
