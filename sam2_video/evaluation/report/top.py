"""The top of a report: what was measured, and the figures that are looked for first."""

from __future__ import annotations

from collections.abc import Iterator

from sam2_video.evaluation.report.html import Child, Html, element
from sam2_video.evaluation.report.plots import figure, histogram
from sam2_video.evaluation.report.tables import number, percent
from sam2_video.evaluation.report.view import View

_SHORT_HASH = 12
_FEW = 5  # objects whose distribution says nothing


def top(view: View) -> Html:
    """Title, facts, figures."""
    facts = (element("div", element("dt", key), element("dd", value)) for key, value in _facts(view))
    return element(
        "header",
        element("h1", view.name),
        element("div", element("div", *_tiles(view), class_="tiles"), _shape(view), class_="figures"),
        element("dl", *facts, class_="facts"),
    )


def _facts(view: View) -> Iterator[tuple[str, Child]]:
    """What tells this run from others; all that is known of it is at the end of the page."""
    fact = view.fact
    yield from _known(
        "protocol", fact("protocol.name") or fact("protocol"), _named("seed", fact("protocol.seed"))
    )
    yield from _known("weights", _short(fact("model.sha256")), fact("model.dtype"), fact("model.device"))
    yield from _known("resolution", fact("resolution.model"), fact("resolution"))
    dirty = "with changes" if fact("code.dirty") == "True" else ""
    yield from _known("code", fact("code.version"), _short(fact("code.commit")), dirty)
    yield from _known("machine", fact("machine.cpu"), _named("threads", fact("model.threads")))
    yield from _known("began", fact("began"))
    yield "data", view.data.root
    if view.lines:
        there = sum(len(one.frame_names) for one in view.data.sequences if one.name in view.by_sequence)
        count = view.lines[0].frames
        yield "frames", f"{number(count, 0)} scored, {number(there - count, 0)} not"
    yield from _known("rule", view.data.rule)


def _known(key: str, *parts: str) -> Iterator[tuple[str, Child]]:
    found = [part for part in parts if part]
    if found:
        yield key, ", ".join(found)


def _named(word: str, value: str) -> str:
    return f"{word} {value}" if value else ""


def _short(digest: str) -> str:
    return digest[:_SHORT_HASH]


def _tiles(view: View) -> Iterator[Html]:
    summary, runs = view.evaluation.summary, view.evaluation.runs
    if summary is not None:
        overall, both = summary.overall, view.scores.has_boundary
        of_j, of_f = (f"recall {percent(s.recall)}, decay {percent(s.decay)}" for s in (overall.j, overall.f))
        if both and summary.g is not None:
            yield _tile("G", percent(summary.g), "mean of seen and unseen", is_first=True)
        if both:
            yield _tile("J&F", percent(overall.jandf), _scope(view), is_first=summary.g is None)
        yield _tile(
            "J", percent(overall.j.mean), of_j if both else f"{_scope(view)}, {of_j}", is_first=not both
        )
        if both:
            yield _tile("F", percent(overall.f.mean), of_f)
    seconds, frames = sum(run.seconds for run in runs), sum(run.frames for run in runs)
    if seconds:
        yield _tile(
            "frames/s", number(frames / seconds), f"{number(frames, 0)} frames in {duration(seconds)}"
        )
    on_gpu = max((run.peak_gpu_mib for run in runs), default=0.0)
    peak = on_gpu or max((run.peak_mib for run in runs), default=0.0)
    if peak and (summary is None or summary.g is None):  # six figures are too many for a first look
        yield _tile(
            "memory", f"{number(peak / 1024, 2)} GiB", f"{'GPU, ' if on_gpu else ''}highest of any process"
        )


def _tile(what: str, value: str, remark: str, *, is_first: bool = False) -> Html:
    return element(
        "div",
        element("span", what, class_="what"),
        element("span", value, class_="value"),
        element("span", remark, class_="remark"),
        class_="tile first" if is_first else "tile",
    )


def _scope(view: View) -> str:
    assert view.evaluation.summary is not None
    objects = view.evaluation.summary.overall.objects
    scored, there = len(view.by_sequence), len(view.data.sequences)
    sequences = f"{scored} sequences" if scored == there else f"only {scored} of {there} sequences"
    return f"{objects} objects, {sequences}"


def _shape(view: View) -> Html | None:
    """How scores are spread: a mean of 50 may be half of all objects lost."""
    summary = view.evaluation.summary
    if summary is None or len(summary.objects) < _FEW:
        return None
    what = f"objects by {'J&F' if view.scores.has_boundary else 'J'}"
    plot = histogram([figure(score) for score in summary.objects], what)
    return element("figure", plot, element("figcaption", what), class_="shape")


def duration(seconds: float) -> str:
    """Return a time in words."""
    if seconds < 100:
        return f"{number(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
