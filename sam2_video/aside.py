"""Predictions set aside on disk: found in one order, shown in another, while memory stays constant.

A pass in both directions walks backward first and shows frames in ascending order. Its predictions wait here
exactly as they are, so that results do not depend on where they waited.
"""

from __future__ import annotations

import tempfile
import weakref
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sam2_video.types import MaskPrediction, SinkError

KEPT = ("logits", "iou", "pointer", "presence")


class Shelf:
    """A temporary file that predictions are appended to; it is gone with the last one that refers to it."""

    def __init__(self) -> None:
        """Raises SinkError where no temporary file can be made."""
        try:
            self._file = tempfile.TemporaryFile(prefix="sam2-video.")
        except OSError as error:
            raise _no_room(error) from error
        weakref.finalize(self, self._file.close)

    def put(self, prediction: MaskPrediction) -> Place:
        """Append one prediction. Raises SinkError on a full disk."""
        from safetensors.torch import save

        # Copies: safetensors takes no tensors that share their memory.
        tensors = {name: getattr(prediction, name).contiguous().clone() for name in KEPT}
        data = zlib.compress(save(tensors), level=1)
        try:
            start = self._file.seek(0, 2)
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            raise _no_room(error) from error
        return Place(self, start, len(data))

    def get(self, place: Place) -> MaskPrediction:
        """Read one prediction back."""
        from safetensors.torch import load

        self._file.seek(place.start)
        kept = load(zlib.decompress(self._file.read(place.length)))
        return MaskPrediction(kept["logits"], kept["iou"], kept["pointer"], kept["presence"])


@dataclass(frozen=True)
class Place:
    """Where a prediction lies, in bytes."""

    shelf: Shelf
    start: int
    length: int


class Aside(Mapping[int, MaskPrediction]):
    """Frame -> prediction of one object; each is read from disk when it is asked for."""

    def __init__(self, places: Mapping[int, Place] | None = None) -> None:
        self._places = dict(places or {})

    def __getitem__(self, frame: int) -> MaskPrediction:
        place = self._places[frame]
        return place.shelf.get(place)

    def __iter__(self) -> Iterator[int]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def put(self, frame: int, prediction: MaskPrediction, shelf: Shelf) -> None:
        """Set a prediction aside; it replaces an earlier one of its frame."""
        self._places[frame] = shelf.put(prediction)

    def drop(self, frame: int) -> None:
        """Forget a frame, if it is known."""
        self._places.pop(frame, None)

    def clear(self) -> None:
        """Forget all frames."""
        self._places.clear()

    def copy(self) -> Aside:
        """Return a snapshot; it reads from the same file."""
        return Aside(self._places)


def _no_room(error: OSError) -> SinkError:
    return SinkError(
        f"results of a backward walk cannot be set aside in {tempfile.gettempdir()}: "
        f"{error.strerror or error}; make room there, or name another folder in the variable TMPDIR"
    )
