"""Which objects are tracked, from which frame on, and on which frames they are scored.

Each rule is that of a published evaluator; docs/datasets.md says of which and where it is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sam2_video.evaluation.datasets.truth import Masklets, ObjectMaps, Truth
from sam2_video.evaluation.sequences import EvaluatedObject
from sam2_video.types import DataError


class Rule(Protocol):
    """Finds the objects of a clip."""

    def objects(self, truth: Truth) -> tuple[EvaluatedObject, ...]:
        """Return them by id. Decodes as few masks as it can. Raises DataError where there are none."""


@dataclass(frozen=True)
class FirstMask:
    """DAVIS, VOST: the objects of the first mask; the first and the last annotated frame do not count."""

    def objects(self, truth: Truth) -> tuple[EvaluatedObject, ...]:
        first = truth.annotated[0]
        ids = sorted(truth.masks(first) or {})
        if not ids:
            raise DataError("its first mask shows no object: every pixel is background")
        return tuple(EvaluatedObject(k, first, truth.annotated[1:-1]) for k in ids)


@dataclass(frozen=True)
class FirstAppearance:
    """MOSE, plain folders: objects are tracked from their first mask on, whenever it comes.

    `skip_ends` (MOSE): all objects count on all annotated frames but the first and the last. Otherwise an
    object counts on the annotated frames after its first. Where each mask shows just the objects that begin
    there, the rest of the truth is kept elsewhere and nothing counts.
    """

    skip_ends: bool = False

    def objects(self, truth: Truth) -> tuple[EvaluatedObject, ...]:
        firsts: dict[int, int] = {}
        withheld = True
        for frame in truth.annotated:
            for k in truth.masks(frame) or {}:
                withheld = withheld and k not in firsts
                firsts.setdefault(k, frame)
        if not firsts:
            raise DataError("no mask shows an object: every pixel is background")
        frames = () if withheld and len(truth.annotated) == len(set(firsts.values())) else truth.annotated
        return tuple(EvaluatedObject(k, firsts[k], self._scored(frames, firsts[k])) for k in sorted(firsts))

    def _scored(self, frames: Sequence[int], first: int) -> tuple[int, ...]:
        return tuple(frames[1:-1]) if self.skip_ends else tuple(f for f in frames if f > first)


@dataclass(frozen=True)
class PerObject:
    """SA-V: an object counts on its annotated frames but the first and the last one.

    It is tracked from the first frame that shows it; an object that no frame shows is left out.
    """

    def objects(self, truth: Truth) -> tuple[EvaluatedObject, ...]:
        assert isinstance(truth, (ObjectMaps, Masklets)), "this rule goes with truth by object"
        found = []
        for k in sorted(truth.ids()):
            frames = truth.annotated_of(k)
            first = next((frame for frame in frames if truth.shows(k, frame)), None)
            if first is not None:
                found.append(EvaluatedObject(k, first, frames[1:-1]))
        if not found:
            raise DataError("no mask shows an object: every pixel is background")
        return tuple(found)


@dataclass(frozen=True)
class Listed:
    """YouTube-VOS, LVOS: a list that comes with the data names objects and the frames that count.

    What is listed counts where it is annotated, unless each mask shows just the objects that begin there.
    """

    listed: tuple[EvaluatedObject, ...]

    def objects(self, truth: Truth) -> tuple[EvaluatedObject, ...]:
        withheld = self._is_withheld(truth)
        there = set() if withheld else set(truth.annotated)
        return tuple(
            EvaluatedObject(
                one.object_id,
                one.first,
                tuple(frame for frame in one.scored if frame in there),
                one.group,
                one.category,
            )
            for one in self.listed
        )

    def _is_withheld(self, truth: Truth) -> bool:
        beginning: dict[int, set[int]] = {}
        for one in self.listed:
            beginning.setdefault(one.first, set()).add(one.object_id)
        if not set(truth.annotated) <= set(beginning):
            return False
        shown: Mapping[int, set[int]] = {f: set(truth.masks(f) or {}) for f in truth.annotated}
        return all(ids <= beginning[frame] for frame, ids in shown.items())
