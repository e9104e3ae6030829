"""The work behind `sam2-video track`: a clip, a model and prompts in, a folder of results out."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_video.ahead import Lookahead
from sam2_video.cli_footprint import foreseen, tell_memory
from sam2_video.cli_journal import Journal
from sam2_video.cli_prompts import PlacedPrompt, check_bounds
from sam2_video.cli_run import (
    RECORD,
    ModelOptions,
    check_folder,
    check_saves,
    clear_results,
    device_of,
    input_files,
    load,
    locked,
    model_record,
)
from sam2_video.cli_threads import arranged
from sam2_video.cli_write import RunSummary, WriteJob, write_end, write_results
from sam2_video.types import CheckpointError, FrameResult, SourceError

if TYPE_CHECKING:
    from sam2_video.session import Direction, VideoSession
    from sam2_video.sources import VideoSource
    from sam2_video.video_predictor import VideoPredictor

Say = Callable[[str], None]


@dataclass(frozen=True)
class TrackOptions:
    """Which frames are tracked and what is written. `save` holds names of `SINKS`."""

    direction: Direction = "forward"
    start: int | None = None
    stop: int | None = None
    stride: int = 1
    fps: float | None = None  # frames of the clip that are taken a second, and numbered anew
    save: tuple[str, ...] = ("masks", "overlay", "objects", "review")
    overwrite: bool = False
    prompts_sequence: str | None = None  # which of several clips in a file of prompts is meant


@dataclass(frozen=True)
class TrackRun:
    """Everything that a run was asked for."""

    source: str
    prompts: Sequence[PlacedPrompt]
    out: Path
    model: ModelOptions
    options: TrackOptions
    inputs: tuple[Path, ...] = ()

    def command(self) -> dict[str, Any]:
        """What makes two runs the same: what was asked for, without what only looking tells."""
        model = {**asdict(self.model), "device": device_of(self.model)}
        return {**self._asked(), "model": model, "mask_checksums": [_mask_checksum(p) for p in self.prompts]}

    def record(self) -> dict[str, Any]:
        """Everything that is needed to repeat this run."""
        return {"command": "track", "model": model_record(self.model), **self._asked()}

    def _asked(self) -> dict[str, Any]:
        return {
            "source": self.source if "://" in self.source else str(Path(self.source).resolve()),
            "prompts": [placed.as_json() for placed in self.prompts],
            "options": {**asdict(self.options), "save": list(self.options.save)},
        }


def track(
    source: str,
    prompts: Sequence[PlacedPrompt],
    out: Path,
    model: ModelOptions,
    options: TrackOptions,
    say: Say = lambda _: None,
    clip: VideoSource | None = None,
    inputs: Sequence[Path] = (),
) -> RunSummary:
    """Track the prompted objects of `source` and write results to `out` as frames finish.

    What can be checked without the model is checked before it is loaded, all prompts before the first frame
    is tracked. A run that ends early, however that comes about, is gone on with by the same call: see
    `cli_journal`. Where it can, it leaves whole files behind, and run.json says what ended it. `say` is told
    what a user should know on the way. `clip`: the source, where it is open already; it is closed. `inputs`:
    more files that the run needs, now and when it is gone on with.
    """
    run = TrackRun(source, prompts, out, model, options, tuple(inputs))
    with ExitStack() as stack:
        if clip is not None:
            stack.callback(clip.close)
        check_saves(options.save, prompts)
        hidden = stack.enter_context(locked(out))
        return _track(run, stack.enter_context(closing(Journal(hidden))), say, clip)


def open_clip(source: str, fps: float | None) -> VideoSource:
    """Open the source of a run, or those of its frames that come at a rate. Raises SourceError."""
    from sam2_video.sources import open_source

    return open_source(source, fps=fps)


def _track(run: TrackRun, journal: Journal, say: Say, clip: VideoSource | None) -> RunSummary:
    from sam2_video.fingerprint import clip_fingerprint
    from sam2_video.sinks import write_run_json
    from sam2_video.sources import shared
    from sam2_video.video_predictor import VideoPredictor

    command = run.command()
    goes_on = journal.goes_on(command, run.options.overwrite, run.out)
    if not goes_on:
        overwrite = run.options.overwrite or journal.is_unfinished
        check_folder(run.out, overwrite, input_files(run.source, run.prompts, run.inputs))
    with closing(clip or open_clip(run.source, run.options.fps)) as clip, ExitStack() as stack:
        check_bounds(run.prompts, clip.count, clip.size)
        predictor = VideoPredictor(load(run.model))
        ahead = Lookahead.of(stack.enter_context(arranged(run.model, predictor.model)))
        clip = shared(clip, ahead.frames + 2)
        memory = foreseen(predictor, clip, run.prompts, run.options, ahead)
        tell_memory(memory, run.model, say)
        info = run.record() | {"memory_mib": memory.record()}
        made_of = {"clip": clip_fingerprint(clip), "weights": info["model"]["sha256"]}
        resumed, goes_on = _resumed(predictor, clip, journal, run, made_of, say) if goes_on else (None, False)
        with _begun(predictor, clip, run) if resumed is None else resumed as session:
            predictor.look_ahead(session, ahead.encoders)
            results = _propagate(session, run.options) if resumed is None else session.carry_on()
            if not goes_on:
                journal.begin(command, made_of)
                clear_results(run.out)
            write_run_json(run.out / RECORD, info | {"status": "running"})
            if not goes_on:
                journal.start_log()
            summary = write_results(session, results, journal, _job(session, run))
    write_end(run.out / RECORD, info, summary)
    if isinstance(summary.stopped_by, Exception):
        raise summary.stopped_by
    if summary.stopped_by is None:
        journal.finish()
    return summary


def _resumed(
    predictor: VideoPredictor,
    clip: VideoSource,
    journal: Journal,
    run: TrackRun,
    made_of: Mapping[str, Any],
    say: Say,
) -> tuple[VideoSession | None, bool]:
    """The session as it was saved, None where there is none; and whether the run goes on at all.

    It does not where clip or weights have changed since. Raises SourceError or CheckpointError then, unless
    the run may overwrite.
    """
    try:
        journal.check(clip, made_of)
        saved = journal.go_on(run.model.threads, say)
        if saved is None:
            return None, True
        return predictor.resume(saved, clip), True
    except (SourceError, CheckpointError) as error:
        if not run.options.overwrite:
            raise type(error)(f"{error}; --overwrite begins anew") from error
        say(f"{error}; the run begins anew")
        return None, False


def _begun(predictor: VideoPredictor, clip: VideoSource, run: TrackRun) -> VideoSession:
    """A session with all prompts."""
    # Nothing is corrected on the way: what is beyond the window is never looked at, and memory does not grow
    # with the clip.
    session = predictor.open(clip, retain="window")
    give_prompts(session, run.prompts)
    return session


def _propagate(session: VideoSession, options: TrackOptions) -> Iterator[FrameResult]:
    return session.propagate(options.direction, options.start, options.stop, options.stride)


def give_prompts(session: VideoSession, prompts: Sequence[PlacedPrompt]) -> None:
    """Hand every prompt to the session; it raises PromptError for one that does not fit."""
    for placed in prompts:
        session.prompt(frame=placed.frame, object_id=placed.object_id, **placed.arguments())


def _job(session: VideoSession, run: TrackRun) -> WriteJob:
    from sam2_video.fingerprint import source_files
    from sam2_video.sinks.registry import FALLBACK_FPS, SinkOrder

    options, source = run.options, session.source
    files = source_files(source)
    order = SinkOrder(
        out=run.out,
        clip=Path(run.source).stem,
        source=run.source,
        # Every stride-th frame at a stride-th of the rate: a video lasts as long as the clip.
        fps=(source.fps or FALLBACK_FPS) / options.stride,
        bits=8 if max(session.objects) < 256 else 16,
        start=options.start or 0,
        stride=options.stride,
        frames=source.count,
        file=files[0] if len(files) == 1 else None,
    )
    total = expected_frames(source.count, options, run.prompts)
    return WriteJob(options.save, order, options.direction != "backward", total)


def expected_frames(count: int | None, options: TrackOptions, prompts: Sequence[PlacedPrompt]) -> int | None:
    """Return how many results a run will give, None where the clip does not know its length."""
    if count is None:
        return None
    prompted, stride = [placed.frame for placed in prompts], options.stride
    if options.direction == "backward":
        first = max(prompted) if options.start is None else options.start
        return len(range(first, -1 if options.stop is None else options.stop, -stride))
    end = count if options.stop is None else min(options.stop, count)
    if options.direction == "forward":
        return len(range(min(prompted) if options.start is None else options.start, end, stride))
    first = options.start or 0
    grid = min((frame for frame in prompted if first <= frame < end), default=first)
    return len(range(first + (grid - first) % stride, end, stride))


def _mask_checksum(placed: PlacedPrompt) -> int | None:
    mask = placed.prompt.mask
    return None if mask is None else zlib.crc32(mask.tobytes())
