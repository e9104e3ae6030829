"""Scores by the number of interactions, of the protocols that correct: what papers draw, and their mean.

means = comparable_rounds(evaluation.runs)
mean_of_rounds(means).jandf                  # the figure of SAM 2's interactive protocols
write_rounds(Path("rounds.csv"), means)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sam2_video.evaluation.metrics import Score
from sam2_video.evaluation.results import SequenceRun
from sam2_video.evaluation.score_tables import percent
from sam2_video.sinks.base import make_folder, write_whole


@dataclass(frozen=True)
class RoundMean:
    """Scores of all objects after so many interactions with each."""

    number: int
    objects: int  # that were interacted with this often
    clicks: int
    j: float
    f: float

    @property
    def jandf(self) -> float:
        return (self.j + self.f) / 2


def round_means(runs: Sequence[SequenceRun]) -> list[RoundMean]:
    """Average over objects after each interaction; one that needs no further one keeps its last score.

    Such interactions without clicks may be listed or not.
    """
    tracks: dict[tuple[str, int], dict[int, tuple[float, float, int]]] = {}
    for run in runs:
        for one in run.rounds:
            of_object = tracks.setdefault((run.name, one.object_id), {})
            of_object[one.number] = one.j, one.f, len(one.clicks)
    out: list[RoundMean] = []
    last: dict[tuple[str, int], tuple[float, float]] = {}
    for n in range(1, max((max(track) for track in tracks.values()), default=0) + 1):
        clicks = [count for track in tracks.values() if n in track for count in track[n][2:] if count]
        last |= {key: track[n][:2] for key, track in tracks.items() if n in track}
        js, fs = [j for j, _ in last.values()], [f for _, f in last.values()]
        if last:
            out.append(RoundMean(n, len(clicks), sum(clicks), sum(js) / len(js), sum(fs) / len(fs)))
    return out


def comparable_rounds(runs: Sequence[SequenceRun]) -> list[RoundMean]:
    """Return `round_means`, none where a sequence failed: means over what happened to work say nothing."""
    return [] if any(run.error for run in runs) else round_means(runs)


def mean_of_rounds(means: Sequence[RoundMean]) -> Score:
    """Return the mean over 1, 2, ... interactions, each counted once. Raises ValueError for none."""
    if not means:
        raise ValueError("no interactions to average over")
    return Score(sum(m.j for m in means) / len(means), sum(m.f for m in means) / len(means))


def write_rounds(path: Path, means: Sequence[RoundMean]) -> Path:
    """Write a row for each number of interactions, in percent, then their mean. Raises SinkError."""
    rows = [(str(m.number), str(m.objects), str(m.clicks), m.jandf, m.j, m.f) for m in means]
    if means:
        mean = mean_of_rounds(means)
        clicks = str(sum(m.clicks for m in means))
        rows.append(("mean", "", clicks, mean.jandf, mean.j, mean.f))
    lines = [(*row[:3], *(percent(value) for value in row[3:])) for row in rows]
    table = [("interactions", "objects", "clicks", "jandf", "j", "f"), *lines]
    make_folder(path.parent)
    write_whole(path, "".join(",".join(line) + "\n" for line in table).encode())
    return path
