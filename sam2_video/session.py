"""Everything that changes while one clip is worked on: which frames were prompted, tracked and remembered.

No tensor arithmetic and no model here: a `Driver` looks at frames and segments them. So the rules of a
session can be tested with plain numbers in place of tensors. `walker` visits frames, `timeline` knows one
object, `passes` the order of frames, `history` what can be undone, `state` what all of it looks like saved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from sam2_video.ahead import Lookahead
from sam2_video.fingerprint import clip_fingerprint
from sam2_video.history import Before, Change, History
from sam2_video.kept_results import KeptResults
from sam2_video.memory import MemoryBank
from sam2_video.passes import Direction, Pass, both_ways, one_way
from sam2_video.sources import EndOfClip, VideoSource
from sam2_video.state import Retain, SessionOptions, SessionState, Size, object_state, object_track
from sam2_video.timeline import ObjectTrack
from sam2_video.transforms import check_integer, check_object_id, make_prompt, merge_prompts
from sam2_video.types import FrameResult, ImageFeatures, ObjectInfo, PromptError, Sam2VideoError, SourceError
from sam2_video.walker import Driver, Walker

__all__ = ["Direction", "Driver", "Retain", "SessionOptions", "SessionState", "Size", "VideoSession"]


class VideoSession:
    """One clip, its objects and their timelines; made by `VideoPredictor.open`, closed by `with`."""

    def __init__(self, source: VideoSource, driver: Driver, options: SessionOptions | None = None) -> None:
        self.options = options or SessionOptions()
        self._walker = Walker(source, driver, self.options)
        self._tracks = self._walker.tracks
        self._pending = Pass()  # what is left of the last pass
        self._history = History()
        self._kept = KeptResults()
        self._fingerprint: dict[str, Any] | None = None
        self.origin: str | None = None  # path of the clip, where it was opened by one
        # Called after each frame of a pass that is not shown yet: the caller's turn, as results are.
        self.while_hidden: Callable[[], object] = lambda: None
        self._closed = False

    @classmethod
    def restore(cls, source: VideoSource, driver: Driver, state: SessionState) -> VideoSession:
        """Make a session that goes on where another one stood. Raises SourceError for another clip."""
        session = cls(source, driver, state.options)
        counts = state.frame_count, session.frame_count
        if session.size != state.size or (None not in counts and counts[0] != counts[1]):
            raise SourceError(
                f"this state belongs to another clip: it is of {_clip(state.size, state.frame_count)}, "
                f"{source.name} has {_clip(session.size, session.frame_count)}"
            )
        policy = state.options.memory
        for object_id, found in state.objects.items():
            session._tracks[object_id] = object_track(object_id, found, policy)
        session._pending = state.pending
        session._history.bygone = state.undoable
        return session

    def state(self) -> SessionState:
        """A snapshot of everything that changes in a session; later changes do not reach it."""
        self._check_open()
        objects = {object_id: object_state(self._tracks[object_id]) for object_id in self.objects}
        return SessionState(
            self.options, self.size, self.frame_count, objects, self._pending, self._history.reach
        )

    def look_ahead(self, how: Lookahead) -> None:
        """Have passes read, and encode, the next frames while one is tracked; results stay the same."""
        self._check_open()
        self._walker.look_ahead(how)

    def save(self, path: str | Path, *, memories: bool = True, note: Mapping[str, Any] | None = None) -> None:
        """Write everything into one file that `VideoPredictor.resume` reads; it is there whole or not at all.

        With `memories` whatever is done next gives what it would have given here, to the last bit. Without,
        the file is small: prompts with their masks, names and settings are kept exactly, all other masks are
        there to be shown, and must be tracked again to be corrected or carried on. What could be undone is
        not kept. `note` is kept for the caller: anything that JSON holds. Raises SinkError.
        """
        from sam2_video.saved import save_session

        self._check_open()
        save_session(self, path, memories=memories, note=note)

    def results(self) -> Iterator[FrameResult]:
        """Yield what is known of each frame by now, in ascending order, without tracking anything."""
        self._check_open()
        tracks = [self._tracks[i] for i in self.objects]
        missing = {track.object_id: track.kept - track.found_on() for track in tracks}
        for frame in sorted({f for track in tracks for f in track.found_on() | track.kept}):
            rows = [object_id for object_id, frames in missing.items() if frame in frames]
            yield self._kept.complete(self._walker.show(frame, tracks), rows)

    def keep_shown(self, records: Mapping[int, bytes]) -> None:
        """Have `results` show these, frame -> record of a `ResultLog`, where nothing newer is known."""
        self._kept = KeptResults(records)
        for object_id, track in self._tracks.items():
            track.kept = self._kept.frames_of(object_id)

    @property
    def kept(self) -> Iterator[tuple[int, bytes]]:
        """What `keep_shown` was given, as far as it is still shown."""
        return self._kept.of({object_id: track.kept for object_id, track in self._tracks.items()})

    def clip_record(self) -> dict[str, Any]:
        """Where the clip was opened, and what tells it from others."""
        self._fingerprint = self._fingerprint or clip_fingerprint(self.source)
        return {**self._fingerprint, "path": self.origin}

    @property
    def pending(self) -> Pass:
        """What is left of the last pass."""
        return self._pending

    def give_up(self) -> None:
        """Have nothing left of the last pass; what it found stays."""
        self._pending = Pass()

    def take_over(self, tracks: Mapping[int, ObjectTrack], pending: Pass) -> None:
        """Go on from timelines that were kept elsewhere, in place of what there is."""
        self._check_open()
        self.reset()
        self._tracks.update(tracks)
        self._pending = pending

    @property
    def driver(self) -> Driver:
        """Who runs the network."""
        return self._walker.driver

    def __enter__(self) -> VideoSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def source(self) -> VideoSource:
        """The clip."""
        return self._walker.source

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
        return self._walker.size

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
        name: str | None = None,
        category: str | None = None,
    ) -> FrameResult:
        """Say where an object is on one frame, and get its mask there (a result with this object alone).

        Prompts of a frame add up: new clicks join the earlier ones and refine the mask, a box replaces the
        box, a mask replaces everything. `add=False` starts the frame over. `name` and `category` are as in
        `describe`. Raises PromptError, and then changes nothing.
        """
        frame, object_id = self._checked_frame(frame), check_object_id(object_id)
        where = f"frame {frame}"
        said = make_prompt(self.size, points=points, labels=labels, box=box, mask=mask, where=where)
        known = self._tracks.get(object_id)
        track = known or ObjectTrack(object_id, MemoryBank(self.options.memory))
        info = _described(track.info, name, category)
        afresh = not add and track.is_prompted(frame)
        prompt = said if afresh else merge_prompts(track.prompts.get(frame), said)
        previous = None if afresh else track.predictions.get(frame)
        outcome = self._walker.driver.segment(
            self._look_at_prompted(frame),
            prompt,
            self.size,
            None if previous is None else previous.logits,
            track.recall_for_prompt(frame, self.frame_count, afresh=afresh),
        )
        before = Before(known, track.record(frame), (track.info, info), version=track.bank.made)
        settled = self.options.keep_corrections or track.is_settled(frame) or not track.was_tracked(frame)
        track.keep_prompted(frame, prompt, outcome, settled=settled)
        track.info = info
        self._tracks[object_id] = track
        self._history.note(Change("prompt", object_id, frame), before)
        return self._walker.show(frame, [track])

    def describe(self, object_id: int, *, name: str | None = None, category: str | None = None) -> None:
        """Give an object a name of its own and the class it belongs to; what is left out stays as it is.

        They come with every later result. Raises PromptError for an unknown object, and for what is no text.
        """
        self._check_open()
        track = self.track(object_id)
        track.info = _described(track.info, name, category)

    def undo(self) -> Change:
        """Take back the last prompt, clear or removal, and say what it was; again to go further back.

        The frame is then what it was before: its earlier prompts, mask and memory come back. Frames that
        were tracked with an undone prompt in view count as never tracked. The last 20 changes can be taken
        back, names given by `describe` and `reset` cannot. Raises PromptError where there is nothing left.
        """
        self._check_open()
        return self._history.undo(self._tracks)

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
        object is tracked from there, if need be from the memory of a prompt that lies ahead.

        "both" yields the frames from `start` (left out: the first) to `stop` in ascending order. On each,
        each object is tracked from its nearest prompted frame, the earlier one where two are equally near,
        and reads nothing that was tracked from another one. The grid of a stride goes through the earliest
        prompted frame of the range.

        What was tracked before from the very same memories is not tracked again. A pass that is left
        early can be carried on until another one begins. Raises PromptError at once, not at the first frame.
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
        self._pending = self._plan(direction, start, stop, int(stride))
        for track in [*self._tracks.values(), *self._history.objects()]:
            track.aside.clear()  # of a pass that is given up
        return self._run(self._pending)

    def carry_on(self) -> Iterator[FrameResult]:
        """Yield the frames that are left of the last pass, as it would have; none if it came to its end."""
        self._check_open()
        return self._run(self._pending)

    def _plan(self, direction: Direction, start: int | None, stop: int | None, stride: int) -> Pass:
        settled = {i: tuple(self._tracks[i].bank.prompted) for i in self.objects}
        everything = start is not None
        if start is None:
            frames = [frame for found in settled.values() for frame in found]
            start = {"forward": min(frames), "backward": max(frames), "both": 0}[direction]
        start = self._checked_frame(start, "start")
        if stop is not None:
            stop = _checked_stop(direction, start, stop)
        if direction == "backward":
            return one_way(start, -1 if stop is None else stop, -stride, everything=everything)
        ends = [end for end in (stop, self.frame_count) if end is not None]
        if direction == "forward":
            return one_way(start, min(ends, default=None), stride, everything=everything)
        return both_ways(settled, start, min(ends, default=None), stride)

    def _run(self, rest: Pass) -> Iterator[FrameResult]:
        """Walk what is left of a pass; a frame is done when `_pending` moves on."""
        try:
            while rest.legs:
                self._check_open()
                if self._pending is not rest:
                    raise Sam2VideoError("this pass was given up when another one began")
                try:
                    result = self._walker.visit(rest)
                except EndOfClip:  # a clip of unknown length, or shorter than its header says
                    self._pending = rest = rest.after_leg()
                    continue
                done, rest = rest, rest.after_frame()
                self._pending = rest
                self._walker.leave(done, self._history.reach)
                if result is None:
                    self.while_hidden()
                else:
                    yield result
        finally:
            self._walker.rest()

    def remove(self, object_id: int) -> None:
        """Forget an object; the others stay as they are. PromptError if there is no such object."""
        self._check_open()
        track = self.track(object_id)
        del self._tracks[object_id]
        self._history.note(Change("remove", object_id), Before(track))

    def clear(self, frame: int, object_id: int) -> None:
        """Take back the prompts of one object on one frame; PromptError if there are none.

        Without any prompt left an object has no timeline either.
        """
        self._check_open()
        track = self.track(object_id)
        if not track.is_prompted(frame):
            known = ", ".join(map(str, sorted(track.prompts))) or "none"
            raise PromptError(f"object {object_id} has no prompts on frame {frame}; prompted frames: {known}")
        change = Change("clear", object_id, frame)
        if track.bank.prompted.keys() <= {frame}:
            self._tracks[object_id] = ObjectTrack(object_id, MemoryBank(self.options.memory), track.info)
            self._history.note(change, Before(track))
        else:
            self._history.note(change, Before(track, track.record(frame)))
            track.clear(frame)

    def reset(self) -> None:
        """Forget all objects, and what could be undone; the clip stays open."""
        self._check_open()
        self._tracks.clear()
        self._history.clear()
        self._kept = KeptResults()

    def close(self) -> None:
        """Forget everything and close the source; a second call does nothing."""
        if not self._closed:
            self.reset()
            self._closed = True
            self._pending = Pass()
            self._walker.close()

    def _look_at_prompted(self, frame: int) -> ImageFeatures:
        try:
            return self._walker.look(frame)
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
    stop = check_integer(stop, "stop")
    if (stop > start) if direction == "backward" else (stop < start):
        raise PromptError(f"a {direction} pass from frame {start} never reaches stop={stop}")
    return stop


def _described(info: ObjectInfo, name: str | None, category: str | None) -> ObjectInfo:
    for what, text in (("name", name), ("category", category)):
        if not isinstance(text, str | None):
            raise PromptError(f"the {what} of an object is text; got {text!r}")
    return ObjectInfo(info.name if name is None else name, info.category if category is None else category)


def _clip(size: Size, frame_count: int | None) -> str:
    return f"{size[1]}x{size[0]}" + ("" if frame_count is None else f", {frame_count} frames")
