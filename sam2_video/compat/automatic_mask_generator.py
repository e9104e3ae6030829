"""The reference's `sam2.automatic_mask_generator`: its place is held until this package can do the same."""

from __future__ import annotations

from typing import Any

from sam2_video.compat.notes import CompatError


class SAM2AutomaticMaskGenerator:
    """Masks of everything in a picture: not there yet, and says so when it is made."""

    def __init__(self, model: Any, *args: Any, **kwargs: Any) -> None:
        """Raises CompatError, whatever it is given."""
        raise CompatError(
            "SAM2AutomaticMaskGenerator is not there yet: this version of sam2_video makes no automatic "
            "masks. Prompt SAM2ImagePredictor with a grid of points, or use the reference for this step"
        )

    @classmethod
    def from_pretrained(cls, model_id: str, **kwargs: Any) -> SAM2AutomaticMaskGenerator:
        """Raises CompatError before anything is downloaded."""
        return cls(model_id)
