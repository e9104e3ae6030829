"""Click an object in a video and get its mask on every frame.

The public names are loaded on first use, so that `import sam2_video` costs little and starts nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sam2_video.annotation import annotate_folder
    from sam2_video.checkpoint import list_models, load_model
    from sam2_video.config import build_model
    from sam2_video.image_predictor import ImagePredictor
    from sam2_video.mask_generator import MaskGenerator
    from sam2_video.prompts import read_prompts
    from sam2_video.types import (
        CheckpointError,
        ConfigError,
        DataError,
        FrameResult,
        Prompt,
        PromptError,
        Sam2VideoError,
        SinkError,
        SourceError,
    )
    from sam2_video.video_predictor import VideoPredictor

__version__ = "0.1.0"

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "FrameResult",
    "ImagePredictor",
    "MaskGenerator",
    "Prompt",
    "PromptError",
    "Sam2VideoError",
    "SinkError",
    "SourceError",
    "VideoPredictor",
    "__version__",
    "annotate_folder",
    "build_model",
    "list_models",
    "load_model",
    "read_prompts",
]

_HOMES = {
    "CheckpointError": "types",
    "ConfigError": "types",
    "DataError": "types",
    "FrameResult": "types",
    "ImagePredictor": "image_predictor",
    "MaskGenerator": "mask_generator",
    "Prompt": "types",
    "PromptError": "types",
    "Sam2VideoError": "types",
    "SinkError": "types",
    "SourceError": "types",
    "VideoPredictor": "video_predictor",
    "annotate_folder": "annotation",
    "build_model": "config",
    "list_models": "checkpoint",
    "load_model": "checkpoint",
    "read_prompts": "prompts",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value  # the next look-up does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
