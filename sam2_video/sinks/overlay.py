"""The clip with its masks painted over it."""

from __future__ import annotations

import colorsys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam2_video.sinks.lettering import LEAST_SIZE, shortened, text_width, write_text
from sam2_video.sinks.names import plain
from sam2_video.sinks.sound import Sound
from sam2_video.sinks.tables import is_prompted
from sam2_video.sinks.video import VideoSink, VideoWriter
from sam2_video.types import FrameResult

TINT = 0.45  # share of the colour inside a mask
# Okabe and Ito's colours, which people who are colour-blind can tell apart, in the order in which neighbours
# are farthest apart for all eyes.
FIRST_COLOURS = (
    (0, 114, 178),  # blue
    (230, 159, 0),  # orange
    (204, 121, 167),  # purple
    (213, 94, 0),  # vermilion
    (86, 180, 233),  # sky blue
    (240, 228, 66),  # yellow
    (0, 158, 115),  # green
)


class OverlaySink(VideoSink):
    """An mp4 of the clip, each object tinted, outlined and labelled with id and name in a colour of its own.

    A dot on the label says that the object was prompted on this frame. What has no mask is not drawn.
    """

    def __init__(
        self, path: str | Path, fps: float | None = None, encoder: str = "auto", sound: Sound | None = None
    ) -> None:
        """`fps` is the clip's own rate, 25 where it has none. Raises SinkError if no file can be made."""
        super().__init__(VideoWriter(path, fps, encoder, sound=sound))

    def picture(self, frame_rgb: NDArray[np.uint8], result: FrameResult) -> NDArray[np.uint8]:
        """Return the frame with its masks painted on it."""
        return paint(frame_rgb, result)


def paint(frame_rgb: NDArray[np.uint8], result: FrameResult) -> NDArray[np.uint8]:
    """Return a copy of an (H, W, 3) frame with the masks of `result` painted on it."""
    out = frame_rgb.copy()
    shown = [row for row in range(len(result.object_ids)) if result.masks[row].any()]
    boxes = {row: _paint_mask(out, result, row) for row in shown}
    placed: list[Plate] = []
    for row in shown:  # after all masks, so that none of them covers a label
        label = _place(_label_of(result, row), boxes[row], placed)
        if label.plate.width:
            placed.append(label.plate)
            _paint_label(out, label)
    return out


@cache
def object_colour(object_id: int) -> tuple[int, int, int]:
    """Return the RGB colour of an object id: always the same, and unlike that of the ids near it."""
    if 1 <= object_id <= len(FIRST_COLOURS):
        return FIRST_COLOURS[object_id - 1]
    hue = 0.6 + object_id * 0.618034  # steps of the golden ratio spread hues evenly, however many there are
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, 0.85, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def label_text(result: FrameResult, row: int) -> str:
    """Return what the label of a row says: the id, and the name or else the class of the object."""
    info = result.info_of(row)
    return plain(f"{result.object_ids[row]} {info.name or info.category}")


@dataclass(frozen=True)
class Plate:
    """A rectangle of the frame, in pixels."""

    x: int
    y: int
    width: int
    height: int

    def overlap(self, other: Plate) -> int:
        """Return the area that both cover."""
        across = min(self.x + self.width, other.x + other.width) - max(self.x, other.x)
        down = min(self.y + self.height, other.y + other.height) - max(self.y, other.y)
        return max(across, 0) * max(down, 0)


@dataclass(frozen=True)
class Label:
    """Text on a plate. `frame`: (H, W) of the picture, which the plate must not leave."""

    text: str
    size: int  # of the letters, in pixels
    colour: tuple[int, int, int]
    dot: bool
    frame: tuple[int, int]
    plate: Plate = Plate(0, 0, 0, 0)


def _paint_mask(out: NDArray[np.uint8], result: FrameResult, row: int) -> Plate:
    """Paint one mask and return the box of its largest part: a label belongs there, not to a speck."""
    import cv2

    line = max(1, round(min(result.size) / 300))
    x0, y0, x1, y1 = (int(v) for v in result.boxes[row])
    window = np.s_[y0 : y1 + 1, x0 : x1 + 1]  # only the part of the frame that has the object
    colour, inside = object_colour(result.object_ids[row]), result.masks[row][window].astype(np.uint8)
    part = np.ascontiguousarray(out[window])
    tinted = cv2.addWeighted(part, 1 - TINT, np.full_like(part, colour), TINT, 0)
    cv2.copyTo(tinted, inside, part)
    out[window] = part
    outlines, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(x0, y0))
    cv2.drawContours(out, outlines, -1, colour, line, cv2.LINE_AA)
    x, y, width, height = cv2.boundingRect(max(outlines, key=cv2.contourArea))
    return Plate(x, y, width, height)


def _label_of(result: FrameResult, row: int) -> Label:
    """The label of a row, sized but not placed; without a plate where not one letter fits the frame."""
    height, width = result.size
    size = max(LEAST_SIZE, round(min(height, width) / 36))
    dot = is_prompted(result, row)
    margins = size // 2 + (size * 2 // 3 if dot else 0)
    text = shortened(label_text(result, row), size, width - margins)
    plate = Plate(0, 0, text_width(text, size) + margins if text else 0, min(size + size // 3, height))
    return Label(text, size, object_colour(result.object_ids[row]), dot, result.size, plate)


def _place(label: Label, box: Plate, placed: list[Plate]) -> Label:
    """Give a label the first place at its box that hides no other label, else the one that hides least."""
    spots = list(_spots(label, box))
    plate = min(spots, key=lambda spot: sum(spot.overlap(other) for other in placed))
    return Label(label.text, label.size, label.colour, label.dot, label.frame, plate)


def _spots(label: Label, box: Plate) -> Iterator[Plate]:
    """Places at the corners of a box, above it first, moved into the frame."""
    width, height = label.plate.width, label.plate.height
    left, right = box.x, box.x + box.width - width
    above, below, inside = box.y - height, box.y + box.height, box.y
    for y, x in product((above, below, inside), (left, right)):
        yield Plate(
            min(max(x, 0), label.frame[1] - width), min(max(y, 0), label.frame[0] - height), width, height
        )


def _paint_label(out: NDArray[np.uint8], label: Label) -> None:
    import cv2

    plate = label.plate
    red, green, blue = label.colour
    bright = 0.299 * red + 0.587 * green + 0.114 * blue > 120
    ink = (0, 0, 0) if bright else (255, 255, 255)
    out[plate.y : plate.y + plate.height, plate.x : plate.x + plate.width] = label.colour
    write_text(out, label.text, (plate.x + label.size // 4, plate.y + label.size), label.size, ink)
    if label.dot:
        centre = plate.x + plate.width - label.size // 2, plate.y + plate.height // 2
        cv2.circle(out, centre, max(2, label.size // 6), ink, cv2.FILLED, cv2.LINE_AA)
