"""Which further measures there are, and measuring them: names in, columns out.

extras = measure(usual_measures(data.name), Measured(data.sequences, read, summary))
write_scores(path, summary, data, extras)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import floor

import numpy as np

from sam2_video.evaluation.association import associate, require_library, summarise_association
from sam2_video.evaluation.extras import Column, Extra, average_objects
from sam2_video.evaluation.mose import mose_curves, summarise_mose
from sam2_video.evaluation.scores import PredictionReader, Summary
from sam2_video.evaluation.sequences import VosSequence
from sam2_video.types import DataError


@dataclass(frozen=True)
class Measured:
    """What measures work on: the sequences that were scored, their predictions, and J and F of them."""

    sequences: Sequence[VosSequence]
    read: Callable[[VosSequence], PredictionReader]
    summary: Summary
    allow_incomplete: bool = False


def vost(measured: Measured) -> Extra:
    """J_tr of VOST: the mean of J over the last quarter of an object's frames that count."""
    scores = measured.summary.objects
    return average_objects(
        "VOST",
        (Column("vost_j_tr", "J_tr"),),
        {(s.sequence, s.object_id): {"vost_j_tr": last_quarter(s.j)} for s in scores},
        {(s.sequence, s.object_id): s.group for s in scores},
    )


def last_quarter(curve: Sequence[float]) -> float:
    """Return the mean from three quarters of the way on, rounded down: of 5 values the last two."""
    return float(np.mean(curve[floor(0.75 * len(curve)) :]))


def mose(measured: Measured) -> Extra:
    """The figures of MOSE v2, with a dot; see `evaluation.mose`."""
    incomplete = measured.allow_incomplete
    return summarise_mose(
        curve
        for sequence in measured.sequences
        for curve in mose_curves(sequence, measured.read(sequence), allow_incomplete=incomplete)
    )


def hota(measured: Measured) -> Extra:
    """HOTA, IDF1 and identity switches; see `evaluation.association`."""
    incomplete = measured.allow_incomplete
    return summarise_association(
        associate(sequence, measured.read(sequence), allow_incomplete=incomplete)
        for sequence in measured.sequences
    )


MEASURES: Mapping[str, Callable[[Measured], Extra]] = {"hota": hota, "mose": mose, "vost": vost}
_USUAL = {"mose2": ("mose",), "vost": ("vost",)}  # by data set: what its authors report


def usual_measures(data_set: str) -> tuple[str, ...]:
    """Return the measures that the authors of a data set report besides J and F."""
    return _USUAL.get(data_set, ())


def check_measures(names: Iterable[str]) -> tuple[str, ...]:
    """Return each name once, in their order. To be called before hours are spent on what is to be measured.

    Raises DataError for an unknown name, ConfigError for a library that is not installed.
    """
    wanted = tuple(dict.fromkeys(names))
    unknown = [name for name in wanted if name not in MEASURES]
    if unknown:
        raise DataError(f"no measure {', '.join(unknown)}; there are {', '.join(MEASURES)}")
    if "hota" in wanted:
        require_library()
    return wanted


def measure(names: Iterable[str], measured: Measured) -> tuple[Extra, ...]:
    """Return the columns of each measure once, in the order of `names`.

    Raises what `check_measures` and `each_frame` raise.
    """
    return tuple(MEASURES[name](measured) for name in check_measures(names))
