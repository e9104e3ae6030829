"""A clip in which everything happens: objects overlap, have holes and parts, come late and vanish."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sam2_video.sinks import Sink
from sam2_video.types import FrameResult, ObjectInfo
from tests.clips import numbered_frame

Mask = NDArray[np.bool_]
# pycocotools 2.0.11 has not caught up with NumPy 2; nothing here can do anything about it.
COCO_WARNS = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SIZE = (40, 56)  # (H, W)
FRAMES = (3, 5, 7, 9)  # a run that begins at frame 3, with a stride of 2
CUP, CAT, LATE, NEVER = 1, 70000, 4, 9
INFO = {
    CUP: ObjectInfo("left cup", "cup"),
    CAT: ObjectInfo("Größe <&\"'>, 猫\n../\\:*", "cat & <dog>"),
    LATE: ObjectInfo(),
    NEVER: ObjectInfo("ghost", "ghost"),
}


def disc(x: float, y: float, radius: float, size: tuple[int, int] = SIZE) -> Mask:
    ys, xs = np.ogrid[: size[0], : size[1]]
    return np.asarray((xs - x) ** 2 + (ys - y) ** 2 <= radius**2)


def result_of(
    frame: int,
    masks: Mapping[int, Mask],
    info: Mapping[int, ObjectInfo] | None = None,
    prompted: tuple[int, ...] = (),
    size: tuple[int, int] = SIZE,
) -> FrameResult:
    """A result with these masks. Where they overlap the later object wins."""
    rows = [torch.from_numpy(np.where(mask, 1.0 + k, -1.0)) for k, mask in enumerate(masks.values())]
    scores = torch.linspace(0.95, 0.75, len(rows))
    return FrameResult(
        frame=frame,
        object_ids=tuple(masks),
        logits=torch.stack(rows).float() if rows else torch.zeros(0, *size),
        iou=scores,
        presence=scores * 4 - 3,
        size=size,
        prompted=tuple(k in prompted for k in masks),
        info=tuple((info or {}).get(k, ObjectInfo()) for k in masks),
    )


def story() -> list[FrameResult]:
    """The cup moves over the late object; the cat, a ring with a blob beside it, is gone on frame 7."""
    nothing = np.zeros(SIZE, dtype=bool)
    results = []
    for k, frame in enumerate(FRAMES):
        ring = disc(38, 16, 12) & ~disc(38, 16, 6) | disc(51, 35, 3)
        masks = {CUP: disc(12 + 2 * k, 20, 9), CAT: nothing if frame == 7 else ring, NEVER: nothing}
        if frame in (5, 7):
            masks[LATE] = disc(22, 24, 7)
        results.append(result_of(frame, masks, INFO, prompted=(CUP, CAT) if k == 0 else ()))
    return results


def frame_name(frame: int) -> str:
    return f"{frame:05d}"


def write(sink: Sink, results: list[FrameResult]) -> None:
    for result in results:
        sink.write(numbered_frame(result.frame, result.size), result, frame_name(result.frame))


def masks_of(results: list[FrameResult]) -> dict[tuple[int, int], Mask]:
    """(frame, object) -> mask, of what is visible."""
    found = {}
    for result in results:
        for object_id, mask in zip(result.object_ids, result.masks, strict=True):
            if mask.any():
                found[result.frame, object_id] = mask
    return found


def iou(one: Mask, other: Mask) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))


def blobs(rng: np.random.Generator) -> Mask:
    """A random mask with parts, holes, thin places and edges on the border of the picture."""
    import cv2

    height, width = rng.integers(12, 48, 2)
    noise = cv2.GaussianBlur(rng.random((height, width)).astype(np.float32), (0, 0), rng.uniform(1.0, 4.0))
    return np.asarray(noise > np.quantile(noise, rng.uniform(0.3, 0.9)))


def files(folder: Path) -> list[str]:
    return sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file())
