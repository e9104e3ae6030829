"""The work behind `sam2-video track` for what happens now: a camera, a network stream or a pipe."""

from __future__ import annotations

import math
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field, fields
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_video.cli_interrupt import Interrupts, gentle_interrupts
from sam2_video.cli_journal import Journal
from sam2_video.cli_prompts import PlacedPrompt, check_bounds
from sam2_video.cli_run import (
    RECORD,
    ModelOptions,
    check_folder,
    check_saves,
    clear_results,
    load,
    locked,
    model_record,
    prompt_files,
)
from sam2_video.cli_track import TrackOptions
from sam2_video.cli_window import Desk
from sam2_video.cli_write import RunSummary, Writers, progress, write_end
from sam2_video.types import FrameResult, PromptError, SinkError
from sam2_video.window import OpenCvWindow, Window

if TYPE_CHECKING:
    from sam2_video.sinks.registry import SinkOrder
    from sam2_video.sources import LiveSource
    from sam2_video.sources.live import Drop
    from sam2_video.stream import VideoStream

Say = Callable[[str], None]


@dataclass(frozen=True)
class LiveRun:
    """How a live source is read and shown.

    `seconds`: the run ends after so long. `size` (H, W), `pixels`, `drop`, `patience`: see `open_live`.
    """

    show: bool = False
    seconds: float | None = None
    size: tuple[int, int] | None = None
    pixels: str = "rgb24"
    drop: Drop | None = None
    patience: float = 10.0

    def refuse_file(self, source: str) -> None:
        """Raise PromptError if something was asked for that makes no sense for a file."""
        names = [option.name for option in fields(self) if getattr(self, option.name) != option.default]
        if names:
            options = " and ".join(f"--{name}" for name in names)
            raise PromptError(
                f"{options}: only for cameras, network streams and pipes, and {source} is none of these"
            )


class Percentiles:
    """Percentiles of durations in constant memory, each right to within 1 %.

    Durations are counted in bins, each 2 % wider than the one before, from a microsecond on.
    """

    LEAST, RATIO = 1e-6, 1.02

    def __init__(self) -> None:
        self._bins: defaultdict[int, int] = defaultdict(int)
        self._count = 0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self._bins[round(math.log(max(seconds, self.LEAST) / self.LEAST, self.RATIO))] += 1
        self._count += 1

    def milliseconds(self, percent: float) -> float | None:
        """Return what so many per cent of the durations did not exceed; None of none."""
        rank = math.ceil(self._count * percent / 100)
        for place in sorted(self._bins):
            rank -= self._bins[place]
            if rank <= 0:
                return float(f"{1000 * self.LEAST * self.RATIO**place:.4g}")
        return None

    def record(self) -> dict[str, float | None]:
        """The median and the 95th percentile, in milliseconds."""
        return {"p50": self.milliseconds(50), "p95": self.milliseconds(95)}


@dataclass(frozen=True)
class LiveSummary(RunSummary):
    """What a run on a live source did.

    `latency`: from decoding a frame to its result, `step`: of that, the tracking. Both in milliseconds.
    """

    latency: dict[str, float | None] = field(default_factory=dict)
    step: dict[str, float | None] = field(default_factory=dict)
    decoded: int = 0
    dropped: int = 0
    reconnects: int = 0

    @property
    def advice(self) -> str:
        """What can be done after an interruption: frames that have gone by do not come again."""
        return "the files are whole; a live source cannot be gone on with"

    def record(self) -> dict[str, Any]:
        """What run.json says of the end of the run."""
        return {
            **super().record(),
            "latency_ms": self.latency,
            "step_ms": self.step,
            "decoded": self.decoded,
            "dropped": self.dropped,
            "reconnects": self.reconnects,
        }

    def __str__(self) -> str:
        def shown(figures: dict[str, float | None]) -> str:
            return ", ".join(f"{name} {value} ms" for name, value in figures.items() if value is not None)

        times = f"; decoded to result {shown(self.latency)}; step {shown(self.step)}" if self.frames else ""
        return f"{super().__str__()}{times}; {self.dropped} of {self.decoded} decoded frames dropped"


def track_live(
    source: str | int,
    prompts: Sequence[PlacedPrompt],
    out: Path,
    model: ModelOptions,
    options: TrackOptions,
    live: LiveRun,
    say: Say = lambda _: None,
    make_window: Callable[[str], Window] = OpenCvWindow,
    inputs: Sequence[Path] = (),
) -> LiveSummary:
    """Track objects in a live source and write results to `out` as frames finish.

    Frames count from the start of the run, as they are taken. Results begin with the first frame that has an
    object. Ctrl-C, `options.stop`, `live.seconds`, the end of the source and "q" in the window end the run;
    files are whole then, and run.json says how it went. `inputs`: what prompts were read from. Raises as
    `cli_track.track` does, and SourceError for a source that gives no frames.
    """
    from sam2_video.sinks import write_run_json
    from sam2_video.sources import open_live
    from sam2_video.video_predictor import VideoPredictor

    _check(prompts, options, live)
    with locked(out) as hidden, closing(Journal(hidden)) as journal, ExitStack() as stack:
        if journal.is_unfinished and not options.overwrite:
            raise SinkError(f"{out} holds an unfinished run; choose another --out, or --overwrite it")
        check_folder(out, options.overwrite, prompt_files(prompts, inputs))
        window = stack.enter_context(closing(make_window("sam2-video"))) if live.show else None
        # The model first: frames that come while it is loaded would be late or dropped.
        stream = stack.enter_context(VideoPredictor(load(model)).stream())
        clip = stack.enter_context(
            open_live(source, size=live.size, pixels=live.pixels, drop=live.drop, patience=live.patience)
        )
        check_bounds(prompts, options.stop, clip.size)
        shown = clip.name if "://" in str(source) else str(source)  # an address without its password
        info = _record(shown, prompts, model, options, live)
        journal.finish()  # of a run that this one takes the place of
        clear_results(out)
        write_run_json(out / RECORD, info | {"status": "running"})
        say(f"{clip.name}: {clip.size[1]}x{clip.size[0]}; Ctrl-C ends the run")
        run = _Run(clip, stream, prompts, options, live, None if window is None else Desk(stream, window))
        summary = run.summary(run.write_to(out))
        if run.desk is not None:
            info["prompts"] += [placed.as_json() for placed in run.desk.said]
        write_end(out / RECORD, info, summary)
    if isinstance(summary.stopped_by, Exception):
        raise summary.stopped_by
    late = [placed.frame for placed in prompts if placed.frame >= run.frames]
    if late:
        say(f"not all prompts were used: frame {min(late)} and later ones did not come")
    return summary


def parse_size(text: str) -> tuple[int, int]:
    """Parse `--size WIDTHxHEIGHT` into (H, W). Raises PromptError."""
    match = re.fullmatch(r"([1-9]\d{0,4})[xX]([1-9]\d{0,4})", text)
    if match is None:
        raise PromptError(f"--size {text!r}: expected WIDTHxHEIGHT in pixels, such as 1280x720")
    return int(match[2]), int(match[1])


def _check(prompts: Sequence[PlacedPrompt], options: TrackOptions, live: LiveRun) -> None:
    """Raise PromptError for what a live source cannot do; SinkError for objects that do not fit a file."""
    if not prompts and not live.show:
        raise PromptError(
            "no prompt: say what to track with --click 0:1:X,Y (frame 0, object 1), --box, --mask or "
            "--prompts, or click it with --show"
        )
    if options.direction != "forward" or options.start is not None or options.stride != 1:
        raise PromptError(
            "a live source is tracked forward, every frame of it, from its start: leave out --direction, "
            "--start and --stride"
        )
    if options.stop is not None and options.stop < 1:
        raise PromptError(f"--stop {options.stop} is before the first frame")
    if live.seconds is not None and live.seconds <= 0:
        raise PromptError(f"--seconds {live.seconds:g}: expected more than 0")
    check_saves(options.save, prompts)


def _record(
    name: str, prompts: Sequence[PlacedPrompt], model: ModelOptions, options: TrackOptions, live: LiveRun
) -> dict[str, Any]:
    return {
        "command": "track",
        "model": model_record(model),
        "source": name,
        "prompts": [placed.as_json() for placed in prompts],
        "options": {**asdict(options), "save": list(options.save), **asdict(live)},
    }


class _Run:
    """One run: frames from the source through the stream to the window and the sinks."""

    def __init__(
        self,
        clip: LiveSource,
        stream: VideoStream,
        prompts: Sequence[PlacedPrompt],
        options: TrackOptions,
        live: LiveRun,
        desk: Desk | None,
    ) -> None:
        self.clip, self.stream, self.options, self.live, self.desk = clip, stream, options, live, desk
        self.prompts: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
        for placed in prompts:
            self.prompts[placed.frame].append({"object_id": placed.object_id, **placed.arguments()})
        self.largest_id = max((placed.object_id for placed in prompts), default=1)
        self.writers: Writers | None = None
        self.frames = 0
        self.seconds = 0.0
        self.review = ""
        self.latency, self.step = Percentiles(), Percentiles()

    def summary(self, stopped_by: KeyboardInterrupt | Exception | None) -> LiveSummary:
        clip = self.clip
        return LiveSummary(
            self.frames,
            self.seconds,
            stopped_by,
            self.review,
            self.latency.record(),
            self.step.record(),
            clip.decoded,
            clip.dropped,
            clip.reconnects,
        )

    def write_to(self, out: Path) -> KeyboardInterrupt | Exception | None:
        """Track until something ends it, which is returned; all sinks that work are whole then."""
        began = time.perf_counter()
        try:
            with gentle_interrupts() as interrupts, ExitStack() as stack:
                for result in stack.enter_context(progress(self._results(interrupts), None)):
                    if self.writers is None and result.object_ids:
                        self.writers = Writers(self.clip, self._order(out, result.frame), stack)
                        self.writers.open(self.options.save)
                    if self.writers is not None:
                        self.writers.write([*self.writers.single, *self.writers.ordered], result)
                if self.writers is not None:
                    self.writers.behind.settle()
        except (KeyboardInterrupt, Exception) as reason:
            return reason if self.writers is None else self.writers.behind.error or reason
        finally:
            self.seconds = time.perf_counter() - began
            self.review = "" if self.writers is None else self.writers.review
        return None

    def _results(self, interrupts: Interrupts) -> Iterator[FrameResult]:
        from sam2_video.sources import EndOfClip

        ends = math.inf if self.live.seconds is None else time.monotonic() + self.live.seconds
        numbers: Iterable[int] = count() if self.options.stop is None else range(self.options.stop)
        for frame in numbers:
            try:
                with interrupts.welcome():
                    rgb = self.clip.read(frame)
            except EndOfClip:
                return
            if time.monotonic() >= ends:
                return
            yield self._track(frame, rgb)
            if self.desk is not None and self.desk.is_over:
                return

    def _track(self, frame: int, rgb: Any) -> FrameResult:
        began = time.monotonic()
        result = self.stream.step(rgb, self.prompts.pop(frame, ()))
        now = time.monotonic()
        self.step.add(now - began)
        self.latency.add(now - self.clip.arrived)
        self.frames += 1
        return result if self.desk is None else self.desk.attend(rgb)

    def _order(self, out: Path, start: int) -> SinkOrder:
        from sam2_video.sinks.registry import FALLBACK_FPS, SinkOrder

        return SinkOrder(
            out=out,
            clip=re.sub(r"[^\w.-]+", "-", self.clip.name).strip("-"),
            fps=self.clip.fps or FALLBACK_FPS,
            bits=8 if self.largest_id < 256 else 16,
            start=start,
        )
