"""Predictions as files: written while a sequence is tracked, read back to be scored; anybody's, too.

FOLDER/SEQ/FRAME.png             pixel = object id, with a palette
FOLDER/SEQ/OBJECT/FRAME.png      a picture for each object, where masks may overlap; OBJECT has three digits
"""

from __future__ import annotations

import hashlib
import io
import re
import secrets
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sam2_video.evaluation.labels import read_label_png
from sam2_video.evaluation.scores import PredictionReader
from sam2_video.evaluation.sequences import Bools, VosSequence
from sam2_video.sinks.base import make_folder, reported
from sam2_video.sinks.masks import palette_png
from sam2_video.types import DataError

LARGEST_ID = 254  # of an object in a palette picture: evaluators take 255 for pixels that do not count
WHITE = 255
_PART = re.compile(r"\.(.+)\.[0-9a-f]{8}\.part", re.DOTALL)  # of `PredictionWriter`


class Prediction(Protocol):
    """The masks of all objects on one frame, as protocols yield them."""

    @property
    def frame(self) -> int: ...

    @property
    def masks(self) -> Mapping[int, Bools]: ...


@dataclass(frozen=True)
class Written:
    """What tells whole predictions of a sequence from others: how many files, their bytes, and a hash."""

    files: int
    bytes: int
    sha256: str  # over names and contents, in the order of names


class PredictionWriter:
    """Writes one sequence into a hidden folder that takes its name when it is whole; a context manager.

    Leaving the block after an exception leaves nothing behind. Hidden folders have names of their own: of two
    processes at one sequence, each writes its own, and the last one to end wins.
    """

    def __init__(self, folder: Path, sequence: VosSequence, *, overlapping: bool = False) -> None:
        """Raises DataError for a name that is no name of a folder."""
        name = sequence.name
        if Path(name).name != name or name.startswith("."):
            raise DataError(f"a sequence cannot be called {name!r}: its predictions need such a folder")
        self._sequence, self._overlapping = sequence, overlapping
        self._final = folder / name
        self._part = folder / f".{name}.{secrets.token_hex(4)}.part"
        self._hashes: dict[str, tuple[int, bytes]] = {}

    def __enter__(self) -> PredictionWriter:
        make_folder(self._part)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._part, ignore_errors=True)  # gone already when all went well

    def write(self, prediction: Prediction) -> None:
        """Write the files of one frame. Raises SinkError, DataError for what the format has no place for."""
        for name, data in prediction_files(self._sequence, prediction, overlapping=self._overlapping):
            path = self._part / name
            with reported(path):
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(data)
            self._hashes[name] = len(data), hashlib.sha256(data).digest()

    def close(self) -> Written:
        """Give the folder its name, in place of what was called so. Raises SinkError."""
        with reported(self._final):
            if self._final.exists():
                shutil.rmtree(self._final)
            self._part.rename(self._final)
        digest = hashlib.sha256()
        for name, (length, of_file) in sorted(self._hashes.items()):
            digest.update(f"{name} {length} ".encode() + of_file)
        sizes = [length for length, _ in self._hashes.values()]
        return Written(len(sizes), sum(sizes), digest.hexdigest())


def write_prediction(
    folder: Path, sequence: VosSequence, prediction: Prediction, *, overlapping: bool = False
) -> None:
    """Write the files of one frame below FOLDER/SEQ, each whole or not at all.

    Raises SinkError, and DataError as `prediction_files` does.
    """
    from sam2_video.sinks.base import write_whole

    for name, data in prediction_files(sequence, prediction, overlapping=overlapping):
        path = folder / sequence.name / name
        make_folder(path.parent)
        write_whole(path, data)


def prediction_files(
    sequence: VosSequence, prediction: Prediction, *, overlapping: bool
) -> Iterator[tuple[str, bytes]]:
    """Yield name and contents of the files of a frame.

    Raises DataError for masks of another size than the frames, ids that a palette has no place for, and
    without `overlapping` masks that share pixels.
    """
    frame = sequence.frame_names[prediction.frame]
    where = f"{sequence.name}, frame {frame}"
    for k, mask in prediction.masks.items():
        if mask.shape != sequence.size:
            raise DataError(f"{where}: the mask of object {k} is {mask.shape}, expected {sequence.size}")
    if overlapping:
        for k, mask in prediction.masks.items():
            yield f"{k:03d}/{frame}.png", _white_png(mask)
    else:
        yield f"{frame}.png", palette_png(_labels(sequence.size, prediction.masks, where))


def _labels(size: tuple[int, int], masks: Mapping[int, Bools], where: str) -> NDArray[np.uint8]:
    labels = np.zeros(size, dtype=np.uint8)
    for k, mask in masks.items():
        if not 0 < k <= LARGEST_ID:
            raise DataError(f"{where}: object id {k} has no place in a palette picture (1 to {LARGEST_ID})")
        if labels[mask].any():
            raise DataError(f"{where}: masks overlap, and a palette picture has one object for each pixel")
        labels[mask] = k
    return labels


def _white_png(mask: Bools) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(mask.view(np.uint8) * np.uint8(WHITE)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def remove_unfinished(folder: Path, names: Collection[str]) -> None:
    """Remove what killed runs left of these sequences. For whoever alone works on them."""
    for part in folder.glob(".*.part"):
        found = _PART.fullmatch(part.name)
        if found is not None and found[1] in names:
            shutil.rmtree(part, ignore_errors=True)


def is_whole(folder: Path, name: str, written: Written) -> bool:
    """Are the predictions of a sequence there, as many files and bytes as were written?"""
    sizes: list[int] = []
    with suppress(OSError):
        sizes += [file.stat().st_size for file in (folder / name).rglob("*.png")]
    return len(sizes) == written.files and sum(sizes) == written.bytes and 0 not in sizes


@dataclass
class SequencePredictions:
    """Reads the predictions of one sequence, frame by frame; a `PredictionReader`.

    `single`: whatever is not 0 is object 1. Of a sequence with one object a picture of 0 and 255 alone shows
    that object. `seen` holds the ids found so far.
    """

    folder: Path
    sequence: VosSequence
    single: bool = False
    seen: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        places = self.folder.iterdir() if self.folder.is_dir() else ()
        self.by_object = any(place.is_dir() and place.name.isdecimal() for place in places)

    def __call__(self, frame: int) -> Mapping[int, Bools | None] | None:
        """Masks by object, None for those without a file; None where the frame has none. Raises DataError."""
        name = self.sequence.frame_names[frame]
        masks = self._objects(name) if self.by_object else self._labels(name)
        if masks is None:
            return None
        for k, mask in masks.items():
            if mask is not None and mask.shape != self.sequence.size:
                (height, width), (h, w) = self.sequence.size, mask.shape
                raise DataError(
                    f"{self.folder}, frame {name}, object {k}: the prediction is {w}x{h}, the frames are "
                    f"{width}x{height}; predictions must have the size of the frames"
                )
        self.seen |= {k for k, mask in masks.items() if mask is not None and mask.any()}
        return masks

    def frames(self) -> set[str]:
        """Names of the frames that have files."""
        return {path.stem for path in self.folder.glob("*/*.png" if self.by_object else "*.png")}

    def _labels(self, name: str) -> dict[int, Bools | None] | None:
        path = self.folder / f"{name}.png"
        if not path.is_file():
            return None
        labels = read_label_png(path)
        objects = self.sequence.objects
        if labels.shape != self.sequence.size:  # said of the picture: it may show no object at all
            return {objects[0].object_id if objects else 1: np.zeros(labels.shape, dtype=np.bool_)}
        if self.single:
            return {1: labels > 0}
        values = np.flatnonzero(np.bincount(labels.ravel(), minlength=256))
        if len(objects) == 1 and set(values.tolist()) <= {0, WHITE}:
            return {objects[0].object_id: labels == WHITE}
        return {int(k): labels == k for k in values if k}

    def _objects(self, name: str) -> dict[int, Bools | None] | None:
        masks: dict[int, Bools | None] = {}
        for one in self.sequence.objects:
            path = next((p for p in self._places(one.object_id, name) if p.is_file()), None)
            masks[one.object_id] = None if path is None else read_label_png(path) > 0
        return masks if any(mask is not None for mask in masks.values()) else None

    def _places(self, object_id: int, name: str) -> Iterator[Path]:
        """Where the file of an object may be: other programs do not pad numbers."""
        yield self.folder / f"{object_id:03d}" / f"{name}.png"
        yield self.folder / str(object_id) / f"{name}.png"


def read_predictions(folder: Path, sequence: VosSequence, *, single: bool = False) -> PredictionReader:
    """Return the reader of a sequence's predictions below `folder`; the layout is told by what is there."""
    return SequencePredictions(folder / sequence.name, sequence, single)
