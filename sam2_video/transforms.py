"""Original frame <-> model frame: pixels, coordinates, mask prompts; and the checks of all prompts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sam2_video.types import Prompt, PromptError, PromptTensors, upsample_logits

PIXEL_MEAN = (0.485, 0.456, 0.406)  # what the released trunks were trained with, for values in 0..1
PIXEL_STD = (0.229, 0.224, 0.225)
LOGIT_LIMIT = 32.0  # logits fed back as a prompt stay within this, as in training
BOX_LABELS = (2, 3)  # the first and the second corner of a box
LARGEST_OBJECT = 2**53  # what every reader of JSON keeps exact; saved sessions hold no more

Resize = Literal["bilinear", "bilinear_pil", "bicubic_pil"]
Size = tuple[int, int]  # (H, W)


@dataclass(frozen=True)
class FrameTransform:
    """Squash a frame to S x S and normalise it; turn prompts into the units of that square.

    `resize` is "bilinear" (with antialiasing: what the released models were trained with), or what the
    reference implementations do to pictures of 8 bits, for comparing with them: "bicubic_pil" (SAM 2's, to
    folders of JPEG files) and "bilinear_pil" (SAM 1's).
    """

    size: int
    resize: Resize = "bilinear"
    logit_limit: ClassVar[float] = LOGIT_LIMIT
    pads: ClassVar[bool] = False  # does the square hold more than the frame?

    def __post_init__(self) -> None:
        if self.resize not in (known := get_args(Resize)):
            raise ValueError(f"resize is {self.resize!r}; choose one of {', '.join(known)}")

    def pixels(self, rgb: NDArray[np.uint8], device: torch.device | None = None) -> Tensor:
        """(H, W, 3) uint8 RGB -> (1, 3, S, S) float32, normalised.

        With a CUDA `device` bytes are sent there, and everything else is done there; nothing waits for it.
        """
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
            raise ValueError(f"a frame must be (H, W, 3) uint8 RGB; this one is {rgb.shape} {rgb.dtype}")
        on_cuda = device is not None and device.type == "cuda"
        grid = self._resized(rgb, device if on_cuda else None)
        mean, std = _normal(grid.device)
        grid = grid.div_(255).sub_(mean).div_(std)
        return grid if device is None else grid.to(device)

    def extent(self, size: Size) -> Size:
        """Return the part of the S x S square that an (H, W) frame fills, from its left upper corner."""
        return self.size, self.size

    def _resized(self, rgb: NDArray[np.uint8], device: torch.device | None) -> Tensor:
        size = rgb.shape[0], rgb.shape[1]
        if (extent := self.extent(size)) != size and self.resize != "bilinear":
            from PIL import Image

            names = {"bilinear_pil": Image.Resampling.BILINEAR, "bicubic_pil": Image.Resampling.BICUBIC}
            rgb = np.asarray(Image.fromarray(rgb).resize(extent[::-1], names[self.resize]))
        # Frames may be read-only or turned views, which torch does not take; uint8 is copied quickly.
        if device is None:
            grid = torch.tensor(np.ascontiguousarray(rgb))
        else:
            grid = _sent(rgb, device)
        grid = grid.permute(2, 0, 1)[None]  # (1, 3, H, W)
        return resize_antialiased(grid.to(torch.float32, memory_format=torch.contiguous_format), extent)

    def to_model(self, points: Tensor, size: Size) -> Tensor:
        """(..., 2) x, y in pixels of an (H, W) frame -> pixels of the S x S frame."""
        height, width = self.extent(size)
        return points * points.new_tensor([width / size[1], height / size[0]])

    def restore(self, logits: Tensor, size: Size) -> Tensor:
        """(N, h, w) low-resolution logits -> (N, H, W) logits of an (H, W) frame, float32."""
        return upsample_logits(logits, size)

    def prompt_tensors(self, prompt: Prompt, size: Size, previous: Tensor | None = None) -> PromptTensors:
        """One object's prompt on an (H, W) frame, as tensors with a batch dimension of 1.

        `previous`: (1, 1, S/4, S/4) logits to be refined; SAM 2 gets them clamped to +-32.
        """
        corners = [] if prompt.box is None else [prompt.box[:2], prompt.box[2:]]
        points = torch.tensor([*corners, *prompt.points], dtype=torch.float32).reshape(1, -1, 2)
        labels = torch.tensor([[*BOX_LABELS[: len(corners)], *prompt.labels]], dtype=torch.int64)
        return PromptTensors(
            points=self.to_model(points, size),
            labels=labels,
            previous=None if previous is None else self.limited(previous),
            mask=None if prompt.mask is None else self.mask_tensor(prompt.mask),
        )

    def batch_tensors(
        self, points: Tensor, labels: Tensor, boxes: Tensor | None, previous: Tensor | None, size: Size
    ) -> PromptTensors:
        """B prompts of one shape: points (B, P, 2), labels (B, P), boxes (B, 4), previous (B, S/4, S/4)."""
        if boxes is not None:
            points = torch.cat((boxes.view(-1, 2, 2), points), dim=1)
            labels = torch.cat((labels.new_tensor(BOX_LABELS).expand(len(boxes), 2), labels), dim=1)
        return PromptTensors(
            self.to_model(points, size),
            labels.long(),
            None if previous is None else self.limited(previous)[:, None],
        )

    def limited(self, logits: Tensor) -> Tensor:
        """Return logits that may be fed back as a prompt, float32."""
        return logits.float().clamp(-self.logit_limit, self.logit_limit)

    def mask_tensor(self, mask: NDArray[np.bool_]) -> Tensor:
        """(H, W) mask -> (1, 1, S, S) of 0 and 1."""
        grid = torch.from_numpy(np.ascontiguousarray(mask))[None, None].float()
        return (resize_antialiased(grid, (self.size, self.size)) >= 0.5).float()

    def small_mask(self, mask: NDArray[np.bool_]) -> Tensor:
        """(H, W) mask -> (1, 1, S/4, S/4) shares, 0 to 1, of the cells that lie on it.

        The largest share becomes 1: what is thinner than a cell must not vanish.
        """
        grid = torch.from_numpy(np.ascontiguousarray(mask))[None, None].float()
        shares = resize_antialiased(self._laid_out(grid), (self.size // 4, self.size // 4))
        return shares / shares.max()

    def _laid_out(self, grid: Tensor) -> Tensor:
        """(1, 1, H, W) of a frame -> the same on what the square shows, at any size."""
        return grid


@dataclass(frozen=True)
class PaddedTransform(FrameTransform):
    """SAM 1's: the longer side becomes S, the other keeps its proportion, and zeros fill the rest.

    The zeros come after normalising and lie to the right and below.
    """

    pads: ClassVar[bool] = True
    logit_limit: ClassVar[float] = float("inf")  # SAM 1 was trained with its logits fed back as they are

    def extent(self, size: Size) -> Size:
        scale = self.size / max(size)
        height, width = (max(1, int(side * scale + 0.5)) for side in size)
        return height, width

    def pixels(self, rgb: NDArray[np.uint8], device: torch.device | None = None) -> Tensor:
        """(H, W, 3) uint8 RGB -> (1, 3, S, S) float32, normalised and padded."""
        grid = super().pixels(rgb, device)
        return F.pad(grid, (0, self.size - grid.shape[3], 0, self.size - grid.shape[2]))

    def _laid_out(self, grid: Tensor) -> Tensor:
        height, width = self.extent((grid.shape[-2], grid.shape[-1]))
        return F.pad(resize_antialiased(grid, (height, width)), (0, self.size - width, 0, self.size - height))

    def restore(self, logits: Tensor, size: Size) -> Tensor:
        """(N, h, w) logits of the padded square -> (N, H, W) logits of an (H, W) frame, float32."""
        # In two steps, as the released models were evaluated: the padding ends at a pixel of the square.
        height, width = self.extent(size)
        square = upsample_logits(logits, (self.size, self.size))
        return upsample_logits(square[:, :height, :width], size)


def _sent(rgb: NDArray[np.uint8], device: torch.device) -> Tensor:
    """(H, W, 3) bytes on a CUDA device, on their way there when this returns."""
    pinned = torch.empty(rgb.shape, dtype=torch.uint8, pin_memory=device.type == "cuda")
    pinned.numpy()[...] = rgb
    return pinned.to(device, non_blocking=True)


@lru_cache(maxsize=8)
def _normal(device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of a channel, made once: a GPU would be waited for."""
    with torch.inference_mode(False):
        mean, std = (torch.tensor(values, device=device) for values in (PIXEL_MEAN, PIXEL_STD))
        return mean.view(1, 3, 1, 1), std.view(1, 3, 1, 1)


def resize_antialiased(grid: Tensor, size: Size) -> Tensor:
    """(B, C, H, W) float -> (B, C, *size), bilinear with antialiasing; no change at that size."""
    if grid.shape[-2:] == size:
        return grid
    return F.interpolate(grid, size=size, mode="bilinear", align_corners=False, antialias=True)


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
    try:
        array = np.asarray(mask.detach().cpu() if isinstance(mask, Tensor) else mask)
    except (TypeError, ValueError) as error:
        raise PromptError(f"a mask must be an (H, W) array of bool or of numbers: {error}") from error
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
