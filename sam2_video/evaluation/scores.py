"""From predictions and truth to a table: curves of each object, means of objects, sequences and groups.

scores = [score for sequence in data.sequences for score in score_objects(sequence, read)]
summary = summarise(scores)
summary.overall.jandf, summary.by_sequence["dog"].jandf, summary.g
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sam2_video.evaluation.metrics import BOUND, Score, Statistics, compare, statistics
from sam2_video.evaluation.sequences import Bools, EvaluatedObject, VosSequence
from sam2_video.types import DataError

# frame -> masks by object; None: there is no prediction of that frame
PredictionReader = Callable[[int], Mapping[int, Bools] | None]


@dataclass(frozen=True)
class MetricOptions:
    """How masks are compared. `bound`: share of the diagonal, or pixels from 1 on."""

    bound: float = BOUND
    boundary: bool = True  # F takes most of the time
    allow_incomplete: bool = False  # a frame without prediction counts as empty instead of ending it all


@dataclass(frozen=True)
class ObjectScore:
    """J and F of one object on each frame that counts."""

    sequence: str
    object_id: int
    frames: tuple[int, ...]
    j: tuple[float, ...]
    f: tuple[float, ...]
    group: str = ""
    category: str = ""
    missing: tuple[int, ...] = ()  # frames that count and have no prediction

    @cached_property
    def j_statistics(self) -> Statistics:
        return statistics(self.j)

    @cached_property
    def f_statistics(self) -> Statistics:
        return statistics(self.f)

    @property
    def mean(self) -> Score:
        return Score(self.j_statistics.mean, self.f_statistics.mean)


@dataclass(frozen=True)
class Means:
    """Means over objects, each counted once; 0..1."""

    objects: int
    j: Statistics
    f: Statistics

    @property
    def jandf(self) -> float:
        return (self.j.mean + self.f.mean) / 2


@dataclass(frozen=True)
class Summary:
    """All figures of an evaluation. `groups`: "seen" and "unseen" where the data set has them."""

    overall: Means
    by_sequence: dict[str, Means]
    groups: dict[str, Means]
    objects: tuple[ObjectScore, ...]

    @property
    def g(self) -> float | None:
        """Return YouTube-VOS's overall figure: the mean of J and F of seen and of unseen classes."""
        if set(self.groups) != {"seen", "unseen"}:
            return None
        return sum(group.jandf for group in self.groups.values()) / 2

    @property
    def missing(self) -> int:
        """How many masks that count were not there."""
        return sum(len(score.missing) for score in self.objects)


def score_objects(
    sequence: VosSequence, predicted: PredictionReader, options: MetricOptions | None = None
) -> list[ObjectScore]:
    """Compare the predictions of one sequence with its truth, frame by frame.

    Objects of which no frame counts are left out. Raises DataError for predictions of another size than the
    truth, and for missing ones unless `options` allow them.
    """
    options = options or MetricOptions()
    objects = [one for one in sequence.objects if one.scored]
    curves: dict[int, list[Score]] = {one.object_id: [] for one in objects}
    missing: list[int] = []
    for frame in sorted({frame for one in objects for frame in one.scored}):
        truth, found, void = sequence.masks(frame), predicted(frame), sequence.void(frame)
        if truth is None:
            raise DataError(f"{sequence.name}: frame {frame} is to be scored but has no annotation")
        if found is None:
            missing.append(frame)
        for one in objects:
            if frame in one.scored:
                pair = _pick(found or {}, one, sequence), _pick(truth, one, sequence)
                score = _compare(pair, void, options, f"{sequence.name}, object {one.object_id}", frame)
                curves[one.object_id].append(score)
    if missing and not options.allow_incomplete:
        names = ", ".join(sequence.frame_names[frame] for frame in missing[:5])
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise DataError(
            f"{sequence.name} has no prediction of the frames {names}{more}; a score would mean nothing. "
            "Finish the run, or allow incomplete predictions: missing ones then count as empty"
        )
    return [_object_score(sequence, one, curves[one.object_id], missing) for one in objects]


def summarise(scores: Iterable[ObjectScore]) -> Summary:
    """Average over objects, as DAVIS 2017 does: an object counts once, however long its clip.

    Raises DataError where nothing was scored.
    """
    found = tuple(scores)
    if not found:
        raise DataError("nothing to summarise: no object has a frame that counts")
    sequences, groups = _unique(s.sequence for s in found), _unique(s.group for s in found)
    return Summary(
        _means(found),
        {name: _means([s for s in found if s.sequence == name]) for name in sequences},
        {name: _means([s for s in found if s.group == name]) for name in groups if name},
        found,
    )


def _object_score(
    sequence: VosSequence, one: EvaluatedObject, curve: Sequence[Score], missing: Sequence[int]
) -> ObjectScore:
    return ObjectScore(
        sequence=sequence.name,
        object_id=one.object_id,
        frames=one.scored,
        j=tuple(score.j for score in curve),
        f=tuple(score.f for score in curve),
        group=one.group,
        category=one.category,
        missing=tuple(frame for frame in missing if frame in one.scored),
    )


def _pick(masks: Mapping[int, Bools], one: EvaluatedObject, sequence: VosSequence) -> Bools:
    """The mask of an object; one that is not listed is not in the frame."""
    mask = masks.get(one.object_id)
    return np.zeros(sequence.size, dtype=np.bool_) if mask is None else mask


def _compare(
    pair: tuple[Bools, Bools], void: Bools | None, options: MetricOptions, where: str, frame: int
) -> Score:
    try:
        return compare(*pair, void, bound=options.bound, boundary=options.boundary)
    except ValueError as error:
        raise DataError(f"{where}, frame {frame}: {error}") from error


def _means(scores: Sequence[ObjectScore]) -> Means:
    return Means(
        len(scores), _average([s.j_statistics for s in scores]), _average([s.f_statistics for s in scores])
    )


def _average(values: Sequence[Statistics]) -> Statistics:
    return Statistics(
        float(np.mean([v.mean for v in values])),
        float(np.mean([v.recall for v in values])),
        float(np.mean([v.decay for v in values])),
    )


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
