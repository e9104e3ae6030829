"""What `undo` takes back, the last change first."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from sam2_video.timeline import FrameRecord, ObjectTrack
from sam2_video.types import ObjectInfo, PromptError

STEPS = 20  # changes that can be taken back; each holds what one frame was, a removal a whole object


@dataclass(frozen=True)
class Change:
    """One call that changed what a session is told: a prompt, or prompts or an object taken away."""

    kind: Literal["prompt", "clear", "remove"]
    object_id: int
    frame: int | None = None  # None for "remove"


@dataclass(frozen=True)
class Before:
    """What there was before a change.

    `track`: the object's timeline, None if there was no object. `record`: what the timeline held of the
    frame, None where it was replaced as a whole. `names`: the object's, and those that the change gave it.
    `version`: of the memory that the change made.
    """

    track: ObjectTrack | None
    record: FrameRecord | None = None
    names: tuple[ObjectInfo, ObjectInfo] | None = None
    version: int | None = None


@dataclass
class History:
    """The last changes of a session; what is older cannot be taken back."""

    bygone: int = 0  # changes that could be taken back when the session was saved
    _changes: deque[tuple[Change, Before]] = field(default_factory=lambda: deque(maxlen=STEPS))

    @property
    def reach(self) -> int:
        """How many changes count as such that can be taken back: as many as if nobody had saved."""
        return min(STEPS, self.bygone + len(self._changes))

    def note(self, change: Change, before: Before) -> None:
        self._changes.append((change, before))

    def clear(self) -> None:
        self._changes.clear()
        self.bygone = 0

    def objects(self) -> list[ObjectTrack]:
        """Timelines that could come back."""
        return [before.track for _, before in self._changes if before.track is not None]

    def undo(self, tracks: dict[int, ObjectTrack]) -> Change:
        """Take the last change back in `tracks`. Raises PromptError where there is none."""
        if not self._changes:
            raise PromptError(
                f"there is nothing to undo: the last {STEPS} prompts, clears and removals can be taken back, "
                "since the session was opened, resumed or reset"
            )
        change, before = self._changes.pop()
        if before.track is None:
            del tracks[change.object_id]
            return change
        now = tracks.get(change.object_id, before.track).info
        track = tracks[change.object_id] = before.track
        track.info = now if before.names is None else _taken_back(now, *before.names)
        if change.frame is not None and before.record is not None:
            track.put(change.frame, before.record)
        if before.version is not None:
            track.forget_readers(before.version)
        return change


def _taken_back(now: ObjectInfo, before: ObjectInfo, given: ObjectInfo) -> ObjectInfo:
    """The names before a change, but for those that `describe` has given since."""
    return ObjectInfo(
        before.name if now.name == given.name else now.name,
        before.category if now.category == given.category else now.category,
    )
