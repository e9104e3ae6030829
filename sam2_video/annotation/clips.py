"""One clip annotated: what automatic masks find in it is tracked, and becomes masklets as SA-V has them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sam2_video.annotation.annotator import Annotator
from sam2_video.annotation.files import (
    MASKLETS,
    Record,
    clip_name,
    jpeg,
    picture_file,
    small,
    write_record,
)
from sam2_video.annotation.job import FATAL, words_of
from sam2_video.annotation.settings import Settings
from sam2_video.evaluation.plan import ModelSetup
from sam2_video.model.sam1 import with_memory
from sam2_video.sinks.base import make_folder, write_whole
from sam2_video.sinks.overlay import paint
from sam2_video.sinks.sav import SavSink
from sam2_video.sources import open_source
from sam2_video.track_everything import Everything, EverythingRules
from sam2_video.types import ConfigError, PromptError

if TYPE_CHECKING:
    from sam2_video.evaluation.tracking import Worker

Advance = Callable[[int], object]


@dataclass(frozen=True)
class ClipJob:
    """A clip to be annotated, and where its files go. `frames`: how many it has, for the progress bar."""

    record: Record  # with all that is known before
    path: Path
    frames: int
    setup: ModelSetup
    settings: Settings
    rules: EverythingRules
    out: Path
    memory_mb: int | None = None

    @property
    def name(self) -> str:
        return self.record.name

    def run(self, worker: Worker, advance: Advance) -> Record:
        """Annotate the clip, write its files, and return its record.

        An error ends only this clip, and is in the record. Raises what is `FATAL`.
        """
        model = worker.model(self.setup)
        try:
            annotator = Annotator(model, self.settings, memory_mb=self.memory_mb)
        except PromptError as error:  # of an option: nothing could be annotated
            raise ConfigError(str(error)) from error
        done = 0

        def count(frames: int) -> None:
            nonlocal done
            done += frames
            advance(frames)

        try:
            return self._track(annotator, count)
        except FATAL:
            raise
        except Exception as error:
            return self.failed(words_of(error))
        finally:
            advance(self.frames - done)  # those that the clip promised and did not have

    def _track(self, annotator: Annotator, advance: Advance) -> Record:
        from sam2_video.video_predictor import VideoPredictor

        network = with_memory(annotator.generator.predictor.model, "annotating clips")
        folder = self.out / MASKLETS
        make_folder(folder)
        with ExitStack() as stack:
            clip = stack.enter_context(closing(open_source(self.path)))
            session = stack.enter_context(VideoPredictor(network).open(clip, retain="window"))
            everything = Everything(session, annotator.generator, self.rules)
            sink = stack.enter_context(
                SavSink(folder, clip_name(self.record), fps=clip.fps, frames=clip.count, kind="auto")
            )
            frames, thumbnail = 0, b""
            for result in everything.results():
                rgb = clip.read(result.frame)
                sink.write(rgb, result, str(result.frame))
                if not thumbnail and result.object_ids:
                    thumbnail = jpeg(small(paint(rgb, result)))
                frames += 1
                advance(1)
            size = clip.size
        files = [MASKLETS]
        if thumbnail:
            path = picture_file(self.out, "thumbnails", self.name)
            make_folder(path.parent)
            write_whole(path, thumbnail)
            files.append("thumbnails")
        lives = everything.lives.values()
        counts = {
            "frames": frames,
            "masklets": len(lives),
            "given up": sum(x.died is not None for x in lives),
        }
        record = replace(
            self.record,
            size=size,
            counts={word: n for word, n in counts.items() if n},
            reasons=() if lives else ("no mask",),
            files=tuple(files),
        )
        write_record(self.out, record)
        return record

    def failed(self, error: str) -> Record:
        """Note that the clip could not be annotated."""
        record = replace(self.record, error=error)
        write_record(self.out, record)
        return record
