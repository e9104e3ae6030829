"""From predictions and truth to a table: curves of each object, means of objects, sequences and groups.

scores = [score for sequence in data.sequences for score in score_objects(sequence, read)]
summary = summarise(scores)
summary.overall.jandf, summary.by_sequence["dog"].jandf, summary.g
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sam2_video.evaluation.metrics import BOUND, Score, Statistics, compare, statistics
from sam2_video.evaluation.sequences import Bools, EvaluatedObject, VosSequence
from sam2_video.types import DataError

# frame -> masks by object; None: there is no prediction of that frame, or of that object on it. An object
# that is not listed is predicted to be absent.
PredictionReader = Callable[[int], Mapping[int, Bools | None] | None]


@dataclass(frozen=True)
class MetricOptions:
    """How masks are compared. `bound`: share of the diagonal, or pixels from 1 on."""

    bound: float = BOUND
    boundary: bool = True  # F takes most of the time; without it F and J&F are NaN
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


@dataclass(frozen=True)
class Frame:
    """Predictions and truth of a frame on which some objects count: (H, W) masks by object id."""

    index: int
    objects: tuple[EvaluatedObject, ...]  # those that count here
    predicted: Mapping[int, Bools]
    truth: Mapping[int, Bools]
    void: Bools | None
    missing: frozenset[int]  # those of the objects that count here that have no prediction


@dataclass(frozen=True)
class Pair:
    """What was predicted of an object on a frame that counts, beside what is true: (H, W) masks."""

    frame: int
    object: EvaluatedObject
    predicted: Bools
    truth: Bools
    void: Bools | None = None
    is_missing: bool = False


def each_frame(
    sequence: VosSequence, predicted: PredictionReader, *, allow_incomplete: bool = False
) -> Iterator[Frame]:
    """Walk over the frames that count, ascending; masks of a frame are read once.

    Raises DataError for a frame without truth, for masks of another size, and, after the last frame,
    for missing predictions unless they are allowed.
    """
    counting: dict[int, list[EvaluatedObject]] = {}
    for one in sequence.objects:
        for frame in one.scored:
            counting.setdefault(frame, []).append(one)
    missing: list[int] = []
    for frame, objects in sorted(counting.items()):
        truth, read = sequence.masks(frame), predicted(frame)
        if truth is None:
            raise DataError(f"{sequence.name}: frame {frame} is to be scored but has no annotation")
        here = {one.object_id for one in objects}
        lacking = here if read is None else {k for k in here if k in read and read[k] is None}
        found = {k: mask for k, mask in (read or {}).items() if mask is not None}
        if lacking:
            missing.append(frame)
        for what, masks in (("prediction", found), ("truth", truth)):
            for object_id, mask in masks.items():
                if mask.shape != sequence.size:
                    raise DataError(
                        f"{sequence.name}, object {object_id}, frame {frame}: a {what} of {mask.shape}, "
                        f"expected {sequence.size}: masks must have the size of the frames"
                    )
        yield Frame(frame, tuple(objects), found, truth, sequence.void(frame), frozenset(lacking))
    if missing and not allow_incomplete:
        names = ", ".join(sequence.frame_names[frame] for frame in missing[:5])
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise DataError(
            f"{sequence.name} has no prediction of the frames {names}{more}; a score would mean nothing. "
            "Finish the run, or allow incomplete predictions: missing ones then count as empty"
        )


def each_pair(
    sequence: VosSequence, predicted: PredictionReader, *, allow_incomplete: bool = False
) -> Iterator[Pair]:
    """Walk over all masks that count: frames ascending, on each of them objects by id; see `each_frame`."""
    absent = np.zeros(sequence.size, dtype=np.bool_)  # an object that is not listed is not in the frame
    for frame in each_frame(sequence, predicted, allow_incomplete=allow_incomplete):
        for one in frame.objects:
            masks = frame.predicted.get(one.object_id, absent), frame.truth.get(one.object_id, absent)
            yield Pair(frame.index, one, *masks, frame.void, one.object_id in frame.missing)


def score_objects(
    sequence: VosSequence, predicted: PredictionReader, options: MetricOptions | None = None
) -> list[ObjectScore]:
    """Compare the predictions of one sequence with its truth, frame by frame.

    Objects of which no frame counts are left out. Raises DataError as `each_pair` does.
    """
    options = options or MetricOptions()
    curves: dict[int, list[Score]] = {one.object_id: [] for one in sequence.objects if one.scored}
    missing: dict[int, list[int]] = {object_id: [] for object_id in curves}
    for pair in each_pair(sequence, predicted, allow_incomplete=options.allow_incomplete):
        score = compare(pair.predicted, pair.truth, pair.void, bound=options.bound, boundary=options.boundary)
        curves[pair.object.object_id].append(score)
        if pair.is_missing:
            missing[pair.object.object_id].append(pair.frame)
    return [
        ObjectScore(
            sequence=sequence.name,
            object_id=one.object_id,
            frames=one.scored,
            j=tuple(score.j for score in curves[one.object_id]),
            f=tuple(score.f for score in curves[one.object_id]),
            group=one.group,
            category=one.category,
            missing=tuple(missing[one.object_id]),
        )
        for one in sequence.objects
        if one.scored
    ]


def summarise(scores: Iterable[ObjectScore]) -> Summary:
    """Average over objects, as DAVIS 2017 does: an object counts once, however long its clip.

    Raises DataError where nothing was scored.
    """
    found = tuple(scores)
    if not found:
        raise DataError("nothing to summarise: no object has a frame that counts")
    sequences: dict[str, list[ObjectScore]] = {}
    groups: dict[str, list[ObjectScore]] = {}
    for score in found:
        sequences.setdefault(score.sequence, []).append(score)
        if score.group:
            groups.setdefault(score.group, []).append(score)
    return Summary(
        _means(found),
        {name: _means(scores) for name, scores in sequences.items()},
        {name: _means(scores) for name, scores in groups.items()},
        found,
    )


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
