"""Masks of everything in a picture: a grid of clicks, and filters that keep the good ones once.

The way of the reference generators (SAM 1's and SAM 2's), with their numbers. What differs is the order where
that changes nothing: predicted IoUs are looked at before masks are made, masks are enlarged in windows, and
only those that stay in the end become run lengths.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam2_video.image_predictor import ImagePredictor, picture_rgb
from sam2_video.mask_enlarge import Enlarger, Patch
from sam2_video.mask_filters import cut_off, nms, without_small_regions
from sam2_video.mask_grid import Box, Crop, crops_of
from sam2_video.mask_options import MaskOptions
from sam2_video.mask_runs import Bits, Runs
from sam2_video.model.sam1 import AnyModel, check_model
from sam2_video.postprocess import RunLengths, clean_logits
from sam2_video.transforms import Resize, check_integer
from sam2_video.types import PromptError

CPU_BUDGET = 2**30  # bytes that the decoder may take for one batch of points
GPU_SHARE = 0.25  # of the memory that is free
# Maps of the coarse features' size, in float32, that one point takes while it is decoded. Measured on a CPU,
# as the growth of peak memory with the number of points: 6 for clicks, 8 where masks are refined, for SAM 2
# models of any size; one less for SAM 1. The rest is for allocators.
MAPS = 10
OutputMode = Literal["binary_mask", "uncompressed_rle", "coco_rle"]
Step = Literal["candidates", "predicted_iou", "stability", "edge", "duplicate"]


@dataclass(frozen=True)
class AutoMask:
    """One mask of a picture, and how it was found."""

    runs: Runs
    predicted_iou: float
    stability_score: float
    point: tuple[float, float]  # the click that found it, x, y in pixels of the picture
    crop: Box  # the part of the picture it was found in: x0, y0, x1, y1, the last two exclusive

    @cached_property
    def mask(self) -> Bits:
        """(H, W) bool."""
        return self.runs.mask()

    @property
    def rle(self) -> RunLengths:
        """COCO's uncompressed run lengths."""
        return self.runs.lengths()

    @property
    def coco_rle(self) -> dict[str, Any]:
        """COCO's compressed run lengths, as `pycocotools` and JSON take them: size [H, W], counts text."""
        from sam2_video.sinks.tables import compress_runs

        return {"size": list(self.runs.size), "counts": compress_runs(self.runs.lengths())}

    @property
    def area(self) -> int:
        """Pixels."""
        return self.runs.area

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1 in pixels, last column and row included, as in other results."""
        return self.runs.box

    def record(self, output_mode: OutputMode = "coco_rle") -> dict[str, Any]:
        """The mask as the reference generators return it; boxes are x, y, x1 - x0, y1 - y0 there."""
        forms = {"binary_mask": "mask", "uncompressed_rle": "rle", "coco_rle": "coco_rle"}
        if output_mode not in forms:
            raise PromptError(f"output_mode is {output_mode!r}; choose one of {', '.join(forms)}")
        return {
            "segmentation": getattr(self, forms[output_mode]),
            "area": self.area,
            "bbox": _xywh(self.box),
            "predicted_iou": self.predicted_iou,
            "point_coords": [list(self.point)],
            "stability_score": self.stability_score,
            "crop_box": _xywh(self.crop),
        }


def _xywh(box: Box) -> list[int]:
    x0, y0, x1, y1 = box
    return [x0, y0, x1 - x0, y1 - y0]


@dataclass
class _Found:
    """Candidates of one crop, row by row."""

    iou: NDArray[np.float32]
    stability: NDArray[np.float32]
    points: NDArray[np.float64]  # (N, 2) pixels of the crop
    boxes: NDArray[np.float32]  # (N, 4) pixels of the crop
    patches: list[Patch]


class MaskGenerator:
    """Finds masks of everything in pictures, with a SAM 2 or a SAM 1 model.

    `options` are names and values of `MaskOptions`; what is left out has the value that suits the model.
    `memory_mb` bounds what the decoder takes at once; left out: 1024 on a CPU, a quarter of what is free on a
    GPU. Raises PromptError for options that mean nothing, ConfigError for what is no model.
    """

    def __init__(
        self, model: AnyModel, *, resize: Resize | None = None, memory_mb: int | None = None, **options: Any
    ) -> None:
        check_model(model, type(self).__name__)
        self.predictor = ImagePredictor(model, resize=resize)
        self.options = MaskOptions.suited_to(model.width, self.predictor.transform).but(**options)
        if memory_mb is not None and check_integer(memory_mb, "memory_mb") < 1:
            raise PromptError(f"memory_mb must be at least 1; got {memory_mb}")
        self._memory = memory_mb
        # Of the latest picture: how many candidates there were, and how many each filter took out.
        self.counts: Counter[Step] = Counter()

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str,
        *,
        resize: Resize | None = None,
        memory_mb: int | None = None,
        load: dict[str, Any] | None = None,
        **options: Any,
    ) -> MaskGenerator:
        """Load a model by name, path or hub id (`load` goes to `load_model`) and make a generator of it."""
        from sam2_video.checkpoint import load_model

        model = load_model(name_or_path, **(load or {}))
        return cls(model, resize=resize, memory_mb=memory_mb, **options)

    def generate(self, image: Any) -> list[AutoMask]:
        """Find masks in a picture: an (H, W, 3) uint8 RGB array, the path of a file, or a PIL image.

        They come best predicted IoU first; with crop layers, those of smaller crops first. Raises SourceError
        for a file that cannot be read, PromptError for another array and for a picture too small to be cut.
        """
        rgb = picture_rgb(image)
        size, options = (rgb.shape[0], rgb.shape[1]), self.options
        self.counts = Counter()
        try:
            crops = crops_of(size, options.crop_n_layers, options.crop_overlap_ratio)
        except ValueError as error:
            raise PromptError(str(error)) from error
        found = [mask for crop in crops for mask in self._search(rgb, crop)]
        if len(crops) > 1:
            # Smaller crops see more of what is small. Areas, not IoUs, decide, as in the reference.
            scores = [1 / _area(mask.crop) for mask in found]
            found = self._single(found, scores, options.crop_nms_thresh)
        if options.min_mask_region_area > 0:
            found = self._without_small_regions(found)
        return found

    def _search(self, rgb: NDArray[np.uint8], crop: Crop) -> list[AutoMask]:
        """The masks of one crop, duplicates removed."""
        (x0, y0, x1, y1), size = crop.box, (rgb.shape[0], rgb.shape[1])
        model = self.predictor.model
        enlarger = Enlarger(self.predictor.transform, model.image_size // 4, crop.size, model.device)
        self.predictor.set_image(rgb[y0:y1, x0:x1])
        try:
            points = self.options.grids[crop.layer] * (x1 - x0, y1 - y0)
            found = list(self._candidates(points, crop, size, enlarger))
        finally:
            self.predictor.forget()
        if not found:
            return []
        iou, stability = (np.concatenate([getattr(f, name) for f in found]) for name in ("iou", "stability"))
        places, boxes = (np.concatenate([getattr(f, name) for f in found]) for name in ("points", "boxes"))
        patches = [patch for f in found for patch in f.patches]
        out = []
        kept = nms(boxes, iou, self.options.box_nms_thresh)
        self.counts["duplicate"] += len(boxes) - len(kept)
        for row in kept:
            patch = patches[row]
            bits = enlarger.bits(patch, self.options.mask_threshold)
            runs = Runs.of_window(bits, x0 + patch.box[0], y0 + patch.box[1], size)
            point = (x0 + float(places[row, 0]), y0 + float(places[row, 1]))
            out.append(AutoMask(runs, float(iou[row]), float(stability[row]), point, crop.box))
        return out

    def _candidates(
        self, points: NDArray[np.float64], crop: Crop, size: tuple[int, int], enlarger: Enlarger
    ) -> Iterator[_Found]:
        """Masks that pass all filters but that of duplicates, batch by batch."""
        options = self.options
        step = min(options.points_per_batch, self._points_at_once())
        for first in range(0, len(points), step):
            batch = points[first : first + step]
            logits, iou, clicks = self._decode(batch)
            # At 0 whatever `mask_threshold` is: in the reference the predictor cleans, and has its own.
            logits = clean_logits(logits, options.max_hole_area, options.max_sprinkle_area)
            measured = enlarger.measure(logits, options.mask_threshold, options.stability_score_offset)
            stability = np.array([mask.stability for mask in measured], dtype=np.float32)
            boxes = np.array([mask.box for mask in measured], dtype=np.float32).reshape(-1, 4)
            moved = boxes + np.array(crop.box[:2] * 2, dtype=np.float32)
            firm = np.ones(len(measured), dtype=bool)
            if options.stability_score_thresh > 0:
                firm = stability >= np.float32(options.stability_score_thresh)
            good = firm & ~cut_off(moved, crop.box, size)
            self.counts["stability"] += int((~firm).sum())
            self.counts["edge"] += int((firm & ~good).sum())
            rows = good.nonzero()[0]
            patches = [enlarger.patch(logits[row], measured[row].box) for row in rows]
            yield _Found(iou[rows], stability[rows], clicks[rows], boxes[rows], patches)

    def _decode(self, points: NDArray[np.float64]) -> tuple[Tensor, NDArray[np.float32], NDArray[np.float64]]:
        """Low-resolution logits (N, h, w), predicted IoUs and clicks of what the model is sure enough of."""
        options = self.options
        least = options.pred_iou_thresh if options.pred_iou_thresh > 0 else None
        answer = self.predictor.predict_batch(
            torch.from_numpy(points)[:, None].float(),
            multimask=options.multimask_output,
            least_iou=None if options.use_m2m else least,  # refining changes it
        )
        each = answer.iou.shape[1]
        logits, iou = answer.logits.flatten(0, 1), answer.iou.flatten()
        clicks = np.repeat(points[answer.rows.cpu().numpy()], each, axis=0)
        if options.use_m2m:
            logits, iou, clicks = self._refined(logits, clicks, least)
        sure = torch.ones_like(iou).bool() if least is None else iou > least
        kept = sure.cpu().numpy()
        self.counts["candidates"] += len(points) * each
        self.counts["predicted_iou"] += len(points) * each - int(kept.sum())
        return logits[sure], iou[sure].cpu().numpy(), clicks[kept]

    def _refined(
        self, logits: Tensor, clicks: NDArray[np.float64], least: float | None
    ) -> tuple[Tensor, Tensor, NDArray[np.float64]]:
        """Show the model each of its masks with the click that found it, and take its one answer."""
        found = []
        step = min(self.options.points_per_batch, self._points_at_once())
        for first in range(0, len(clicks), step):
            part = clicks[first : first + step]
            answer = self.predictor.predict_batch(
                torch.from_numpy(part)[:, None].float(),
                mask_logits=logits[first : first + step],
                multimask=False,
                least_iou=least,
            )
            found.append((answer.logits[:, 0], answer.iou[:, 0], part[answer.rows.cpu().numpy()]))
        maps, iou, places = zip(*found, strict=True)
        return torch.cat(maps), torch.cat(iou), np.concatenate(places)

    def _without_small_regions(self, found: list[AutoMask]) -> list[AutoMask]:
        """Fill small holes, drop small islands, then look for duplicates again; untouched masks win."""
        changed = [
            AutoMask(
                without_small_regions(mask.runs, self.options.min_mask_region_area),
                *(mask.predicted_iou, mask.stability_score, mask.point, mask.crop),
            )
            for mask in found
        ]
        scores = [float(now.runs is mask.runs) for now, mask in zip(changed, found, strict=True)]
        threshold = max(self.options.box_nms_thresh, self.options.crop_nms_thresh)
        return self._single(changed, scores, threshold)

    def _single(self, masks: Sequence[AutoMask], scores: Sequence[float], threshold: float) -> list[AutoMask]:
        """Masks without duplicates, best score first."""
        boxes = np.array([mask.box for mask in masks], dtype=np.float32).reshape(-1, 4)
        rows = nms(boxes, np.array(scores, dtype=np.float32), threshold)
        self.counts["duplicate"] += len(masks) - len(rows)
        return [masks[row] for row in rows]

    def _points_at_once(self) -> int:
        """How many points the decoder can take within its memory."""
        features = self.predictor.embedding
        need = MAPS * features.numel() * 4
        if self._memory is not None:
            budget: float = self._memory * 2**20
        elif features.device.type == "cuda":
            budget = GPU_SHARE * torch.cuda.mem_get_info(features.device)[0]
        else:
            budget = CPU_BUDGET
        return max(1, int(budget // need))


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])
