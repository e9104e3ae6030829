"""One picture from file to files: what every worker does, wherever it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sam2_video.annotation.annotator import Annotator
from sam2_video.annotation.asked import Ask
from sam2_video.annotation.files import Record, write_findings, write_record
from sam2_video.annotation.settings import Settings
from sam2_video.evaluation.plan import ModelSetup
from sam2_video.sources import read_picture
from sam2_video.sources.pages import count_pages
from sam2_video.types import (
    CheckpointError,
    ConfigError,
    PromptError,
    Sam2VideoError,
    SinkError,
    SourceError,
)

if TYPE_CHECKING:
    from sam2_video.evaluation.tracking import Worker

FATAL = (SinkError, CheckpointError, ConfigError)  # what would end all other jobs, too


@dataclass(frozen=True)
class PictureJob:
    """A picture to be annotated, and where its files go."""

    record: Record  # with all that is known before
    path: Path
    asks: tuple[Ask, ...]
    setup: ModelSetup
    settings: Settings
    out: Path
    memory_mb: int | None = None

    frames = 1  # for the progress bar

    @property
    def name(self) -> str:
        return self.record.name

    def run(self, worker: Worker, advance: Callable[[int], object]) -> Record:
        """Annotate the picture, write its files, and return its record.

        An error ends only this picture, and is in the record. Raises what is `FATAL`.
        """
        model = worker.model(self.setup)
        try:
            annotator = Annotator(model, self.settings, memory_mb=self.memory_mb)
        except PromptError as error:  # of an option: no picture could be annotated
            raise ConfigError(str(error)) from error
        try:
            pages = count_pages(self.path)
            if pages > 1:
                raise SourceError(f"{self.path} holds {pages} pictures; annotate it as a clip, by itself")
            rgb = read_picture(self.path)
            record = write_findings(self.out, self.record, rgb, annotator.annotate(rgb, self.asks))
        except FATAL:
            raise
        except Exception as error:
            record = self.failed(words_of(error))
        advance(1)
        return record

    def failed(self, error: str) -> Record:
        """Note that the picture could not be annotated."""
        record = replace(self.record, error=error)
        write_record(self.out, record)
        return record


def words_of(error: Exception) -> str:
    """An error of this package says what is wrong; of others the name of their class helps."""
    return str(error) if isinstance(error, Sam2VideoError) else f"{type(error).__name__}: {error}"
