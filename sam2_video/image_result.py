"""What is found in a picture: the masks of one object, and those of many as the decoder gave them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam2_video.postprocess import clean_logits
from sam2_video.transforms import FrameTransform


@dataclass(frozen=True)
class MaskRules:
    """How logits become masks.

    Logits above `threshold` are mask. Holes and specks of up to `max_hole_area` and `max_sprinkle_area`
    low-resolution pixels (8-connected) are filled and removed first; 0 leaves them.
    """

    threshold: float = 0.0
    max_hole_area: int = 0
    max_sprinkle_area: int = 0


@dataclass(frozen=True)
class ImageResult:
    """K masks of one object in a picture: three alternatives, or one. Everything on the CPU."""

    raw: Tensor  # (K, S/4, S/4) float32 logits of the model frame, as the model gave them
    iou: Tensor  # (K,) float32, predicted
    presence: float  # logit; below 0 the model doubts that there is an object, and shows its guess anyway
    size: tuple[int, int]  # (H, W) of the picture
    transform: FrameTransform  # how the picture lies in the model frame
    rules: MaskRules = field(default=MaskRules())

    @cached_property
    def logits(self) -> Tensor:
        """(K, S/4, S/4) logits that may be given back as `mask_logits`; those of SAM 2 within +-32."""
        return self.transform.limited(self.raw)

    @cached_property
    def masks(self) -> NDArray[np.bool_]:
        """(K, H, W) masks at the picture's own resolution, made on first use."""
        # One at a time: logits of a large picture take 32 times the memory of its mask.
        rows = [(self._full(row) > self.rules.threshold).numpy() for row in range(len(self.raw))]
        return np.stack(rows) if rows else np.zeros((0, *self.size), dtype=bool)

    def full_logits(self) -> Tensor:
        """(K, H, W) float32 logits at the picture's own resolution, of which `masks` shows the sign."""
        return torch.stack([self._full(row) for row in range(len(self.raw))])

    def logits_over_picture(self, row: int) -> Tensor:
        """(h, w) logits of one mask that cover the picture and nothing else, as `FrameResult` has them.

        Low-resolution ones where the model sees the picture squashed, else those at its own size.
        """
        return self._full(row) if self.transform.pads else self.logits[row]

    def _full(self, row: int) -> Tensor:
        rules = self.rules
        logits = clean_logits(
            self.raw[row : row + 1], rules.max_hole_area, rules.max_sprinkle_area, rules.threshold
        )
        return self.transform.restore(logits, self.size)[0]


@dataclass(frozen=True)
class ImageBatch:
    """K masks of each of B objects in one picture, on the model's device, as the decoder gave them.

    For programs that look at many masks, such as grids of clicks: nothing is copied, cleaned or enlarged.
    """

    logits: Tensor  # (B, K, S/4, S/4) float32, not clamped
    iou: Tensor  # (B, K) float32
    presence: Tensor  # (B,) logits
    size: tuple[int, int]  # (H, W) of the picture
    transform: FrameTransform
    rows: Tensor  # (B,) which of the prompts these are; fewer than there were where some were given up

    def restore(self, logits: Tensor) -> Tensor:
        """(N, S/4, S/4) logits, some of this batch -> (N, H, W) float32 logits at the picture's size."""
        return self.transform.restore(logits, self.size)

    def masks(self, threshold: float = 0.0) -> Tensor:
        """(B, K, H, W) bool masks at the picture's resolution; enlarged one object at a time."""
        return torch.stack([self.restore(rows) > threshold for rows in self.logits])
