"""The reference implementation's names and call signatures, translated to this package.

A script written for facebookresearch/sam2 runs after `sam2.` became `sam2_video.compat.` in its imports. This
package only translates: what is tracked, and how, is decided by `VideoPredictor` and `ImagePredictor`.
docs/compat.md lists every name and argument.
"""

from sam2_video.compat.automatic_mask_generator import SAM2AutomaticMaskGenerator
from sam2_video.compat.build_sam import (
    build_sam2,
    build_sam2_hf,
    build_sam2_video_predictor,
    build_sam2_video_predictor_hf,
)
from sam2_video.compat.notes import CompatError
from sam2_video.compat.sam2_image_predictor import SAM2ImagePredictor
from sam2_video.compat.sam2_video_predictor import SAM2VideoPredictor

__all__ = [
    "CompatError",
    "SAM2AutomaticMaskGenerator",
    "SAM2ImagePredictor",
    "SAM2VideoPredictor",
    "build_sam2",
    "build_sam2_hf",
    "build_sam2_video_predictor",
    "build_sam2_video_predictor_hf",
]
