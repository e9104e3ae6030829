"""YouTube-VIS JSON: one annotation per object, with lists that have an entry for each frame."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam2_video.sinks.chains import Chains
from sam2_video.sinks.names import ClassNumbers, FrameFiles
from sam2_video.sinks.tables import CocoMask
from sam2_video.sinks.text import TextSink, json_list
from sam2_video.types import FrameResult, ObjectInfo

FILES = -1  # the chain of file names; those of objects have their ids


class YouTubeVisSink(TextSink):
    """A YouTube-VIS data set of one video, as `YTVOS` of the YouTube-VIS fork of cocoapi reads it.

    `segmentations`, `bboxes` and `areas` have one entry for each frame written, null where the object has no
    mask. As in the data set itself, run lengths are numbers, not text: some readers take nothing else. An
    object that is never seen is left out; `track_id` is the object's id.
    """

    def __init__(self, path: str | Path, clip: str = "clip", source: str | Path = "") -> None:
        """`source` is the folder of pictures that `file_names` refer to, if any. Raises SinkError."""
        self._chains = Chains(Path(path).parent)
        super().__init__(path)
        self._clip, self._files = clip.replace("/", "_"), FrameFiles(source)  # a folder in `file_names`
        self._tracks: dict[int, ObjectInfo] = {}  # seen so far; the last word on its name counts
        self._frames = 0

    def write(self, frame_rgb: NDArray[np.uint8], result: FrameResult, frame_name: str) -> None:
        """Set one frame aside. Raises SinkError."""
        self.check_size(result.size)
        self.check_order(result.frame)
        self._chains.append(FILES, json.dumps(f"{self._clip}/{self._files.name(frame_name)}"))
        for row, object_id in enumerate(result.object_ids):
            mask = CocoMask.of(result, row)
            if mask.area:
                self._tracks[object_id] = result.info_of(row)
                entry = [self._frames, mask.runs, mask.bbox, mask.area]
                self._chains.append(object_id, json.dumps(entry))
        self._frames += 1

    def ending(self) -> Iterator[str]:
        classes = ClassNumbers()
        yield '{"info": {"description": "sam2_video"}, "licenses": [], "videos": [\n'
        if self._frames:
            video = self._shape() | {"id": 1, "name": self._clip}
            yield json.dumps(video)[:-1] + ', "file_names": '
            yield from json_list(self._chains.read(FILES))
            yield "}"
        yield '\n], "annotations": [\n'
        for number, (object_id, info) in enumerate(self._tracks.items(), start=1):
            annotation = {
                "id": number,
                "video_id": 1,
                "category_id": classes.of(info),
                "track_id": object_id,
                "name": info.name,
                "iscrowd": 0,
            }
            yield (",\n" if number > 1 else "") + json.dumps(annotation | self._shape())[:-1]
            for place, name in enumerate(("segmentations", "bboxes", "areas"), start=1):
                yield f', "{name}": '
                yield from json_list(self._entries(object_id, place))
            yield "}"
        yield '\n], "categories": ' + json.dumps(classes.as_coco()) + "}\n"

    def release(self) -> None:
        self._chains.close()

    def _shape(self) -> dict[str, int]:
        return {"height": self._size[0], "width": self._size[1], "length": self._frames}

    def _entries(self, object_id: int, place: int) -> Iterator[str]:
        """One part of an object's entries, null for frames without one."""
        frame = 0
        for text in self._chains.read(object_id):
            entry = json.loads(text)
            yield from ["null"] * (entry[0] - frame)
            yield json.dumps(entry[place])
            frame = entry[0] + 1
        yield from ["null"] * (self._frames - frame)
