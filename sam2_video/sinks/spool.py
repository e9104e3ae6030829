"""Results set aside: a pass that goes backward finds frames in one order and shows them in the other."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType

import numpy as np
import torch
from numpy.typing import NDArray

from sam2_video.sinks.base import reported
from sam2_video.types import FrameResult


@dataclass(frozen=True)
class _Place:
    """Where a result lies in the file, in bytes: its description in JSON, then its masks."""

    start: int
    head: int
    masks: int


class ResultSpool:
    """Results in a temporary file, read back in ascending order of frames; closing removes the file.

    What comes back has the same masks, boxes and scores to the last bit. Masks are kept at full size, as
    compressed bits: a few KB each, where their logits take hundreds.
    """

    def __init__(self, folder: str | Path) -> None:
        """Raises SinkError where no file can be made in `folder`."""
        self._folder = Path(folder)
        with reported(self._folder):
            self._file = TemporaryFile(dir=self._folder, prefix=".results.")
        self._places: dict[int, _Place] = {}

    def add(self, result: FrameResult) -> None:
        """Set one result aside; it replaces an earlier one of its frame. Raises SinkError."""
        head = json.dumps(
            {
                "ids": result.object_ids,
                "iou": result.iou.tolist(),
                "presence": result.presence.tolist(),
                "size": result.size,
                "prompted": result.prompted,
            }
        ).encode()
        masks = zlib.compress(np.packbits(result.masks).tobytes(), level=1)
        with reported(self._folder):
            start = self._file.seek(0, 2)
            self._file.write(head)
            self._file.write(masks)
            self._file.flush()
        self._places[result.frame] = _Place(start, len(head), len(masks))

    def __iter__(self) -> Iterator[FrameResult]:
        """Yield results in ascending order of frames; their logits are +1 and -1 at full size."""
        for frame in sorted(self._places):
            yield self._read(frame, self._places[frame])

    def close(self) -> None:
        """Remove the file."""
        self._file.close()

    def __enter__(self) -> ResultSpool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, frame: int, place: _Place) -> FrameResult:
        with reported(self._folder):
            self._file.seek(place.start)
            head = json.loads(self._file.read(place.head))
            packed = zlib.decompress(self._file.read(place.masks))
        count, (height, width) = len(head["ids"]), head["size"]
        bits: NDArray[np.uint8] = np.unpackbits(
            np.frombuffer(packed, dtype=np.uint8), count=count * height * width
        )
        masks = torch.from_numpy(bits).view(count, height, width)
        return FrameResult(
            frame=frame,
            object_ids=tuple(head["ids"]),
            logits=masks.float() * 2 - 1,  # at full size: resizing leaves them as they are
            iou=torch.tensor(head["iou"], dtype=torch.float32),
            presence=torch.tensor(head["presence"], dtype=torch.float32),
            size=(height, width),
            prompted=tuple(head["prompted"]),
        )
