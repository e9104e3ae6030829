"""One picture: the video predictor's single-frame case, through the same modules, without any memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from os import PathLike, fspath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam2_video.model.sam2 import SAM2, best
from sam2_video.sources import read_picture
from sam2_video.transforms import LOGIT_LIMIT, FrameTransform, Resize, make_prompt
from sam2_video.types import (
    ImageFeatures,
    MaskCandidates,
    Prompt,
    PromptError,
    PromptTensors,
    Recall,
    Sam2VideoError,
    upsample_logits,
)


@dataclass(frozen=True)
class ImageResult:
    """K masks of one object in a picture: three alternatives, or one. Everything on the CPU."""

    logits: Tensor  # (K, S/4, S/4) float32 within +-32; may be given back as `mask_logits` to refine a mask
    iou: Tensor  # (K,) float32, predicted
    presence: float  # logit; below 0 the model doubts that there is an object, and shows its guess anyway
    size: tuple[int, int]  # (H, W) of the picture

    @cached_property
    def masks(self) -> NDArray[np.bool_]:
        """(K, H, W) masks at the picture's own resolution, made on first use."""
        return np.asarray((upsample_logits(self.logits, self.size) > 0).numpy())


class ImagePredictor:
    """Find objects in one picture at a time: `set_image`, then `predict` as often as you like."""

    def __init__(self, model: SAM2, *, resize: Resize = "bilinear") -> None:
        self.model = model.eval()
        self.transform = FrameTransform(model.image_size, resize)
        self._features: ImageFeatures | None = None
        self._pixels: Tensor | None = None
        self._size = (0, 0)

    @classmethod
    def from_pretrained(
        cls, name_or_path: str, *, resize: Resize = "bilinear", **load: Any
    ) -> ImagePredictor:
        """Load a model by name, path or hub id (`load` goes to `load_model`) and make a predictor of it."""
        from sam2_video.checkpoint import load_model

        return cls(load_model(name_or_path, **load), resize=resize)

    def set_image(self, image: Any) -> None:
        """Look at a picture: an (H, W, 3) uint8 RGB array, the path of a file, or a PIL image.

        Raises SourceError for a file that cannot be read, PromptError for an array of another kind.
        """
        rgb = _as_rgb(image)
        with torch.inference_mode():
            features = self.model.encode_image(self.transform.pixels(rgb).to(self.model.device))
            self._pixels = self.model.attend_memory(features, Recall())  # (1, C, h, w); nothing is remembered
        self._features, self._size = features, (rgb.shape[0], rgb.shape[1])

    @property
    def embedding(self) -> Tensor:
        """(1, C, S/16, S/16): what masks are decoded from."""
        return self._seen()[1]

    def predict(
        self,
        *,
        points: Any = None,
        labels: Any = None,
        box: Any = None,
        mask_logits: Any = None,
        multimask: bool = True,
    ) -> ImageResult:
        """Find the object that a prompt in pixels of the picture means.

        `mask_logits`: logits of an earlier result, (S/4, S/4) or (1, S/4, S/4), to be refined. With
        `multimask` three alternatives come back (right for a single click), else one mask. Raises
        PromptError, and Sam2VideoError if there is no picture yet.
        """
        features, pixels = self._seen()
        prompt = Prompt()
        if points is not None or labels is not None or box is not None or mask_logits is None:
            prompt = make_prompt(self._size, points=points, labels=labels, box=box, where="the picture")
        previous = None if mask_logits is None else self._previous(mask_logits)
        made = self.transform.prompt_tensors(prompt, self._size, previous)
        device = self.model.device
        with torch.inference_mode():
            last = None if made.previous is None else made.previous.to(device)
            tensors = PromptTensors(made.points.to(device), made.labels.to(device), last)
            candidates = self.model.decode(pixels, features.fine, tensors)
        return self._result(candidates, multimask)

    def _result(self, candidates: MaskCandidates, multimask: bool) -> ImageResult:
        if multimask:
            logits, iou = candidates.logits[0, 1:], candidates.iou[0, 1:]
        else:
            # Who points at a picture wants to see a mask: the rule for absent objects does not apply here.
            present = torch.full_like(candidates.presence, LOGIT_LIMIT)
            shown = MaskCandidates(candidates.logits, candidates.iou, candidates.pointer, present)
            chosen = best(shown, multimask=False)
            logits, iou = chosen.logits[0], chosen.iou
        return ImageResult(
            logits.float().clamp(-LOGIT_LIMIT, LOGIT_LIMIT).cpu().clone(),
            iou.float().cpu().clone(),
            float(candidates.presence[0]),
            self._size,
        )

    def _seen(self) -> tuple[ImageFeatures, Tensor]:
        if self._features is None or self._pixels is None:
            raise Sam2VideoError("there is no picture yet; call set_image first")
        return self._features, self._pixels

    def _previous(self, mask_logits: Any) -> Tensor:
        side = self.model.image_size // 4
        logits = torch.as_tensor(mask_logits, dtype=torch.float32)
        if tuple(logits.shape) not in ((side, side), (1, side, side)):
            raise PromptError(
                f"mask_logits must be one mask of shape {(side, side)}, such as result.logits[0]; "
                f"got {tuple(logits.shape)}"
            )
        if not torch.isfinite(logits).all():
            raise PromptError("mask_logits hold numbers that are not finite")
        return logits.reshape(1, 1, side, side)


def _as_rgb(image: Any) -> NDArray[np.uint8]:
    if isinstance(image, str | PathLike):
        from pathlib import Path

        return read_picture(Path(fspath(image)))
    if hasattr(image, "convert"):  # a PIL image, told without importing PIL
        image = image.convert("RGB")
    rgb = np.asarray(image)
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
        raise PromptError(f"a picture must be (H, W, 3) uint8 RGB; this one is {rgb.shape} {rgb.dtype}")
    return rgb
