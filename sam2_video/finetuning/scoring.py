"""Scores of a model while it is trained, by the code that evaluates: mIoU at one click, or J&F."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sam2_video.evaluation.datasets import Clip
from sam2_video.evaluation.image_clicks import score_pictures
from sam2_video.evaluation.in_memory import track_and_score
from sam2_video.finetuning.data import Item
from sam2_video.image_predictor import ImagePredictor
from sam2_video.model.sam2 import SAM2
from sam2_video.video_predictor import VideoPredictor

CLICKS = (1, 3)


@dataclass(frozen=True)
class Score:
    """The figure that decides, 0..1, and all that were taken, by name."""

    value: float
    figures: dict[str, float]


def score(model: SAM2, items: Sequence[Item], folder: Path, max_frames: int | None = None) -> Score:
    """Score pictures by clicks on each object, clips by tracking from the first mask.

    Leaves the model in eval mode. Raises DataError where nothing can be scored.
    """
    clips = [item for item in items if isinstance(item, Clip)]
    if clips:
        means = track_and_score(VideoPredictor(model), clips, max_frames=max_frames).overall
        return Score(means.jandf, {"jandf": means.jandf, "j": means.j.mean, "f": means.f.mean})
    pictures = [item for item in items if not isinstance(item, Clip)]
    figures = score_pictures(ImagePredictor(model), pictures, folder, clicks=CLICKS).means()
    return Score(figures["iou_1"], figures)
