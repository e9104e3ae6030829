"""Masks as pictures, one for each object: nothing is lost where objects overlap."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam2_video.sinks.base import BaseSink, make_folder, write_whole
from sam2_video.sinks.names import file_name
from sam2_video.types import FrameResult, ObjectInfo


class ObjectMaskSink(BaseSink):
    """`FOLDER/<object id>[_name]/<frame name>.png`: grey pictures, 255 on the object and 0 elsewhere.

    An object that is absent from a frame has an empty picture there, one that is not tracked has none. What
    file systems refuse in a name becomes `_`.
    """

    def __init__(self, folder: str | Path) -> None:
        """Raises SinkError where the folder cannot be made or written to."""
        self._folder = Path(folder)
        self._made: set[Path] = set()
        make_folder(self._folder)

    def write(self, frame_rgb: NDArray[np.uint8], result: FrameResult, frame_name: str) -> None:
        """Write one file per object. Raises SinkError."""
        for row, object_id in enumerate(result.object_ids):
            folder = self._folder / folder_name(object_id, result.info_of(row))
            if folder not in self._made:
                make_folder(folder)
                self._made.add(folder)
            write_whole(folder / f"{frame_name}.png", _png(result.masks[row]))


def folder_name(object_id: int, info: ObjectInfo) -> str:
    """Return the name of an object's folder."""
    name = file_name(info.name)
    return f"{object_id}_{name}" if name else str(object_id)


def _png(mask: NDArray[np.bool_]) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(mask.view(np.uint8) * np.uint8(255)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
