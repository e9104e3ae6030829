"""A tracker that makes known mistakes, and clips to make them on; a frame says in its pixels which one it is.

The tracker finds the truth everywhere but where its script says otherwise, and the script may depend on the
frames that an object was prompted on. So every click of a protocol can be worked out by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sam2_video.evaluation.sequences import Bools, EvaluatedObject
from sam2_video.memory import PROMPTED_SLOT
from sam2_video.postprocess import non_overlapping
from sam2_video.session import SessionOptions, VideoSession
from sam2_video.timeline import Outcome, Row
from sam2_video.types import FrameMemory, FrameResult, ImageFeatures, MaskPrediction, Prompt, Recall

SIZE = (40, 60)  # H, W
SIDE = 11  # of a square: odd, so that it has a middle
Masks = dict[int, Bools]
# object, frame, frames that it was prompted on -> its mask where it is tracked; None: the truth
Script = Callable[[int, int, frozenset[int]], Bools | None]


def square(x: int, y: int, side: int = SIDE) -> Bools:
    mask = np.zeros(SIZE, bool)
    mask[y : y + side, x : x + side] = True
    return mask


NOTHING = np.zeros(SIZE, bool)


@dataclass
class Story:
    """A sequence in memory. None: the frame is not annotated, but `real` says what is there."""

    truth: list[Masks | None]
    objects: tuple[EvaluatedObject, ...]
    name: str = "story"
    size: tuple[int, int] = SIZE
    voids: dict[int, Bools] = field(default_factory=dict)
    read: list[int] = field(default_factory=list)  # frames in the order in which they were read
    judged: list[int] = field(default_factory=list)  # frames whose truth was looked at

    @property
    def frame_names(self) -> tuple[str, ...]:
        return tuple(f"{k:05d}" for k in range(len(self.truth)))

    def image(self, frame: int) -> NDArray[np.uint8]:
        self.read.append(frame)
        return np.full((*SIZE, 3), frame, np.uint8)

    def masks(self, frame: int) -> Mapping[int, Bools] | None:
        self.judged.append(frame)
        return self.truth[frame]

    def void(self, frame: int) -> Bools | None:
        return self.voids.get(frame)


def standing(frames: int = 8, *, last_counts: bool = False) -> Story:
    """Object 1 stands at (20, 10); all frames but the first (and last) count."""
    scored = tuple(range(1, frames if last_counts else frames - 1))
    return Story([{1: square(20, 10)} for _ in range(frames)], (EvaluatedObject(1, 0, scored),))


@dataclass
class Oracle:
    """In place of a `VideoPredictor`. `lazy`: a prompted frame is right only from so many clicks on."""

    story: Story
    script: Script = lambda object_id, frame, prompted: None
    lazy: int = 1
    non_overlapping: bool = False
    looks: list[int] = field(default_factory=list)
    prompts: list[tuple[int, Prompt]] = field(default_factory=list)  # (frame, all that was said there)

    def open(self, source: Any, *, retain: Any = "all") -> VideoSession:
        return VideoSession(source, self, SessionOptions(retain=retain))  # type: ignore[arg-type]

    def look(self, rgb: Any) -> Any:
        self.looks.append(int(rgb[0, 0, 0]))
        return ImageFeatures(torch.tensor(self.looks[-1]), (torch.zeros(0), torch.zeros(0)))

    def segment(self, features: Any, prompt: Prompt, size: Any, previous: Any, recall: Recall) -> Outcome:
        frame = int(features.coarse)
        self.prompts.append((frame, prompt))
        object_id = self._who(frame, prompt, recall)
        mask = self._real(object_id, frame)
        if prompt.mask is None and len(prompt.points) < self.lazy:
            mask = np.zeros_like(mask)
        return outcome(object_id, frame, mask)

    def follow(self, features: Any, recalls: Sequence[Recall]) -> list[Outcome]:
        frame, found = int(features.coarse), []
        for recall in recalls:
            prompted = [memory for slot, memory in recall.masks if slot == PROMPTED_SLOT]
            object_id = int(prompted[0].pointer)
            mask = self.script(object_id, frame, frozenset(int(memory.features) for memory in prompted))
            found.append(outcome(object_id, frame, self._real(object_id, frame) if mask is None else mask))
        return found

    def show(self, frame: int, size: Any, rows: Sequence[Row]) -> FrameResult:
        absent = torch.full((1, *SIZE), -9.0)
        logits = [absent if row.prediction is None else row.prediction.logits[:, 0] for row in rows]
        ids, found = tuple(row.object_id for row in rows), torch.cat(logits)
        found = non_overlapping(found) if self.non_overlapping else found
        return FrameResult(frame, ids, found, torch.ones(len(rows)), torch.ones(len(rows)), SIZE)

    def _real(self, object_id: int, frame: int) -> Bools:
        masks = self.story.truth[frame]
        return NOTHING if masks is None else masks.get(object_id, NOTHING)

    def _who(self, frame: int, prompt: Prompt, recall: Recall) -> int:
        """The object that a prompt means: the one that is remembered, else the one that it lies on."""
        if recall.masks:
            return int(recall.masks[0][1].pointer)
        if prompt.box is not None:
            x, y = (prompt.box[0] + prompt.box[2]) / 2, (prompt.box[1] + prompt.box[3]) / 2
        elif prompt.mask is not None:
            y, x = np.argwhere(prompt.mask).mean(axis=0)
        else:
            x, y = prompt.points[0]
        masks = self.story.truth[frame] or {}
        return next(k for k, mask in masks.items() if mask[int(y), int(x)])


def outcome(object_id: int, frame: int, mask: Bools) -> Outcome:
    logits = torch.where(torch.from_numpy(mask), 5.0 + object_id, -5.0)[None, None]
    prediction = MaskPrediction(logits, torch.ones(1), torch.tensor([[object_id]]), torch.ones(1))
    return prediction, FrameMemory(torch.tensor(frame), torch.tensor(object_id))
