"""The report of an evaluation as one file: a page that needs no network, no script and no other file."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from sam2_video.evaluation.report import parts
from sam2_video.evaluation.report.html import Html, element
from sam2_video.evaluation.report.manifest import manifest_cards
from sam2_video.evaluation.report.overlays import Overlays
from sam2_video.evaluation.report.plots import grid
from sam2_video.evaluation.report.top import top
from sam2_video.evaluation.report.view import ReportOptions, View
from sam2_video.evaluation.results import Evaluation
from sam2_video.evaluation.scores import PredictionReader
from sam2_video.evaluation.sequences import DataSet, VosSequence
from sam2_video.sinks.base import make_folder, write_whole

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # nothing is fetched, nothing runs


def write_report(
    path: Path,
    evaluation: Evaluation,
    data: DataSet,
    read: Callable[[VosSequence], PredictionReader],
    options: ReportOptions | None = None,
) -> Path:
    """Write report.html, whole or not at all. `read` opens the predictions of a sequence.

    Frames, truth and predictions are read for the pictures of the worst objects only; where that fails the
    page says so. Raises SinkError for what cannot be written, DataError for scores of another data set.
    """
    options = options or ReportOptions()
    content = _page(View(evaluation, data, options), Overlays(data, read, options.pictures)).encode("utf-8")
    make_folder(path.parent)
    write_whole(path, content)
    return path


def _page(view: View, overlays: Overlays) -> str:
    sections = {
        "Scores": parts.group_table(view),
        "Interactions": parts.interactions(view),
        "Worst objects": parts.worst(view, overlays),
        f"{'J&F' if view.scores.has_boundary else 'J'} over time": parts.curves(view),
        "Sequences": parts.sequence_table(view),
        "Objects": parts.object_table(view),
        "Speed and memory": parts.speed(view),
        "What was run": manifest_cards(view.evaluation),
    }
    body = [
        grid(),
        *view.notices.html(view.options.errors),
        top(view),
        *(element("section", element("h2", title), part) for title, part in sections.items() if part),
    ]
    page = element("html", _head(view), element("body", element("main", *body)), lang="en")
    return f"<!doctype html>\n{page}\n"


def _head(view: View) -> Html:
    style = files("sam2_video.evaluation.report").joinpath("style.css").read_text(encoding="utf-8")
    title = (view.notices.short(), view.headline, view.name)
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", " \N{MIDDLE DOT} ".join(part for part in title if part)),
        element("style", Html(style)),
    )
