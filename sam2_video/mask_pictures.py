"""Automatic masks as pictures: painted over what they were found in, as a label map, many on one sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam2_video.mask_generator import AutoMask
from sam2_video.sinks.overlay import TINT, object_colour

Rgb = NDArray[np.uint8]
PER_SHEET = 48
THUMBNAIL = 240  # pixels of a cell's side
CAPTION = 18  # pixels of the line below it


def by_area(masks: Sequence[AutoMask]) -> list[AutoMask]:
    """Largest first: the order in which masks get ids from 1 on and are drawn, so that parts stay visible.

    Masks of the same size stand in the order they came in.
    """
    return sorted(masks, key=lambda mask: -mask.area)


def label_map(masks: Sequence[AutoMask], size: tuple[int, int]) -> NDArray[np.uint16]:
    """(H, W) with the number of a mask, counted from 1, on its pixels; later masks cover earlier ones."""
    labels = np.zeros(size, dtype=np.uint16)
    for number, mask in enumerate(masks, start=1):
        if mask.area:
            x0, y0, x1, y1 = mask.box
            labels[y0 : y1 + 1, x0 : x1 + 1][mask.runs.window()] = number
    return labels


def paint_masks(rgb: Rgb, masks: Sequence[AutoMask]) -> Rgb:
    """A copy of an (H, W, 3) picture with masks tinted and outlined in the colours of the ids 1, 2, ...

    A mask looks the same however many others there are; later ones cover earlier ones.
    """
    import cv2

    out = rgb.copy()
    line = max(1, round(min(rgb.shape[:2]) / 400))
    for number, mask in enumerate(masks, start=1):
        if not mask.area:
            continue
        x0, y0, x1, y1 = mask.box
        window, inside = np.s_[y0 : y1 + 1, x0 : x1 + 1], mask.runs.window().astype(np.uint8)
        colour = object_colour(number)
        # The tint is laid on the picture itself: of several masks on a pixel, only the last one shows.
        part = np.ascontiguousarray(rgb[window])
        tinted = cv2.addWeighted(part, 1 - TINT, np.full_like(part, colour), TINT, 0)
        part = np.ascontiguousarray(out[window])
        cv2.copyTo(tinted, inside, part)
        out[window] = part
        outlines, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE, offset=(x0, y0))
        cv2.drawContours(out, outlines, -1, colour, line, cv2.LINE_AA)
    return out


@dataclass(frozen=True)
class Cell:
    """One picture of a contact sheet: its overlay, None where there is none, and what is said of it."""

    picture: Path | None
    caption: str


def contact_sheet(cells: Sequence[Cell], columns: int = 6) -> Rgb:
    """Small copies of pictures in a grid, each with a caption; grey where there is none."""
    import cv2

    from sam2_video.sinks.lettering import shortened, write_text
    from sam2_video.sources import read_picture

    columns = max(1, min(columns, len(cells)))
    height = THUMBNAIL + CAPTION
    sheet = np.full((math.ceil(len(cells) / columns) * height, columns * THUMBNAIL, 3), 24, dtype=np.uint8)
    for place, cell in enumerate(cells):
        top, left = place // columns * height, place % columns * THUMBNAIL
        area = sheet[top : top + THUMBNAIL, left : left + THUMBNAIL]
        if cell.picture is None:
            area[4:-4, 4:-4] = 70
        else:
            rgb = read_picture(cell.picture)
            scale = (THUMBNAIL - 8) / max(rgb.shape[:2])
            small = [max(1, round(side * scale)) for side in rgb.shape[1::-1]]
            rgb = np.asarray(cv2.resize(rgb, small, interpolation=cv2.INTER_AREA))
            y, x = ((THUMBNAIL - side) // 2 for side in rgb.shape[:2])
            area[y : y + rgb.shape[0], x : x + rgb.shape[1]] = rgb
        text = shortened(cell.caption, 12, THUMBNAIL - 8)
        write_text(sheet, text, (left + 4, top + THUMBNAIL + 13), 12, (230, 230, 230))
    return sheet
