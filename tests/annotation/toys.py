"""Small pictures, and settings under which the toy network finds something in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sam2_video.annotation import ModelSetup, Plan, Settings, Sources

GRID: dict[str, Any] = {
    "points_per_side": 3,
    "pred_iou_thresh": 0.0,
    "stability_score_thresh": 0.0,
    "box_nms_thresh": 0.9,
    "multimask_output": True,
}


def picture(seed: int, size: tuple[int, int] = (48, 80)) -> NDArray[np.uint8]:
    """Soft blobs, which masks follow."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8))
    return np.asarray(coarse.resize(size[::-1], Image.Resampling.BICUBIC))


def make_pictures(folder: Path, names: list[str], size: tuple[int, int] = (48, 80)) -> Path:
    """Write a picture for each name; those with "broken" in it are no pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        if "broken" in name:
            (folder / name).write_bytes(b"no picture")
        else:
            assert cv2.imwrite(str(folder / name), picture(seed, size)[..., ::-1])
    return folder


def plan(weights: Path, prompts: Sources | None = None, **settings: Any) -> Plan:
    masks = GRID | settings.pop("masks", {})
    model = ModelSetup(model=str(weights), device="cpu")
    return Plan(Settings(masks=masks, **settings), model, prompts or Sources())
