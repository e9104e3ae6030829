"""LabelMe JSON: a file of polygons for each frame."""

from __future__ import annotations

import base64
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2_video.sinks.base import BaseSink, make_folder, write_whole
from sam2_video.sinks.names import FrameFiles, class_name
from sam2_video.sinks.polygons import polygons
from sam2_video.types import FrameResult

VERSION = "5.5.0"  # of LabelMe, whose fields these are


class LabelMeSink(BaseSink):
    """`FOLDER/<frame name>.json`, a file that LabelMe opens, with the polygons of all objects of a frame.

    `label` is the class, `group_id` the object, `description` its name. Each part of an object is a polygon
    of its own; holes are opened by cuts of no width (see `polygons`). Files refer to the pictures of a
    folder; frames of a video have no file, so they are inside, as JPEG.
    """

    def __init__(self, folder: str | Path, source: str | Path = "", tolerance: float = 0.5) -> None:
        """`source`: the folder of pictures, if any. `tolerance`: of polygons, in pixels. Raises SinkError."""
        self._folder = Path(folder)
        self._files = FrameFiles(source)
        self._tolerance = tolerance
        make_folder(self._folder)

    def write(self, frame_rgb: NDArray[np.uint8], result: FrameResult, frame_name: str) -> None:
        """Write one file. Raises SinkError."""
        shapes = []
        for row, object_id in enumerate(result.object_ids):
            info = result.info_of(row)
            for ring in polygons(result.masks[row], self._tolerance):
                shape = {
                    "label": class_name(info),
                    "points": ring.tolist(),
                    "group_id": object_id,
                    "description": info.name,
                    "shape_type": "polygon",
                    "flags": {},
                }
                shapes.append(shape)
        document: dict[str, Any] = {
            "version": VERSION,
            "flags": {},
            "shapes": shapes,
            "imagePath": self._files.name(frame_name),
            "imageData": None,
            "imageHeight": result.size[0],
            "imageWidth": result.size[1],
        }
        picture = self._files.path(frame_name)
        if picture is None:
            document["imageData"] = base64.b64encode(_jpeg(frame_rgb)).decode("ascii")
        else:
            document["imagePath"] = Path(os.path.relpath(picture, self._folder)).as_posix()
        text = json.dumps(document, indent=2) + "\n"
        write_whole(self._folder / f"{frame_name}.json", text.encode("ascii"))


def _jpeg(rgb: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()
