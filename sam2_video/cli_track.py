"""The work behind `sam2-video track`: a clip, a model and prompts in, a folder of results out."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_video.cli_prompts import PlacedPrompt, check_bounds
from sam2_video.cli_run import (
    ModelOptions,
    check_ids,
    claim_folder,
    clear_results,
    input_files,
    load,
    model_record,
)
from sam2_video.types import FrameResult, SinkError

if TYPE_CHECKING:
    from sam2_video.session import Direction, VideoSession
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
    stopped_by: KeyboardInterrupt | Exception | None = None  # what ended it before the last frame

    @property
    def status(self) -> str:
        if self.stopped_by is None:
            return "complete"
        if isinstance(self.stopped_by, KeyboardInterrupt):
            return "interrupted"
        return f"failed: {self.stopped_by}"

    def __str__(self) -> str:
        rate = self.frames / self.seconds if self.seconds else 0.0
        return f"{self.frames} frames in {self.seconds:.1f} s ({rate:.1f} frames/s)"


def track(
    source: str, prompts: Sequence[PlacedPrompt], out: Path, model: ModelOptions, options: TrackOptions
) -> RunSummary:
    """Track the prompted objects of `source` and write results to `out` as frames finish.

    What can be checked without the model is checked before it is loaded, all prompts before the first frame
    is tracked. A run that ends early, by Ctrl-C, at an unreadable frame or on a full disk, leaves whole files
    behind, and run.json says what ended it.
    """
    from sam2_video.sinks import write_run_json
    from sam2_video.sources import open_source
    from sam2_video.video_predictor import VideoPredictor

    claim_folder(out, options.overwrite, input_files(source, prompts))
    if "masks" in options.save:
        check_ids(placed.object_id for placed in prompts)
    with closing(open_source(source)) as clip:
        check_bounds(prompts, clip.count, clip.size)
        predictor = VideoPredictor(load(model))
        # Nothing is corrected on the way: what is beyond the window is never looked at, and memory does not
        # grow with the clip.
        with predictor.open(clip, retain="window") as session:
            give_prompts(session, prompts)
            results = session.propagate(options.direction, options.start, options.stop, options.stride)
            info = describe(source, prompts, model, options)
            clear_results(out)
            write_run_json(out / "run.json", info | {"status": "running"})
            total = expected_frames(clip.count, options, prompts)
            summary = write_results(session, results, out, options, total)
    done = {"status": summary.status, "frames": summary.frames, "seconds": round(summary.seconds, 3)}
    try:
        write_run_json(out / "run.json", info | done)
    except SinkError:  # on a full disk there may be no room to say so; what is raised below says it
        if summary.stopped_by is None:
            raise
    if isinstance(summary.stopped_by, Exception):
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
        session.prompt(frame=placed.frame, object_id=placed.object_id, **placed.arguments())


def write_results(
    session: VideoSession, results: Iterator[FrameResult], out: Path, options: TrackOptions, total: int | None
) -> RunSummary:
    """Write every result as it comes, with a progress bar.

    Masks are files of their own. Overlay, CSV and RLE hold frames in order, so a backward pass
    sets its results aside in a temporary file and writes those three at its end. Whatever ends a run early is
    returned, not raised; every sink but the one that failed is closed then, with the frames that it has.
    """
    from tqdm import tqdm

    from sam2_video.sinks import ResultSpool

    began, frames = time.perf_counter(), 0
    stopped_by: KeyboardInterrupt | Exception | None = None
    try:
        with ExitStack() as stack:
            at_once = opened(stack, mask_sinks(session, out, options))
            ordered = opened(stack, ordered_sinks(session, out, options))
            if options.direction != "backward":
                at_once, ordered = [*at_once, *ordered], []
            aside = stack.enter_context(ResultSpool(out)) if ordered else None
            bar = tqdm(results, total=total, unit=" frames", dynamic_ncols=True, disable=None)
            try:
                for result in stack.enter_context(bar):
                    write(session, at_once, result)
                    if aside is not None:
                        aside.add(result)
                    frames += 1
            except SinkError:
                raise
            except (KeyboardInterrupt, Exception) as reason:
                stopped_by = reason  # what was found until then is shown all the same
            for result in aside or ():
                write(session, ordered, result)
    except (KeyboardInterrupt, Exception) as reason:
        stopped_by = reason
    return RunSummary(frames, time.perf_counter() - began, stopped_by)


def opened(stack: ExitStack, sinks: Iterable[Sink]) -> list[Sink]:
    """Have each sink closed when `stack` ends, however that comes about: what it holds is whole."""
    return [stack.enter_context(closing(sink)) for sink in sinks]


def write(session: VideoSession, sinks: Sequence[Sink], result: FrameResult) -> None:
    """Give one result to every sink; one that fails is given up."""
    rgb = session.source.read(result.frame)  # in a first pass read a moment ago: no second decoding
    for sink in sinks:
        try:
            sink.write(rgb, result, session.source.frame_name(result.frame))
        except Exception:
            sink.discard()
            raise


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
