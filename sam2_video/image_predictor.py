"""Pictures: the video predictor's single-frame case, through the same modules, without any memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from math import isfinite
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam2_video.image_embedding import Identity, ImageEmbedding, load_embedding, save_embedding
from sam2_video.image_prompts import Said, batch_labels, batch_tensor, per_object, picture_prompt
from sam2_video.image_result import ImageBatch, ImageResult, MaskRules
from sam2_video.model.sam1 import SAM1, AnyModel, check_model
from sam2_video.sources import read_picture
from sam2_video.transforms import FrameTransform, PaddedTransform, Resize, check_integer
from sam2_video.types import PromptError, PromptTensors, Recall, Sam2VideoError

__all__ = ["ImageBatch", "ImagePredictor", "ImageResult", "MaskRules"]

MAX_BATCH = 16  # objects that are decoded at once; bounds memory, not the number of objects
IMAGE_BATCH = 4  # pictures that are encoded at once, likewise


class ImagePredictor:
    """Find objects in pictures: `set_image`, then `predict` as often as you like.

    `resize`: see `transform_for`. `mask_threshold`, `max_hole_area`, `max_sprinkle_area`: see `MaskRules`.
    Raises ValueError for settings that mean nothing, ConfigError for what is no model.
    """

    def __init__(
        self,
        model: AnyModel,
        *,
        resize: Resize | None = None,
        mask_threshold: float = 0.0,
        max_hole_area: int = 0,
        max_sprinkle_area: int = 0,
    ) -> None:
        check_model(model, type(self).__name__)
        if not isinstance(mask_threshold, int | float | np.number) or not isfinite(mask_threshold):
            raise ValueError(f"mask_threshold must be a finite number; got {mask_threshold!r}")
        check_integer(max_hole_area, "max_hole_area")
        check_integer(max_sprinkle_area, "max_sprinkle_area")
        self.model: AnyModel = model.eval()
        self.transform = transform_for(model, resize)
        self.rules = MaskRules(mask_threshold, max_hole_area, max_sprinkle_area)
        self._identity = Identity(self.model)
        self._seen: tuple[ImageEmbedding, ...] = ()

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str,
        *,
        resize: Resize | None = None,
        mask_threshold: float = 0.0,
        max_hole_area: int = 0,
        max_sprinkle_area: int = 0,
        **load: Any,
    ) -> ImagePredictor:
        """Load a model by name, path or hub id (`load` goes to `load_model`) and make a predictor of it."""
        from sam2_video.checkpoint import load_model

        return cls(
            load_model(name_or_path, **load),
            resize=resize,
            mask_threshold=mask_threshold,
            max_hole_area=max_hole_area,
            max_sprinkle_area=max_sprinkle_area,
        )

    # Pictures

    def set_image(self, image: Any) -> None:
        """Look at a picture: an (H, W, 3) uint8 RGB array, the path of a file, or a PIL image.

        Raises SourceError for a file that cannot be read, PromptError for an array of another kind; then the
        earlier picture stays.
        """
        self.set_images([image])

    def set_images(self, images: Sequence[Any], *, batch: int = IMAGE_BATCH) -> None:
        """Look at several pictures, of any sizes; `picture=` of the other methods counts them from 0.

        `batch`: how many are encoded at once. Raises what `set_image` raises, and PromptError for no list.
        """
        several = isinstance(images, list | tuple) or getattr(images, "ndim", 0) == 4
        if not several or not len(images):
            raise PromptError(f"set_images takes a list of pictures; got {type(images).__name__}, or none")
        if check_integer(batch, "batch") < 1:
            raise PromptError(f"pictures are encoded one or more at a time; got batch={batch}")
        seen: list[ImageEmbedding] = []
        for start in range(0, len(images), batch):
            seen += self._encode([picture_rgb(image) for image in images[start : start + batch]])
        self._seen = tuple(seen)

    def forget(self) -> None:
        """Drop all pictures, and the memory that they take."""
        self._seen = ()

    @property
    def count(self) -> int:
        """How many pictures are set."""
        return len(self._seen)

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """(H, W) of each picture that is set."""
        return tuple(seen.size for seen in self._seen)

    @property
    def embedding(self) -> Tensor:
        """(1, C, S/16, S/16): what masks of the first picture are decoded from."""
        return self._picture(0).coarse

    def save_embedding(self, path: str | Path, *, picture: int = 0) -> None:
        """Write what the model saw of a picture into a file, for `load_embedding`; the picture is not in it.

        Raises SinkError where it cannot be written, and Sam2VideoError if there is no picture yet.
        """
        save_embedding(self._picture(picture), path, self._identity)

    def load_embedding(self, path: str | Path) -> None:
        """Take up a picture by its saved embedding, in place of `set_image`: results are the same.

        Raises DataError for a file that is missing or damaged, CheckpointError for one that was made by
        another model or with other weights; then the earlier picture stays.
        """
        self._seen = (load_embedding(path, self.model, self._identity),)

    def _encode(self, pictures: Sequence[NDArray[np.uint8]]) -> list[ImageEmbedding]:
        with torch.inference_mode():
            pixels = torch.cat([self.transform.pixels(rgb, self.model.device) for rgb in pictures])
            features = self.model.encode_image(pixels)
            coarse = self.model.attend_memory(features, Recall())  # (B, C, h, w); nothing is remembered
            maps = (coarse, *features.fine)
            if len(pictures) > 1:  # clones: a picture that is kept alone must not keep its batch in memory
                parts = [tuple(part[k : k + 1].clone() for part in maps) for k in range(len(pictures))]
            else:
                parts = [maps]
        sizes = [(rgb.shape[0], rgb.shape[1]) for rgb in pictures]
        return [ImageEmbedding(own[0], own[1:], size) for own, size in zip(parts, sizes, strict=True)]

    def _picture(self, picture: int) -> ImageEmbedding:
        if not self._seen:
            raise Sam2VideoError("there is no picture yet; call set_image first")
        whole = isinstance(picture, int | np.integer) and not isinstance(picture, bool)
        if not whole or not 0 <= picture < len(self._seen):
            raise PromptError(
                f"there is no picture {picture!r}: {len(self._seen)} are set, counted from 0 in whole numbers"
            )
        return self._seen[picture]

    # Prompts

    def predict(
        self,
        *,
        points: Any = None,
        labels: Any = None,
        box: Any = None,
        mask: Any = None,
        mask_logits: Any = None,
        multimask: bool = True,
        picture: int = 0,
    ) -> ImageResult:
        """Find the object that a prompt in pixels of the picture means.

        `points`: (x, y) pairs; `labels`: 1 on the object, 0 off it (left out: all on it); `box`: x0, y0, x1,
        y1. To be refined, alone or with points and a box: `mask`, (H, W) of the picture, bool or numbers with
        one value besides 0; or else `mask_logits`, logits of an earlier result, (S/4, S/4) or (1, S/4, S/4).
        With `multimask` three alternatives come back (right for a single click), else one mask. Raises
        PromptError, and Sam2VideoError if there is no picture yet.
        """
        said = {"points": points, "labels": labels, "box": box, "mask": mask, "mask_logits": mask_logits}
        size = self._picture(picture).size
        return self._find([picture_prompt(self.transform, size, **said)], picture, multimask)[0]

    def predict_many(
        self,
        *,
        points: Sequence[Any] | None = None,
        labels: Sequence[Any] | None = None,
        boxes: Sequence[Any] | None = None,
        masks: Sequence[Any] | None = None,
        mask_logits: Sequence[Any] | None = None,
        multimask: bool = True,
        picture: int = 0,
    ) -> list[ImageResult]:
        """Find B objects of one picture; prompts of the same shape go through the decoder together.

        Each argument holds an entry for every object, as `predict` takes it, or None for an object that has
        no points, no box, ... Raises what `predict` raises, naming the object.
        """
        given = {"points": points, "labels": labels, "box": boxes, "mask": masks, "mask_logits": mask_logits}
        said = per_object(given)
        size = self._picture(picture).size
        prompts = []
        for k, own in enumerate(said):
            try:
                prompts.append(picture_prompt(self.transform, size, **own))
            except PromptError as error:
                if len(said) == 1:
                    raise
                raise PromptError(f"object {k} (counted from 0): {error}") from error
        return self._find(prompts, picture, multimask)

    def predict_batch(
        self,
        points: Any = None,
        labels: Any = None,
        *,
        boxes: Any = None,
        mask_logits: Any = None,
        multimask: bool = True,
        least_iou: float | None = None,
        picture: int = 0,
    ) -> ImageBatch:
        """Decode B prompts of one shape at once and leave everything on the model's device.

        `points` (B, P, 2) in pixels of the picture, `labels` (B, P): 1, 0, or -1 for padding; `boxes` (B, 4);
        `mask_logits` (B, S/4, S/4). Shapes are checked, coordinates are not. The caller bounds B. With
        `least_iou` prompts of which no mask has a higher predicted IoU are given up before masks are made;
        `rows` of the answer says which are left.
        """
        seen = self._picture(picture)
        device, side = self.model.device, self.model.image_size // 4
        clicks = batch_tensor(points, (-1, -1, 2), "points", device)
        corners = batch_tensor(boxes, (-1, 4), "boxes", device)
        previous = batch_tensor(mask_logits, (-1, side, side), "mask_logits", device)
        counts = {len(part) for part in (clicks, corners, previous) if part is not None}
        if len(counts) != 1:
            found = sorted(counts) or "nothing"
            raise PromptError(f"prompts of a batch come in equal numbers; got {found}")
        if clicks is None:
            clicks = torch.zeros((counts.pop(), 0, 2), device=device)
        flags = batch_labels(labels, clicks.shape[:2], device)
        tensors = self.transform.batch_tensors(clicks, flags, corners, previous, seen.size)
        return self._decode(tensors, seen, multimask, least_iou)

    def _find(self, prompts: Sequence[Said], picture: int, multimask: bool) -> list[ImageResult]:
        """Answer each prompt; only prompts of one shape share a batch, so that company changes nothing."""
        seen = self._picture(picture)
        found: dict[int, ImageResult] = {}

        def shape(k: int) -> tuple[int, bool, bool]:
            prompt, previous = prompts[k]
            return len(prompt.points), prompt.box is not None, previous is not None

        for _, alike in groupby(sorted(range(len(prompts)), key=shape), key=shape):
            for rows in _chunks(list(alike), MAX_BATCH):
                parts = [self.transform.prompt_tensors(prompts[k][0], seen.size, prompts[k][1]) for k in rows]
                batch = self._decode(_joined(parts), seen, multimask)
                found |= {k: self._result(batch, row) for row, k in enumerate(rows)}
        return [found[k] for k in range(len(prompts))]

    def _decode(
        self, prompt: PromptTensors, seen: ImageEmbedding, multimask: bool, least_iou: float | None = None
    ) -> ImageBatch:
        device = self.model.device
        previous = None if prompt.previous is None else prompt.previous.to(device)
        tensors = PromptTensors(prompt.points.to(device), prompt.labels.to(device), previous)
        with torch.inference_mode():
            candidates = self.model.decode(seen.coarse, seen.fine, tensors, least_iou)
            logits, iou = self.model.answers(candidates, multimask=multimask)
            rows = torch.arange(len(iou), device=device) if candidates.rows is None else candidates.rows
        found = logits.float(), iou.float(), candidates.presence
        return ImageBatch(*found, seen.size, self.transform, rows)

    def _result(self, batch: ImageBatch, row: int) -> ImageResult:
        return ImageResult(
            batch.logits[row].cpu().clone(),
            batch.iou[row].cpu().clone(),
            float(batch.presence[row]),
            batch.size,
            self.transform,
            self.rules,
        )


def transform_for(model: AnyModel, resize: Resize | None = None) -> FrameTransform:
    """How pictures come into the model frame: SAM 2 squashes them, SAM 1 keeps their proportions and pads.

    Unless another `resize` is asked for, both are resized as the reference resizes arrays.
    """
    if isinstance(model, SAM1):
        return PaddedTransform(model.image_size, resize or "bilinear_pil")
    return FrameTransform(model.image_size, resize or "bilinear")


def picture_rgb(image: Any) -> NDArray[np.uint8]:
    """Return an array, a file or a PIL image as (H, W, 3) uint8 RGB. Raises SourceError and PromptError."""
    if isinstance(image, str | PathLike):
        return read_picture(Path(fspath(image)))
    if hasattr(image, "convert"):  # a PIL image, told without importing PIL
        image = image.convert("RGB")
    try:
        rgb = np.asarray(image)
    except (TypeError, ValueError, RuntimeError) as error:  # lists of unlike lists, tensors on a GPU
        kind = type(image).__name__
        raise PromptError(f"a picture must be (H, W, 3) uint8 RGB; this {kind} is none: {error}") from error
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
        raise PromptError(f"a picture must be (H, W, 3) uint8 RGB; this one is {rgb.shape} {rgb.dtype}")
    return rgb


def _joined(parts: Sequence[PromptTensors]) -> PromptTensors:
    previous = [part.previous for part in parts if part.previous is not None]
    return PromptTensors(
        torch.cat([part.points for part in parts]),
        torch.cat([part.labels for part in parts]),
        torch.cat(previous) if previous else None,
    )


def _chunks(rows: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
