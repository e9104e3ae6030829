"""MOTChallenge: boxes, or masks that do not overlap, as lines of text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam2_video.postprocess import encode_rle
from sam2_video.sinks.base import BaseSink, write_whole
from sam2_video.sinks.names import ClassNumbers, file_name, plain
from sam2_video.sinks.result_log import winning_rows
from sam2_video.sinks.tables import CocoMask, compress_runs
from sam2_video.sinks.text import TextSink
from sam2_video.types import FrameResult, ObjectInfo, SinkError


class MotSink(BaseSink):
    """Boxes in both layouts of MOTChallenge, which counts frames and pixels from 1.

    `FOLDER/<clip>/gt/gt.txt` is a ground truth: frame, id, left, top, width, height, 1, class, 1; beside it
    labels.txt names the classes from 1 on, one a line, and `FOLDER/<clip>/seqinfo.ini` describes the clip.
    `FOLDER/<clip>.txt` is a result: frame, id, left, top, width, height, predicted IoU, -1, -1, -1. A row
    stands for a mask; absent objects have none. Masks and names of objects are lost.
    """

    def __init__(
        self, folder: str | Path, clip: str = "clip", fps: float | None = None, frames: int | None = None
    ) -> None:
        """`fps` and `frames` are those of the whole clip, where they are known. Raises SinkError."""
        self._clip = file_name(clip) or "clip"
        self._fps, self._frames = fps or 25.0, frames
        self._place = Path(folder) / self._clip
        self._truth = TextSink(self._place / "gt" / "gt.txt")
        try:
            self._result = TextSink(Path(folder) / f"{self._clip}.txt")
        except BaseException:
            self._truth.discard()
            raise
        self._classes = ClassNumbers()
        self._size = (0, 0)
        self._seen = 0  # one more than the largest number of a frame
        self._open = True

    def write(self, frame_rgb: NDArray[np.uint8], result: FrameResult, frame_name: str) -> None:
        """Write a row for each object that is there. Raises SinkError."""
        self._truth.check_size(result.size)
        self._truth.check_order(result.frame)
        self._size, self._seen = result.size, result.frame + 1
        truth, found = [], []
        for row, object_id in enumerate(result.object_ids):
            mask = CocoMask.of(result, row)
            if mask.area:
                x, y, width, height = mask.bbox
                box = f"{result.frame + 1},{object_id},{x + 1},{y + 1},{width},{height}"
                truth.append(f"{box},1,{self._classes.of(result.info_of(row))},1\n")
                found.append(f"{box},{float(result.iou[row]):.4f},-1,-1,-1\n")
        self._truth.append("".join(truth))
        self._result.append("".join(found))

    def close(self) -> None:
        """Give the files their names. Raises SinkError."""
        if not self._open:
            return
        self._open = False
        try:
            self._truth.close()
            self._result.close()
            labels = "\n".join(self._classes.names)
            write_whole(self._place / "gt" / "labels.txt", labels.encode("utf-8"))
            write_whole(self._place / "seqinfo.ini", self._sequence().encode("utf-8"))
        finally:
            self._result.discard()  # where the first file could not be closed

    def discard(self) -> None:
        """Remove the files."""
        self._open = False
        self._truth.discard()
        self._result.discard()

    def _sequence(self) -> str:
        """The description that MOTChallenge gives each clip; its rate is a whole number."""
        height, width = self._size
        values = {
            "name": plain(self._clip),
            "imDir": "img1",
            "frameRate": round(self._fps),
            "seqLength": self._frames or self._seen,
            "imWidth": width,
            "imHeight": height,
            "imExt": ".jpg",
        }
        return "[Sequence]\n" + "".join(f"{key}={value}\n" for key, value in values.items())


class MotsSink(TextSink):
    """Masks in the text layout of MOTS: frame from 1, object, class, height, width, compressed run lengths.

    As MOTS wants it, an object's number is 1000 times its class and its id, so ids are 0 to 999; class 1 is
    car, 2 pedestrian (or person), others follow up to 9. Masks may not overlap: the larger logit wins.
    """

    def __init__(self, path: str | Path) -> None:
        """Raises SinkError where the file cannot be made."""
        super().__init__(path)
        self._numbers = MotsNumbers()

    def write(self, frame_rgb: NDArray[np.uint8], result: FrameResult, frame_name: str) -> None:
        """Write a line for each object that is there. Raises SinkError, also where MOTS has no number."""
        self.check_order(result.frame)
        height, width = result.size
        lines = []
        for row, mask in enumerate(apart(result)):
            number = self._numbers.of(result.object_ids[row], result.info_of(row))
            if mask.any():
                runs = compress_runs(encode_rle(mask))
                lines.append(f"{result.frame + 1} {number} {number // 1000} {height} {width} {runs}\n")
        self.append("".join(lines))


class MotsNumbers:
    """Numbers of objects in MOTS: 1000 times the class, plus the id."""

    KNOWN = ("car", "pedestrian")
    LARGEST_ID, LARGEST_CLASS = 999, 9

    def __init__(self) -> None:
        self._classes = ClassNumbers()
        for name in self.KNOWN:
            self._classes.of(ObjectInfo(category=name))

    def of(self, object_id: int, info: ObjectInfo) -> int:
        """Return the number of an object. Raises SinkError where MOTS has none."""
        if object_id > self.LARGEST_ID:
            raise SinkError(f"object id {object_id} does not fit MOTS, which has 0 to {self.LARGEST_ID}")
        known = ObjectInfo(category="pedestrian") if info.category == "person" else info
        number = self._classes.of(known)
        if number > self.LARGEST_CLASS:
            name = self._classes.names[-1]
            raise SinkError(f"MOTS has {self.LARGEST_CLASS} classes; {name!r} is one too many")
        return 1000 * number + object_id


def check_mots(objects: Mapping[int, ObjectInfo]) -> None:
    """Raise SinkError where MOTS has no numbers for these objects."""
    numbers = MotsNumbers()
    for object_id, info in objects.items():
        numbers.of(object_id, info)


def apart(result: FrameResult) -> NDArray[np.bool_]:
    """(N, H, W) masks that do not overlap: a pixel belongs to the object with the larger logit there."""
    winners = winning_rows(result)
    if not len(winners):
        return result.masks
    masks = result.masks.copy()
    contested = masks.sum(axis=0, dtype=np.uint16) > 1
    for row in range(len(masks)):
        masks[row][contested] = winners == row
    return masks
