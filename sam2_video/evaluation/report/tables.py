"""The tables of a report: scores of groups, sequences and objects, interactions and time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import median

from sam2_video.evaluation.extras import Extra
from sam2_video.evaluation.report.html import Child, Html, element
from sam2_video.evaluation.results import SequenceRun, StageTime
from sam2_video.evaluation.rounds import RoundMean
from sam2_video.evaluation.score_tables import Line

NONE = "\N{EN DASH}"


@dataclass(frozen=True)
class Heading:
    """The top of a column; numbers are set to the right."""

    text: str
    title: str = ""
    is_number: bool = True


@dataclass(frozen=True)
class Cell:
    """A number with a bar behind it, as long as the share it is of 100."""

    share: float


Row = Sequence["Child | Cell"]


def table(headings: Sequence[Heading], rows: Iterable[Row], *, attention: Iterable[int] = ()) -> Html:
    """Make a table that can be wider than the page.

    `attention`: numbers of rows that must not be overlooked.
    """
    alarming = set(attention)
    head = (
        element("th", h.text, scope="col", title=h.title or None, class_="n" if h.is_number else None)
        for h in headings
    )
    body = (
        element(
            "tr",
            [_cell(value, heading) for value, heading in zip(row, headings, strict=True)],
            class_="alarming" if k in alarming else None,
        )
        for k, row in enumerate(rows)
    )
    inner = element("table", element("thead", element("tr", *head)), element("tbody", *body))
    # What scrolls must be reached by the keyboard, too.
    return element("div", inner, class_="wide", tabindex=0, role="region", aria_label="table")


def name_of(text: str) -> Html:
    """A name from outside: it is shown as it is, whatever direction its letters run in."""
    return element("bdi", text, class_="name")


def percent(value: float | None, decimals: int = 1) -> str:
    """Return a share as percent; a dash for what is not defined."""
    return number(None if value is None else 100 * value, decimals)


def number(value: float | None, decimals: int = 1) -> str:
    """Return a number, thousands apart, zero without a sign; a dash for what is not defined."""
    if value is None or not isfinite(value):
        return NONE
    return f"{round(value, decimals) + 0.0:,.{decimals}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


@dataclass(frozen=True)
class ScoreTable:
    """Columns of scores, the same for groups, sequences and objects; those without any value are left out."""

    extras: Sequence[Extra]
    has_boundary: bool
    has_missing: bool

    @property
    def headings(self) -> list[Heading]:
        j = [Heading("J", "region similarity, mean"), Heading("J recall", "share of frames with J above 50")]
        j.append(Heading("J decay", "first quarter of the frames minus the last"))
        f = [Heading("F", "boundary accuracy, mean"), Heading("F recall", "share of frames with F above 50")]
        f.append(Heading("F decay", "first quarter of the frames minus the last"))
        both = [Heading("J&F", "mean of J and F")]
        further = [Heading(c.title, extra.title) for extra in self.extras for c in extra.columns]
        missing = [Heading("missing", "masks that count and have no prediction")] if self.has_missing else []
        return (both + j + f if self.has_boundary else j) + further + missing

    def cells(self, line: Line) -> list[Child | Cell]:
        """Values in the order of `headings`."""
        j: list[Child | Cell] = [percent(line.j.mean), percent(line.j.recall), percent(line.j.decay)]
        f: list[Child | Cell] = [percent(line.f.mean), percent(line.f.recall), percent(line.f.decay)]
        if self.has_boundary:
            cells: list[Child | Cell] = [Cell(line.jandf), *j, *f]
        else:
            cells = [Cell(line.j.mean), *j[1:]]
        for extra, row in zip(self.extras, line.extras, strict=True):
            for column in extra.columns:
                value = row.get(column.name)
                cells.append(percent(value) if column.percent else number(value, 2))
        if self.has_missing:
            cells.append(element("b", line.missing, class_="bad") if line.missing else 0)
        return cells

    def value(self, line: Line) -> float:
        """What lines are sorted by."""
        return line.jandf if self.has_boundary else line.j.mean


def speed_table(runs: Sequence[SequenceRun]) -> Html | None:
    """Say where the time went: sums over all sequences, and what a call takes."""
    stages = _by_stage(runs)
    seconds, frames = sum(run.seconds for run in runs), sum(run.frames for run in runs)
    if not seconds:
        return None
    known = sum(times.seconds for part in stages.values() for times in part)
    rows: list[Row] = [_stage_row(name, times, seconds, frames) for name, times in stages.items()]
    if known < seconds and rows:
        rows.append(["all else", "", number(seconds - known, 2), "", "", Cell(1 - known / seconds), ""])
    rows.append(
        [element("b", "together"), frames, number(seconds, 2), "", "", "", number(frames / seconds, 2)]
    )
    headings = [
        Heading("stage", is_number=False),
        Heading("calls", "of the stage; together: frames"),
        Heading("seconds", "added up over all sequences"),
        Heading("p50, ms", "half of the calls took no longer; the median over sequences"),
        Heading("p95, ms", "19 of 20 calls took no longer; the median over sequences"),
        Heading("share, %", "of the time of all sequences"),
        Heading("frames/s", "frames by the seconds of this stage"),
    ]
    return table(headings, rows)


def _by_stage(runs: Sequence[SequenceRun]) -> dict[str, list[StageTime]]:
    stages: dict[str, list[StageTime]] = {}
    for run in runs:
        for name, times in run.stages.items():
            stages.setdefault(name, []).append(times)
    return stages


def _stage_row(name: str, times: Sequence[StageTime], whole: float, frames: int) -> Row:
    seconds = sum(part.seconds for part in times)
    calls = [part for part in times if part.calls]
    return [
        name,
        number(sum(part.calls for part in times), 0),
        number(seconds, 2),
        number(median(part.p50 for part in calls), 2) if calls else NONE,
        number(median(part.p95 for part in calls), 2) if calls else NONE,
        Cell(seconds / whole),
        number(frames / seconds, 2) if seconds else NONE,
    ]


def round_table(means: Sequence[RoundMean]) -> Html:
    """One row for each number of interactions."""
    headings = [
        Heading("interactions", "with each object"),
        *(Heading(text) for text in ("J&F", "J", "F")),
        Heading("objects", "that were interacted with so often; the others keep their last score"),
        Heading("clicks", "of this interaction, over all objects"),
    ]
    rows: list[Row] = [
        [m.number, Cell(m.jandf), percent(m.j), percent(m.f), m.objects, m.clicks] for m in means
    ]
    return table(headings, rows)


def _cell(value: Child | Cell, heading: Heading) -> Html:
    if isinstance(value, Cell):
        filled = 100 * min(max(value.share, 0.0), 1.0) if isfinite(value.share) else 0.0
        return element("td", percent(value.share), class_="n share", style=f"--v:{filled:.1f}%")
    return element("td", value, class_="n" if heading.is_number else None)
