"""Reading label maps: PNG files whose pixel value is an object id.

labels = read_label_png(Path("Annotations/480p/dog/00000.png"))  # (H, W) uint8
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam2_video.types import DataError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
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
    if data[:8] != _SIGNATURE or len(data) < 33:
        raise DataError(f"{path} is not a PNG file; label maps must be greyscale or palette PNG")
    depth, colour = data[24], data[25]
    if colour not in (_GREY, _PALETTE) or depth > 8:
        raise DataError(
            f"{path} is a true-colour or 16-bit PNG; label maps must be 8-bit greyscale or palette"
        )
    if colour == _PALETTE:
        data = _palette_as_grey(data)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 2:
        raise DataError(f"{path} is damaged: its picture cannot be decoded")
    if colour == _PALETTE and depth < 8:  # decoders stretch greyscale of few bits to 0..255
        image = image // (255 // (2**depth - 1))
    return np.asarray(image, dtype=np.uint8)


def _palette_as_grey(data: bytes) -> bytes:
    """Relabel a palette PNG as greyscale: OpenCV would paint it in colour, and indices are wanted."""
    header = bytearray(data[12:29])  # chunk name and its 13 bytes
    header[13] = _GREY
    out = [_SIGNATURE, data[8:12], bytes(header), struct.pack(">I", zlib.crc32(header))]
    at = 33
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        if data[at + 4 : at + 8] in (b"IDAT", b"IEND"):
            out.append(data[at : at + 12 + length])
        at += 12 + length
    return b"".join(out)
