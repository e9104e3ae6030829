"""A session of the reference implementation, the package `sam2`, where somebody has installed it.

Driven by its documented calls alone (`build_sam2_video_predictor`, `init_state`, `add_new_points_or_box`,
`propagate_in_video`), so that all frames before the first counted one are really tracked: that takes a while.
"""

from __future__ import annotations

import tempfile
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sam2_video.benchmark.contestants import CLICK, START, textured_clip
from sam2_video.model.sam2 import SAM2
from sam2_video.types import ConfigError

SIZES = {"tiny": "t", "small": "s", "base_plus": "b+", "large": "l"}


def is_installed() -> bool:
    return find_spec("sam2") is not None


def reference_predictor(model: SAM2, name: str) -> Any:
    """Their video predictor with the weights of `model`, a released one by `name`. Raises ConfigError."""
    family, _, size = name.partition("_hiera_")
    if size not in SIZES:
        raise ConfigError(f"the reference has no configuration of {name}")
    try:
        from sam2.build_sam import build_sam2_video_predictor
    except ImportError as error:
        advice = "pip install git+https://github.com/facebookresearch/sam2"
        raise ConfigError(f"a comparison with the reference needs it: {advice}") from error
    predictor: Any = build_sam2_video_predictor(
        config_file=f"configs/{family}/{family}_hiera_{SIZES[size]}.yaml",
        ckpt_path=None,
        device=str(model.device),
        hydra_overrides_extra=[f"++model.image_size={model.image_size}"],
        apply_postprocessing=False,  # no holes are filled: neither do the others
    )
    predictor.load_state_dict(model.state_dict())
    return predictor


class Reference:
    """A session of theirs that is due on frame START; on a CUDA device by autocast, as they publish times."""

    def __init__(self, predictor: Any, size: int, frames: int, objects: int = 1) -> None:
        from PIL import Image

        self._predictor = predictor
        with tempfile.TemporaryDirectory() as folder:  # a clip is a folder of JPEG pictures to them
            for frame, rgb in enumerate(textured_clip(size, START + frames)):
                Image.fromarray(np.ascontiguousarray(rgb)).save(Path(folder) / f"{frame:05d}.jpg", quality=95)
            with torch.inference_mode():
                self._state = predictor.init_state(video_path=folder)
        with torch.inference_mode(), self._autocast():
            for k in range(objects):
                points = np.array([[CLICK[0] * size + k, CLICK[1] * size]], dtype=np.float32)
                predictor.add_new_points_or_box(
                    inference_state=self._state,
                    frame_idx=0,
                    obj_id=k + 1,
                    points=points,
                    labels=np.array([1], dtype=np.int32),
                )
        for frame in range(START):
            self.step(frame)

    def step(self, frame: int) -> Tensor:
        """Track one frame; returns logits at the size of the clip (N, H, W): theirs come so."""
        with torch.inference_mode(), self._autocast():
            walk = self._predictor.propagate_in_video(
                self._state, start_frame_idx=frame, max_frame_num_to_track=0
            )
            ((_, _, logits),) = walk
        found: Tensor = logits[:, 0].float()
        return found

    def _autocast(self) -> AbstractContextManager[Any]:
        device = self._predictor.device.type
        return torch.autocast(device, torch.bfloat16) if device == "cuda" else nullcontext()
