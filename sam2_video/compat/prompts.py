"""Prompts as scripts for the reference write them -> prompts as our predictors take them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from sam2_video.compat.notes import warn
from sam2_video.types import PromptError

Size = tuple[int, int]  # (H, W)
Pairs = list[tuple[float, float]]
PADDING, FIRST_CORNER, SECOND_CORNER = -1, 2, 3  # labels besides 1 and 0


@dataclass(frozen=True)
class Clicks:
    """What is said about one object, in pixels: keyword arguments of `prompt` and `predict`."""

    points: Pairs | None
    labels: list[int] | None
    box: tuple[float, float, float, float] | None

    def words(self) -> dict[str, Any]:
        return {"points": self.points, "labels": self.labels, "box": self.box}


def as_array(values: Any, what: str) -> NDArray[np.float64]:
    """Lists, arrays and tensors on any device, as numbers; PromptError for anything else."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().to(torch.float64).numpy()
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise PromptError(f"{what} must be numbers; got {values!r}") from error


def as_clicks(points: Any, labels: Any, box: Any, size: Size, *, in_pixels: bool) -> Clicks:
    """Translate one object's points (P, 2), labels (P,) and box (4,); a leading dimension of 1 is taken off.

    `in_pixels` False: coordinates are fractions of the frame. Labels -1 (padding) are dropped, and a pair of
    labels 2 and 3 in front is a box. Coordinates outside the frame are moved to its edge.
    """
    if (points is None) != (labels is None):
        raise PromptError("points and labels go together: give both or neither")
    scale = (1.0, 1.0) if in_pixels else (float(size[1]), float(size[0]))
    pairs = np.zeros((0, 2)) if points is None else _rows(as_array(points, "points"), 2, "points")
    flags = np.zeros(0) if labels is None else _rows(as_array(labels, "labels"), 1, "labels")
    if len(pairs) != len(flags):
        raise PromptError(f"{len(pairs)} points need {len(pairs)} labels; got {len(flags)}")
    pairs, flags = pairs[flags != PADDING] * scale, flags[flags != PADDING]
    corners = None if box is None else as_array(box, "box").reshape(-1)
    if corners is not None and corners.shape == (4,):
        corners = corners * (*scale, *scale)
    if corners is None and list(flags[:2]) == [FIRST_CORNER, SECOND_CORNER]:
        corners, pairs, flags = pairs[:2].reshape(4), pairs[2:], flags[2:]
    return Clicks(
        points=[_inside(x, y, size) for x, y in pairs.tolist()] if len(pairs) else None,
        labels=flags.astype(int).tolist() if len(pairs) else None,
        box=None if corners is None else _box_inside(corners, size),
    )


def as_mask(mask: Any, size: Size) -> NDArray[np.bool_]:
    """A mask of any type and size -> what is set in it, at (H, W). PromptError unless it has two dimensions.

    Floating-point tensors are cut at 0.5, as the reference does; of everything else all but 0 is set.
    """
    cut = isinstance(mask, torch.Tensor) and mask.is_floating_point()
    grid = as_array(mask, "mask")
    if grid.ndim != 2 or 0 in grid.shape:
        raise PromptError(f"a mask has two dimensions, height and width; got shape {grid.shape}")
    chosen = grid >= 0.5 if cut else grid != 0
    if chosen.shape != size:
        resized = F.interpolate(torch.from_numpy(chosen)[None, None].float(), size=size, mode="nearest-exact")
        chosen = resized[0, 0].numpy() > 0
    return np.asarray(chosen)


def _rows(array: NDArray[np.float64], dimensions: int, what: str) -> NDArray[np.float64]:
    if array.ndim == dimensions + 1 and len(array) == 1:
        array = array[0]
    if array.ndim != dimensions or (dimensions == 2 and array.shape[1] != 2):
        expected = "(P, 2)" if dimensions == 2 else "(P,)"
        raise PromptError(f"{what} of one object have shape {expected}; got {array.shape}")
    return array


def _inside(x: float, y: float, size: Size) -> tuple[float, float]:
    height, width = size
    # The right and lower edges are no pixels any more.
    moved = _clip(x, float(np.nextafter(width, 0))), _clip(y, float(np.nextafter(height, 0)))
    _note_move((x, y), moved)
    return moved


def _box_inside(corners: NDArray[np.float64], size: Size) -> Any:
    if corners.shape != (4,):
        raise PromptError(f"a box is four numbers x0, y0, x1, y1; got {corners.size} numbers")
    height, width = size
    given = tuple(corners.tolist())
    moved = tuple(_clip(value, float(end)) for value, end in zip(given, (width, height) * 2, strict=True))
    _note_move(given, moved)
    return moved


def _clip(value: float, end: float) -> float:
    return min(max(value, 0.0), end) if np.isfinite(value) else value  # NaN is for the real check to refuse


def _note_move(given: tuple[float, ...], moved: tuple[float, ...]) -> None:
    if any(abs(a - b) > 1 for a, b in zip(given, moved, strict=True)):
        warn("coordinates of a prompt lie outside the frame and were moved to its edge")
