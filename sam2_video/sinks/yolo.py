"""YOLO-seg labels: a text file of polygons for each frame, and data.yaml."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam2_video.sinks.base import BaseSink, make_folder, write_whole
from sam2_video.sinks.names import ClassNumbers
from sam2_video.sinks.polygons import single_polygon
from sam2_video.types import FrameResult, SinkError


class YoloSink(BaseSink):
    """`FOLDER/labels/<frame name>.txt` and `FOLDER/data.yaml`, for training with Ultralytics.

    A line is an object: the number of its class, then x and y of its polygon as shares of width and height.
    A frame without objects has an empty file. Pictures belong into `FOLDER/images`. The format knows neither
    objects nor their names: only masks and classes survive.
    """

    def __init__(self, folder: str | Path) -> None:
        """Raises SinkError where the folders cannot be made or written to."""
        self._folder = Path(folder)
        self._classes = ClassNumbers(first=0)
        self._closed = False
        make_folder(self._folder / "labels")

    def write(self, frame_rgb: NDArray[np.uint8], result: FrameResult, frame_name: str) -> None:
        """Write the labels of one frame. Raises SinkError."""
        if self._closed:
            raise SinkError(f"{self._folder} is closed; nothing more can be written")
        sides = np.array([result.size[1], result.size[0]])
        lines = []
        for row, mask in enumerate(result.masks):
            polygon = single_polygon(mask)
            if polygon is not None:
                points = " ".join(f"{share:.6f}" for share in (polygon / sides).ravel())
                lines.append(f"{self._classes.of(result.info_of(row))} {points}\n")
        write_whole(self._folder / "labels" / f"{frame_name}.txt", "".join(lines).encode("ascii"))

    def close(self) -> None:
        """Write data.yaml. Raises SinkError."""
        if self._closed:
            return
        self._closed = True
        # A JSON text is a YAML text too, and `names` holds no character that YAML forbids.
        classes = enumerate(self._classes.names)
        names = "".join(f"\n  {n}: {json.dumps(name, ensure_ascii=False)}" for n, name in classes)
        text = f"train: images\nval: images\nnames:{names or ' {}'}\n"
        write_whole(self._folder / "data.yaml", text.encode("utf-8"))

    def discard(self) -> None:
        """Leave data.yaml out; the labels of finished frames stay."""
        self._closed = True
