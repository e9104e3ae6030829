"""What annotations are made with: plain values that travel to workers and into the record of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any, Literal, get_args

from sam2_video.mask_options import RELEASED_WIDTH
from sam2_video.transforms import check_integer
from sam2_video.types import PromptError

Mode = Literal["assisted", "semi", "auto"]
# Masks of the SA-1B data set passed these.
SURE_IOU, SURE_STABILITY = 0.88, 0.95
# Somebody points at an object, so there is one: only clearly bad masks are worth another look.
ASKED_IOU, ASKED_STABILITY = 0.7, 0.8
# The bundled model's predicted IoUs say little (docs/masks.md); two of five of its masks are this stable.
NANO_STABILITY = 0.5
# What a person is still shown, in the semi-automatic mode.
SHOWN_IOU, SHOWN_STABILITY = 0.6, 0.8


@dataclass(frozen=True)
class Settings:
    """How a picture is annotated.

    `mode`: "auto" keeps all that passes the filters of automatic masks, "semi" keeps what the model is sure
    of and lists the rest for a person, "assisted" finds what prompts ask for. `masks`: names and values of
    `MaskOptions`. `sure_iou`, `sure_stability`: the model is sure of a mask from these on; None: as suits it.
    `min_area` in pixels and `max_area_share` of the picture bound what can be an object. `min_score`: of
    detections. Raises PromptError for values that mean nothing.
    """

    mode: Mode = "auto"
    masks: Mapping[str, Any] = field(default_factory=dict)
    sure_iou: float | None = None
    sure_stability: float | None = None
    min_area: int = 0
    max_area_share: float = 1.0
    min_score: float = 0.0

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise PromptError(f"mode is {self.mode!r}; choose one of {', '.join(get_args(Mode))}")
        check_integer(self.min_area, "min_area")
        for name in ("sure_iou", "sure_stability", "max_area_share", "min_score"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | float) and isfinite(value)):
                raise PromptError(f"{name} must be a finite number; got {value!r}")
        if not 0 < self.max_area_share <= 1:
            raise PromptError(f"max_area_share is a share, above 0 to 1; got {self.max_area_share}")
        if self.mode == "auto" and (self.sure_iou is not None or self.sure_stability is not None):
            raise PromptError(
                "sure_iou and sure_stability are for the modes semi and assisted; automatic masks are "
                "filtered by pred_iou_thresh and stability_score_thresh"
            )

    def mask_changes(self, width: int) -> dict[str, Any]:
        """Options of automatic masks for a model of this width; semi mode looks at more than it keeps."""
        shown = {}
        if self.mode == "semi" and width >= RELEASED_WIDTH:
            shown = {"pred_iou_thresh": SHOWN_IOU, "stability_score_thresh": SHOWN_STABILITY}
        return {**shown, **self.masks}

    def sure(self, width: int) -> tuple[float, float]:
        """Predicted IoU and stability from which on a model of this width is sure."""
        usual = (ASKED_IOU, ASKED_STABILITY) if self.mode == "assisted" else (SURE_IOU, SURE_STABILITY)
        if width < RELEASED_WIDTH:
            usual = (0.0, NANO_STABILITY)
        iou = usual[0] if self.sure_iou is None else self.sure_iou
        return iou, usual[1] if self.sure_stability is None else self.sure_stability

    def record(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self) | {"masks": dict(self.masks)}
