"""The list of frames that a person should look at, as a table."""

from __future__ import annotations

import csv
from collections import Counter
from io import StringIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam2_video.review import Kind, Notice, Reviewer
from sam2_video.sinks.text import TextSink
from sam2_video.types import FrameResult

COLUMNS = ("frame", "frame_name", "object", "name", "kind", "value", "message")
LISTED = 12  # frames that the summary names
SAID: dict[Kind, str] = {
    "cut": "scene cut",
    "lost": "object lost",
    "returned": "object back",
    "score": "low score",
    "area": "sudden change of area",
    "jump": "jump",
    "touch": "contact",
}


class ReviewSink(TextSink):
    """A CSV with one row per notice of a `Reviewer`; `object` and `name` are empty for the whole frame."""

    header = ",".join(COLUMNS) + "\n"

    def __init__(self, path: str | Path) -> None:
        """Raises SinkError where the file cannot be made."""
        super().__init__(path)
        self._reviewer = Reviewer()
        self._kinds: Counter[Kind] = Counter()
        self._frames: list[int] = []  # the first few
        self._count = 0

    def write(self, frame_rgb: NDArray[np.uint8], result: FrameResult, frame_name: str) -> None:
        """Look at one frame and write its notices. Raises SinkError."""
        notices = self._reviewer.add(frame_rgb, result)
        text = StringIO()
        rows = csv.writer(text, lineterminator="\n")
        for notice in notices:
            rows.writerow(_row(notice, result, frame_name))
        self.append(text.getvalue())
        self._kinds.update(notice.kind for notice in notices)
        if notices:
            self._count += 1
            self._frames += [result.frame] if len(self._frames) < LISTED else []

    def summary(self) -> str:
        """Say in one line how many frames there are to look at, which, and why."""
        if not self._count:
            return "no frame looks as if a person should check it"
        kinds = ", ".join(f"{SAID[kind]} {n}x" for kind, n in self._kinds.most_common())
        frames = ", ".join(str(frame) for frame in self._frames)
        frames += ", ..." if self._count > len(self._frames) else ""
        return f"{self._count} frame{'s' * (self._count > 1)} to look at: {frames} ({kinds})"


def _row(notice: Notice, result: FrameResult, frame_name: str) -> list[object]:
    name = ""
    if notice.object_id is not None:
        name = result.info_of(result.object_ids.index(notice.object_id)).name
    shown = "" if notice.object_id is None else notice.object_id
    return [notice.frame, frame_name, shown, name, notice.kind, f"{notice.value:.4f}", notice.message]
