"""What all parts of a report look at: the evaluation, in the order in which it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite
from typing import Any

from sam2_video.evaluation.report.notices import Notices
from sam2_video.evaluation.report.overlays import PictureOptions
from sam2_video.evaluation.report.tables import ScoreTable, percent
from sam2_video.evaluation.results import Evaluation, SequenceRun
from sam2_video.evaluation.score_tables import Line, score_lines
from sam2_video.evaluation.scores import ObjectScore
from sam2_video.evaluation.sequences import DataSet


@dataclass(frozen=True)
class ReportOptions:
    """How much a page holds; the rest is in the tables beside it."""

    pictures: PictureOptions = field(default_factory=PictureOptions)
    rows: int = 1000  # of a table
    plots: int = 600  # sequences with a plot
    plots_open: int = 12  # of them shown without unfolding
    points: int = 120_000  # of all curves together
    errors: int = 50  # failed sequences named with their error


@dataclass(frozen=True)
class View:
    """An evaluation, and how much of it is shown."""

    evaluation: Evaluation
    data: DataSet
    options: ReportOptions

    @cached_property
    def notices(self) -> Notices:
        return Notices(self.evaluation, self.data)

    @cached_property
    def lines(self) -> list[Line]:
        """All rows of scores.csv; none where nothing was scored."""
        if self.evaluation.summary is None:
            return []
        return list(score_lines(self.evaluation.summary, self.data, self.evaluation.extras))

    @cached_property
    def scores(self) -> ScoreTable:
        overall = self.evaluation.summary.overall if self.evaluation.summary else None
        has_boundary = overall is not None and isfinite(overall.f.mean)
        return ScoreTable(self.evaluation.extras, has_boundary, bool(self.notices.missing))

    @cached_property
    def runs(self) -> Mapping[str, SequenceRun]:
        """How each sequence went, by name."""
        return {run.name: run for run in self.evaluation.runs}

    @cached_property
    def worst_first(self) -> list[Line]:
        """Sequences that were scored."""
        return self._sorted("sequence")

    @cached_property
    def worst_objects(self) -> list[Line]:
        """Objects that were scored."""
        return self._sorted("object")

    @cached_property
    def by_sequence(self) -> Mapping[str, list[ObjectScore]]:
        """Scores of the objects of each sequence."""
        out: dict[str, list[ObjectScore]] = {}
        for score in self.evaluation.summary.objects if self.evaluation.summary else ():
            out.setdefault(score.sequence, []).append(score)
        return {name: sorted(scores, key=lambda score: score.object_id) for name, scores in out.items()}

    @cached_property
    def anchors(self) -> Mapping[str, str]:
        """Where the plot of a sequence is, for those that have one."""
        return {line.sequence: f"s{k}" for k, line in enumerate(self.worst_first[: self.options.plots])}

    @property
    def headline(self) -> str:
        """The figure that papers report; nothing where nothing was scored."""
        summary = self.evaluation.summary
        if summary is None:
            return ""
        if not self.scores.has_boundary:
            return f"J {percent(summary.overall.j.mean)}"
        return f"J&F {percent(summary.overall.jandf)}" if summary.g is None else f"G {percent(summary.g)}"

    @property
    def name(self) -> str:
        """What was measured on what."""
        model = self.fact("model.name") or self.fact("model")
        data = f"{self.data.name} {self.data.split}".strip()
        return f"{model} on {data}" if model else data

    def fact(self, path: str) -> str:
        """Return a plain value of the manifest, "model.name"; nothing for what is not there."""
        found: Any = self.evaluation.manifest
        for name in path.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
        return "" if found is None or isinstance(found, (Mapping, list, tuple)) else str(found)

    def _sorted(self, level: str) -> list[Line]:
        found = [line for line in self.lines if line.level == level]
        return sorted(found, key=lambda line: (self.scores.value(line), line.sequence, line.object_id or 0))
