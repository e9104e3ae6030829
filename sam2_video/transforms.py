"""Original frame <-> model frame: pixels, coordinates, mask prompts; and the checks of all prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sam2_video.types import Prompt, PromptError, PromptTensors

PIXEL_MEAN = (0.485, 0.456, 0.406)  # what the released trunks were trained with, for values in 0..1
PIXEL_STD = (0.229, 0.224, 0.225)
LOGIT_LIMIT = 32.0  # logits fed back as a prompt stay within this, as in training
BOX_LABELS = (2, 3)  # the first and the second corner of a box
LARGEST_OBJECT = 2**53  # what every reader of JSON keeps exact; saved sessions hold no more

Resize = Literal["bilinear", "bicubic_pil"]
Size = tuple[int, int]  # (H, W)


@dataclass(frozen=True)
class FrameTransform:
    """Squash a frame to S x S and normalise it; turn prompts into the units of that square.

    `resize` is "bilinear" (with antialiasing: what the released models were trained with) or "bicubic_pil"
    (what the reference implementation does to folders of JPEG files; for comparing with it).
    """

    size: int
    resize: Resize = "bilinear"

    def __post_init__(self) -> None:
        if self.resize not in ("bilinear", "bicubic_pil"):
            raise ValueError(f"resize is {self.resize!r}; choose 'bilinear' or 'bicubic_pil'")

    def pixels(self, rgb: NDArray[np.uint8]) -> Tensor:
        """(H, W, 3) uint8 RGB -> (1, 3, S, S) float32, normalised."""
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
            raise ValueError(f"a frame must be (H, W, 3) uint8 RGB; this one is {rgb.shape} {rgb.dtype}")
        square = self._squash(rgb)
        mean = square.new_tensor(PIXEL_MEAN).view(1, 3, 1, 1)
        std = square.new_tensor(PIXEL_STD).view(1, 3, 1, 1)
        return square.div_(255).sub_(mean).div_(std)

    def _squash(self, rgb: NDArray[np.uint8]) -> Tensor:
        if rgb.shape[:2] != (self.size, self.size) and self.resize == "bicubic_pil":
            from PIL import Image

            picture = Image.fromarray(rgb).resize((self.size, self.size), Image.Resampling.BICUBIC)
            rgb = np.asarray(picture)
        # Frames may be read-only views, which torch does not take; uint8 is copied quickly.
        grid = torch.tensor(rgb).permute(2, 0, 1)[None]  # (1, 3, H, W)
        return resize_antialiased(grid.to(torch.float32, memory_format=torch.contiguous_format), self.size)

    def to_model(self, points: Tensor, size: Size) -> Tensor:
        """(..., 2) x, y in pixels of an (H, W) frame -> pixels of the S x S frame."""
        height, width = size
        return points * points.new_tensor([self.size / width, self.size / height])

    def prompt_tensors(self, prompt: Prompt, size: Size, previous: Tensor | None = None) -> PromptTensors:
        """One object's prompt on an (H, W) frame, as tensors with a batch dimension of 1.

        `previous`: (1, 1, S/4, S/4) logits to be refined; they are clamped to +-32.
        """
        corners = [] if prompt.box is None else [prompt.box[:2], prompt.box[2:]]
        points = torch.tensor([*corners, *prompt.points], dtype=torch.float32).reshape(1, -1, 2)
        labels = torch.tensor([[*BOX_LABELS[: len(corners)], *prompt.labels]], dtype=torch.int64)
        return PromptTensors(
            points=self.to_model(points, size),
            labels=labels,
            previous=None if previous is None else previous.float().clamp(-LOGIT_LIMIT, LOGIT_LIMIT),
            mask=None if prompt.mask is None else self.mask_tensor(prompt.mask),
        )

    def mask_tensor(self, mask: NDArray[np.bool_]) -> Tensor:
        """(H, W) mask -> (1, 1, S, S) of 0 and 1."""
        grid = torch.from_numpy(np.ascontiguousarray(mask))[None, None].float()
        return (resize_antialiased(grid, self.size) >= 0.5).float()


def resize_antialiased(grid: Tensor, size: int) -> Tensor:
    """(B, C, H, W) float -> (B, C, size, size), bilinear with antialiasing; no change at that size."""
    if grid.shape[-2:] == (size, size):
        return grid
    return F.interpolate(grid, size=(size, size), mode="bilinear", align_corners=False, antialias=True)


def make_prompt(
    size: Size,
    *,
    points: Any = None,
    labels: Any = None,
    box: Any = None,
    mask: Any = None,
    where: str = "the frame",
) -> Prompt:
    """Check what a user says about one object on an (H, W) frame, and put it into a `Prompt`.

    `points`: (x, y) pairs in pixels; `labels`: 1 on the object, 0 off it (left out: all on it); `box`: x0,
    y0, x1, y1; `mask`: (H, W) bool, or numbers with one value besides 0. Raises PromptError, which says
    what is wrong.
    """
    if mask is not None:
        if points is not None or box is not None or labels is not None:
            raise PromptError("a mask says everything: give it without points, labels and box")
        return Prompt(mask=_checked_mask(mask, size, where))
    if points is None and labels is not None:
        raise PromptError("labels were given without points; give one point for each label")
    if points is None and box is None:
        raise PromptError("nothing was given: a prompt needs points, a box or a mask")
    pairs = () if points is None else _checked_points(points, size, where)
    flags = () if points is None else _checked_labels(labels, len(pairs))
    return Prompt(pairs, flags, None if box is None else _checked_box(box, size, where))


def _numbers(values: Any, what: str) -> NDArray[np.float64]:
    values = values.detach().cpu() if isinstance(values, Tensor) else values
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise PromptError(f"{what} must be numbers; got {values!r}") from error
    if not np.isfinite(array).all():
        raise PromptError(f"{what} must be finite numbers; got {array.tolist()}")
    return array


def _checked_points(points: Any, size: Size, where: str) -> tuple[tuple[float, float], ...]:
    array = _numbers(points, "points")
    if array.ndim != 2 or array.shape[1] != 2 or not len(array):
        raise PromptError(
            f"points must be a list of (x, y) pairs, such as [(420, 260)]; got an array shaped {array.shape}"
        )
    height, width = size
    for x, y in array.tolist():
        if not (0 <= x < width and 0 <= y < height):
            raise PromptError(
                f"point ({x:g}, {y:g}) is outside {where}, which is {width} wide and {height} high; "
                "points are x, y in pixels of the original frame, from 0"
            )
    return tuple((x, y) for x, y in array.tolist())


def _checked_labels(labels: Any, count: int) -> tuple[int, ...]:
    if labels is None:
        return (1,) * count
    array = _numbers(labels, "labels")
    if array.shape != (count,):
        raise PromptError(f"{count} points need {count} labels in one list; got labels shaped {array.shape}")
    if not np.isin(array, (0, 1)).all():
        raise PromptError(f"labels are 1 (on the object) or 0 (not on it); got {array.tolist()}")
    return tuple(int(label) for label in array)


def _checked_box(box: Any, size: Size, where: str) -> tuple[float, float, float, float]:
    array = _numbers(box, "box")
    if array.shape != (4,):
        raise PromptError(f"a box is four numbers x0, y0, x1, y1; got an array of shape {array.shape}")
    x0, y0, x1, y1 = array.tolist()
    height, width = size
    if x1 < x0 or y1 < y0:
        raise PromptError(
            f"the corners of box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) are swapped: first comes the left upper "
            "corner, then the right lower one; did you mean "
            f"({min(x0, x1):g}, {min(y0, y1):g}, {max(x0, x1):g}, {max(y0, y1):g})?"
        )
    if x1 == x0 or y1 == y0:
        raise PromptError(f"box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) is empty: it has no width or no height")
    if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
        raise PromptError(
            f"box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) reaches out of {where}, "
            f"which is {width} wide and {height} high"
        )
    return x0, y0, x1, y1


def _checked_mask(mask: Any, size: Size, where: str) -> NDArray[np.bool_]:
    array = np.asarray(mask.detach().cpu() if isinstance(mask, Tensor) else mask)
    if array.dtype.kind not in "buif":
        kind = f"{type(mask).__name__} of {array.dtype}"
        raise PromptError(f"a mask must be an array of bool or of numbers; got {kind}")
    if array.shape != size:
        raise PromptError(
            f"the mask is shaped {array.shape}, but {where} is {size} (height, width); "
            "a mask has the size of the original frame"
        )
    if array.dtype.kind != "b":
        values = np.unique(array)
        if not np.isfinite(values).all() or len(values[values != 0]) > 1:
            shown = ", ".join(f"{value:g}" for value in values[:5])
            raise PromptError(
                f"the mask holds several values ({shown}, ...); give one object's mask, such as labels == 3"
            )
    chosen = array != 0
    if not chosen.any():
        raise PromptError("the mask is empty: at least one pixel must belong to the object")
    return np.ascontiguousarray(chosen)


def merge_prompts(earlier: Prompt | None, later: Prompt) -> Prompt:
    """What holds when `later` is said after `earlier` on one frame: clicks add up, a box replaces the box.

    A mask replaces everything, and everything replaces a mask.
    """
    if earlier is None or earlier.mask is not None or later.mask is not None:
        return later
    return Prompt(
        points=earlier.points + later.points,
        labels=earlier.labels + later.labels,
        box=earlier.box if later.box is None else later.box,
    )


def check_integer(value: Any, what: str) -> int:
    """Return `value` as an int from 0 on; PromptError for anything else, bool included."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise PromptError(f"{what} must be a whole number from 0 on; got {value!r}")
    return int(value)


def check_object_id(value: Any) -> int:
    """Return `value` as the id of an object, 0 to 2**53; PromptError for anything else."""
    object_id = check_integer(value, "object_id")
    if object_id > LARGEST_OBJECT:
        raise PromptError(f"object id {object_id} is too large; the largest is {LARGEST_OBJECT}")
    return object_id
