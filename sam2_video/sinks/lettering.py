"""Text on pictures, in any script that the installed OpenCV has letters for."""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST_SIZE = 11  # pixels: smaller letters cannot be read
WEIGHT = 500  # of the letters: a little bolder than plain text, which is lost on a coloured plate
_HERSHEY_HEIGHT = 30  # pixels of a line in OpenCV's stroke font at scale 1


def text_width(text: str, size: int) -> int:
    """Return the width in pixels of text `size` pixels high."""
    import cv2

    font = _font()
    if font is None:
        scale = size / _HERSHEY_HEIGHT
        return int(cv2.getTextSize(plain(text), cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0])
    box = cv2.getTextSize((10_000, 10_000), text, (0, 0), font, size, WEIGHT)
    return max(int(box[0] + box[2]), 0)


def write_text(
    out: NDArray[np.uint8], text: str, at: tuple[int, int], size: int, colour: tuple[int, int, int]
) -> None:
    """Write text into an (H, W, 3) picture; `at` is where its base line begins, x and y."""
    import cv2

    font = _font()
    if font is None:
        scale = size / _HERSHEY_HEIGHT
        cv2.putText(out, plain(text), at, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)
    else:
        cv2.putText(out, text, at, colour, font, size, WEIGHT)


def shortened(text: str, size: int, width: int) -> str:
    """Return as much of the text as fits a width in pixels, with an ellipsis where something is missing."""
    if text_width(text, size) <= width:
        return text
    text = text[:width]  # no letter is narrower than a pixel
    while text and text_width(text + "...", size) > width:
        text = text[:-1]
    return text + "..." if text else ""


def plain(text: str) -> str:
    """Return text in ASCII: letters without their accents, "?" for what has no such letter."""
    apart = unicodedata.normalize("NFKD", text)
    bare = "".join(c for c in apart if not unicodedata.combining(c))
    return bare.encode("ascii", errors="replace").decode("ascii")


@cache
def _font() -> Any:
    """OpenCV 5 brings letters for most scripts, Chinese, Japanese and Korean too; OpenCV 4 has ASCII only."""
    import cv2

    return cv2.FontFace("sans") if hasattr(cv2, "FontFace") else None
