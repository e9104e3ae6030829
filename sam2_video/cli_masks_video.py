"""`sam2-video masks` on a clip: everything that automatic masks find is tracked through it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_video.cli_run import (
    RECORD,
    ModelOptions,
    check_folder,
    clear_results,
    input_files,
    load,
    locked,
    model_record,
)
from sam2_video.cli_write import RunSummary, Writers, progress, write_end
from sam2_video.types import FrameResult, ObjectInfo, PromptError, SinkError

if TYPE_CHECKING:
    from sam2_video.mask_generator import MaskGenerator
    from sam2_video.sinks.registry import SinkOrder
    from sam2_video.sources import VideoSource
    from sam2_video.track_everything import Everything, EverythingRules


def mask_video(
    source: str,
    out: Path,
    model: ModelOptions,
    changes: Mapping[str, Any],
    rules: EverythingRules,
    save: Sequence[str],
    overwrite: bool,
    memory_mb: int | None,
    frames: tuple[int, int | None] = (0, None),
) -> tuple[RunSummary, Everything]:
    """Track everything in a clip from one frame to before another, and write what `track` writes.

    Raises SinkError, SourceError, PromptError, and Sam2VideoError where no mask is found.
    """
    from sam2_video.mask_generator import MaskGenerator
    from sam2_video.model.sam1 import with_memory
    from sam2_video.sinks import write_run_json
    from sam2_video.sources import is_live, open_source
    from sam2_video.track_everything import Everything
    from sam2_video.video_predictor import VideoPredictor

    if is_live(source):
        raise PromptError(f"{source} is live; automatic masks are found in clips that can be looked at again")
    _check_saves(save, rules)
    with locked(out), ExitStack() as stack:
        check_folder(out, overwrite, input_files(source, ()))
        clip = stack.enter_context(closing(open_source(source)))
        network = with_memory(load(model), "tracking everything")
        generator = MaskGenerator(network, memory_mb=memory_mb, **changes)
        session = stack.enter_context(VideoPredictor(network).open(clip, retain="window"))
        everything = Everything(session, generator, rules)
        info = _record(source, model, generator, rules, save, frames)
        results = everything.results(*frames)
        first = next(results, None)  # where nothing is found, nothing is replaced
        clear_results(out)
        write_run_json(out / RECORD, info | {"status": "running"})
        order = _order(out, source, clip, rules, frames)
        total = None if clip.count is None else min(frames[1] or clip.count, clip.count) - frames[0]
        summary = _write(clip, chain([] if first is None else [first], results), save, order, total)
        found = [asdict(life) for life in everything.lives.values()]
        write_end(out / RECORD, info | {"objects": found}, summary)
    if isinstance(summary.stopped_by, Exception):
        raise summary.stopped_by
    return summary, everything


def _check_saves(save: Sequence[str], rules: EverythingRules) -> None:
    from sam2_video.sinks.registry import SINKS

    objects = {object_id: ObjectInfo() for object_id in range(1, rules.limit + 1)}
    for kind in (SINKS[name] for name in save):
        kind.check(objects)


def _record(
    source: str,
    model: ModelOptions,
    generator: MaskGenerator,
    rules: EverythingRules,
    save: Sequence[str],
    frames: tuple[int, int | None],
) -> dict[str, Any]:
    return {
        "command": "masks",
        "clip": source if "://" in source else str(Path(source).resolve()),
        "model": model_record(model),
        "options": generator.options.record(),
        "rules": asdict(rules),
        "start": frames[0],
        "stop": frames[1],
        "save": list(save),
    }


def _order(
    out: Path, source: str, clip: VideoSource, rules: EverythingRules, frames: tuple[int, int | None]
) -> SinkOrder:
    from sam2_video.fingerprint import source_files
    from sam2_video.sinks.registry import FALLBACK_FPS, SinkOrder

    files = source_files(clip)
    looks = 1
    if rules.every:  # how often objects may be born decides how large ids may become
        looks = 1 + (clip.count // rules.every if clip.count is not None else 255)
    return SinkOrder(
        out=out,
        clip=Path(source).stem,
        source=source,
        fps=clip.fps or FALLBACK_FPS,
        bits=8 if looks * rules.limit < 256 else 16,
        start=frames[0],
        frames=clip.count,
        file=files[0] if len(files) == 1 else None,
    )


def _write(
    clip: VideoSource,
    results: Iterator[FrameResult],
    save: Sequence[str],
    order: SinkOrder,
    total: int | None,
) -> RunSummary:
    """Write every result as it comes; whatever ends a run early is returned, with files that are whole."""
    began, done, review = time.perf_counter(), 0, ""
    stopped_by: KeyboardInterrupt | Exception | None = None
    try:
        with ExitStack() as stack:
            writers = Writers(clip, order, stack)
            writers.open(save)
            try:
                with progress(results, total) as bar:
                    for result in bar:
                        writers.write([*writers.single, *writers.ordered], result)
                        done += 1
            except SinkError:
                raise
            except (KeyboardInterrupt, Exception) as reason:
                stopped_by = reason
            writers.behind.settle()
            review = writers.review
    except (KeyboardInterrupt, Exception) as reason:
        stopped_by = reason
    return RunSummary(done, time.perf_counter() - began, stopped_by, review)
