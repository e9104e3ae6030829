"""Everything that changes while one clip is worked on: which frames were prompted, tracked and remembered.

No tensor arithmetic and no model here: a `Driver` looks at frames and segments them, the session decides
when, and with which memories. So the rules of this file can be tested with plain numbers in place of
tensors.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from types import TracebackType
from typing import Any, Literal, Protocol

from torch import Tensor

from sam2_video.memory import MemoryBank, MemoryPolicy
from sam2_video.sources import EndOfClip, VideoSource
from sam2_video.timeline import ObjectTrack, Outcome, Row, Walk
from sam2_video.transforms import check_integer, make_prompt, merge_prompts
from sam2_video.types import FrameResult, ImageFeatures, Prompt, PromptError, Recall, Sam2VideoError

Direction = Literal["forward", "backward", "both"]
Retain = Literal["window", "all"]
Size = tuple[int, int]  # (H, W)
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


class VideoSession:
    """One clip, its objects and their timelines; made by `VideoPredictor.open`, closed by `with`."""

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
            known = ", ".join(map(str, self.objects)) or "none yet"
            raise PromptError(f"there is no object {object_id!r}; known objects: {known}")
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

        Prompts of a frame add up: new clicks join the earlier ones and refine the mask, a box replaces the
        box, a mask replaces everything. `add=False` starts the frame over. Raises PromptError, and then
        changes nothing.
        """
        frame, object_id = self._checked_frame(frame), check_integer(object_id, "object_id")
        where = f"frame {frame}"
        said = make_prompt(self.size, points=points, labels=labels, box=box, mask=mask, where=where)
        track = self._tracks.get(object_id) or ObjectTrack(object_id, MemoryBank(self.options.memory))
        afresh = not add and track.is_prompted(frame)
        prompt = said if afresh else merge_prompts(track.prompts.get(frame), said)
        before = None if afresh else track.predictions.get(frame)
        outcome = self._driver.segment(
            self._look_at_prompted(frame),
            prompt,
            self.size,
            None if before is None else before.logits,
            track.recall_for_prompt(frame, self.frame_count, afresh=afresh),
        )
        settled = self.options.keep_corrections or track.is_settled(frame) or not track.was_tracked(frame)
        track.keep_prompted(frame, prompt, outcome, settled=settled)
        self._tracks[object_id] = track
        return self._driver.show(frame, self.size, [track.row(frame)])

    def propagate(
        self,
        direction: Direction = "forward",
        start: int | None = None,
        stop: int | None = None,
        stride: int = 1,
    ) -> Iterator[FrameResult]:
        """Yield the masks of all objects on frame after frame; prompted frames yield their stored masks.

        Frames run from `start` up to but not including `stop` (down to, for "backward"), every `stride`-th.
        Left out, they run from the earliest (backward: the latest) prompted frame to the end of the clip,
        and an object whose first prompt still lies ahead is reported absent. With `start` given every
        object is tracked from there, if need be from the memory of a prompt that lies ahead. "both" walks
        forward from `start`, then backward from the frame before it; the second pass does not look at what
        the first one tracked. Raises PromptError at once, not at the first frame.
        """
        self._check_open()
        if not self._tracks:
            raise PromptError("there is nothing to propagate: prompt at least one object first")
        for object_id in self.objects:
            if not self._tracks[object_id].can_be_tracked:
                raise PromptError(f"object {object_id} has no prompts: prompt it again, or remove it")
        if direction not in ("forward", "backward", "both"):
            raise PromptError(f"direction is {direction!r}; choose 'forward', 'backward' or 'both'")
        if check_integer(stride, "stride") < 1:
            raise PromptError("stride must be at least 1")
        return self._run(self._plan(direction, start, stop, int(stride)))

    def _plan(self, direction: Direction, start: int | None, stop: int | None, stride: int) -> list[Walk]:
        everything = start is not None
        if start is None:
            settled = [frame for track in self._tracks.values() for frame in track.bank.prompted]
            start = max(settled) if direction == "backward" else min(settled)
        start = self._checked_frame(start, "start")
        if stop is not None:
            stop = _checked_stop(direction, start, stop)
        if direction == "backward":
            return [Walk(range(start, -1 if stop is None else stop, -stride), -stride, everything)]
        ends = [end for end in (stop, self.frame_count) if end is not None]
        ahead: Iterable[int] = range(start, min(ends), stride) if ends else count(start, stride)
        walks = [Walk(ahead, stride, everything)]
        if direction == "both":
            walks.append(Walk(range(start - stride, -1, -stride), -stride, everything, before=start))
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
        """Track every object that is not settled on this frame."""
        tracks = [self._tracks[i] for i in self.objects if self._tracks[i].can_be_tracked]
        tracks = [track for track in tracks if walk.everything or track.has_begun(frame, walk.pace)]
        moving = [track for track in tracks if not track.is_settled(frame)]
        if moving:
            features = self._look(frame)
            recalls = [track.recall_on(walk, frame, self.frame_count) for track in moving]
            for track, outcome in zip(moving, self._driver.follow(features, recalls), strict=True):
                track.keep_tracked(frame, outcome)
        for track in tracks:
            track.pass_by(frame, walk.pace)
            if self.options.retain == "window":
                track.forget(frame, walk.pace)

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
            known = ", ".join(map(str, sorted(track.prompts))) or "none"
            raise PromptError(f"object {object_id} has no prompts on frame {frame}; prompted frames: {known}")
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

    def _look_at_prompted(self, frame: int) -> ImageFeatures:
        try:
            return self._look(frame)
        except EndOfClip as error:  # only reading could tell: the clip's length was not known
            raise PromptError(f"frame {frame} is outside this clip: {error}") from error

    def _checked_frame(self, frame: Any, what: str = "frame") -> int:
        self._check_open()
        number = check_integer(frame, what)
        last = None if self.frame_count is None else self.frame_count - 1
        if last is not None and number > last:
            raise PromptError(f"{what} {number} is outside this clip (0..{last}); frames count from 0")
        return number

    def _check_open(self) -> None:
        if self._closed:
            raise Sam2VideoError("this session is closed; open the clip again")


def _checked_stop(direction: Direction, start: int, stop: int) -> int:
    if direction == "both":
        raise PromptError("direction 'both' runs to both ends of the clip and takes no stop; propagate twice")
    stop = check_integer(stop, "stop")
    if (stop < start) if direction == "forward" else (stop > start):
        raise PromptError(f"a {direction} pass from frame {start} never reaches stop={stop}")
    return stop
