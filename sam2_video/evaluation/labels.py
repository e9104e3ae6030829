"""Reading label maps: PNG files whose pixel value is an object id.

labels = read_label_png(Path("Annotations/480p/dog/00000.png"))  # (H, W) uint8
height, width = label_size(Path("Annotations/480p/dog/00000.png"))  # from the first 33 bytes
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam2_video.types import DataError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = 33  # bytes up to the end of the chunk that says size, depth and kind of colour
_GREY, _PALETTE = 0, 3


def read_label_png(path: Path) -> NDArray[np.uint8]:
    """Return the (H, W) uint8 ids of a greyscale or palette PNG; a palette's indices, not its colours.

    Raises DataError for a missing or broken file, and for one in true colour.
    """
    import cv2

    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read the label map {path}: {error}") from error
    depth, colour = _check_header(data, path)
    if colour == _PALETTE:
        data = _palette_as_grey(data)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 2:
        raise DataError(f"{path} is damaged: its picture cannot be decoded")
    if depth < 8:  # decoders stretch greyscale of few bits to 0..255
        image = image // (255 // (2**depth - 1))
    return np.asarray(image, dtype=np.uint8)


def label_size(path: Path) -> tuple[int, int]:
    """Return (H, W) of a label map without decoding it. Raises DataError as `read_label_png` does."""
    height, width, _ = label_header(path)
    return height, width


def label_header(path: Path) -> tuple[int, int, bool]:
    """Return height, width and whether the map has a palette. Raises DataError as `read_label_png` does."""
    try:
        with path.open("rb") as file:
            data = file.read(_HEADER)
    except OSError as error:
        raise DataError(f"cannot read the label map {path}: {error}") from error
    _, colour = _check_header(data, path)
    width, height = struct.unpack(">II", data[16:24])
    return height, width, colour == _PALETTE


def _check_header(data: bytes, path: Path) -> tuple[int, int]:
    """Bits of a pixel and kind of colour."""
    if data[:8] != _SIGNATURE or len(data) < _HEADER:
        raise DataError(f"{path} is not a PNG file; label maps must be greyscale or palette PNG")
    depth, colour = data[24], data[25]
    if colour not in (_GREY, _PALETTE) or depth > 8:
        raise DataError(
            f"{path} is a true-colour or 16-bit PNG; label maps must be 8-bit greyscale or palette"
        )
    return depth, colour


def _palette_as_grey(data: bytes) -> bytes:
    """Relabel a palette PNG as greyscale: OpenCV would paint it in colour, and indices are wanted."""
    header = bytearray(data[12:29])  # chunk name and its 13 bytes
    header[13] = _GREY
    out = [_SIGNATURE, data[8:12], bytes(header), struct.pack(">I", zlib.crc32(header))]
    at = _HEADER
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        if data[at + 4 : at + 8] in (b"IDAT", b"IEND"):
            out.append(data[at : at + 12 + length])
        at += 12 + length
    return b"".join(out)
