"""The reference's image predictor: `sam2.sam2_image_predictor`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam2_video.compat.notes import CompatError, explain
from sam2_video.compat.prompts import as_array, as_clicks
from sam2_video.compat.sam2_video_predictor import SAM2VideoPredictor
from sam2_video.image_predictor import ImagePredictor, MaskRules
from sam2_video.model.sam2 import SAM2
from sam2_video.types import PromptError, Sam2VideoError

OWN_ARGUMENTS = ("mask_threshold", "max_hole_area", "max_sprinkle_area")
Found = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]  # masks, scores, logits


class SAM2ImagePredictor:
    """Find objects in pictures with the reference's calls.

    `mask_threshold`: logits above it are mask. `max_hole_area`, `max_sprinkle_area`: holes and specks up to
    this many low-resolution pixels are filled, removed.
    """

    def __init__(
        self,
        sam_model: SAM2 | SAM2VideoPredictor,
        mask_threshold: float = 0.0,
        max_hole_area: float = 0.0,
        max_sprinkle_area: float = 0.0,
        **kwargs: Any,
    ) -> None:
        for name in kwargs:
            explain(f"SAM2ImagePredictor's argument {name!r} has no effect; give it to build_sam2")
        self.model = sam_model.model if isinstance(sam_model, SAM2VideoPredictor) else sam_model
        self.mask_threshold = mask_threshold
        self.max_hole_area, self.max_sprinkle_area = int(max_hole_area), int(max_sprinkle_area)
        self.reset_predictor()

    @classmethod
    def from_pretrained(cls, model_id: str, **kwargs: Any) -> SAM2ImagePredictor:
        """Load a model by hub id or name; `kwargs` are the constructor's and those of `build_sam2_hf`."""
        from sam2_video.compat.build_sam import build_sam2_hf

        own = {name: kwargs.pop(name) for name in OWN_ARGUMENTS if name in kwargs}
        return cls(build_sam2_hf(model_id, **kwargs), **own)

    def set_image(self, image: Any) -> None:
        """Look at a picture: (H, W, 3) uint8 RGB array or PIL image. Raises CompatError for anything else."""
        self._look_at([image], batch=False)

    def set_image_batch(self, image_list: Sequence[Any]) -> None:
        """Look at several pictures, for `predict_batch`."""
        if not isinstance(image_list, list | tuple):
            raise CompatError(f"set_image_batch takes a list of pictures; got {type(image_list).__name__}")
        self._look_at(image_list, batch=True)

    def predict(
        self,
        point_coords: Any = None,
        point_labels: Any = None,
        box: Any = None,
        mask_input: Any = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
    ) -> Found:
        """Return masks (C, H, W), scores (C,) and low-resolution logits (C, S/4, S/4), all float32.

        Prompts of B > 1 objects (points (B, P, 2), boxes (B, 4)) give (B, C, ...). `mask_input` is
        (1, S/4, S/4) or (B, 1, S/4, S/4). Raises PromptError, and Sam2VideoError without a picture.
        """
        if not self._is_image_set:
            raise Sam2VideoError("there is no picture yet; call set_image first")
        if self._is_batch:
            raise Sam2VideoError("several pictures are set: use predict_batch, or set_image for one")
        said = point_coords, point_labels, box, mask_input
        return self._predict_on(0, said, multimask_output, return_logits, normalize_coords)

    def predict_batch(
        self,
        point_coords_batch: Any = None,
        point_labels_batch: Any = None,
        box_batch: Any = None,
        mask_input_batch: Any = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
    ) -> tuple[list[Any], list[Any], list[Any]]:
        """Return lists of what `predict` returns: masks, scores, logits, an entry for each picture.

        Each argument is None, or a list with an entry for each picture. Raises PromptError, Sam2VideoError.
        """
        if not self._is_batch:
            raise Sam2VideoError("there are no pictures yet; call set_image_batch first")
        batches = {
            "point_coords_batch": point_coords_batch,
            "point_labels_batch": point_labels_batch,
            "box_batch": box_batch,
            "mask_input_batch": mask_input_batch,
        }
        count = len(self._pictures)
        for name, batch in batches.items():
            if batch is not None and len(batch) != count:
                raise PromptError(f"{name} has {len(batch)} entries for {count} pictures; give one for each")
        found = []
        for k in range(count):
            said = tuple(None if batch is None else batch[k] for batch in batches.values())
            found.append(self._predict_on(k, said, multimask_output, return_logits, normalize_coords))
        return [f[0] for f in found], [f[1] for f in found], [f[2] for f in found]

    def get_image_embedding(self) -> Tensor:
        """(B, C, S/16, S/16) for the B pictures that are set. Raises Sam2VideoError without one."""
        if not self._is_image_set:
            raise Sam2VideoError("there is no picture yet; call set_image first")
        return torch.cat([picture.embedding for picture in self._pictures])

    @property
    def device(self) -> torch.device:
        return self.model.device

    def reset_predictor(self) -> None:
        """Forget all pictures."""
        self._pictures: list[ImagePredictor] = []
        self._orig_hw: list[tuple[int, int]] = []
        self._is_batch = False

    @property
    def _is_image_set(self) -> bool:
        return bool(self._pictures)

    @property
    def _features(self) -> dict[str, Tensor] | None:
        return {"image_embed": self.get_image_embedding()} if self._is_image_set else None

    def _look_at(self, images: Sequence[Any], *, batch: bool) -> None:
        self.reset_predictor()
        seen, sizes = [], []
        for image in images:
            picture = ImagePredictor(self.model)
            sizes.append(_size_of(image))
            picture.set_image(image)
            seen.append(picture)
        self._pictures, self._orig_hw, self._is_batch = seen, sizes, batch

    def _predict_on(
        self, k: int, said: tuple[Any, ...], multimask: bool, return_logits: bool, in_pixels: bool
    ) -> Found:
        """Ask for every object of one picture; they go through the decoder together."""
        size = self._orig_hw[k]
        asked = []
        for points, labels, box, previous in _objects(*said):
            clicks = as_clicks(points, labels, box, size, in_pixels=in_pixels)
            asked.append((clicks.points, clicks.labels, clicks.box, previous))
        points, labels, boxes, previous = (list(entries) for entries in zip(*asked, strict=True))
        picture = self._pictures[k]
        picture.rules = MaskRules(self.mask_threshold, self.max_hole_area, self.max_sprinkle_area)
        results = picture.predict_many(
            points=points, labels=labels, boxes=boxes, mask_logits=previous, multimask=multimask
        )
        masks = [result.full_logits().numpy() if return_logits else result.masks for result in results]
        parts = masks, [result.iou for result in results], [result.logits for result in results]
        full, scores, low = (np.stack(rows).astype(np.float32, copy=False) for rows in parts)
        return (full[0], scores[0], low[0]) if len(results) == 1 else (full, scores, low)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"sam2_video.compat has no SAM2ImagePredictor.{name}; docs/compat.md lists what there is"
        )


def _size_of(image: Any) -> tuple[int, int]:
    """(H, W) of an array or of a PIL image, told without importing PIL."""
    if isinstance(image, np.ndarray):
        height, width = image.shape[:2] if image.ndim > 1 else (0, 0)  # no picture; `set_image` says so
    elif hasattr(image, "convert"):
        width, height = image.size
    else:
        kind = type(image).__name__
        raise CompatError(f"a picture is an (H, W, 3) uint8 RGB array or a PIL image; got {kind}")
    return height, width


def _objects(points: Any, labels: Any, box: Any, mask_input: Any) -> Iterator[tuple[Any, ...]]:
    """Take prompts of B objects apart: (points, labels, box, previous logits) of each."""
    parts = {
        "point_coords": _rows_of(points, 2, "point_coords"),
        "point_labels": _rows_of(labels, 1, "point_labels"),
        "box": _rows_of(box, 1, "box"),
        "mask_input": _rows_of(mask_input, 3, "mask_input"),
    }
    counts = {name: len(part) for name, part in parts.items() if part is not None}
    count = max(counts.values(), default=1)
    if counts.get("mask_input") == 1:  # one mask serves all
        counts["mask_input"], parts["mask_input"] = count, (parts["mask_input"] or []) * count
    if set(counts.values()) - {count}:
        raise PromptError(f"prompts of several objects come in equal numbers; got {counts}")
    return zip(*(part or [None] * count for part in parts.values()), strict=True)


def _rows_of(values: Any, dimensions: int, name: str) -> list[Any] | None:
    """A list with what belongs to each object; one object's prompt may come without that dimension."""
    if values is None:
        return None
    array = as_array(values, name)
    if array.ndim == dimensions:
        return [array]
    if array.ndim != dimensions + 1 or not len(array):
        expected = f"{dimensions} dimensions, or {dimensions + 1} for several objects"
        raise PromptError(f"{name} must have {expected}; got shape {array.shape}")
    return list(array)
