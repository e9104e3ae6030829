"""The reference's `sam2.automatic_mask_generator`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sam2_video.compat.notes import CompatError, explain
from sam2_video.compat.sam2_video_predictor import SAM2VideoPredictor
from sam2_video.mask_generator import MaskGenerator, OutputMode
from sam2_video.mask_options import MaskOptions
from sam2_video.model.sam2 import SAM2

OUTPUT_MODES = ("binary_mask", "uncompressed_rle", "coco_rle")


class SAM2AutomaticMaskGenerator:
    """Masks of everything in a picture, with the reference's calls; options and defaults are its own."""

    def __init__(
        self,
        model: SAM2 | SAM2VideoPredictor,
        points_per_side: int | None = 32,
        points_per_batch: int = 64,
        pred_iou_thresh: float = 0.8,
        stability_score_thresh: float = 0.95,
        stability_score_offset: float = 1.0,
        mask_threshold: float = 0.0,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        crop_nms_thresh: float = 0.7,
        crop_overlap_ratio: float = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        point_grids: Sequence[Any] | None = None,
        min_mask_region_area: int = 0,
        output_mode: OutputMode = "binary_mask",
        use_m2m: bool = False,
        multimask_output: bool = True,
        **kwargs: Any,
    ) -> None:
        """Raises PromptError for options that mean nothing, CompatError for an unknown `output_mode`."""
        for name in kwargs:
            explain(f"SAM2AutomaticMaskGenerator's argument {name!r} has no effect; give it to build_sam2")
        if output_mode not in OUTPUT_MODES:
            raise CompatError(f"output_mode is {output_mode!r}; choose one of {', '.join(OUTPUT_MODES)}")
        self.output_mode: OutputMode = output_mode
        # Said one by one: a default of ours that differs must not slip in.
        self._generator = MaskGenerator(
            model.model if isinstance(model, SAM2VideoPredictor) else model,
            points_per_side=points_per_side,
            points_per_batch=points_per_batch,
            pred_iou_thresh=pred_iou_thresh,
            stability_score_thresh=stability_score_thresh,
            stability_score_offset=stability_score_offset,
            mask_threshold=mask_threshold,
            box_nms_thresh=box_nms_thresh,
            crop_n_layers=crop_n_layers,
            crop_nms_thresh=crop_nms_thresh,
            crop_overlap_ratio=crop_overlap_ratio,
            crop_n_points_downscale_factor=crop_n_points_downscale_factor,
            point_grids=point_grids,
            # What the reference makes of it: its predictor's limits on low-resolution holes and specks.
            max_hole_area=int(min_mask_region_area),
            max_sprinkle_area=int(min_mask_region_area),
            min_mask_region_area=0,
            use_m2m=use_m2m,
            multimask_output=multimask_output,
        )

    @classmethod
    def from_pretrained(cls, model_id: str, **kwargs: Any) -> SAM2AutomaticMaskGenerator:
        """Load a model by hub id or name; `kwargs` are the constructor's and those of `build_sam2_hf`."""
        from inspect import signature

        from sam2_video.compat.build_sam import build_sam2_hf

        known = set(signature(cls).parameters) - {"model", "kwargs"}
        own = {name: kwargs.pop(name) for name in known & set(kwargs)}
        return cls(build_sam2_hf(model_id, **kwargs), **own)

    @property
    def options(self) -> MaskOptions:
        """What the generator works with, in the words of `MaskGenerator`."""
        return self._generator.options

    def generate(self, image: Any) -> list[dict[str, Any]]:
        """Return a record for each mask of an (H, W, 3) uint8 RGB picture.

        Keys: segmentation (by `output_mode`), area, bbox (x, y, w, h), predicted_iou, point_coords,
        stability_score, crop_box (x, y, w, h). Raises PromptError for another array.
        """
        return [mask.record(self.output_mode) for mask in self._generator.generate(image)]

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"sam2_video.compat has no SAM2AutomaticMaskGenerator.{name}; docs/compat.md lists what there is"
        )
