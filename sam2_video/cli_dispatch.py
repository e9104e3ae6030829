"""`sam2-video track`: what was typed, and whether it is about a clip or about what happens now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_video.cli_prompts import PlacedPrompt, gather_prompts, name_objects
from sam2_video.cli_track import TrackOptions, open_clip, track
from sam2_video.types import PromptError

if TYPE_CHECKING:
    from sam2_video.cli_run import ModelOptions
    from sam2_video.cli_stream import LiveRun
    from sam2_video.cli_write import RunSummary
    from sam2_video.prompts.annotations import Frames

Say = Callable[[str], None]


@dataclass(frozen=True)
class Words:
    """What a command line says of the objects to be tracked, as it was typed."""

    clicks: Sequence[str] = ()
    boxes: Sequence[str] = ()
    masks: Sequence[str] = ()
    files: Sequence[Path] = ()
    names: Sequence[str] = ()
    format: str | None = None
    sequence: str | None = None
    frames: Frames = "auto"

    @property
    def are_there(self) -> bool:
        """Is there any prompt?"""
        return bool(self.clicks or self.boxes or self.masks or self.files)

    def prompts(self, clip: Any, say: Say) -> tuple[PlacedPrompt, ...]:
        """All prompts, with names; `clip` is what they are for. Raises PromptError."""
        placed = gather_prompts(
            self.clicks,
            self.boxes,
            self.masks,
            self.files,
            clip=clip,
            format=self.format,
            sequence=self.sequence,
            frames=self.frames,
            tell=say,
        )
        return name_objects(placed, self.names)


def track_anything(
    source: str,
    words: Words,
    out: Path,
    model: ModelOptions,
    options: TrackOptions,
    live: LiveRun,
    say: Say,
) -> RunSummary:
    """Track objects in a clip, or in what a camera, a stream or a pipe brings."""
    from sam2_video.cli_stream import track_live
    from sam2_video.sources import is_live

    if is_live(source):
        if options.fps is not None:
            raise PromptError("--fps chooses frames of a clip; a live source is tracked as it comes")
        placed = words.prompts(None, say) if words.are_there or words.names else ()
        return track_live(source, placed, out, model, options, live, say, inputs=words.files)
    live.refuse_file(source)
    if not words.files:
        return track(source, words.prompts(None, say), out, model, options, say)
    if options.fps is None and "://" not in source:
        placed = words.prompts(source, say)  # opened only once the files were found to be right
        return track(source, placed, out, model, options, say, inputs=words.files)
    clip = open_clip(source, options.fps)  # a download, or frames that count anew: opened once for both
    try:
        placed = words.prompts(clip, say)
    except BaseException:
        clip.close()
        raise
    return track(source, placed, out, model, options, say, clip, words.files)
