"""What a run writes: each kind of result that was asked for, in the order it needs, also after a crash."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_video.types import FrameResult, SinkError

if TYPE_CHECKING:
    from sam2_video.cli_journal import Journal
    from sam2_video.session import VideoSession
    from sam2_video.sinks import ResultLog, Sink
    from sam2_video.sinks.registry import SinkKind, SinkOrder
    from sam2_video.sources import VideoSource


@dataclass(frozen=True)
class RunSummary:
    """What a run did, with what earlier parts of it did before they were broken off."""

    frames: int
    seconds: float
    stopped_by: KeyboardInterrupt | Exception | None = None  # what ended it before the last frame
    review: str = ""  # which frames a person should look at, in a line

    @property
    def status(self) -> str:
        if self.stopped_by is None:
            return "complete"
        if isinstance(self.stopped_by, KeyboardInterrupt):
            return "interrupted"
        return f"failed: {self.stopped_by}"

    @property
    def advice(self) -> str:
        """What can be done after an interruption."""
        return "the same command goes on with it"

    def record(self) -> dict[str, Any]:
        """What run.json says of the end of the run."""
        return {"status": self.status, "frames": self.frames, "seconds": round(self.seconds, 3)}

    def __str__(self) -> str:
        rate = self.frames / self.seconds if self.seconds else 0.0
        return f"{self.frames} frames in {self.seconds:.1f} s ({rate:.1f} frames/s)"


def parse_saves(text: str) -> tuple[str, ...]:
    """Parse `--save`. Raises SinkError for a name that is not one of `SINKS`."""
    from sam2_video.sinks.registry import SINKS

    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    wrong = [name for name in names if name not in SINKS]
    if wrong or not names:
        raise SinkError(f"--save {text!r}: expected some of {', '.join(SINKS)}, separated by commas")
    return names


@dataclass(frozen=True)
class WriteJob:
    """What is to be written; `ascending`: results come in the order of frames; `total` of them, if known."""

    save: tuple[str, ...]
    order: SinkOrder
    ascending: bool = True
    total: int | None = None


@dataclass
class Writers:
    """The open sinks of a run: those with a file for each frame, and those that need frames in order.

    They work in a thread of their own, see `WriteBehind`.
    """

    source: VideoSource
    order: SinkOrder
    stack: ExitStack  # closes every sink, however the run ends: what it holds is whole
    kinds: list[SinkKind] = field(default_factory=list)  # of `single`
    single: list[Sink] = field(default_factory=list)
    ordered: list[Sink] = field(default_factory=list)
    skipped: int = 0  # results that no sink was to have

    def __post_init__(self) -> None:
        from sam2_video.sinks.behind import WriteBehind

        self.behind = WriteBehind()

    def open(self, save: Iterable[str]) -> None:
        """Open the sinks of these names. Raises SinkError."""
        from sam2_video.sinks.registry import SINKS

        for kind in (SINKS[name] for name in save):
            sink = self.stack.enter_context(closing(kind.make(self.order)))
            if kind.any_order:
                self.kinds.append(kind)
                self.single.append(sink)
            else:
                self.ordered.append(sink)
        self.stack.callback(self.behind.close)  # before they are closed

    @property
    def written(self) -> int:
        """How many results were written."""
        return self.behind.written + self.skipped

    @property
    def review(self) -> str:
        """Which frames a person should look at, in a line; nothing where nobody asked."""
        from sam2_video.sinks.review import ReviewSink

        return "\n".join(sink.summary() for sink in self.ordered if isinstance(sink, ReviewSink))

    def write(self, sinks: Sequence[Sink], result: FrameResult) -> None:
        """Give one result to some sinks. Raises SinkError, also of an earlier one."""
        if not sinks:
            self.skipped += 1
            return
        rgb = self.source.read(result.frame)  # in a first pass read a moment ago: no second decoding
        self.behind.write(sinks, rgb, result, self.source.frame_name(result.frame))

    def lacking(self, frame: int) -> list[Sink]:
        """The sinks of single frames whose files of this frame are not all there."""
        name = self.source.frame_name(frame)
        pairs = zip(self.kinds, self.single, strict=True)
        return [sink for kind, sink in pairs if not _has_written(kind, self.order.out, name)]


def write_results(
    session: VideoSession,
    results: Iterable[FrameResult],
    journal: Journal,
    job: WriteJob,
) -> RunSummary:
    """Log and write every result as it comes, with a progress bar.

    What an earlier part of the run found comes from the log first. A pass that goes down leaves videos and
    tables to its end. Whatever ends a run early is returned, not raised; every sink but the one that failed
    is closed then, with the frames that it has.
    """
    began, frames, review = time.perf_counter(), 0, ""
    stopped_by: KeyboardInterrupt | Exception | None = None
    try:
        with ExitStack() as stack:
            writers = Writers(session.source, job.order, stack)
            writers.open(job.save)
            at_once = writers.single if not job.ascending else [*writers.single, *writers.ordered]
            frames = replay(journal.results, writers, job.ascending)
            writers.behind.settle()
            before = writers.written
            session.while_hidden = partial(journal.save_sometimes, session)
            bar = stack.enter_context(progress(results, job.total, frames))
            try:
                for result in bar:
                    journal.results.append(result)
                    writers.write(at_once, result)
                    journal.save_sometimes(session)
                journal.save(session)
            except SinkError:
                raise
            except (KeyboardInterrupt, Exception) as reason:
                stopped_by = reason  # what was found until then is shown all the same
            finally:
                writers.behind.wait()
                frames += writers.written - before
            writers.behind.settle()
            if not job.ascending:
                for result in journal.results.in_order():
                    writers.write(writers.ordered, result)
                writers.behind.settle()
            review = writers.review
    except (KeyboardInterrupt, Exception) as reason:
        stopped_by = reason
    return RunSummary(frames, journal.seconds + time.perf_counter() - began, stopped_by, review)


def write_end(path: Path, info: dict[str, Any], summary: RunSummary) -> None:
    """Write into run.json how a run ended."""
    from sam2_video.sinks import write_run_json

    try:
        write_run_json(path, info | summary.record())
    except SinkError:  # on a full disk there may be no room to say so; what ended the run says it
        if summary.stopped_by is None:
            raise


def replay(log: ResultLog, writers: Writers, ascending: bool) -> int:
    """Write what the log holds, files of single frames only where they are missing; return its length."""
    for k, frame in enumerate(log.frames):
        sinks = writers.lacking(frame) + (writers.ordered if ascending else [])
        if sinks:
            writers.write(sinks, log.read(k))
    return len(log)


def _has_written(kind: SinkKind, out: Path, frame_name: str) -> bool:
    """Are the files of a frame there? Said only of kinds with files that bear the name of their frame.

    An empty one does not count: a power cut may leave a name without its contents.
    """
    if not all(pattern.count("*") == 1 for pattern in kind.files):
        return False
    files = [out / pattern.replace("*", frame_name) for pattern in kind.files]
    return all(file.is_file() and file.stat().st_size > 0 for file in files)


def progress(results: Iterable[FrameResult], total: int | None, done: int = 0) -> Any:
    """A progress bar around results, to be used as a context manager; there is none without a terminal."""
    from tqdm import tqdm

    return tqdm(results, total=total, initial=done, unit=" frames", dynamic_ncols=True, disable=None)
