"""Results as text: a CSV row or a JSON line for each object on each frame."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2_video.postprocess import RunLengths, encode_rle
from sam2_video.sinks.text import TextSink
from sam2_video.types import FrameResult

COLUMNS = (
    *("frame", "object", "area", "x0", "y0", "x1", "y1", "iou", "presence", "prompted"),
    *("name", "class"),  # last, so that readers of the columns before them go on working
)


class ObjectsCsvSink(TextSink):
    """A CSV with one row per object and frame: area and box in pixels, predicted IoU, presence logit.

    The box is x0, y0, x1, y1, last column and row included, empty for an empty mask; `prompted` is 0 or 1.
    """

    header = ",".join(COLUMNS) + "\n"

    def write(self, frame_rgb: NDArray[np.uint8], result: FrameResult, frame_name: str) -> None:
        """Write one row per object. Raises SinkError."""
        text = StringIO()
        rows = csv.writer(text, lineterminator="\n")
        for values in table_rows(result):
            values |= {"iou": f"{values['iou']:.4f}", "presence": f"{values['presence']:.3f}"}
            rows.writerow(["" if values[column] is None else values[column] for column in COLUMNS])
        self.append(text.getvalue())


class RleJsonSink(TextSink):
    """JSON Lines with one COCO run-length mask per object and frame, as `pycocotools` reads it.

    A line holds frame, name (of the frame), object, segmentation {size: [H, W], counts: text}, area, bbox
    [x, y, w, h], iou, presence, object_name and category. Masks of different objects may overlap.
    """

    def write(self, frame_rgb: NDArray[np.uint8], result: FrameResult, frame_name: str) -> None:
        """Write one line per object. Raises SinkError."""
        lines = []
        for row, object_id in enumerate(result.object_ids):
            mask, info = CocoMask.of(result, row), result.info_of(row)
            line: dict[str, Any] = {
                "frame": result.frame,
                "name": frame_name,
                "object": object_id,
                "segmentation": mask.segmentation,
                "area": mask.area,
                "bbox": mask.bbox,
                "iou": round(float(result.iou[row]), 4),
                "presence": round(float(result.presence[row]), 3),
                "object_name": info.name,
                "category": info.category,
            }
            lines.append(json.dumps(line) + "\n")
        self.append("".join(lines))


def table_rows(result: FrameResult) -> Iterator[dict[str, Any]]:
    """Yield what `COLUMNS` name for each object; the box of an empty mask is four times None."""
    for row, object_id in enumerate(result.object_ids):
        area, info = int(np.count_nonzero(result.masks[row])), result.info_of(row)
        box = [int(v) for v in result.boxes[row]] if area else [None] * 4
        yield {
            "frame": result.frame,
            "object": object_id,
            "area": area,
            **dict(zip(("x0", "y0", "x1", "y1"), box, strict=True)),
            "iou": float(result.iou[row]),
            "presence": float(result.presence[row]),
            "prompted": int(is_prompted(result, row)),
            "name": info.name,
            "class": info.category,
        }


@dataclass(frozen=True)
class CocoMask:
    """A mask in the words of COCO and its relatives."""

    runs: RunLengths
    area: int
    bbox: list[int]  # x, y, width, height; zeros for an empty mask

    @classmethod
    def of(cls, result: FrameResult, row: int) -> CocoMask:
        """The mask of one object of a result."""
        runs = encode_rle(result.masks[row])
        area = sum(runs["counts"][1::2])
        x0, y0, x1, y1 = (int(v) for v in result.boxes[row])
        return cls(runs, area, [x0, y0, x1 - x0 + 1, y1 - y0 + 1] if area else [0, 0, 0, 0])

    @property
    def segmentation(self) -> dict[str, Any]:
        """size: [H, W], counts: compressed text."""
        return {"size": self.runs["size"], "counts": compress_runs(self.runs)}


def is_prompted(result: FrameResult, row: int) -> bool:
    """Was the object of this row prompted on this frame?"""
    return row < len(result.prompted) and result.prompted[row]


def compress_runs(runs: RunLengths) -> str:
    """Run lengths -> COCO's compressed text.

    Each number, from the fourth on as the difference to the one two before, is cut into groups of 5 bits,
    lowest first; bit 5 says that more follow, the last group has the sign in bit 4, 48 makes it printable.
    """
    counts, out = runs["counts"], bytearray()
    for k, count in enumerate(counts):
        rest = count - counts[k - 2] if k > 2 else count
        while True:
            group, rest = rest & 31, rest >> 5
            done = rest == (-1 if group & 16 else 0)
            out.append((group if done else group | 32) + 48)
            if done:
                break
    return out.decode("ascii")


def expand_runs(text: str, size: tuple[int, int]) -> RunLengths:
    """COCO's compressed text -> run lengths of an (H, W) mask: the inverse of `compress_runs`."""
    counts: list[int] = []
    value, shift = 0, 0
    for code in text.encode("ascii"):
        group = code - 48
        value |= (group & 31) << shift
        shift += 5
        if not group & 32:
            if group & 16:
                value -= 1 << shift
            counts.append(value + counts[-2] if len(counts) > 2 else value)
            value, shift = 0, 0
    return {"size": list(size), "counts": counts}
