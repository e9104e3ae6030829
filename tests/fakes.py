"""A driver without a network: predictions and memories are numbers that depend on all that went in.

Two results are equal exactly if they were computed from the same frame, prompts and memories, so that a
session can be compared with another one that found the same in another way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sam2_video.session import SessionOptions, SessionState, Size, VideoSession
from sam2_video.sources import FrameArrays
from sam2_video.timeline import Outcome, Row
from sam2_video.types import FrameMemory, FrameResult, MaskPrediction, Prompt, Recall

SIZE = (48, 80)
CLICK: dict[str, Any] = {"points": [(10, 10)], "labels": [1]}
ABSENT = -1024.0


class NumberDriver:
    """What a session asks of a network, and a list of what was asked."""

    def __init__(self) -> None:
        self.looks: list[int] = []  # frames that were encoded
        self.tracked: list[int] = []  # frames that were tracked, once per object

    def look(self, rgb: Any) -> Any:
        frame = int(rgb[0, 0, 0]) + 256 * int(rgb[0, 0, 1])
        self.looks.append(frame)
        return frame

    def segment(
        self, features: Any, prompt: Prompt, size: Size, previous: Tensor | None, recall: Recall
    ) -> Outcome:
        mask = None if prompt.mask is None else prompt.mask.tobytes()
        said = (prompt.points, prompt.labels, prompt.box, mask)
        fed = None if previous is None else previous.flatten().tolist()
        return outcome("prompt", features, said, fed, ingredients(recall))

    def follow(self, features: Any, recalls: Sequence[Recall]) -> list[Outcome]:
        self.tracked += [features] * len(recalls)
        return [outcome("tracked", features, ingredients(recall)) for recall in recalls]

    def remember(self, features: Any, prediction: MaskPrediction, *, prompted: bool) -> FrameMemory:
        return memory_of(prediction)

    def settings(self) -> dict[str, Any]:
        maps, lines, one = [1, 1, 2, 2], [1, 4], [1]
        shapes = {"logits": maps, "iou": one, "pointer": lines, "presence": one}
        return {"shapes": {**shapes, "memory.features": maps, "memory.pointer": lines}}

    def show(self, frame: int, size: Size, rows: Sequence[Row]) -> FrameResult:
        absent = MaskPrediction(
            torch.full((1, 1, 2, 2), ABSENT), torch.zeros(1), torch.zeros(1, 4), torch.tensor([ABSENT])
        )
        shown = [row.prediction or absent for row in rows]
        none = [torch.zeros(0, 1, 2, 2)], [torch.zeros(0)]
        return FrameResult(
            frame=frame,
            object_ids=tuple(row.object_id for row in rows),
            logits=torch.cat([p.logits for p in shown] or none[0])[:, 0],
            iou=torch.cat([p.iou for p in shown] or none[1]),
            presence=torch.cat([p.presence for p in shown] or none[1]),
            size=size,
            prompted=tuple(row.prompted for row in rows),
            info=tuple(row.info for row in rows),
        )


def ingredients(recall: Recall) -> Any:
    """What a recall holds, whatever its order: attention does not look at the order of its memories."""
    read = [
        sorted(
            (code, memory.features.flatten().tolist(), memory.pointer.flatten().tolist())
            for code, memory in part
        )
        for part in (recall.masks, recall.pointers)
    ]
    return read, recall.pointer_span


def outcome(*parts: Any) -> Outcome:
    """A prediction and a memory out of 24-bit numbers, which float32 holds exactly."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    numbers = [float(int.from_bytes(digest[3 * i : 3 * i + 3], "big")) for i in range(8)]
    logits = torch.tensor(numbers[:4]).view(1, 1, 2, 2)
    prediction = MaskPrediction(
        logits, torch.tensor([0.5]), torch.tensor([numbers[4:8]]), torch.tensor([1.0])
    )
    return prediction, memory_of(prediction)


def memory_of(prediction: MaskPrediction) -> FrameMemory:
    """What is remembered of a prediction: its pointer, in two orders."""
    return FrameMemory(prediction.pointer.view(1, 1, 2, 2), prediction.pointer.flip(1))


def numbered_clip(frames: int) -> list[np.ndarray]:
    """Frames that say which one they are."""
    return [np.full((*SIZE, 3), (t % 256, t // 256, 0), np.uint8) for t in range(frames)]


def open_numbers(frames: Any = 12, **options: Any) -> tuple[VideoSession, NumberDriver]:
    """A session on a clip of so many frames, or on what is given, and its driver."""
    driver = NumberDriver()
    source = FrameArrays(numbered_clip(frames) if isinstance(frames, int) else frames)
    return VideoSession(source, driver, SessionOptions(**options)), driver


def restored(state: SessionState, frames: int = 12) -> tuple[VideoSession, NumberDriver]:
    """A session that goes on from a state, and its driver."""
    driver = NumberDriver()
    return VideoSession.restore(FrameArrays(numbered_clip(frames)), driver, state), driver


def values(result: FrameResult) -> dict[int, tuple[float, ...] | None]:
    """Object -> the numbers of its mask, None where it is absent."""
    return {
        object_id: None if result.presence[row] < 0 else tuple(result.logits[row].flatten().tolist())
        for row, object_id in enumerate(result.object_ids)
    }


def masks(results: Any) -> dict[int, dict[int, tuple[float, ...] | None]]:
    """Frame -> object -> numbers."""
    return {result.frame: values(result) for result in results}
