"""CVAT for video 1.1: an XML file with a track of polygons for each object."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from numpy.typing import NDArray

from sam2_video.sinks.chains import Chains
from sam2_video.sinks.names import class_name, plain
from sam2_video.sinks.polygons import single_polygon
from sam2_video.sinks.text import TextSink
from sam2_video.types import FrameResult, ObjectInfo


class CvatSink(TextSink):
    """Annotations that CVAT imports as "CVAT 1.1": one track per object, a keyframe for each frame written.

    CVAT has no tracks of masks, and a track has one polygon on a frame: parts of an object are joined, and
    holes opened, by cuts of no width (see `polygons`). Where an object is gone its track is `outside`. Frame
    numbers are those of the clip; labels are classes, and the attribute "name" holds an object's name.
    """

    def __init__(
        self,
        path: str | Path,
        clip: str = "clip",
        frames: int | None = None,
        stride: int = 1,
        tolerance: float = 0.5,
    ) -> None:
        """`frames`: of the whole clip, if known. `tolerance`: of polygons, in pixels. Raises SinkError."""
        self._shapes = Chains(Path(path).parent)
        super().__init__(path)
        self._clip, self._frames, self._stride, self._tolerance = clip, frames, stride, tolerance
        self._info: dict[int, ObjectInfo] = {}  # of tracks; the last word on a name counts
        self._shown: dict[int, str] = {}  # the latest polygon of objects that are visible

    def write(self, frame_rgb: NDArray[np.uint8], result: FrameResult, frame_name: str) -> None:
        """Set one frame aside. Raises SinkError."""
        self.check_size(result.size)
        self.check_order(result.frame)
        before, self._shown = self._shown, {}
        for row, object_id in enumerate(result.object_ids):
            polygon = single_polygon(result.masks[row], self._tolerance)
            if polygon is not None:
                points = ";".join(f"{x:.2f},{y:.2f}" for x, y in polygon)
                self._shown[object_id] = points
                self._info[object_id] = result.info_of(row)
                self._shapes.append(object_id, self._shape(object_id, result.frame, points))
        for object_id in sorted(before.keys() - self._shown.keys()):
            shape = self._shape(object_id, result.frame, before[object_id], outside=True)
            self._shapes.append(object_id, shape)

    def ending(self) -> Iterator[str]:
        yield '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
        yield self._meta()
        after = 0 if self._last is None else self._last + self._stride
        for object_id, info in self._info.items():
            yield f'  <track id="{object_id}" label={quoteattr(class_name(info))} source="auto">\n'
            yield from self._shapes.read(object_id)
            # CVAT repeats a last shape up to the end of the clip, which nobody looked at.
            if object_id in self._shown and self._frames is not None and after < self._frames:
                yield self._shape(object_id, after, self._shown[object_id], outside=True)
            yield "  </track>\n"
        yield "</annotations>\n"

    def release(self) -> None:
        self._shapes.close()

    def _shape(self, object_id: int, frame: int, points: str, outside: bool = False) -> str:
        place = f'frame="{frame}" keyframe="1" outside="{int(outside)}" occluded="0"'
        name = escape(plain(self._info[object_id].name))
        attribute = f'      <attribute name="name">{name}</attribute>\n' if name else ""
        return f'    <polygon {place} points="{points}" z_order="0">\n{attribute}    </polygon>\n'

    def _meta(self) -> str:
        height, width = self._size
        count = self._frames or (0 if self._last is None else self._last + 1)
        attribute = "<name>name</name><mutable>False</mutable><input_type>text</input_type>"
        attribute += "<default_value></default_value><values></values>"
        classes = dict.fromkeys(class_name(info) for info in self._info.values())
        labels = "".join(
            f"        <label><name>{escape(name)}</name><type>polygon</type>"
            f"<attributes><attribute>{attribute}</attribute></attributes></label>\n"
            for name in classes
        )
        return (
            f"  <meta>\n    <task>\n      <name>{escape(plain(self._clip))}</name>\n"
            f"      <size>{count}</size>\n      <mode>interpolation</mode>\n      <overlap>0</overlap>\n"
            f"      <bugtracker></bugtracker>\n      <flipped>False</flipped>\n"
            f"      <labels>\n{labels}      </labels>\n"
            f"      <original_size><width>{width}</width><height>{height}</height></original_size>\n"
            "    </task>\n  </meta>\n"
        )
