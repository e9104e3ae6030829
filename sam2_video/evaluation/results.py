"""What an evaluation leaves behind: how each sequence went, and everything a report is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sam2_video.evaluation.extras import Extra
from sam2_video.evaluation.scores import Summary


@dataclass(frozen=True)
class StageTime:
    """How long one part of the work took: sums in seconds, percentiles in milliseconds per call."""

    calls: int
    seconds: float
    p50: float
    p95: float


@dataclass(frozen=True)
class Round:
    """One interaction of a click protocol: what was clicked on a frame, and the scores it led to.

    `j` and `f` are means over the frames that count, after this round; 0..1.
    """

    object_id: int
    number: int  # from 1
    frame: int
    clicks: tuple[tuple[int, int, int], ...]  # (x, y, label), all clicks of this round, in their order
    j: float
    f: float

    @property
    def jandf(self) -> float:
        return (self.j + self.f) / 2


@dataclass(frozen=True)
class SequenceRun:
    """How the run over one sequence went. `error` is empty where it came to its end."""

    name: str
    frames: int  # predicted, not only those that count
    seconds: float
    stages: Mapping[str, StageTime] = field(default_factory=dict)  # decode, encode, track, write
    peak_mib: float = 0.0  # resident memory of the process, at its highest so far
    rounds: tuple[Round, ...] = ()
    error: str = ""
    peak_gpu_mib: float = 0.0  # what tensors took on the GPU of the process, at its highest so far


@dataclass(frozen=True)
class Evaluation:
    """All of it. `summary` is None where nothing can be scored here: the truth is kept by a server."""

    manifest: Mapping[str, Any]
    runs: tuple[SequenceRun, ...]  # in the order of the data set; those that failed as well
    summary: Summary | None = None
    extras: tuple[Extra, ...] = ()  # of further measures
