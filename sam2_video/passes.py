"""Passes over a clip: which frames are visited in which order, and which way each object is walked there.

Integers only. A pass is a plain value that says what is left of it, so that it can be interrupted, saved and
carried on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from sam2_video.timeline import ObjectTrack, Way

Direction = Literal["forward", "backward", "both"]


@dataclass(frozen=True)
class Leg:
    """Frames that are visited one after the other: from `first` in steps of `step`, `stop` excluded.

    `stop` None means until the clip ends. `shown` legs yield results; the others set them aside.
    """

    first: int
    stop: int | None
    step: int
    shown: bool = True

    @property
    def is_over(self) -> bool:
        return self.stop is not None and (self.stop - self.first) * self.step <= 0


@dataclass(frozen=True)
class Pass:
    """What is left of a pass, its next frame first.

    `everything`: objects are tracked also before their first prompt, from what is remembered of it.
    `anchors`: of a pass in both directions, the prompted frames per object when it began; each frame is
    decided by the nearest of them, the earlier one where two are equally near.
    """

    legs: tuple[Leg, ...] = ()
    everything: bool = True
    anchors: Mapping[int, tuple[int, ...]] | None = None

    def after_frame(self) -> Pass:
        """What is left once the next frame has been visited."""
        leg = self.legs[0]
        return replace(self, legs=_alive((replace(leg, first=leg.first + leg.step), *self.legs[1:])))

    def after_leg(self) -> Pass:
        """What is left once the clip turned out to end before the next frame."""
        return replace(self, legs=_alive(self.legs[1:]))

    def way(self, track: ObjectTrack) -> Way | None:
        """How an object is walked on the next frame; None where it is not walked there."""
        leg = self.legs[0]
        frame = leg.first
        if self.anchors is None:
            return Way(leg.step) if self.everything or track.has_begun(frame, leg.step) else None
        anchors = [a for a in self.anchors.get(track.object_id, ()) if track.is_settled(a)]
        if not anchors:  # prompted for the first time while the pass was under way
            return Way(leg.step) if leg.shown and track.has_begun(frame, leg.step) else None
        nearest = _nearest(anchors, frame)
        ahead = (frame - nearest) * leg.step
        if ahead > 0 or (ahead == 0 and leg.shown):
            return Way(leg.step, nearest)
        # The anchor that the frame was to be walked from may have been taken back: nobody else walks it.
        planned = _nearest(self.anchors[track.object_id], frame)
        return Way(leg.step, planned) if leg.shown and planned <= frame else None


def _nearest(anchors: Iterable[int], frame: int) -> int:
    return min(anchors, key=lambda anchor: (abs(frame - anchor), anchor))


def one_way(start: int, stop: int | None, step: int, *, everything: bool) -> Pass:
    """A pass from `start` to `stop`, excluded; all its frames are shown."""
    return Pass(_alive((Leg(start, stop, step),)), everything)


def both_ways(anchors: Mapping[int, Sequence[int]], start: int, stop: int | None, stride: int) -> Pass:
    """A pass that shows the frames of a range in ascending order, each decided by the nearest anchor.

    Where some object is to be walked backward, that is done first, then the frames are shown. The grid of
    a stride goes through the earliest anchor of the range, or through `start` where there is none.
    """
    inside = [a for found in anchors.values() for a in found if a >= start and (stop is None or a < stop)]
    first = start + (min(inside, default=start) - start) % stride
    legs, shown_from = [], first
    stretches = [s for found in anchors.values() for s in _backward(sorted(found), first, stop, stride)]
    for low, high in _merged(stretches):
        legs.append(Leg(shown_from, low, stride))
        legs.append(Leg(high, low - 1, -stride, shown=False))
        shown_from = low
    legs.append(Leg(shown_from, stop, stride))
    return Pass(_alive(tuple(legs)), anchors={i: tuple(sorted(found)) for i, found in anchors.items()})


def _backward(anchors: Sequence[int], first: int, stop: int | None, stride: int) -> list[tuple[int, int]]:
    """(lowest, highest) frame of each stretch of the grid that one object is walked backward."""
    stretches = []
    middles = [first - 1, *((left + right) // 2 for left, right in pairwise(anchors))]
    for middle, anchor in zip(middles, anchors, strict=True):
        low = first + max(0, -(-(middle + 1 - first) // stride)) * stride
        last = anchor - 1 if stop is None else min(anchor, stop) - 1
        high = first + (last - first) // stride * stride
        if low <= high:
            stretches.append((low, high))
    return stretches


def _merged(stretches: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join stretches that share frames, so that no frame is visited twice on the way back."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(stretches):
        if merged and low <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(high, merged[-1][1])
        else:
            merged.append((low, high))
    return merged


def _alive(legs: tuple[Leg, ...]) -> tuple[Leg, ...]:
    """Without the legs that have no frames (left)."""
    while legs and legs[0].is_over:
        legs = legs[1:]
    return legs
