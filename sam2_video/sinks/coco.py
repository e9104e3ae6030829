"""COCO JSON: one image per frame, one annotation per visible object, masks as run lengths."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2_video.sinks.chains import Chains
from sam2_video.sinks.names import ClassNumbers, FrameFiles
from sam2_video.sinks.tables import CocoMask
from sam2_video.sinks.text import TextSink, json_list
from sam2_video.types import FrameResult


class CocoSink(TextSink):
    """A COCO data set of one clip, as `pycocotools.coco.COCO` and its relatives for video read it.

    An image has the number of its frame as `frame_id` and that number + 1 as `id`; an annotation has the
    object's id as `track_id` and its name. Objects without a mask on a frame have no annotation there.
    """

    header = '{"info": {"description": "sam2_video"}, "licenses": [], "annotations": [\n'

    def __init__(self, path: str | Path, clip: str = "clip", source: str | Path = "") -> None:
        """`source` is the folder of pictures that `file_name` refers to, if any. Raises SinkError."""
        self._images = Chains(Path(path).parent)
        super().__init__(path)
        self._clip, self._files = clip, FrameFiles(source)
        self._classes = ClassNumbers()
        self._count = 0

    def write(self, frame_rgb: NDArray[np.uint8], result: FrameResult, frame_name: str) -> None:
        """Write one image and its annotations. Raises SinkError."""
        self.check_order(result.frame)
        height, width = result.size
        image = {
            "id": result.frame + 1,
            "file_name": self._files.name(frame_name),
            "width": width,
            "height": height,
            "video_id": 1,
            "frame_id": result.frame,
        }
        self._images.append(0, json.dumps(image))
        for row in range(len(result.object_ids)):
            annotation = self._annotation(result, row)
            if annotation["area"]:
                self._count += 1
                before = ",\n" if self._count > 1 else ""
                self.append(before + json.dumps({"id": self._count} | annotation))

    def ending(self) -> Iterator[str]:
        yield '\n], "images": '
        yield from json_list(self._images.read(0))
        yield ', "videos": ' + json.dumps([{"id": 1, "name": self._clip}])
        yield ', "categories": ' + json.dumps(self._classes.as_coco()) + "}\n"

    def release(self) -> None:
        self._images.close()

    def _annotation(self, result: FrameResult, row: int) -> dict[str, Any]:
        mask, info = CocoMask.of(result, row), result.info_of(row)
        return {
            "image_id": result.frame + 1,
            "category_id": self._classes.of(info),
            "segmentation": mask.segmentation,
            "area": mask.area,
            "bbox": mask.bbox,
            "iscrowd": 0,
            "track_id": result.object_ids[row],
            "name": info.name,
            "score": round(float(result.iou[row]), 4),
        }
