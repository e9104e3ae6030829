"""Visiting frames: which objects are tracked there, what is kept of it, what is forgotten behind a walk.

A `Driver` looks at frames and segments them; here it is decided when, and with which memories.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from sam2_video.ahead import Ahead, Lookahead
from sam2_video.aside import Shelf
from sam2_video.passes import Leg, Pass
from sam2_video.sources import SharedSource, VideoSource
from sam2_video.state import SessionOptions, Size
from sam2_video.timeline import ObjectTrack, Outcome, Row, Way
from sam2_video.types import FrameMemory, FrameResult, ImageFeatures, MaskPrediction, Prompt, Recall

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

    def remember(self, features: ImageFeatures, prediction: MaskPrediction, *, prompted: bool) -> FrameMemory:
        """Make the memory of a frame again, from the mask that was found on it."""

    def show(self, frame: int, size: Size, rows: Sequence[Row]) -> FrameResult:
        """Put objects together into what the user gets."""

    def settings(self) -> Mapping[str, Any]:
        """What a saved session must find again: weights, shapes and how results are made; plain values."""


@dataclass
class Walker:
    """The hands of a session: its clip, the network, and the timelines of its objects, which it changes."""

    source: VideoSource
    driver: Driver
    options: SessionOptions
    tracks: dict[int, ObjectTrack] = field(default_factory=dict)
    _features: OrderedDict[int, ImageFeatures] = field(default_factory=OrderedDict)
    _shelf: Shelf | None = None
    _lookahead: Lookahead = field(default_factory=Lookahead)
    _ahead: Ahead[Any] | None = None

    @property
    def size(self) -> Size:
        """(H, W) of coordinates, masks and results."""
        return self.options.video_size or self.source.size

    def look_ahead(self, how: Lookahead) -> None:
        """Read, and encode, the next frames of a pass while one is tracked, if the source can be shared."""
        self.rest()
        self._lookahead = how
        self._ahead = None
        if how.frames and isinstance(self.source, SharedSource):
            make = self.driver.look if how.encoders else _as_it_is
            self._ahead = Ahead(self.source.read, make, max(how.encoders, 1))

    def rest(self) -> None:
        """The walk is over, or waits: nobody looks ahead any more."""
        if self._ahead is not None:
            self._ahead.rest()

    def look(self, frame: int) -> ImageFeatures:
        """The features of a frame, from the last few or new."""
        if frame not in self._features:
            self._features[frame] = self._looked_at(frame)
            while len(self._features) > CACHED_FRAMES:
                self._features.popitem(last=False)
        self._features.move_to_end(frame)
        return self._features[frame]

    def _looked_at(self, frame: int) -> ImageFeatures:
        if self._ahead is None:
            return self.driver.look(self.source.read(frame))
        found = self._ahead.take(frame)
        features: ImageFeatures = found if self._lookahead.encoders else self.driver.look(found)
        return features

    def show(self, frame: int, tracks: Sequence[ObjectTrack]) -> FrameResult:
        """Put what is known of some objects on one frame into a result."""
        return self.driver.show(frame, self.size, [track.row(frame) for track in tracks])

    def visit(self, rest: Pass) -> FrameResult | None:
        """Do the next frame of a pass; return a result where it is shown. EndOfClip past the last one.

        Everything that was read is kept until `leave`, so that a frame can be done again.
        """
        leg, walked = rest.legs[0], self._walked(rest)
        self._advance(leg, walked)
        self._set_aside(leg, [track for track, _ in walked])
        return self.show(leg.first, self._in_order()) if leg.shown else None

    def leave(self, rest: Pass, undoable: int) -> None:
        """Let go of what waited for the frame that `visit` did, and of what is out of reach from there.

        `undoable`: how many changes may be taken back, and memories that they hide come into reach again.
        """
        leg = rest.legs[0]
        for track in self.tracks.values() if leg.shown else ():
            track.aside.drop(leg.first)
        for track, _ in self._walked(rest) if self.options.retain == "window" else ():
            # A pass in both directions comes back to prompts that lie behind.
            track.forget(leg.first, leg.step, spare=undoable if rest.anchors is None else None)

    def close(self) -> None:
        """Forget everything and close the source."""
        self.rest()
        self.tracks.clear()
        self._features.clear()
        self._shelf = None
        self.source.close()

    def _in_order(self) -> list[ObjectTrack]:
        return [self.tracks[object_id] for object_id in sorted(self.tracks)]

    def _walked(self, rest: Pass) -> list[tuple[ObjectTrack, Way]]:
        """The objects that are walked on the next frame of a pass, and how."""
        tracks = [track for track in self._in_order() if track.can_be_tracked]
        return [(track, way) for track in tracks if (way := rest.way(track)) is not None]

    def _advance(self, leg: Leg, walked: Sequence[tuple[ObjectTrack, Way]]) -> None:
        """Track every object that is neither settled nor tracked from what would be read now."""
        frame, moving = leg.first, []
        for track, way in walked:
            if not track.is_settled(frame):
                selection = track.select(frame, way, self.source.count)
                recipe = track.bank.recipe(selection)
                if not track.is_current(frame, recipe):
                    moving.append((track, track.bank.recall(selection), recipe))
        if moving:
            ahead = self._announce(leg)
            features = self.look(frame)
            self._look_early(ahead)
            outcomes = self.driver.follow(features, [recall for _, recall, _ in moving])
            for (track, _, recipe), outcome in zip(moving, outcomes, strict=True):
                track.keep_tracked(frame, outcome, recipe)
        elif self.source.count is None and not any(track.knows(frame) for track, _ in walked):
            self.source.read(frame)  # is there such a frame at all?
        for track, way in walked:
            track.pass_by(frame, way)

    def _announce(self, leg: Leg) -> list[int]:
        """Say what will be looked at next: this frame, and those ahead that not everyone is settled on."""
        if self._ahead is None:
            return []
        stop = leg.stop if leg.stop is not None else self.source.count
        near = range(leg.first, leg.first + (self._lookahead.frames + 1) * leg.step, leg.step)
        frames = [
            frame
            for frame in near
            if (stop is None or (stop - frame) * leg.step > 0)
            and frame not in self._features
            and not all(track.is_settled(frame) for track in self.tracks.values())
        ]
        self._ahead.expect(frames)
        return [frame for frame in frames if frame != leg.first]

    def _look_early(self, ahead: Sequence[int]) -> None:
        """Encode the next frame before this one is tracked, where the device does both beside each other."""
        if self._lookahead.early and self._ahead is not None and ahead and self._ahead.has(ahead[0]):
            self.look(ahead[0])

    def _set_aside(self, leg: Leg, tracks: Sequence[ObjectTrack]) -> None:
        """Put on disk what is shown later, where it would be forgotten until then."""
        if leg.shown:
            self._shelf = None  # the next way back begins a file of its own
        elif self.options.retain == "window":
            self._shelf = self._shelf or Shelf()
            for track in tracks:
                track.aside.put(leg.first, track.predictions[leg.first], self._shelf)


def _as_it_is(rgb: Any) -> Any:
    return rgb
