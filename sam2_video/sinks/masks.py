"""Masks as pictures: one palette PNG per frame, pixel = object id, as DAVIS and YouTube-VOS store them."""

from __future__ import annotations

import io
import zlib
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2_video.sinks.base import BaseSink, make_folder, write_whole
from sam2_video.types import FrameResult, PromptError, SinkError

LARGEST_ID = 65_535  # of an object in a 16-bit picture


class MaskPngSink(BaseSink):
    """`FOLDER/<frame name>.png`, a palette picture whose pixel values are object ids; 0 is background.

    Where masks overlap the larger logit wins. With `bits=16` the files are 16-bit grey, for ids up to 65535.
    """

    def __init__(self, folder: str | Path, bits: int = 8) -> None:
        """Raises SinkError where the folder cannot be made or written to."""
        if bits not in (8, 16):
            raise SinkError(f"masks of {bits} bits cannot be written; expected 8 or 16")
        self._folder = Path(folder)
        self._bits = bits
        make_folder(self._folder)

    def write(self, frame_rgb: NDArray[np.uint8], result: FrameResult, frame_name: str) -> None:
        """Write one file. Raises SinkError for an id that does not fit and on a full disk."""
        self._check_ids(result)
        if self._bits == 8:
            data = palette_png(result.label_map().astype(np.uint8))
        else:
            data = grey_png(result.label_map().astype(np.uint16))
        write_whole(self._folder / f"{frame_name}.png", data)

    def _check_ids(self, result: FrameResult) -> None:
        largest = 2**self._bits - 1
        for object_id in result.object_ids:
            if object_id == 0:
                raise SinkError("object id 0 means background in a mask picture; use ids from 1")
            if not 0 < object_id <= largest:
                advice = (
                    "use smaller ids, or MaskPngSink(bits=16) for ids up to 65535" if largest == 255 else ""
                )
                raise SinkError(f"object id {object_id} does not fit a mask picture (1..{largest}); {advice}")


def check_ids(object_ids: Collection[int]) -> int:
    """Return the bits of mask pictures of these objects, 8 or 16. Raises PromptError for others."""
    for object_id in object_ids:
        if not 0 < object_id <= LARGEST_ID:
            raise PromptError(
                f"object id {object_id} does not fit a mask picture: 1 to {LARGEST_ID}, 0 is background"
            )
    return 8 if max(object_ids, default=1) < 256 else 16


def palette_png(labels: NDArray[np.uint8]) -> bytes:
    """Encode (H, W) ids as a palette PNG with the colours of the DAVIS data set."""
    from PIL import Image

    picture = Image.fromarray(labels)
    picture.putpalette(davis_palette())
    return _encode(picture)


def grey_png(labels: NDArray[np.uint16]) -> bytes:
    """Encode (H, W) ids as a 16-bit grey PNG."""
    from PIL import Image

    return _encode(Image.fromarray(labels))


@cache
def davis_palette() -> bytes:
    """256 RGB colours: bits 0, 3, 6 of the id fill red from its top bit on, 1, 4, 7 green, 2, 5 blue."""
    ids = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.uint8)
    for place in range(8):
        for channel in range(3):
            bit = (ids >> (3 * place + channel)) & 1
            colours[:, channel] |= (bit << (7 - place)).astype(np.uint8)
    return colours.tobytes()


def _encode(picture: Any) -> bytes:
    buffer = io.BytesIO()
    # Masks are long runs of one value: run-length matching is as fast as any and makes the smallest files.
    picture.save(buffer, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return buffer.getvalue()
