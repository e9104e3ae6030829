"""The rules of a session once more, in plain words: everything is tracked anew, nothing is interrupted.

It shares with the package only how one frame reads its memories (`select_at_pace`, which has tests of its
own) and the fake driver.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sam2_video.memory import MemoryPolicy
from sam2_video.timeline import Way, select_at_pace
from sam2_video.transforms import make_prompt, merge_prompts
from sam2_video.types import FrameMemory, MaskPrediction, Prompt, Recall
from tests.fakes import SIZE, NumberDriver

Shown = tuple[int, dict[int, tuple[float, ...] | None]]


@dataclass
class Found:
    """What is known of a frame. `roots`: the prompts that had a part in it, by their number in time."""

    prediction: MaskPrediction
    memory: FrameMemory
    settled: bool
    roots: frozenset[int]


@dataclass
class NaiveObject:
    name: str = ""
    prompts: dict[int, Prompt] = field(default_factory=dict)
    found: dict[int, Found] = field(default_factory=dict)
    ways: dict[int, Way] = field(default_factory=dict)
    waiting: dict[tuple[int, int], MaskPrediction] = field(
        default_factory=dict
    )  # (pass, frame): not yet shown

    @property
    def settled(self) -> list[int]:
        return sorted(frame for frame, known in self.found.items() if known.settled)

    def frame_parts(self, frame: int) -> tuple[Any, ...]:
        return self.prompts.get(frame), self.found.get(frame), self.ways.get(frame)

    def set_frame_parts(self, frame: int, parts: tuple[Any, ...]) -> None:
        for known, part in zip((self.prompts, self.found, self.ways), parts, strict=True):
            known.pop(frame, None)  # type: ignore[attr-defined]
            if part is not None:
                known[frame] = part  # type: ignore[index]


class NaiveSession:
    def __init__(self, frames: int, policy: MemoryPolicy, retain: str) -> None:
        self.frames, self.policy, self.retain = frames, policy, retain
        self.driver = NumberDriver()
        self.objects: dict[int, NaiveObject] = {}
        self.history: deque[Callable[[], None]] = deque(maxlen=20)
        self.bygone = 0  # changes from before the session was saved
        self.prompted = self.passes = 0  # times

    def prompt(
        self, frame: int, object_id: int, add: bool = True, name: str | None = None, **said: Any
    ) -> tuple[float, ...]:
        known = self.objects.get(object_id)
        one = known or NaiveObject()
        afresh = not add and frame in one.prompts
        now = make_prompt(
            SIZE,
            points=said.get("points"),
            labels=said.get("labels"),
            box=said.get("box"),
            mask=said.get("mask"),
            where="the frame",
        )
        prompt = now if afresh else merge_prompts(one.prompts.get(frame), now)
        before, old_name = one.frame_parts(frame), one.name
        previous = None if afresh or frame not in one.found else one.found[frame].prediction.logits
        recall, roots = Recall(), frozenset[int]()
        if frame in one.ways:
            recall, roots = self.read(one, frame, one.ways[frame], leave_out=frame if afresh else None)
        prediction, memory = self.driver.segment(frame, prompt, SIZE, previous, recall)
        number = self.prompted
        self.prompted += 1
        one.prompts[frame] = prompt
        one.found[frame] = Found(prediction, memory, True, roots | {number})
        self.objects[object_id] = one
        one.name = given = old_name if name is None else name

        def undo() -> None:
            if known is None:
                del self.objects[object_id]
                return
            if known.name == given:  # nobody described it since
                known.name = old_name
            self.objects[object_id] = known
            known.set_frame_parts(frame, before)
            for past in [
                f for f, found in known.found.items() if not found.settled and number in found.roots
            ]:
                known.set_frame_parts(past, (None, None, None))

        self.history.append(undo)
        return tuple(prediction.logits.flatten().tolist())

    def clear(self, frame: int, object_id: int) -> None:
        one = self.objects[object_id]
        before = one.frame_parts(frame)
        if one.settled == [frame]:
            self.objects[object_id] = NaiveObject(one.name)
            self.history.append(lambda: self.bring_back(object_id, one))
            return
        one.set_frame_parts(frame, (None, None, before[2]))

        def undo() -> None:
            self.objects[object_id] = one
            one.set_frame_parts(frame, before)

        self.history.append(undo)

    def bring_back(self, object_id: int, one: NaiveObject) -> None:
        one.name = self.objects[object_id].name  # names are not a part of what was cleared
        self.objects[object_id] = one

    def remove(self, object_id: int) -> None:
        one = self.objects.pop(object_id)
        self.history.append(lambda: self.objects.update({object_id: one}))

    def undo(self) -> None:
        self.history.pop()()

    def read(
        self, one: NaiveObject, frame: int, way: Way, leave_out: int | None = None
    ) -> tuple[Recall, frozenset[int]]:
        settled = [f for f in one.settled if f != leave_out]
        tracked = {
            f
            for f, found in one.found.items()
            if not found.settled and (way.since is None or (f - way.since) * way.pace >= 0)
        }
        chosen = select_at_pace(self.policy, frame, way.pace, settled, tracked.__contains__, self.frames)
        roots = [one.found[f].roots for _, f in chosen.masks + chosen.pointers]
        recall = Recall(
            tuple((code, one.found[f].memory) for code, f in chosen.masks),
            tuple((code, one.found[f].memory) for code, f in chosen.pointers),
            chosen.span,
        )
        return recall, frozenset().union(*roots)

    def visit(self, frame: int, ways: dict[int, Way | None], *, backward_first: bool | None = None) -> None:
        """Track each object that has a way here. `backward_first`: None in a one-way pass, else is it now."""
        for object_id, way in ways.items():
            one = self.objects[object_id]
            if way is None or not one.settled:
                continue
            if not (frame in one.found and one.found[frame].settled):
                recall, roots = self.read(one, frame, way)
                ((prediction, memory),) = self.driver.follow(frame, [recall])
                one.found[frame] = Found(prediction, memory, False, roots)
            one.ways[frame] = way
            if self.retain == "window":
                if backward_first:
                    one.waiting[self.passes, frame] = one.found[frame].prediction
                self.forget(one, frame, way.pace, prompts=backward_first is None)

    def forget(self, one: NaiveObject, frame: int, pace: int, *, prompts: bool) -> None:
        """Restated: a frame reaches back `horizon` frames of its walk; this one may still be prompted."""
        step = 1 if pace > 0 else -1
        far = {f for f in one.found if (frame - f) * step > self.policy.horizon * abs(pace)}
        nearest_first = sorted((f for f in one.settled if (frame - f) * step >= 0), key=lambda f: -f * step)
        limit = self.policy.prompted
        spared = set(one.settled)
        if prompts and limit is not None:
            spare = min(20, self.bygone + len(self.history))  # an undo may bring the others back
            spared -= set(nearest_first[limit + 1 + spare :])
        for f in [*one.found, *one.ways]:
            if (f in far and f not in spared) or f not in one.found:
                one.set_frame_parts(f, (None, None, None))

    def results(self, frame: int) -> Shown:
        out: dict[int, tuple[float, ...] | None] = {}
        for object_id in sorted(self.objects):
            one = self.objects[object_id]
            prediction = one.waiting.get((self.passes, frame))
            if frame in one.found:
                prediction = one.found[frame].prediction
            out[object_id] = None if prediction is None else tuple(prediction.logits.flatten().tolist())
        return frame, out

    def propagate(self, direction: str, start: int | None, stop: int | None, stride: int) -> Iterator[Shown]:
        self.passes += 1
        prompted = [frame for one in self.objects.values() for frame in one.settled]
        everyone = start is not None
        if direction == "both":
            return self.both(start or 0, self.frames if stop is None else min(stop, self.frames), stride)
        if direction == "forward":
            first = min(prompted) if start is None else start
            return self.one_way(
                range(first, self.frames if stop is None else min(stop, self.frames), stride),
                stride,
                everyone,
            )
        first = max(prompted) if start is None else start
        return self.one_way(range(first, -1 if stop is None else stop, -stride), -stride, everyone)

    def one_way(self, frames: range, pace: int, everyone: bool) -> Iterator[Shown]:
        for frame in frames:
            ways = {
                object_id: Way(pace) if everyone or begun(one, frame, pace) else None
                for object_id, one in sorted(self.objects.items())
            }
            self.visit(frame, ways)
            yield self.results(frame)

    def both(self, start: int, stop: int, stride: int) -> Iterator[Shown]:
        anchors = {object_id: one.settled for object_id, one in self.objects.items()}
        inside = [f for found in anchors.values() for f in found if start <= f < stop]
        grid = range(start + (min(inside, default=start) - start) % stride, stop, stride)
        # Stretches that objects are to be walked backward, joined where they share frames.
        stretches: dict[tuple[int, int], set[int]] = {}
        for object_id, found in anchors.items():
            for frame in grid:
                if nearest(found, frame) > frame:
                    stretches.setdefault((object_id, nearest(found, frame)), set()).add(frame)
        joined: list[set[int]] = []
        for stretch in stretches.values():
            for other in [other for other in joined if other & stretch]:
                joined.remove(other)
                stretch = stretch | other
            joined.append(stretch)
        return self.there_and_back(anchors, grid, joined)

    def there_and_back(
        self, anchors: dict[int, list[int]], grid: range, stretches: list[set[int]]
    ) -> Iterator[Shown]:
        stride = grid.step

        def ways(frame: int, pace: int) -> dict[int, Way | None]:
            out: dict[int, Way | None] = {}
            for object_id, one in sorted(self.objects.items()):
                alive = [f for f in anchors.get(object_id, ()) if f in one.settled]
                out[object_id] = None
                if not alive:
                    if pace > 0 and begun(one, frame, pace):
                        out[object_id] = Way(pace)
                elif (frame - nearest(alive, frame)) * pace > 0 or (pace > 0 and frame in alive):
                    out[object_id] = Way(pace, nearest(alive, frame))
                elif pace > 0 and nearest(anchors[object_id], frame) <= frame:  # it was to come from there
                    out[object_id] = Way(pace, nearest(anchors[object_id], frame))
            return out

        for frame in grid:
            for stretch in stretches:
                if frame == min(stretch):
                    for past in sorted(stretch, reverse=True):
                        self.visit(past, ways(past, -stride), backward_first=True)
            self.visit(frame, ways(frame, stride), backward_first=False)
            yield self.results(frame)


def nearest(frames: list[int], frame: int) -> int:
    """The nearest of some frames, the earlier one where two are equally near."""
    return min(sorted(frames), key=lambda f: abs(f - frame))


def begun(one: NaiveObject, frame: int, pace: int) -> bool:
    return any(f <= frame if pace > 0 else f >= frame for f in one.settled)
