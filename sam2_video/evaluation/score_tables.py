"""Scores as files for other programs: `scores.csv` with all means, `frames.csv` with the curves.

write_scores(Path("scores.csv"), summary, data)
write_frames(Path("frames.csv"), summary, data)

Everything is percent with four decimals, and the same scores make the same bytes. What is not defined, such
as F where it was not computed, is an empty cell. No name is taken for a formula by a spreadsheet: one that
begins with = + - @, an apostrophe, a tab or the end of a line has an apostrophe in front; take it away to
have the name back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import TypeAlias

from sam2_video.evaluation.extras import Column, Extra, Row
from sam2_video.evaluation.metrics import Statistics
from sam2_video.evaluation.scores import ObjectScore, Summary
from sam2_video.evaluation.sequences import DataSet
from sam2_video.sinks.base import finish, make_folder, part_name, remove, reported
from sam2_video.types import DataError

WHO = ("level", "group", "sequence", "object", "category")
COUNTS = ("objects", "frames", "masks", "missing")
FIGURES = ("jandf", "j_mean", "j_recall", "j_decay", "f_mean", "f_recall", "f_decay")
FRAME_COLUMNS = ("sequence", "object", "frame", "name", "j", "f", "missing")
G = "G"  # the group that stands for the mean of seen and unseen
_FORMULA = "=+-@'\t\r\n"
_NOTHING: Row = {}
Cells: TypeAlias = Iterable[str]


@dataclass(frozen=True)
class Line:
    """A row of scores.csv, and of the tables of a report; all values 0..1.

    `frames` are those that count, `masks` the masks on them, `missing` the masks without a prediction.
    """

    level: str  # "all", "group", "sequence" or "object"
    objects: int
    frames: int
    masks: int
    missing: int
    j: Statistics
    f: Statistics
    group: str = ""
    sequence: str = ""
    object_id: int | None = None
    category: str = ""
    extras: tuple[Row, ...] = ()  # one for each `Extra`

    @property
    def jandf(self) -> float:
        return (self.j.mean + self.f.mean) / 2


def write_scores(path: Path, summary: Summary, data: DataSet, extras: Sequence[Extra] = ()) -> Path:
    """Write the means of all, of groups, sequences and objects, in the order of the data set.

    Raises DataError for scores of another data set, SinkError for what cannot be written.
    """
    columns = [column for extra in extras for column in extra.columns]
    header = (*WHO, *COUNTS, *FIGURES, *(column.name for column in columns))
    if len(set(header)) < len(header):
        raise DataError(f"two columns of one name in {', '.join(header)}; give each measure names of its own")
    rows = (_cells(line, extras) for line in score_lines(summary, data, extras))
    return _write(path, header, rows)


def write_frames(path: Path, summary: Summary, data: DataSet) -> Path:
    """Write J and F of each object on each frame that counts: `frame` from 0, `name` as in its files.

    `missing` is 1 where there was no prediction. Raises DataError for scores of another data set, SinkError
    for what cannot be written.
    """
    return _write(path, FRAME_COLUMNS, _frame_rows(summary, data))


def score_lines(summary: Summary, data: DataSet, extras: Sequence[Extra] = ()) -> Iterator[Line]:
    """Yield all rows of scores.csv. Raises DataError for scores of another data set."""
    scores = sorted_scores(summary, data)
    table = _Table(extras, scores)
    yield table.line("all", summary.overall.j, summary.overall.f, scores)
    for name, means in sorted(summary.groups.items()):
        yield table.line("group", means.j, means.f, [s for s in scores if s.group == name], group=name)
    if summary.g is not None:
        grouped = [s for s in scores if s.group]
        j = _between([means.j for means in summary.groups.values()])
        f = _between([means.f for means in summary.groups.values()])
        yield table.line("group", j, f, grouped, group=G)
    for name in dict.fromkeys(score.sequence for score in scores):
        means, members = summary.by_sequence[name], table.members[name]
        group = members[0].group if len({s.group for s in members}) == 1 else ""
        yield table.line("sequence", means.j, means.f, members, sequence=name, group=group)
    for score in scores:
        yield table.object_line(score)


def sorted_scores(summary: Summary, data: DataSet) -> list[ObjectScore]:
    """Return the scores in the order of the data set's sequences, then by object id. Raises DataError."""
    places = {sequence.name: k for k, sequence in enumerate(data.sequences)}
    unknown = sorted({score.sequence for score in summary.objects} - set(places))
    if unknown:
        raise DataError(f"scores of {', '.join(unknown[:5])}, which {data.name} in {data.root} does not have")
    return sorted(summary.objects, key=lambda score: (places[score.sequence], score.object_id))


@dataclass(frozen=True)
class _Table:
    """Makes rows of scores."""

    extras: Sequence[Extra]
    scores: Sequence[ObjectScore]

    @cached_property
    def members(self) -> Mapping[str, Sequence[ObjectScore]]:
        """Sequence -> its scores."""
        out: dict[str, list[ObjectScore]] = {}
        for score in self.scores:
            out.setdefault(score.sequence, []).append(score)
        return out

    def line(
        self,
        level: str,
        j: Statistics,
        f: Statistics,
        scores: Sequence[ObjectScore],
        *,
        group: str = "",
        sequence: str = "",
    ) -> Line:
        return Line(
            level=level,
            objects=len(scores),
            frames=len({(score.sequence, frame) for score in scores for frame in score.frames}),
            masks=sum(len(score.frames) for score in scores),
            missing=sum(len(score.missing) for score in scores),
            j=j,
            f=f,
            group=group,
            sequence=sequence,
            extras=tuple(self._mean_row(extra, level, group, sequence) for extra in self.extras),
        )

    def object_line(self, score: ObjectScore) -> Line:
        key = score.sequence, score.object_id
        return Line(
            level="object",
            objects=1,
            frames=len(score.frames),
            masks=len(score.frames),
            missing=len(score.missing),
            j=score.j_statistics,
            f=score.f_statistics,
            group=score.group,
            sequence=score.sequence,
            object_id=score.object_id,
            category=score.category,
            extras=tuple(extra.objects.get(key, _NOTHING) for extra in self.extras),
        )

    @staticmethod
    def _mean_row(extra: Extra, level: str, group: str, sequence: str) -> Row:
        if level == "all":
            return extra.overall
        if level == "group":
            return extra.groups.get(group, _NOTHING)
        return extra.sequences.get(sequence, _NOTHING)


def _between(values: Sequence[Statistics]) -> Statistics:
    """The mean of groups, each of which counts once."""
    count = len(values)
    return Statistics(
        sum(v.mean for v in values) / count,
        sum(v.recall for v in values) / count,
        sum(v.decay for v in values) / count,
    )


def _cells(line: Line, extras: Sequence[Extra]) -> Iterator[str]:
    yield from (line.level, text_cell(line.group), text_cell(line.sequence))
    yield "" if line.object_id is None else str(line.object_id)
    yield text_cell(line.category)
    yield from (str(line.objects), str(line.frames), str(line.masks), str(line.missing))
    yield percent(line.jandf)
    for values in (line.j, line.f):
        yield from (percent(v) for v in (values.mean, values.recall, values.decay))
    for extra, row in zip(extras, line.extras, strict=True):
        yield from (_extra_cell(column, row) for column in extra.columns)


def _extra_cell(column: Column, row: Row) -> str:
    value = row.get(column.name)
    return percent(value) if column.percent else number(value)


def _frame_rows(summary: Summary, data: DataSet) -> Iterator[Cells]:
    names = {sequence.name: sequence for sequence in data.sequences}
    for score in sorted_scores(summary, data):
        frame_names, missing = names[score.sequence].frame_names, set(score.missing)
        head = text_cell(score.sequence), str(score.object_id)
        for frame, j, f in zip(score.frames, score.j, score.f, strict=True):
            values = percent(j), percent(f)
            yield (*head, str(frame), text_cell(frame_names[frame]), *values, str(int(frame in missing)))


def percent(value: float | None) -> str:
    """Return a share as percent with four decimals; nothing for what is not a number."""
    return number(None if value is None else 100 * value)


def number(value: float | None) -> str:
    """Return a number with four decimals, zero without a sign; nothing for what is not a number."""
    if value is None or not isfinite(value):
        return ""
    return f"{round(value, 4) + 0.0:.4f}"  # adding zero makes -0.0 a plain one


def text_cell(text: str) -> str:
    """Return text as a cell of a CSV file: quoted where needed, and never a formula."""
    if text[:1] and text[0] in _FORMULA:
        text = "'" + text
    quoted = any(sign in text for sign in ',"\r\n') or text != text.strip()
    return '"' + text.replace('"', '""') + '"' if quoted else text


def _write(path: Path, header: Cells, rows: Iterable[Cells]) -> Path:
    """Write a table row by row, aside first: it exists whole or not at all."""
    make_folder(path.parent)
    part = part_name(path)
    try:
        # Names of files may hold bytes that are no text in any encoding: they come out as \udcff.
        with reported(path), part.open("w", encoding="utf-8", newline="", errors="backslashreplace") as file:
            file.write(",".join(header) + "\n")
            file.writelines(",".join(cells) + "\n" for cells in rows)
    except BaseException:
        remove(part)
        raise
    finish(part, path)
    return path
