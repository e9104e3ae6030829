"""From predictions on disk to figures: scores, tables, report, and what the manifest says of it all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sam2_video.evaluation.extras import Extra
from sam2_video.evaluation.manifest import now, write_manifest
from sam2_video.evaluation.measures import Measured, measure
from sam2_video.evaluation.predictions import SequencePredictions
from sam2_video.evaluation.results import Evaluation, SequenceRun
from sam2_video.evaluation.rounds import comparable_rounds, write_rounds
from sam2_video.evaluation.score_tables import write_frames, write_scores
from sam2_video.evaluation.scores import MetricOptions, Summary, summarise
from sam2_video.evaluation.scoring import Scored, ScoreJob
from sam2_video.evaluation.sequences import DataSet, VosSequence
from sam2_video.evaluation.workers import Progress, Workers
from sam2_video.types import DataError

SHOWN = 5  # sequences that a message names
TABLES = ("scores.csv", "frames.csv", "rounds.csv")
REPORT = "report.html"


@dataclass(frozen=True)
class ScoreOptions:
    """How predictions are scored. `measures`: names of `measures.MEASURES`."""

    metrics: MetricOptions = field(default_factory=MetricOptions)
    measures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scorer:
    """Scores the predictions in a folder.

    `single`: see `SequencePredictions`. `flat`: the folder is that of the only sequence.
    """

    data: DataSet
    predictions: Path
    options: ScoreOptions
    single: bool = False
    flat: bool = False

    def folder(self, sequence: VosSequence) -> Path:
        """Where the predictions of a sequence are."""
        return self.predictions if self.flat else self.predictions / sequence.name

    def read(self, sequence: VosSequence) -> SequencePredictions:
        """The reader of one sequence."""
        return SequencePredictions(self.folder(sequence), sequence, self.single)

    def score(self, workers: Workers, progress: Progress) -> list[Scored]:
        """Score every sequence, in the order of the data set."""
        jobs = [
            ScoreJob(sequence, self.folder(sequence), self.options.metrics, self.single)
            for sequence in self.data.sequences
        ]
        found: dict[str, Scored] = {job.name: scored for job, scored in workers.run(jobs, progress)}
        return [found[sequence.name] for sequence in self.data.sequences]

    def summarise(self, scored: Sequence[Scored]) -> tuple[Summary, tuple[Extra, ...]]:
        """Average, and measure what else was asked for. Raises DataError where nothing was scored."""
        summary = summarise(score for one in scored for score in one.scores)
        usable = {one.name for one in scored if not one.error}
        sequences = [sequence for sequence in self.data.sequences if sequence.name in usable]
        incomplete = self.options.metrics.allow_incomplete
        return summary, measure(self.options.measures, Measured(sequences, self.read, summary, incomplete))


@dataclass(frozen=True)
class Finished:
    """What came of it. `not_scored` says why there are no figures; `errors` by sequence."""

    evaluation: Evaluation
    not_scored: str = ""
    errors: Mapping[str, str] = field(default_factory=dict)
    scored: tuple[Scored, ...] = ()


def finish(
    out: Path,
    scorer: Scorer,
    runs: Sequence[SequenceRun],
    manifest: Mapping[str, Any],
    workers: Workers,
    progress: Progress,
) -> Finished:
    """Score, and write tables, report and manifest into `out`.

    Without all predictions there are no figures, unless the options allow it: then what is missing counts as
    empty. A sequence that cannot be scored is named, and left out where figures are asked for all the same.
    """
    allowed = scorer.options.metrics.allow_incomplete
    errors = {run.name: run.error for run in runs if run.error}
    scored: list[Scored] = []
    summary: Summary | None = None
    extras: tuple[Extra, ...] = ()
    reason = scorer.data.withheld
    if errors and not allowed:
        reason = reason or f"there are no predictions of {_names(errors)}"
    elif not reason:
        scored = scorer.score(workers, progress)
        wrong = {one.name: one.error for one in scored if one.error}
        errors |= {name: error for name, error in wrong.items() if name not in errors}
        has_scores = any(one.scores for one in scored)
        if wrong and not (allowed and has_scores):
            reason = f"{_names(wrong)} cannot be scored: {next(iter(wrong.values()))}"
        elif not has_scores:
            reason = "no frame counts: the truth is not there, or sequences were cut too short"
        else:
            summary, extras = scorer.summarise(scored)
    told = _told(manifest, scorer, runs, summary, scored, errors, reason)
    failures = tuple(_with_error(run, errors) for run in runs)
    evaluation = Evaluation(told, failures, summary, extras)
    _write(out, evaluation, scorer)
    return Finished(evaluation, reason, errors, tuple(scored))


def _write(out: Path, evaluation: Evaluation, scorer: Scorer) -> None:
    for name in TABLES:  # of an earlier run, that these figures are not
        with suppress(OSError):
            (out / name).unlink()
    if evaluation.summary is not None:
        write_scores(out / "scores.csv", evaluation.summary, scorer.data, evaluation.extras)
        write_frames(out / "frames.csv", evaluation.summary, scorer.data)
        if means := comparable_rounds(evaluation.runs):
            write_rounds(out / "rounds.csv", means)
    from sam2_video.evaluation.report.page import write_report

    write_report(out / REPORT, evaluation, scorer.data, scorer.read)
    write_manifest(out, evaluation.manifest)


def _told(
    manifest: Mapping[str, Any],
    scorer: Scorer,
    runs: Sequence[SequenceRun],
    summary: Summary | None,
    scored: Sequence[Scored],
    errors: Mapping[str, str],
    reason: str,
) -> dict[str, Any]:
    """The manifest with what is known at the end."""
    metrics = scorer.options.metrics
    counted = {one.name: {frame for score in one.scores for frame in score.frames} for one in scored}
    frames = sum(len(sequence.frame_names) for sequence in scorer.data.sequences)
    scored_frames = sum(map(len, counted.values()))
    sizes: dict[str, int] = {}
    for sequence in scorer.data.sequences:
        with suppress(DataError):
            height, width = sequence.size
            sizes[f"{width}x{height}"] = sizes.get(f"{width}x{height}", 0) + 1
    return {
        **manifest,
        "status": "incomplete" if errors else "predicted" if summary is None else "complete",
        "not_scored": reason,
        "ended": now(),
        "resolution": {**manifest.get("resolution", {}), "sequences_by_size": sizes},
        "metrics": {
            "boundary": metrics.boundary,
            "bound": metrics.bound,
            "allow_incomplete": metrics.allow_incomplete,
            "measures": list(scorer.options.measures),
        },
        "frames": {
            "in_data_set": frames,
            "predicted": sum(run.frames for run in runs if not run.error),
            "scored": scored_frames,
            "skipped_by_rule": frames - scored_frames if summary is not None else None,
            "masks_scored": sum(len(score.frames) for one in scored for score in one.scores),
            "masks_missing": None if summary is None else summary.missing,
        },
        "failed": dict(errors),
    }


def _with_error(run: SequenceRun, errors: Mapping[str, str]) -> SequenceRun:
    return replace(run, error=errors.get(run.name, ""))


def _names(names: Mapping[str, str]) -> str:
    shown = ", ".join(list(names)[:SHOWN])
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown
