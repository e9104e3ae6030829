"""Everything that changes while one clip is worked on: which frames were prompted, tracked and remembered.

No tensor arithmetic and no model here: a `Driver` looks at frames and segments them, the session decides when and with
which memories. So the rules of this file can be tested with plain numbers in place of tensors.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from types import TracebackType
from typing import Any, Literal, Protocol

from torch import Tensor

from sam2_video.memory import MemoryBank, MemoryPolicy
from sam2_video.sources import EndOfClip, VideoSource
from sam2_video.transforms import check_integer, make_prompt, merge_prompts
from sam2_video.types import (
    FrameMemory,
    FrameResult,
    ImageFeatures,
    MaskPrediction,
    Prompt,
    PromptError,
    Recall,
    Sam2VideoError,
)

Direction = Literal["forward", "backward", "both"]
Retain = Literal["window", "all"]
Size = tuple[int, int]  # (H, W)
Outcome = tuple[MaskPrediction, FrameMemory]  # of one object on one frame
CACHED_FRAMES = 3  # image features at 1024 x 1024 take 16 MB a frame


class Driver(Protocol):
    """What a session needs from the network; `video_predictor` has the real one."""

    def look(self, rgb: Any) -> ImageFeatures:
        """Encode one frame."""

    def segment(
        self, features: ImageFeatures, prompt: Prompt, size: Size, previous: Tensor | None, recall: Recall
    ) -> Outcome:
        """Segment one prompted object; an empty recall means that it is seen for the first time."""

    def follow(self, features: ImageFeatures, recalls: Sequence[Recall]) -> list[Outcome]:
        """Segment objects that are not prompted on this frame, one per recall."""

    def show(self, frame: int, size: Size, rows: Sequence[Row]) -> FrameResult:
        """Put objects together into what the user gets."""


@dataclass(frozen=True)
class Row:
    """One object in a result; no prediction means that the object is not there yet."""

    object_id: int
    prediction: MaskPrediction | None
    prompted: bool


@dataclass
class ObjectTrack:
    """The timeline of one object.

    A frame is prompted exactly when it has prompts. Its memory is settled if propagation keeps it; every prompted frame
    is, unless corrections are not kept. No frame is settled and tracked at once.
    """

    object_id: int
    bank: MemoryBank
    prompts: dict[int, Prompt] = field(default_factory=dict)
    predictions: dict[int, MaskPrediction] = field(default_factory=dict)
    tracked_direction: dict[int, int] = field(default_factory=dict)  # frame -> 1 or -1, where propagation has been

    def is_prompted(self, frame: int) -> bool:
        return frame in self.prompts

    def is_settled(self, frame: int) -> bool:
        return frame in self.bank.prompted

    def was_tracked(self, frame: int) -> bool:
        return frame in self.tracked_direction

    @property
    def can_be_tracked(self) -> bool:
        return bool(self.bank.prompted)

    def has_begun(self, frame: int, step: int) -> bool:
        """Is `frame` on or after a prompted frame, for someone who walks in direction `step`?"""
        return any((frame - settled) * step >= 0 for settled in self.bank.prompted)

    def row(self, frame: int) -> Row:
        return Row(self.object_id, self.predictions.get(frame), self.is_prompted(frame))

    def keep_prompted(self, frame: int, prompt: Prompt, outcome: Outcome, settled: bool) -> None:
        """Store what came of a prompt; it replaces whatever was known about that frame."""
        self.prompts[frame] = prompt
        self._keep(frame, outcome, settled)

    def keep_tracked(self, frame: int, outcome: Outcome, step: int) -> None:
        """Store what propagation made of a frame."""
        self._keep(frame, outcome, settled=False)
        self.tracked_direction[frame] = step

    def _keep(self, frame: int, outcome: Outcome, settled: bool) -> None:
        prediction, memory = outcome
        self.bank.drop(frame)
        self.bank.add(frame, memory, prompted=settled)
        self.predictions[frame] = prediction

    def clear(self, frame: int) -> None:
        """Take back the prompts of a frame. Without any prompt left the object has no timeline either."""
        del self.prompts[frame]
        self.bank.drop(frame)
        self.predictions.pop(frame, None)
        if not self.prompts:
            self.bank.clear_tracked()
            self.predictions.clear()
            self.tracked_direction.clear()

    def forget(self, frame: int, step: int) -> None:
        """Drop what a walk that has just left `frame` in direction `step` cannot reach any more."""
        self.bank.forget(frame, step)
        for kept in (self.predictions, self.tracked_direction):
            for old in [f for f in kept if f not in self.bank.prompted and f not in self.bank.tracked and f != frame]:
                del kept[old]


@dataclass(frozen=True)
class Walk:
    """One pass over the clip."""

    frames: Iterable[int]
    step: int  # 1 or -1
    everything: bool  # objects are tracked also before their first prompt, from what is remembered of it
    only_side: int | None = None  # tracked memories are read only from frames before this one (second pass of "both")

    def recall(self, track: ObjectTrack, frame: int, frame_count: int | None) -> Recall:
        bank = track.bank
        if self.only_side is not None:
            bank = replace(bank, tracked={f: m for f, m in bank.tracked.items() if f < self.only_side})
        return bank.read(frame, self.step, frame_count)


@dataclass(frozen=True)
class SessionOptions:
    """How a session behaves.

    `retain`: "all" keeps what a later correction or another pass needs; "window" keeps only what the memory policy can
    still reach, so that memory use does not grow with the clip. A frame that was forgotten counts as never tracked.
    `keep_corrections` False re-tracks corrected frames, as the reference implementation does by default.
    """

    memory: MemoryPolicy = field(default_factory=MemoryPolicy)
    retain: Retain = "all"
    keep_corrections: bool = True
    video_size: Size | None = None  # (H, W) of coordinates, masks and results, where it is not the size of the frames

    def __post_init__(self) -> None:
        if self.retain not in ("all", "window"):
            raise ValueError(f"retain is {self.retain!r}; choose 'all' or 'window'")


class VideoSession:
    """One clip, its objects and their timelines; made by `VideoPredictor.open`, closed by leaving its `with` block."""

    def __init__(self, source: VideoSource, driver: Driver, options: SessionOptions | None = None) -> None:
        self.source = source
        self.options = options or SessionOptions()
        self._driver = driver
        self._tracks: dict[int, ObjectTrack] = {}
        self._features: OrderedDict[int, ImageFeatures] = OrderedDict()
        self._closed = False

    def __enter__(self) -> VideoSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def objects(self) -> tuple[int, ...]:
        """The ids of all objects, in ascending order: the order of rows in every result."""
        return tuple(sorted(self._tracks))

    @property
    def frame_count(self) -> int | None:
        """Number of frames; None where the source does not know it."""
        return self.source.count

    @property
    def size(self) -> Size:
        """(H, W) of coordinates, masks and results."""
        return self.options.video_size or self.source.size

    def track(self, object_id: int) -> ObjectTrack:
        """The timeline of one object, to be looked at; PromptError if there is no such object."""
        if object_id not in self._tracks:
            known = f"known objects: {', '.join(map(str, self.objects))}" if self._tracks else "there are no objects yet"
            raise PromptError(f"there is no object {object_id!r}; {known}")
        return self._tracks[object_id]

    def prompt(
        self,
        *,
        frame: int,
        object_id: int,
        points: Any = None,
        labels: Any = None,
        box: Any = None,
        mask: Any = None,
        add: bool = True,
    ) -> FrameResult:
        """Say where an object is on one frame, and get its mask there (a result with this object alone).

        Prompts of the frame add up: new clicks join the earlier ones and refine the mask, a box replaces the box, a mask
        replaces everything. `add=False` starts the frame over. Raises PromptError, and then changes nothing.
        """
        frame, object_id = self._checked_frame(frame), check_integer(object_id, "object_id")
        said = make_prompt(self.size, points=points, labels=labels, box=box, mask=mask, where=f"frame {frame}")
        track = self._tracks.get(object_id) or ObjectTrack(object_id, MemoryBank(self.options.memory))
        afresh = not add and track.is_prompted(frame)
        prompt = said if afresh else merge_prompts(track.prompts.get(frame), said)
        before = None if afresh else track.predictions.get(frame)
        outcome = self._driver.segment(
            self._look(frame),
            prompt,
            self.size,
            None if before is None else before.logits,
            self._recall_for_prompt(track, frame, afresh),
        )
        first_sight = not track.was_tracked(frame)
        track.keep_prompted(
            frame,
            prompt,
            outcome,
            settled=self.options.keep_corrections or first_sight or track.is_settled(frame),
        )
        self._tracks[object_id] = track
        return self._driver.show(frame, self.size, [track.row(frame)])

    def _recall_for_prompt(self, track: ObjectTrack, frame: int, afresh: bool) -> Recall:
        """Nothing on first sight; on a frame that was tracked, what its tracking could look back at."""
        if not track.was_tracked(frame):
            return Recall()
        bank = track.bank
        if afresh:
            bank = replace(bank, prompted={f: m for f, m in bank.prompted.items() if f != frame})
        return bank.read(frame, track.tracked_direction[frame], self.frame_count)

    def propagate(
        self, direction: Direction = "forward", start: int | None = None, stop: int | None = None, stride: int = 1
    ) -> Iterator[FrameResult]:
        """Yield the masks of all objects on frame after frame.

        Frames run from `start` up to but not including `stop` (down to, for "backward"), every `stride`-th. Left out, they
        run from the earliest (backward: the latest) prompted frame to the end of the clip; an object whose first prompt
        still lies ahead is reported absent. With `start` given, every object is tracked from there, if need be from the
        memory of a prompt that lies ahead. "both" walks forward from `start` and then backward from the frame before it;
        what the first pass tracked is not looked at in the second. Prompted frames yield their stored masks.
        Raises PromptError at once, not at the first frame.
        """
        self._check_open()
        self._check_objects()
        if direction not in ("forward", "backward", "both"):
            raise PromptError(f"direction is {direction!r}; choose 'forward', 'backward' or 'both'")
        if check_integer(stride, "stride") < 1:
            raise PromptError("stride must be at least 1")
        return self._run(self._plan(direction, start, stop, int(stride)))

    def _check_objects(self) -> None:
        if not self._tracks:
            raise PromptError("there is nothing to propagate: prompt at least one object first")
        for object_id in self.objects:
            if not self._tracks[object_id].can_be_tracked:
                raise PromptError(f"object {object_id} has no prompts: prompt it again, or remove it")

    def _plan(self, direction: Direction, start: int | None, stop: int | None, stride: int) -> list[Walk]:
        everything = start is not None
        settled = [frame for track in self._tracks.values() for frame in track.bank.prompted]
        if start is None:
            start = max(settled) if direction == "backward" else min(settled)
        start = self._checked_frame(start, "start")
        if stop is not None:
            if direction == "both":
                raise PromptError("direction 'both' runs to both ends of the clip: it takes no stop; propagate twice")
            stop = check_integer(stop, "stop")
            if (stop < start) if direction == "forward" else (stop > start):
                raise PromptError(f"a {direction} pass from frame {start} never reaches stop={stop}")
        down = -1 if stop is None else stop
        if direction == "backward":
            return [Walk(range(start, down, -stride), -1, everything)]
        end = self.frame_count if stop is None else stop
        ahead: Iterable[int] = count(start, stride)
        if end is not None:
            ahead = range(start, end if self.frame_count is None else min(end, self.frame_count), stride)
        walks = [Walk(ahead, 1, everything)]
        if direction == "both":
            walks.append(Walk(range(start - stride, -1, -stride), -1, everything, only_side=start))
        return walks

    def _run(self, walks: Sequence[Walk]) -> Iterator[FrameResult]:
        for walk in walks:
            for frame in walk.frames:
                self._check_open()
                try:
                    self._advance(walk, frame)
                except EndOfClip:  # a clip of unknown length, or shorter than its header says
                    break
                yield self._driver.show(frame, self.size, [self._tracks[i].row(frame) for i in self.objects])

    def _advance(self, walk: Walk, frame: int) -> None:
        """Track every object that is not prompted on this frame."""
        tracks = [self._tracks[i] for i in self.objects if self._tracks[i].can_be_tracked]
        tracks = [track for track in tracks if walk.everything or track.has_begun(frame, walk.step)]
        moving = [track for track in tracks if not track.is_settled(frame)]
        if moving:
            recalls = [walk.recall(track, frame, self.frame_count) for track in moving]
            outcomes = self._driver.follow(self._look(frame), recalls)
            for track, outcome in zip(moving, outcomes, strict=True):
                track.keep_tracked(frame, outcome, walk.step)
        for track in tracks:
            track.tracked_direction[frame] = walk.step
            if self.options.retain == "window":
                track.forget(frame, walk.step)

    def remove(self, object_id: int) -> None:
        """Forget an object; the others stay as they are. PromptError if there is no such object."""
        self._check_open()
        self.track(object_id)
        del self._tracks[object_id]

    def clear(self, frame: int, object_id: int) -> None:
        """Take back the prompts of one object on one frame; PromptError if there are none."""
        self._check_open()
        track = self.track(object_id)
        if not track.is_prompted(frame):
            frames = ", ".join(map(str, sorted(track.prompts))) or "none"
            raise PromptError(f"object {object_id} has no prompts on frame {frame}; prompted frames: {frames}")
        track.clear(frame)

    def reset(self) -> None:
        """Forget all objects; the clip stays open."""
        self._check_open()
        self._tracks.clear()

    def close(self) -> None:
        """Forget everything and close the source; a second call does nothing."""
        if not self._closed:
            self._closed = True
            self._tracks.clear()
            self._features.clear()
            self.source.close()

    def _look(self, frame: int) -> ImageFeatures:
        """The features of a frame, from the last few or new."""
        if frame not in self._features:
            self._features[frame] = self._driver.look(self.source.read(frame))
            while len(self._features) > CACHED_FRAMES:
                self._features.popitem(last=False)
        self._features.move_to_end(frame)
        return self._features[frame]

    def _checked_frame(self, frame: Any, what: str = "frame") -> int:
        self._check_open()
        number = check_integer(frame, what)
        if self.frame_count is not None and number >= self.frame_count:
            raise PromptError(f"{what} {number} is outside this clip (0..{self.frame_count - 1}); frames count from 0")
        return number

    def _check_open(self) -> None:
        if self._closed:
            raise Sam2VideoError("this session is closed; open the clip again")
