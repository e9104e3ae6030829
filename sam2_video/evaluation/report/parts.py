"""The body of a report: tables of scores, interactions, the worst objects, curves, speed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sam2_video.evaluation.report.html import Child, Html, element, folded, join
from sam2_video.evaluation.report.overlays import Overlays
from sam2_video.evaluation.report.plots import Axes, Curve, figure, legend, over_time, plot
from sam2_video.evaluation.report.tables import (
    Cell,
    Heading,
    Row,
    name_of,
    number,
    percent,
    round_table,
    speed_table,
    table,
)
from sam2_video.evaluation.report.view import View
from sam2_video.evaluation.results import SequenceRun
from sam2_video.evaluation.rounds import comparable_rounds, mean_of_rounds, round_means
from sam2_video.evaluation.score_tables import Line

_FAILED = element("span", " failed", class_="bad")
_OPEN_ROWS = 30  # of a table, shown without unfolding
_MOST_POINTS = 400  # of a curve: a plot has no room for more
_MOST_ROUNDS = 400  # interactions that are listed one by one
_SIGNS = "\N{MINUS SIGN}+"  # of clicks off and on an object
_MOST_ITEMS = 16  # of the legend of a plot


def group_table(view: View) -> Html | None:
    """Means over all objects, and over groups where there are any."""
    lines = [line for line in view.lines if line.level in ("all", "group")]
    counts = [
        Heading("objects"),
        Heading("frames", "that count"),
        Heading("masks", "objects on frames that count"),
    ]
    headings = [Heading("", is_number=False), *view.scores.headings, *counts]
    rows: list[Row] = [
        [line.group or "all objects", *view.scores.cells(line), line.objects, line.frames, line.masks]
        for line in lines
    ]
    return table(headings, rows) if rows else None


def sequence_table(view: View) -> Html | None:
    """One row a sequence: those that failed, then the worst first, then those without scores."""
    scored = {line.sequence for line in view.worst_first}
    failed = [name for name in view.notices.failed if name not in scored]
    others = [run for run in view.evaluation.runs if run.name not in scored and run.name not in failed]
    scores = view.scores.headings if view.lines else []
    times = [Heading("frames/s"), Heading("seconds")] if view.runs else []
    headings = [
        Heading("sequence", is_number=False),
        *scores,
        *([Heading("objects")] if scores else []),
        *times,
    ]
    blank: list[Child] = [""] * (len(scores) + bool(scores))
    rows: list[Row] = [
        [[name_of(name), _FAILED], *blank, *_times(view.runs.get(name), view)] for name in failed
    ]
    for line in view.worst_first:
        run = view.runs.get(line.sequence)
        rows.append([_linked(line, view), *view.scores.cells(line), line.objects, *_times(run, view)])
    rows += [[name_of(run.name), *blank, *_times(run, view)] for run in others]
    return _limited(headings, rows, view, attention=len(failed)) if rows else None


def object_table(view: View) -> Html | None:
    """One row an object, the worst first."""
    lines = view.worst_objects
    if not lines:
        return None
    has_category, has_group = any(line.category for line in lines), any(line.group for line in lines)
    words = ["sequence", "object", *(["category"] if has_category else []), *(["group"] if has_group else [])]
    headings = [*(Heading(word, is_number=False) for word in words), *view.scores.headings, Heading("frames")]
    rows: list[Row] = []
    for line in lines:
        who: list[Child | Cell] = [_linked(line, view), line.object_id]
        who += [name_of(line.category)] if has_category else []
        who += [line.group] if has_group else []
        rows.append([*who, *view.scores.cells(line), line.frames])
    found = _limited(headings, rows, view)
    return (
        found
        if len(rows) <= _OPEN_ROWS
        else folded(f"{number(len(rows), 0)} objects, the worst first", found)
    )


def interactions(view: View) -> Html | None:
    """J&F against the number of interactions, of all objects and of each."""
    means = round_means(view.evaluation.runs)
    if not means:
        return None
    said = ", ".join(f"{m.number}: {percent(m.jandf)}" for m in means)
    axes = Axes(
        "J&F by the number of interactions",
        said,
        "interactions with each object",
        "J&F, %",
        1,
        means[-1].number,
        True,
    )
    curve = Curve("mean of all objects", [(m.number, m.jandf) for m in means], 0, dots=True)
    whole = percent(mean_of_rounds(means).jandf)
    note = (
        f"Means over objects; J&F averaged over 1 to {means[-1].number} interactions: {whole}. An object "
        "that needs no further interaction keeps its last score."
    )
    if not comparable_rounds(view.evaluation.runs):
        note = "Sequences failed: this is the mean of those that did not, and compares with nothing."
    return join(
        [
            element("div", plot(axes, [curve], "rounds"), round_table(means), class_="beside"),
            element("p", note, class_="note"),
            _each_round(view),
        ]
    )


def _each_round(view: View) -> Html:
    frames = {one.name: one.frame_names for one in view.data.sequences if one.name in view.runs}
    rows: list[Row] = []
    total = sum(1 for run in view.evaluation.runs for one in run.rounds if one.clicks)
    for run in view.evaluation.runs:
        clicked = [one for one in run.rounds if one.clicks]
        for one in clicked[: _MOST_ROUNDS - len(rows)]:
            clicks = ", ".join(f"{_SIGNS[label > 0]}{x},{y}" for x, y, label in one.clicks)
            names = frames.get(run.name, ())
            frame = names[one.frame] if one.frame < len(names) else str(one.frame)
            scores = Cell(one.jandf), percent(one.j), percent(one.f)
            rows.append([name_of(run.name), one.object_id, one.number, frame, clicks, *scores])
    words = (
        "sequence",
        "object",
        "interaction",
        "frame",
        f"clicks ({_SIGNS[1]} on, {_SIGNS[0]} off the object)",
    )
    headings = [*(Heading(word, is_number=False) for word in words), *(Heading(w) for w in ("J&F", "J", "F"))]
    more = (
        element("p", f"{total - len(rows)} more are in sequences/.", class_="note")
        if total > len(rows)
        else None
    )
    return folded(f"{number(total, 0)} interactions one by one", table(headings, rows), more)


def worst(view: View, overlays: Overlays) -> Html | None:
    """Strips of pictures of the worst objects."""
    summary = view.evaluation.summary
    strips = []
    for score, pictures in overlays.strips(summary.objects if summary else ()):
        place = view.anchors.get(score.sequence)
        name = element("a", name_of(score.sequence), href=f"#{place}") if place else name_of(score.sequence)
        title = element("h3", name, f", object {score.object_id}", _category(score.category))
        value = element("span", percent(figure(score)), class_="score")
        strips.append(
            element(
                "article",
                element("div", title, value, class_="line"),
                element("div", *pictures, class_="strip"),
            )
        )
    if not strips:
        return None
    keys = [
        element("li", element("i", class_=f"key {kind}"), " ", said)
        for kind, said in (
            ("found", "found: in prediction and truth"),
            ("missed", "missed: in the truth only"),
            ("extra", "too much: in the prediction only"),
            ("outline", "outline of the truth"),
        )
    ]
    return join([element("ul", *keys, class_="legend"), *strips])


def curves(view: View) -> Html | None:
    """Scores over time of each sequence, the worst first."""
    counts = {one.name: len(one.frame_names) for one in view.data.sequences if one.name in view.anchors}
    number_of_curves = sum(len(view.by_sequence[name]) for name in view.anchors)
    if not number_of_curves:
        return None
    most = min(_MOST_POINTS, view.options.points // number_of_curves)
    cards = [_card(line, view, counts[line.sequence], most) for line in view.worst_first[: len(view.anchors)]]
    shown, rest = cards[: view.options.plots_open], cards[view.options.plots_open :]
    left_out = len(view.worst_first) - len(cards)
    note = (
        f"{left_out} better sequences have no plot here; their curves are in frames.csv."
        if left_out
        else None
    )
    return join(
        [
            element("div", *shown, class_="plots"),
            folded(f"{len(rest)} more sequences", element("div", *rest, class_="plots")) if rest else None,
            element("p", note, class_="note") if note else None,
        ]
    )


def _card(line: Line, view: View, count: int, most: int) -> Html:
    key, scores = view.anchors[line.sequence], view.by_sequence[line.sequence]
    value = element("span", percent(view.scores.value(line)), class_="score")
    items = [
        Curve(f"{s.object_id}{_category(s.category)} {percent(figure(s))}", (), s.object_id - 1)
        for s in scores[:_MOST_ITEMS]
    ]
    more = (
        element("p", f"and {len(scores) - len(items)} more objects", class_="note")
        if len(scores) > len(items)
        else None
    )
    return element(
        "figure",
        element("figcaption", element("h3", name_of(line.sequence)), value, class_="line"),
        over_time(line.sequence, scores, count, key, most),
        legend(items, has_missing=bool(line.missing)),
        more,
        id=key,
        class_="card",
    )


def speed(view: View) -> Html | None:
    """Where the time went, and how much memory it took."""
    found = speed_table(view.evaluation.runs)
    peak = max((run.peak_mib for run in view.evaluation.runs), default=0.0)
    if found is None:
        return None
    note = (
        "Seconds are those of the processes that worked on sequences, added up; with several of them the run "
        "takes less. p50 and p95 are medians over sequences. A call is a frame, or an object where it begins."
    )
    on_gpu = max((run.peak_gpu_mib for run in view.evaluation.runs), default=0.0)
    said = f"Peak of resident memory of a process: {number(peak, 0)} MiB." if peak else ""
    also = f" Peak of GPU memory of a process: {number(on_gpu, 0)} MiB." if on_gpu else ""
    return join([found, element("p", said, also), element("p", note, class_="note")])


def _limited(headings: Sequence[Heading], rows: Sequence[Row], view: View, attention: int = 0) -> Html:
    most = view.options.rows
    more = f"{len(rows) - most} more rows are left out here; all of them are in scores.csv."
    shown = table(headings, rows[:most], attention=range(attention))
    return join([shown, element("p", more, class_="note") if len(rows) > most else None])


def _linked(line: Line, view: View) -> Html:
    """The name of a sequence, leading to its plot."""
    place = view.anchors.get(line.sequence)
    return element("a", name_of(line.sequence), href=f"#{place}") if place else name_of(line.sequence)


def _category(category: str) -> str:
    return f" ({category})" if category else ""


def _times(run: SequenceRun | None, view: View) -> Iterator[str]:
    if view.runs:
        yield number(run.frames / run.seconds if run and run.seconds else None)
        yield number(run.seconds if run else None)
