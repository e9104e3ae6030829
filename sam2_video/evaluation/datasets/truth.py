"""Where true masks come from: label maps, a picture for each object, or SA-V's run lengths in JSON.

All say which frames are annotated without decoding anything, and decode one frame at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sam2_video.evaluation.labels import read_label_png
from sam2_video.evaluation.sequences import Bools
from sam2_video.postprocess import decode_rle
from sam2_video.sinks.tables import expand_runs
from sam2_video.types import DataError

VOID = 255
SAV_STEP = 4  # SA-V's videos have 24 frames a second and are annotated at 6


class Truth(Protocol):
    """True masks of one clip."""

    @property
    def annotated(self) -> tuple[int, ...]:
        """Frames with an annotation, ascending."""

    def masks(self, frame: int) -> dict[int, Bools] | None:
        """Masks by object; None where the frame is not annotated. Raises DataError."""

    def void(self, frame: int) -> Bools | None:
        """Pixels that must not count, None where all do."""

    def files(self) -> Iterator[tuple[int, Path]]:
        """Frame and file of each annotation; a file that holds all frames comes once, with the first."""


@dataclass(frozen=True)
class LabelMaps:
    """One picture a frame, pixel = object id.

    `foreground`: whatever is not 0 is object 1 (DAVIS 2016). A clip of 0 and 255 only has one object, 1.
    Elsewhere 255 is background, as in the published evaluators, or with `void` a pixel that does not count.
    """

    paths: Mapping[int, Path]
    foreground: bool = False
    ignores: bool = False

    @cached_property
    def annotated(self) -> tuple[int, ...]:
        return tuple(sorted(self.paths))

    def masks(self, frame: int) -> dict[int, Bools] | None:
        labels = self.labels(frame)
        return None if labels is None else {k: labels == k for k in values_of(labels)}

    def void(self, frame: int) -> Bools | None:
        if not self.ignores or self.foreground or self._white or frame not in self.paths:
            return None
        void = read_label_png(self.paths[frame]) == VOID
        return void if void.any() else None

    def files(self) -> Iterator[tuple[int, Path]]:
        yield from sorted(self.paths.items())

    def labels(self, frame: int) -> NDArray[np.uint8] | None:
        """Return (H, W) ids, None where the frame is not annotated. Raises DataError."""
        if frame not in self.paths:
            return None
        labels = read_label_png(self.paths[frame])
        if self.foreground or self._white:
            return (labels > 0).astype(np.uint8)
        labels[labels == VOID] = 0
        return labels

    @cached_property
    def _white(self) -> bool:
        """Is 255 the only value? Told by the first map that shows anything."""
        for frame in self.annotated:
            values = values_of(read_label_png(self.paths[frame]))
            if values:
                return values == [VOID]
        return False


@dataclass(frozen=True)
class ObjectMaps:
    """One picture for each object and frame; whatever is not 0 is the object. Objects may overlap."""

    paths: Mapping[int, Mapping[int, Path]]  # object -> frame -> file

    @cached_property
    def annotated(self) -> tuple[int, ...]:
        return tuple(sorted({frame for paths in self.paths.values() for frame in paths}))

    def masks(self, frame: int) -> dict[int, Bools] | None:
        if frame not in self.annotated:
            return None
        there = {k: paths[frame] for k, paths in self.paths.items() if frame in paths}
        masks = {k: read_label_png(path) > 0 for k, path in there.items()}
        return {k: mask for k, mask in masks.items() if mask.any()}

    def void(self, frame: int) -> Bools | None:
        return None

    def files(self) -> Iterator[tuple[int, Path]]:
        for paths in self.paths.values():
            yield from sorted(paths.items())

    def ids(self) -> tuple[int, ...]:
        return tuple(sorted(self.paths))

    def annotated_of(self, object_id: int) -> tuple[int, ...]:
        """Frames on which this object is annotated."""
        return tuple(sorted(self.paths[object_id]))

    def shows(self, object_id: int, frame: int) -> bool:
        return bool((read_label_png(self.paths[object_id][frame]) > 0).any())


@dataclass(frozen=True)
class Masklets:
    """A JSON file of SA-V's training set: entry k of `masklet` is frame 4 k, with a run-length mask a row."""

    path: Path

    @property
    def annotated(self) -> tuple[int, ...]:
        return tuple(range(0, SAV_STEP * len(self._data["masklet"]), SAV_STEP))

    def masks(self, frame: int) -> dict[int, Bools] | None:
        place, rest = divmod(frame, SAV_STEP)
        if rest or place >= len(self._data["masklet"]):
            return None
        found = {k: self._decode(row, place) for row, k in enumerate(self.ids())}
        return {k: mask for k, mask in found.items() if mask is not None and mask.any()}

    def void(self, frame: int) -> Bools | None:
        return None

    def files(self) -> Iterator[tuple[int, Path]]:
        yield 0, self.path

    def ids(self) -> tuple[int, ...]:
        return tuple(int(k) for k in self._data["masklet_id"])

    def annotated_of(self, object_id: int) -> tuple[int, ...]:
        """Frames on which this object is annotated."""
        return self.annotated

    def shows(self, object_id: int, frame: int) -> bool:
        mask = self._decode(self.ids().index(object_id), frame // SAV_STEP)
        return mask is not None and bool(mask.any())

    def _decode(self, row: int, place: int) -> Bools | None:
        entry = self._data["masklet"][place]
        runs = entry[row] if row < len(entry) else None
        if runs is None:
            return None
        try:
            size = (int(runs["size"][0]), int(runs["size"][1]))
            return decode_rle(expand_runs(runs["counts"], size))
        except (KeyError, TypeError, ValueError, IndexError, UnicodeEncodeError) as error:
            raise DataError(
                f"{self.path}: the mask of masklet {row} at entry {place} is damaged ({error}); expected "
                "{size: [H, W], counts: COCO's compressed run lengths}"
            ) from error

    @property
    def _data(self) -> Mapping[str, Any]:
        return _load_masklets(self.path)


def values_of(labels: NDArray[np.uint8]) -> list[int]:
    """Return the values of a label map, ascending, without 0."""
    counts = np.bincount(labels.ravel(), minlength=256)
    return [int(value) for value in np.flatnonzero(counts) if value]


@lru_cache(maxsize=2)  # of a set with fifty thousand files, the one that is worked on
def _load_masklets(path: Path) -> Mapping[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the masklets {path}: {error}") from error
    ids, entries = (data.get("masklet_id"), data.get("masklet")) if isinstance(data, dict) else (None, None)
    if not isinstance(ids, list) or not isinstance(entries, list):
        raise DataError(f"{path} holds no masklets; expected the lists masklet and masklet_id of SA-V")
    if not all(isinstance(entry, list) for entry in entries):
        raise DataError(f"{path}: each entry of masklet must be a list of run-length masks")
    if not all(isinstance(k, (int, float)) and k >= 0 and k == int(k) for k in ids):
        raise DataError(f"{path}: masklet_id must hold whole numbers, not {ids}")
    found: Mapping[str, Any] = data
    return found
