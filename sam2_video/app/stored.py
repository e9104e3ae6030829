"""Predictions and memories that lie in a work log, frame by frame; few of them are in memory at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Any, Generic, TypeVar

from torch import Tensor

from sam2_video.app.work_log import Place, WorkLog
from sam2_video.saved import memory_tensors, pack_tensors, prediction_tensors, unpack_tensors
from sam2_video.types import DataError, FrameMemory, MaskPrediction

T = TypeVar("T", MaskPrediction, FrameMemory)
Shapes = Mapping[str, tuple[int, ...]]
Scores = tuple[float, float]  # predicted IoU, presence logit


class _Stored(MutableMapping[int, T], Generic[T]):
    """Frame -> tensors. What is put in is on disk at once; the last `keep` that were used stay in memory.

    `keep` None keeps all of them there: of memories that every frame reads.
    """

    def __init__(self, log: WorkLog, shapes: Shapes, keep: int | None, places: Mapping[int, Place]) -> None:
        self.places = dict(places)
        self._log, self._shapes, self._keep = log, shapes, keep
        self._recent: OrderedDict[int, T] = OrderedDict()
        self._lock = threading.Lock()

    def _write(self, value: T) -> dict[str, Tensor]:
        raise NotImplementedError

    def _made(self, tensors: Mapping[str, Tensor]) -> T:
        raise NotImplementedError

    def __getitem__(self, frame: int) -> T:
        with self._lock:
            if frame in self._recent:
                self._recent.move_to_end(frame)
                return self._recent[frame]
        place = self.places[frame]
        tensors = unpack_tensors(f"frame {frame}", self._log.read(place), self._shapes)
        try:
            value = self._made(tensors)
        except KeyError as error:
            raise DataError(f"{self._log.path} holds no {error} of frame {frame}") from error
        self._remember(frame, value)
        return value

    def __setitem__(self, frame: int, value: T) -> None:
        self.places[frame] = self._log.add(pack_tensors(self._write(value)))
        self._remember(frame, value)

    def __delitem__(self, frame: int) -> None:
        del self.places[frame]
        with self._lock:
            self._recent.pop(frame, None)

    def pop(self, frame: int, default: Any = None) -> Any:
        """Forget a frame without reading it; returns nothing of it."""
        if frame in self.places:
            del self[frame]
        return default

    def __contains__(self, frame: object) -> bool:
        return frame in self.places

    def __iter__(self) -> Iterator[int]:
        return iter(list(self.places))  # a copy: others look on while the worker adds

    def __len__(self) -> int:
        return len(self.places)

    def move(self, log: WorkLog) -> None:
        """Copy everything into another log, and read from that."""
        self.places = {frame: log.add(self._log.read(place)) for frame, place in self.places.items()}
        self._log = log

    def _remember(self, frame: int, value: T) -> None:
        with self._lock:
            self._recent[frame] = value
            self._recent.move_to_end(frame)
            while self._keep is not None and len(self._recent) > self._keep:
                self._recent.popitem(last=False)


class StoredPredictions(_Stored[MaskPrediction]):
    """Masks of one object. `scores` of all frames are in memory: timelines are drawn from them."""

    def __init__(
        self,
        log: WorkLog,
        shapes: Shapes,
        keep: int | None = 4,
        places: Mapping[int, Place] | None = None,
        scores: Mapping[int, Scores] | None = None,
    ) -> None:
        super().__init__(log, shapes, keep, places or {})
        self.scores: dict[int, Scores] = dict(scores or {})

    def __setitem__(self, frame: int, value: MaskPrediction) -> None:
        super().__setitem__(frame, value)
        self.scores[frame] = float(value.iou[0]), float(value.presence[0])

    def __delitem__(self, frame: int) -> None:
        super().__delitem__(frame)
        self.scores.pop(frame, None)

    def _write(self, value: MaskPrediction) -> dict[str, Tensor]:
        return prediction_tensors(value)

    def _made(self, tensors: Mapping[str, Tensor]) -> MaskPrediction:
        return MaskPrediction(tensors["logits"], tensors["iou"], tensors["pointer"], tensors["presence"])


class StoredMemories(_Stored[FrameMemory]):
    """Memories of one object."""

    def __init__(
        self, log: WorkLog, shapes: Shapes, keep: int | None, places: Mapping[int, Place] | None = None
    ) -> None:
        super().__init__(log, shapes, keep, places or {})

    def _write(self, value: FrameMemory) -> dict[str, Tensor]:
        return memory_tensors(value)

    def _made(self, tensors: Mapping[str, Tensor]) -> FrameMemory:
        return FrameMemory(tensors["memory.features"], tensors["memory.pointer"])


def shapes_of(settings: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shapes of one object's tensors, from the settings of a driver."""
    shapes: Mapping[str, Sequence[int]] = settings["shapes"]
    return {name: tuple(shape) for name, shape in shapes.items()}
