"""The figures of a run in a few lines, and those of several protocols in one table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Any

from sam2_video.evaluation.manifest import NAME as MANIFEST
from sam2_video.evaluation.manifest import check_free
from sam2_video.evaluation.results import Evaluation
from sam2_video.evaluation.rounds import comparable_rounds, mean_of_rounds
from sam2_video.sinks.base import make_folder, write_whole

FILES = ("overview.csv", "overview.md")


def summary_lines(evaluation: Evaluation, not_scored: str) -> Iterator[str]:
    """The figures in a few lines, in percent."""
    if not_scored:
        yield f"not scored: {not_scored}"
    summary = evaluation.summary
    if summary is None:
        return
    overall = summary.overall
    count = f"{_counted(overall.objects, 'object')} in {_counted(len(summary.by_sequence), 'sequence')}"
    j, f, jandf = 100 * overall.j.mean, 100 * overall.f.mean, 100 * overall.jandf
    yield f"J {j:.2f}  ({count})" if isnan(f) else f"J&F {jandf:.2f}  J {j:.2f}  F {f:.2f}  ({count})"
    if means := comparable_rounds(evaluation.runs):
        mean = mean_of_rounds(means)
        figures = f"J&F {100 * mean.jandf:.2f}  J {100 * mean.j:.2f}  F {100 * mean.f:.2f}"
        yield f"mean over 1 to {means[-1].number} interactions: {figures}"
    if summary.g is not None:
        yield f"G {100 * summary.g:.2f}"
    for extra in evaluation.extras:
        named = {column.name: column for column in extra.columns}
        shown = (
            f"{named[key].title} {100 * value:.2f}" if named[key].percent else f"{named[key].title} {value:g}"
            for key, value in extra.overall.items()
            if key in named
        )
        yield f"{extra.title}: {'  '.join(shown)}"
    if summary.missing:
        yield f"{summary.missing} masks that count had no prediction, and were taken for empty"


def overview_row(protocol: str, evaluation: Evaluation) -> dict[str, Any]:
    """One line of the overview: percent, and frames a second of one worker."""
    seconds = sum(run.seconds for run in evaluation.runs)
    frames = sum(run.frames for run in evaluation.runs)
    row: dict[str, Any] = {"protocol": protocol}
    if evaluation.summary is not None:
        overall = evaluation.summary.overall
        row |= {"jandf": 100 * overall.jandf, "j": 100 * overall.j.mean, "f": 100 * overall.f.mean}
        row |= {"j_recall": 100 * overall.j.recall, "f_recall": 100 * overall.f.recall}
        row |= {"j_decay": 100 * overall.j.decay, "f_decay": 100 * overall.f.decay}
        row |= {} if evaluation.summary.g is None else {"g": 100 * evaluation.summary.g}
        if means := comparable_rounds(evaluation.runs):
            row |= {"jandf_rounds": 100 * mean_of_rounds(means).jandf}
        row |= {"objects": overall.objects}
    row |= {"frames_per_second": frames / seconds if seconds else None}
    failed = sum(bool(run.error) for run in evaluation.runs)
    return row | {"sequences": len(evaluation.runs), "failed": failed}


def check_overview(out: Path, protocols: Sequence[str]) -> None:
    """Raise SinkError where OUT holds an overview, but no run of these protocols that it could be of."""
    if not any((out / name / MANIFEST).is_file() for name in protocols):
        check_free(out, FILES)


def write_overview(out: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write OUT/overview.csv and OUT/overview.md: a row for each protocol. Raises SinkError."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = [names, *([_cell(row.get(name)) for name in names] for row in rows)]
    rule = ["---", *["---:"] * (len(names) - 1)]
    make_folder(out)
    write_whole(out / FILES[0], "".join(",".join(line) + "\n" for line in table).encode())
    lines = [f"| {' | '.join(line)} |\n" for line in (table[0], rule, *table[1:])]
    write_whole(out / FILES[1], "".join(lines).encode())


def _cell(value: Any) -> str:
    if value is None or value != value:  # F is not a number where it was not measured
        return ""
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
