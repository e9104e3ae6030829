"""What a session is made of, as plain values and tensors: to be looked at, saved, and begun from again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from sam2_video.aside import Shelf
from sam2_video.memory import MemoryBank, MemoryPolicy
from sam2_video.passes import Pass
from sam2_video.timeline import FrameRecord, ObjectTrack
from sam2_video.types import MaskPrediction, ObjectInfo

Retain = Literal["window", "all"]
Size = tuple[int, int]  # (H, W)


@dataclass(frozen=True)
class SessionOptions:
    """How a session behaves.

    `retain`: "all" keeps what a later correction or another pass needs; "window" keeps only what the memory
    policy can still reach, so that memory use does not grow with the clip (a forgotten frame counts as
    never tracked). `keep_corrections` False re-tracks corrected frames, as the reference implementation
    does by default. `video_size` (H, W): that of coordinates, masks and results, where it is not the size
    of the frames.
    """

    memory: MemoryPolicy = field(default_factory=MemoryPolicy)
    retain: Retain = "all"
    keep_corrections: bool = True
    video_size: Size | None = None

    def __post_init__(self) -> None:
        if self.retain not in ("all", "window"):
            raise ValueError(f"retain is {self.retain!r}; choose 'all' or 'window'")


@dataclass(frozen=True)
class ObjectState:
    """One object of a session.

    `frames`: what is known of each frame. `made`: how many memories the object has had; the next one gets
    this number as its version. `aside`: predictions of a pass in both directions under `retain="window"`
    that wait to be shown, read from disk one at a time while the session is open; empty otherwise.
    """

    info: ObjectInfo
    frames: Mapping[int, FrameRecord]
    made: int
    aside: Mapping[int, MaskPrediction] = field(default_factory=dict)


@dataclass(frozen=True)
class SessionState:
    """Everything that changes while a session is worked on, at one moment; `VideoSession.restore` takes it.

    `size` (H, W) of coordinates and masks and `frame_count` belong to the clip and are checked on the way
    back. `objects`: by id. `pending`: what is left of the last pass; it has no legs if that came to its end.
    `undoable`: how many changes could be taken back, for which a window spares prompted frames.
    Tensors are shared with the session, which never changes one in place. A state belongs to the
    clip and the weights that it came from: what is kept of a frame is not computed again. The history that
    `undo` goes back in is not part of it.
    """

    options: SessionOptions
    size: Size
    frame_count: int | None
    objects: Mapping[int, ObjectState]
    pending: Pass = field(default_factory=Pass)
    undoable: int = 0


def object_state(track: ObjectTrack) -> ObjectState:
    """A snapshot of one object's timeline."""
    frames = {frame: track.record(frame) for frame in track.frames()}
    return ObjectState(track.info, frames, track.bank.made, track.aside.copy())


def object_track(object_id: int, state: ObjectState, policy: MemoryPolicy) -> ObjectTrack:
    """A timeline as a snapshot says."""
    track = ObjectTrack(object_id, MemoryBank(policy, made=state.made), state.info)
    for frame, record in state.frames.items():
        track.put(frame, record)
    if state.aside:
        shelf = Shelf()
        for frame, prediction in state.aside.items():
            track.aside.put(frame, prediction, shelf)
    return track
