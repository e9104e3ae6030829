"""The clip with its masks painted over it."""

from __future__ import annotations

import colorsys
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam2_video.sinks.base import BaseSink
from sam2_video.sinks.video import VideoWriter
from sam2_video.types import FrameResult

TINT = 0.45  # share of the colour inside a mask


class OverlaySink(BaseSink):
    """An mp4 of the clip, each object tinted, outlined and labelled with its id in a colour of its own."""

    def __init__(self, path: str | Path, fps: float | None = None, encoder: str = "auto") -> None:
        """`fps` is the clip's own rate, 25 where it has none. Raises SinkError if no file can be made."""
        self._writer = VideoWriter(path, fps, encoder)

    def write(self, frame_rgb: NDArray[np.uint8], result: FrameResult, frame_name: str) -> None:
        """Paint and encode one frame. Raises SinkError."""
        self._writer.write(paint(frame_rgb, result))

    def close(self) -> None:
        """Finish the video and give it its name."""
        self._writer.close()

    def discard(self) -> None:
        """Remove the unfinished video."""
        self._writer.discard()


def paint(frame_rgb: NDArray[np.uint8], result: FrameResult) -> NDArray[np.uint8]:
    """Return a copy of an (H, W, 3) frame with the masks of `result` painted on it."""
    import cv2

    out = frame_rgb.copy()
    line = max(1, round(min(result.size) / 300))
    for object_id, mask, box in zip(result.object_ids, result.masks, result.boxes, strict=True):
        if not mask.any():
            continue
        x0, y0, x1, y1 = (int(v) for v in box)
        window = np.s_[y0 : y1 + 1, x0 : x1 + 1]  # only the part of the frame that has the object
        colour, inside = object_colour(object_id), mask[window].astype(np.uint8)
        part = np.ascontiguousarray(out[window])
        tinted = cv2.addWeighted(part, 1 - TINT, np.full_like(part, colour), TINT, 0)
        cv2.copyTo(tinted, inside, part)
        out[window] = part
        outlines, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(x0, y0))
        cv2.drawContours(out, outlines, -1, colour, line, cv2.LINE_AA)
        _label(out, str(object_id), x0, y0, colour)
    return out


@cache
def object_colour(object_id: int) -> tuple[int, int, int]:
    """Return the RGB colour of an object id: bright, always the same, and unlike that of the ids near it."""
    hue = 0.58 + object_id * 0.618034  # steps of the golden ratio spread hues evenly, however many there are
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, 0.85, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def _label(out: NDArray[np.uint8], text: str, x: int, y: int, colour: tuple[int, int, int]) -> None:
    """Write text on a dark plate at the upper left corner of an object, inside the frame."""
    import cv2

    scale = max(0.35, min(out.shape[:2]) / 900)
    (width, height), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    x = max(0, min(x, out.shape[1] - width - 4))
    y = max(0, min(y - height - base - 2, out.shape[0] - height - base - 2))
    plate = out[y : y + height + base + 2, x : x + width + 4]
    plate[:] = plate // 4
    origin = (x + 2, y + height + 1)
    cv2.putText(out, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)
