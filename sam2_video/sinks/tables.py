"""Results as text: a CSV row or a JSON line for each object on each frame."""

from __future__ import annotations

import csv
import errno
import json
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from sam2_video.postprocess import RunLengths, encode_rle
from sam2_video.sinks.base import BaseSink, finish, make_folder, part_name, remove, reported
from sam2_video.types import FrameResult, SinkError

COLUMNS = ("frame", "object", "area", "x0", "y0", "x1", "y1", "iou", "presence", "prompted")


class LinesSink(BaseSink):
    """A text file that grows by the lines of a frame, and gets its name when it is closed.

    Every frame is flushed: after a crash the hidden `.part` file holds all frames that were finished.
    """

    header = ""

    def __init__(self, path: str | Path) -> None:
        """Raises SinkError where the file cannot be made."""
        self._path = Path(path)
        self._part = part_name(self._path)
        make_folder(self._path.parent)
        with reported(self._path):
            if self._path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "is a folder")
            self._file: IO[str] | None = self._part.open("w", encoding="utf-8", newline="")
        try:
            self.append(self.header)
        except BaseException:
            self.discard()
            raise

    def append(self, text: str) -> None:
        """Write text and flush it. Raises SinkError."""
        if self._file is None:
            raise SinkError(f"{self._path} is closed; nothing more can be written")
        with reported(self._path):
            self._file.write(text)
            self._file.flush()

    def close(self) -> None:
        """Give the file its name; closing again does nothing."""
        if self._file is None:
            return
        file, self._file = self._file, None
        try:
            with reported(self._path):
                file.close()
        except SinkError:
            remove(self._part)
            raise
        finish(self._part, self._path)

    def discard(self) -> None:
        """Remove the file."""
        if self._file is not None:
            file, self._file = self._file, None
            with suppress(OSError):  # a full disk: what could not be written is not wanted either
                file.close()
            remove(self._part)


class ObjectsCsvSink(LinesSink):
    """A CSV with one row per object and frame: area and box in pixels, predicted IoU, presence logit.

    The box is x0, y0, x1, y1, last column and row included, empty for an empty mask; `prompted` is 0 or 1.
    """

    header = ",".join(COLUMNS) + "\n"

    def write(self, frame_rgb: NDArray[np.uint8], result: FrameResult, frame_name: str) -> None:
        """Write one row per object. Raises SinkError."""
        text = StringIO()
        rows = csv.writer(text, lineterminator="\n")
        for row, object_id in enumerate(result.object_ids):
            area = int(np.count_nonzero(result.masks[row]))
            box = [int(v) for v in result.boxes[row]] if area else [""] * 4
            iou, presence = f"{float(result.iou[row]):.4f}", f"{float(result.presence[row]):.3f}"
            rows.writerow([result.frame, object_id, area, *box, iou, presence, int(is_prompted(result, row))])
        self.append(text.getvalue())


class RleJsonSink(LinesSink):
    """JSON Lines with one COCO run-length mask per object and frame, as `pycocotools` reads it.

    A line holds frame, name, object, segmentation {size: [H, W], counts: text}, area, bbox [x, y, w, h], iou
    and presence. Masks of different objects may overlap.
    """

    def write(self, frame_rgb: NDArray[np.uint8], result: FrameResult, frame_name: str) -> None:
        """Write one line per object. Raises SinkError."""
        lines = []
        for row, object_id in enumerate(result.object_ids):
            runs = encode_rle(result.masks[row])
            area = sum(runs["counts"][1::2])
            x0, y0, x1, y1 = (int(v) for v in result.boxes[row])
            line: dict[str, Any] = {
                "frame": result.frame,
                "name": frame_name,
                "object": object_id,
                "segmentation": {"size": runs["size"], "counts": compress_runs(runs)},
                "area": area,
                "bbox": [x0, y0, x1 - x0 + 1, y1 - y0 + 1] if area else [0, 0, 0, 0],
                "iou": round(float(result.iou[row]), 4),
                "presence": round(float(result.presence[row]), 3),
            }
            lines.append(json.dumps(line) + "\n")
        self.append("".join(lines))


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
