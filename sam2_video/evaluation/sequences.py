"""What the parts of an evaluation agree on: a clip with ground truth, its objects, and which frames count.

Data sets differ in where masks lie, how often frames are annotated, when objects begin and which frames are
scored. A reader (`evaluation.datasets`) settles all of that and hands out sequences; protocols, scoring and
reports know nothing of data sets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]  # (H, W)


@dataclass(frozen=True)
class EvaluatedObject:
    """One object of a sequence. `first`: the frame where its mask is given to the tracker."""

    object_id: int
    first: int
    scored: tuple[int, ...]  # frames that count, ascending; none where the truth is kept by a server
    group: str = ""  # "seen" or "unseen" in YouTube-VOS, else empty
    category: str = ""


@runtime_checkable
class VosSequence(Protocol):
    """One clip of a data set. Frames count from 0; their names are those of result files."""

    @property
    def name(self) -> str:
        """Unique in its data set; also the name of its folder of predictions."""

    @property
    def frame_names(self) -> tuple[str, ...]:
        """File stem of each frame, in order."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of frames and masks."""

    @property
    def objects(self) -> tuple[EvaluatedObject, ...]:
        """All objects that are tracked, by id."""

    def image(self, frame: int) -> NDArray[np.uint8]:
        """Return (H, W, 3) RGB. Raises DataError for a file that cannot be read."""

    def masks(self, frame: int) -> Mapping[int, Bools] | None:
        """Return the true masks on a frame, None where it is not annotated.

        An object that is not in the mapping is not in the frame. Masks may overlap. Raises DataError.
        """

    def void(self, frame: int) -> Bools | None:
        """Return the pixels that must not count, None where all do."""


@dataclass(frozen=True)
class DataSet:
    """Sequences and what is needed to score them as their authors do."""

    name: str  # "davis2017", "sav", ...
    split: str
    root: str
    sequences: tuple[VosSequence, ...]
    overlapping: bool = False  # masks of different objects may overlap: predictions are files per object
    rule: str = ""  # in words: which frames count and how scores are averaged
    source: str = ""  # where the data and its rule are described
    is_part: bool = False  # are these only some of its sequences, chosen by name?
    withheld: str = ""  # why nothing can be scored here: who keeps the truth; empty where it is here
