"""What automatic masks are made with: every knob of both reference generators, by their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from math import isfinite
from typing import Any

import numpy as np

from sam2_video.mask_grid import Grid, checked_grids, layer_grids
from sam2_video.transforms import FrameTransform, PaddedTransform, check_integer
from sam2_video.types import PromptError

# The released models are this wide. `nano`, and what is trained from its configuration, is narrower: its
# predicted IoUs say little, and its logits are a tenth as large, so no mask of it would pass their filters.
RELEASED_WIDTH = 256
NUMBER = int | float | np.integer | np.floating


@dataclass(frozen=True)
class MaskOptions:
    """How a picture is searched and which masks stay. The defaults are those of SAM 2's generator.

    `points_per_side` or else `point_grids`, one grid of (x, y) shares for the picture and each crop layer.
    `points_per_batch` is the most points that are decoded at once; fewer if memory asks for it.
    `pred_iou_thresh`, `stability_score_thresh` of 0 let everything pass. `min_mask_region_area` is SAM 1's:
    smaller holes and islands, in pixels of the picture, are removed, and duplicates once more.
    `max_hole_area`, `max_sprinkle_area` are SAM 2's: in pixels of the low-resolution logits, before filters,
    told by the sign of the logits whatever `mask_threshold` is.
    `use_m2m` lets the model refine each mask once. Raises PromptError for values that mean nothing.
    """

    points_per_side: int | None = 32
    points_per_batch: int = 64
    pred_iou_thresh: float = 0.8
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    mask_threshold: float = 0.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    point_grids: Sequence[Any] | None = None
    min_mask_region_area: int = 0
    max_hole_area: int = 0
    max_sprinkle_area: int = 0
    use_m2m: bool = False
    multimask_output: bool = True

    def __post_init__(self) -> None:
        for name in ("crop_n_layers", "min_mask_region_area", "max_hole_area", "max_sprinkle_area"):
            check_integer(getattr(self, name), name)
        for name in ("points_per_batch", "crop_n_points_downscale_factor"):
            if check_integer(getattr(self, name), name) < 1:
                raise PromptError(f"{name} must be at least 1")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "float":
                if isinstance(value, bool) or not isinstance(value, NUMBER) or not isfinite(value):
                    raise PromptError(f"{field.name} must be a finite number; got {value!r}")
                object.__setattr__(self, field.name, float(value))  # NumPy's numbers are no JSON
            elif field.type == "bool":
                if not isinstance(value, bool | np.bool_):
                    raise PromptError(f"{field.name} must be True or False; got {value!r}")
                object.__setattr__(self, field.name, bool(value))
        if self.stability_score_offset < 0:
            raise PromptError(
                f"stability_score_offset must not be negative; got {self.stability_score_offset}"
            )
        if not 0 <= self.crop_overlap_ratio < 1:
            raise PromptError(f"crop_overlap_ratio is a share, 0 to below 1; got {self.crop_overlap_ratio}")
        if (self.points_per_side is None) == (self.point_grids is None):
            raise PromptError(
                "give either points_per_side or point_grids; with point_grids, set points_per_side=None"
            )
        if self.points_per_side is not None and check_integer(self.points_per_side, "points_per_side") < 1:
            raise PromptError("points_per_side must be at least 1")
        _ = self.grids  # says what is wrong with them now, not at the first picture

    @classmethod
    def sam1(cls) -> MaskOptions:
        """The defaults of SAM 1's generator."""
        return cls(pred_iou_thresh=0.88)

    @classmethod
    def nano(cls) -> MaskOptions:
        """What suits the bundled model; docs/masks.md says why."""
        return cls(
            pred_iou_thresh=0.0,
            stability_score_thresh=0.4,
            stability_score_offset=0.1,
            max_hole_area=8,
            max_sprinkle_area=24,
            multimask_output=False,
        )

    @classmethod
    def suited_to(cls, width: int, transform: FrameTransform) -> MaskOptions:
        """The defaults for a model of this width, whose pictures are brought to its size like this."""
        if isinstance(transform, PaddedTransform):
            return cls.sam1()
        return cls() if width >= RELEASED_WIDTH else cls.nano()

    def but(self, **changes: Any) -> MaskOptions:
        """These options with some changed; `point_grids` alone takes the place of `points_per_side`.

        Raises PromptError for a name that is none of them.
        """
        known = [field.name for field in fields(self)]
        for name in changes:
            if name not in known:
                raise PromptError(f"{name!r} is no option of automatic masks; known are {', '.join(known)}")
        if changes.get("point_grids") is not None:
            changes = {"points_per_side": None, **changes}
        return replace(self, **changes)

    @cached_property
    def grids(self) -> list[Grid]:
        """The points of each crop layer, as shares of width and height."""
        try:
            if self.point_grids is not None:
                return checked_grids(self.point_grids, self.crop_n_layers)
            assert self.points_per_side is not None
            return layer_grids(self.points_per_side, self.crop_n_layers, self.crop_n_points_downscale_factor)
        except ValueError as error:
            raise PromptError(str(error)) from error

    def record(self) -> dict[str, Any]:
        """The options as JSON takes them."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.point_grids is not None:
            values["point_grids"] = [grid.tolist() for grid in self.grids]
        return values
