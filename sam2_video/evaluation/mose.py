"""The figures of MOSE v2: J and F with a dot, and apart while an object is gone and after it came back.

curves = [curve for sequence in data.sequences for curve in mose_curves(sequence, read(sequence))]
extra = summarise_mose(curves)
extra.overall["mose_jf_dot"], extra.overall["mose_jf_d"], extra.overall["mose_jf_r"]

As the program does that its authors published (MOSEv2/sam2_rcms/tools/score.py and metricsv2.py in
henghuiding/MOSE-api), down to the places where it differs from DAVIS; docs/metrics.md lists them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, hypot, sqrt

import numpy as np

from sam2_video.evaluation.boundary import f_measure
from sam2_video.evaluation.extras import Column, Extra, Row, average_objects
from sam2_video.evaluation.metrics import BOUND, cut_pair
from sam2_video.evaluation.scores import Pair, PredictionReader, each_pair
from sam2_video.evaluation.sequences import VosSequence

DOT_BOUND = 0.1  # of the root of the object's area: how far apart outlines may be to match

_COLUMNS = (
    Column("mose_jf_dot", "J&Ḟ"),
    Column("mose_j", "J (MOSE)"),
    Column("mose_f_dot", "Ḟ"),
    Column("mose_jf_d", "J&Ḟ gone"),
    Column("mose_jf_r", "J&Ḟ back"),
    Column("mose_f", "F (MOSE)"),
    Column("mose_jf", "J&F (MOSE)"),
)


@dataclass(frozen=True)
class MoseFrame:
    """One object on one frame. `j` is smoothed: a pixel more in intersection and in union."""

    j: float
    f: float
    f_dot: float
    present: bool  # in the truth


@dataclass(frozen=True)
class MoseCurve:
    """One object on all of its frames that count."""

    sequence: str
    object_id: int
    frames: tuple[MoseFrame, ...]
    group: str = ""


def mose_curves(
    sequence: VosSequence, predicted: PredictionReader, *, allow_incomplete: bool = False
) -> list[MoseCurve]:
    """Compare the predictions of one sequence with its truth. Raises DataError as `each_pair` does."""
    frames: dict[int, list[MoseFrame]] = {one.object_id: [] for one in sequence.objects if one.scored}
    for pair in each_pair(sequence, predicted, allow_incomplete=allow_incomplete):
        frames[pair.object.object_id].append(compare_as_mose(pair))
    return [
        MoseCurve(sequence.name, one.object_id, tuple(frames[one.object_id]), one.group)
        for one in sequence.objects
        if one.scored
    ]


def compare_as_mose(pair: Pair) -> MoseFrame:
    """Return smoothed J, F within 0.008 of the diagonal, and F within a tenth of the root of the area."""
    a, b = cut_pair(pair.predicted, pair.truth, pair.void)
    both, either, area = (int(np.count_nonzero(mask)) for mask in (a & b, a | b, b))
    reach, dot_reach = _reaches(area, pair.truth.shape)
    f = f_measure(a, b, reach)
    f_dot = f if dot_reach == reach else f_measure(a, b, dot_reach)
    return MoseFrame((both + 1) / (either + 1), f, f_dot, area > 0)


def _reaches(area: int, size: tuple[int, ...]) -> tuple[float, float]:
    """How far apart outlines may be for F and for F with a dot.

    DAVIS rounds its bound up to whole pixels. Here it is rounded only for objects that have a narrower bound
    of their own; for the others both figures use it as it is. (In pictures of less than 250 pixels across,
    which MOSE has none of, a disc of less than two pixels that is drawn beside its middle may miss it: there
    it is rounded for all.)
    """
    bound = BOUND * hypot(*size)
    bound = ceil(bound) if bound < 2 else bound
    own = ceil(DOT_BOUND * sqrt(area))
    return (ceil(bound), own) if area and own < bound else (bound, bound)


def summarise_mose(curves: Iterable[MoseCurve]) -> Extra:
    """Average over frames, then over objects. "gone" and "back" are over those objects that ever were."""
    found = {(curve.sequence, curve.object_id): curve for curve in curves}
    return average_objects(
        "MOSE v2",
        _COLUMNS,
        {key: _figures(curve.frames) for key, curve in found.items()},
        {key: curve.group for key, curve in found.items()},
    )


def _figures(frames: Sequence[MoseFrame]) -> Row:
    j, f, dot = (float(np.mean(v)) for v in zip(*((x.j, x.f, x.f_dot) for x in frames), strict=True))
    row = {"mose_jf_dot": (j + dot) / 2, "mose_j": j, "mose_f_dot": dot, "mose_f": f, "mose_jf": (j + f) / 2}
    gone, back = _stretches(frames)
    if gone:
        row["mose_jf_d"] = _mean_of_means(gone)
    if back:
        row["mose_jf_r"] = _mean_of_means(back)
    return row


def _stretches(frames: Sequence[MoseFrame]) -> tuple[list[list[MoseFrame]], list[list[MoseFrame]]]:
    """Stretches of frames without the object after it was there, and with it after it was not.

    An object that begins later "comes back" when it first appears; that it was not there before does not
    count as gone.
    """
    stretches: list[list[MoseFrame]] = []
    for frame in frames:
        if not stretches or stretches[-1][-1].present != frame.present:
            stretches.append([])
        stretches[-1].append(frame)
    later = stretches[1:]
    return [s for s in later if not s[0].present], [s for s in later if s[0].present]


def _mean_of_means(stretches: Sequence[Sequence[MoseFrame]]) -> float:
    return float(np.mean([np.mean([(frame.j + frame.f_dot) / 2 for frame in s]) for s in stretches]))
