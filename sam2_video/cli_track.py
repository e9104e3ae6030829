"""The work behind `sam2-video track`: a clip, a model and prompts in, a folder of results out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_video.cli_prompts import PlacedPrompt, check_bounds
from sam2_video.cli_run import ModelOptions, check_ids, claim_folder, clear_results, load, model_record
from sam2_video.types import FrameResult, SinkError, SourceError

if TYPE_CHECKING:
    from sam2_video.session import Direction, Retain, VideoSession
    from sam2_video.sinks import Sink

SAVES = ("masks", "overlay", "objects", "rle")
FALLBACK_FPS = 25.0  # of overlays for clips without a clock, such as folders


@dataclass(frozen=True)
class TrackOptions:
    """Which frames are tracked and what is written. `save` holds names of `SAVES`."""

    direction: Direction = "forward"
    start: int | None = None
    stop: int | None = None
    stride: int = 1
    save: tuple[str, ...] = ("masks", "overlay", "objects")
    overwrite: bool = False


@dataclass(frozen=True)
class RunSummary:
    """What a run did."""

    frames: int
    seconds: float
    stopped_by: KeyboardInterrupt | SourceError | None = None  # what ended it before the last frame

    @property
    def status(self) -> str:
        if self.stopped_by is None:
            return "complete"
        return (
            "interrupted" if isinstance(self.stopped_by, KeyboardInterrupt) else f"failed: {self.stopped_by}"
        )

    def __str__(self) -> str:
        rate = self.frames / self.seconds if self.seconds else 0.0
        return f"{self.frames} frames in {self.seconds:.1f} s ({rate:.1f} frames/s)"


def track(
    source: str, prompts: Sequence[PlacedPrompt], out: Path, model: ModelOptions, options: TrackOptions
) -> RunSummary:
    """Track the prompted objects of `source` and write results to `out` as frames finish.

    What can be checked without the model is checked before it is loaded, all prompts before the first frame
    is tracked. A run that ends early, by Ctrl-C or at an unreadable frame, leaves whole files behind.
    """
    from sam2_video.sinks import write_run_json
    from sam2_video.sources import open_source
    from sam2_video.video_predictor import VideoPredictor

    claim_folder(out, options.overwrite)
    if "masks" in options.save:
        check_ids(placed.object_id for placed in prompts)
    with closing(open_source(source)) as clip:
        check_bounds(prompts, clip.count, clip.size)
        predictor = VideoPredictor(load(model))
        # A one-way pass never looks further back than the window: memory does not grow with the clip.
        retain: Retain = "all" if options.direction == "both" else "window"
        with predictor.open(clip, retain=retain) as session:
            give_prompts(session, prompts)
            results = session.propagate(options.direction, options.start, options.stop, options.stride)
            clear_results(out)
            info = describe(source, prompts, model, options)
            write_run_json(out / "run.json", info | {"status": "running"})
            total = expected_frames(clip.count, options, prompts)
            summary = write_results(session, results, out, options, total)
    done = {"status": summary.status, "frames": summary.frames, "seconds": round(summary.seconds, 3)}
    write_run_json(out / "run.json", info | done)
    if isinstance(summary.stopped_by, SourceError):
        raise summary.stopped_by
    return summary


def parse_saves(text: str) -> tuple[str, ...]:
    """Parse `--save`. Raises SinkError for a name that is not one of `SAVES`."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    wrong = [name for name in names if name not in SAVES]
    if wrong or not names:
        raise SinkError(f"--save {text!r}: expected some of {', '.join(SAVES)}, separated by commas")
    return names


def give_prompts(session: VideoSession, prompts: Sequence[PlacedPrompt]) -> None:
    """Hand every prompt to the session; it raises PromptError for one that does not fit."""
    for placed in prompts:
        said = placed.prompt
        session.prompt(
            frame=placed.frame,
            object_id=placed.object_id,
            points=said.points or None,
            labels=said.labels or None,
            box=said.box,
            mask=said.mask,
        )


def write_results(
    session: VideoSession, results: Iterator[FrameResult], out: Path, options: TrackOptions, total: int | None
) -> RunSummary:
    """Write every result as it comes, with a progress bar.

    Masks are files of their own. Overlay, CSV and RLE hold frames in order, so a pass that goes backward
    keeps its low-resolution results and writes those three at its end.
    """
    from tqdm import tqdm

    forward = options.direction == "forward"
    kept: list[FrameResult] = []
    began, frames, stopped_by = time.perf_counter(), 0, None
    with ExitStack() as stack:
        unordered = [stack.enter_context(sink) for sink in mask_sinks(session, out, options)]
        ordered = [stack.enter_context(sink) for sink in ordered_sinks(session, out, options)]
        try:
            for result in tqdm(results, total=total, unit=" frames", dynamic_ncols=True, disable=None):
                if not forward:
                    kept.append(replace(result))  # a copy, without the full-size masks that sinks make
                write(session, [*unordered, *ordered] if forward else unordered, result)
                frames += 1
        except (KeyboardInterrupt, SourceError) as reason:
            stopped_by = reason
        for result in sorted(kept, key=lambda kept: kept.frame):
            write(session, ordered, replace(result))
    return RunSummary(frames, time.perf_counter() - began, stopped_by)


def write(session: VideoSession, sinks: Sequence[Sink], result: FrameResult) -> None:
    """Give one result to every sink."""
    rgb = session.source.read(result.frame)  # read a moment ago by the session: no second decoding
    for sink in sinks:
        sink.write(rgb, result, session.source.frame_name(result.frame))


def mask_sinks(session: VideoSession, out: Path, options: TrackOptions) -> Iterator[Sink]:
    """Sinks that take frames in any order."""
    from sam2_video.sinks import MaskPngSink

    if "masks" in options.save:
        yield MaskPngSink(out / "masks", bits=check_ids(session.objects))


def ordered_sinks(session: VideoSession, out: Path, options: TrackOptions) -> Iterator[Sink]:
    """Sinks that take frames in ascending order."""
    from sam2_video.sinks import ObjectsCsvSink, OverlaySink, RleJsonSink

    if "overlay" in options.save:
        # Every stride-th frame at a stride-th of the rate: the overlay lasts as long as the clip.
        fps = (session.source.fps or FALLBACK_FPS) / options.stride
        yield OverlaySink(out / "overlay.mp4", fps)
    if "objects" in options.save:
        yield ObjectsCsvSink(out / "objects.csv")
    if "rle" in options.save:
        yield RleJsonSink(out / "masks.jsonl")


def expected_frames(count: int | None, options: TrackOptions, prompts: Sequence[PlacedPrompt]) -> int | None:
    """Return how many results a run will give, None where the clip does not know its length."""
    if count is None:
        return None
    prompted = [placed.frame for placed in prompts]
    first = options.start
    if first is None:
        first = max(prompted) if options.direction == "backward" else min(prompted)
    ahead = len(range(first, count if options.stop is None else min(options.stop, count), options.stride))
    behind = len(range(first, -1 if options.stop is None else options.stop, -options.stride))
    # "both" sees the first frame once.
    return {"forward": ahead, "backward": behind, "both": ahead + behind - 1}[options.direction]


def describe(
    source: str, prompts: Sequence[PlacedPrompt], model: ModelOptions, options: TrackOptions
) -> dict[str, Any]:
    """Everything that is needed to repeat a run."""
    return {
        "command": "track",
        "model": model_record(model),
        "source": str(Path(source).resolve()),
        "prompts": [placed.as_json() for placed in prompts],
        "options": {**asdict(options), "save": list(options.save)},
    }
