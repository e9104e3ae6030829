"""The work behind `sam2-video evaluate`: what was typed, turned into a run, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_video.cli_evaluate_asked import (
    IMAGE,
    DataOptions,
    EvaluateOptions,
    known_protocols,
    refuse,
    refuse_for_pictures,
    refuse_for_scores,
    refuse_out,
)
from sam2_video.cli_workers import ended_by_sigterm, local_workers, progress_bar, workers_for

if TYPE_CHECKING:
    from sam2_video.evaluation.locks import Shard
    from sam2_video.evaluation.plan import ModelSetup, Plan
    from sam2_video.evaluation.sequences import DataSet
    from sam2_video.evaluation.workers import Progress, Workers

OK, INCOMPLETE = 0, 1  # exit codes; those of other errors are the command's own
SHOWN = 8  # names in a message
Say = Callable[[str], None]


def check(data: DataOptions, deep: bool, show: Say) -> int:
    """Say what is wrong with a data set; 1 where that are errors."""
    from sam2_video.evaluation.check import check_dataset

    findings = check_dataset(
        data.root,
        data.name,
        data.split,
        deep=deep,
        resolution=data.resolution,
        every_frame=data.every_frame,
        sequences=data.sequences,
    )
    for finding in findings:
        show(str(finding))
    counts = {word: sum(one.severity == word for one in findings) for word in ("error", "warning", "note")}
    show(", ".join(f"{count} {word}{'s' if count != 1 else ''}" for word, count in counts.items()))
    return INCOMPLETE if counts["error"] else OK


def evaluate(data: DataOptions, setup: ModelSetup, options: EvaluateOptions, show: Say, say: Say) -> int:
    """Track and score; returns the exit code. `show` is for results, `say` for what goes on."""
    from sam2_video.evaluation.locks import Shard
    from sam2_video.evaluation.overview import check_overview, write_overview
    from sam2_video.evaluation.submission import served_kind

    shard = None if options.shard is None else Shard.parse(options.shard)
    refuse_out(data.root, options.out)
    refuse(options, known_protocols(), data)
    if IMAGE in options.protocols:
        refuse_for_pictures(data, options)
    if len(options.protocols) > 1:
        check_overview(options.out, options.protocols)
    codes: list[int] = []
    rows: list[dict[str, Any]] = []
    with (
        workers_for(options.workers, options.ray, setup) as workers,
        progress_bar(say, "frames") as progress,
        ended_by_sigterm(),
    ):
        if options.ray is not None:
            setup = replace(setup, device=workers.device)  # what the cluster has, not what is here
        for name in options.protocols:
            out = options.out / name if len(options.protocols) > 1 else options.out
            if name == IMAGE:
                codes.append(_images(data, setup, options, out, show, rows))
            else:
                opened = data.open()
                if options.submission is not None:
                    served_kind(opened)  # before hours are spent
                run = _Run(opened, setup, options, name, out, shard)
                codes.append(run.go(workers, progress, show, say, rows))
            if len(options.protocols) > 1:
                write_overview(options.out, rows)
    return max(codes)


def score_only(data: DataOptions, options: EvaluateOptions, show: Say, say: Say) -> int:
    """Score the masks in a folder; returns the exit code."""
    from sam2_video.evaluation.foreign import find_predictions
    from sam2_video.evaluation.foreign import score_only as run
    from sam2_video.evaluation.overview import summary_lines
    from sam2_video.evaluation.submission import served_kind

    assert options.score_only is not None
    refuse_out(data.root, options.out)
    refuse_for_scores(data, options)
    opened = data.open()
    if options.submission is not None:
        served_kind(opened)
    with (
        local_workers(options.workers or 1) as workers,
        progress_bar(say, "frames") as progress,
        ended_by_sigterm(),
    ):
        finished = run(
            opened,
            options.score_only,
            options.out,
            max_frames=options.max_frames,
            options=options.measures.options(opened),
            workers=workers,
            progress=progress,
        )
    if options.submission is not None:
        found = find_predictions(options.score_only, opened)
        _submit(opened, found.folder, options.submission, show)
    for name, error in finished.errors.items():
        say(f"{name}: {error}")
    for line in summary_lines(finished.evaluation, finished.not_scored):
        show(line)
    show(f"results are in {options.out}")
    withheld = bool(opened.withheld)
    return OK if withheld or not (finished.errors or finished.not_scored) else INCOMPLETE


@dataclass(frozen=True)
class _Run:
    """One protocol over a data set."""

    data: DataSet
    setup: ModelSetup
    options: EvaluateOptions
    protocol: str
    out: Path
    shard: Shard | None

    @property
    def plan(self) -> Plan:
        from sam2_video.evaluation.plan import Plan

        options = self.options
        return Plan(self.setup, self.protocol, options.seed, options.max_frames, self.data.overlapping)

    def go(
        self, workers: Workers, progress: Progress, show: Say, say: Say, rows: list[dict[str, Any]]
    ) -> int:
        """Run it, and say how it went; a row for the overview is added. Returns the exit code."""
        from sam2_video.evaluation.overview import overview_row, summary_lines
        from sam2_video.evaluation.runner import evaluate

        outcome = evaluate(
            self.data,
            self.plan,
            self.out,
            shard=self.shard,
            options=self.options.measures.options(self.data),
            workers=workers,
            progress=progress,
        )
        if outcome.failed:
            count = f"{len(outcome.failed)} of {len(self.data.sequences)} sequences failed"
            say(f"{count}: {_some(list(outcome.failed))}; the same command tries them again")
        if outcome.evaluation is None:
            show(f"shard {self.shard} is done; not scored: {_some(outcome.waiting)} are not there yet")
            return INCOMPLETE if outcome.failed else OK
        rows.append(overview_row(self.protocol, outcome.evaluation))
        if len(self.options.protocols) > 1:
            show(f"[{self.protocol}]")
        for text in summary_lines(outcome.evaluation, outcome.not_scored):
            show(text)
        if self.options.submission is not None and not outcome.failed:
            _submit(self.data, self.out / "predictions", self.options.submission, show)
        show(f"results are in {self.out}")
        return OK if not outcome.failed and (not outcome.not_scored or self.data.withheld) else INCOMPLETE


def _images(
    data: DataOptions,
    setup: ModelSetup,
    options: EvaluateOptions,
    out: Path,
    show: Say,
    rows: list[dict[str, Any]],
) -> int:
    from sam2_video.evaluation.image_run import run_images

    with _picture_bar() as advance:
        report = run_images(data.root, setup, options.seed, out, advance, options.held_out)
    show(report.table())
    means = {f"{'m' if name.startswith('iou') else ''}{name}": 100 * v for name, v in report.means().items()}
    rows.append({"protocol": IMAGE, **means, "objects": report.objects, "failed": len(report.failed)})
    show(f"results are in {out}")
    return INCOMPLETE if report.failed else OK


def _submit(data: DataSet, predictions: Path, path: Path, show: Say) -> None:
    from sam2_video.evaluation.submission import write_submission

    show(f"the zip for the server is {write_submission(data, predictions, path)}")


@contextmanager
def _picture_bar() -> Iterator[Callable[[int, int], None]]:
    from tqdm import tqdm

    with tqdm(unit=" pictures", dynamic_ncols=True, disable=None) as bar:

        def advance(done: int, count: int) -> None:
            bar.total = count
            bar.update(done - bar.n)

        yield advance


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown
