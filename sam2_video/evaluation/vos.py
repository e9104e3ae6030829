"""Semi-supervised scores on a folder in DAVIS layout: one prompt on the first frame, tracked to the end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sam2_video.evaluation.clicks import centre_of_error
from sam2_video.evaluation.datasets import open_dataset
from sam2_video.evaluation.metrics import Score, average_score, score_sequence
from sam2_video.evaluation.sequences import VosSequence
from sam2_video.model.sam2 import SAM2
from sam2_video.video_predictor import VideoPredictor

PromptKind = Literal["mask", "box", "click"]


@dataclass(frozen=True)
class Report:
    """Mean J and F over objects, and each sequence's own; 0..1."""

    j: float
    f: float
    sequences: dict[str, Score]

    @property
    def jandf(self) -> float:
        return (self.j + self.f) / 2


def evaluate_davis(
    model: SAM2,
    folder: Path,
    *,
    prompt: PromptKind = "mask",
    max_frames: int | None = None,
) -> Report:
    """Track every object of every sequence from a prompt made of its first annotation, and score it.

    The first and last frame are not scored, as in DAVIS. `max_frames` stops each sequence early (a quicker,
    easier measure). Leaves the model in the mode it was in.
    """
    was_training = model.training
    predictor = VideoPredictor(model)
    scores: dict[str, Score] = {}
    try:
        for sequence in open_dataset(folder, "davis2017", "all").sequences:
            scores[sequence.name] = _score(predictor, sequence, prompt, max_frames)
    finally:
        model.train(was_training)
    mean = average_score(list(scores.values()))
    return Report(mean.j, mean.f, scores)


def _score(
    predictor: VideoPredictor, sequence: VosSequence, kind: PromptKind, max_frames: int | None
) -> Score:
    length = len(sequence.frame_names)
    count = min(length, max_frames or length)
    frames = [sequence.image(frame) for frame in range(count)]
    first = sequence.masks(0) or {}
    ids = sorted(first)
    tracked: dict[int, list[NDArray[np.bool_]]] = {k: [] for k in ids}
    with predictor.open(frames, retain="window") as session:
        for object_id in ids:
            prompt = prompt_from_mask(first[object_id], kind)
            session.prompt(frame=0, object_id=object_id, **prompt)
        for result in session.propagate():
            for object_id, mask in zip(result.object_ids, result.masks, strict=True):
                tracked[object_id].append(mask)
    truth = [sequence.masks(frame) or {} for frame in range(count)]
    absent = np.zeros(sequence.size, dtype=np.bool_)
    return average_score([score_sequence(tracked[k], [m.get(k, absent) for m in truth]) for k in ids])


def prompt_from_mask(mask: NDArray[np.bool_], kind: PromptKind) -> dict[str, Any]:
    """Return what a person would give in place of the mask, as arguments of `VideoSession.prompt`.

    A box is tight; a click lies in the middle of the thickest part.
    """
    if kind == "mask":
        return {"mask": mask}
    if kind == "box":
        ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        return {"box": (float(xs[0]), float(ys[0]), float(xs[-1]), float(ys[-1]))}
    spot = centre_of_error(np.zeros_like(mask), mask)
    assert spot is not None  # an object that is listed has pixels
    return {"points": [(float(spot[0]), float(spot[1]))], "labels": [1]}
