"""Whatever a user does in whatever order, a session keeps its promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sam2_video.session import SessionOptions, VideoSession
from sam2_video.sources import FrameArrays
from sam2_video.types import PromptError
from tests.test_session import SIZE, FakeDriver, clip

FRAMES = 9
frames = st.integers(0, FRAMES - 1)
objects = st.integers(0, 3)
strides = st.sampled_from([1, 1, 1, 2])


class SessionMachine(RuleBasedStateMachine):
    """A session beside the plainest model of it: which object was prompted where, with how many clicks."""

    @initialize(retain=st.sampled_from(["all"]))
    def open(self, retain: Any) -> None:
        self.driver = FakeDriver()
        self.retain = retain
        self.session = VideoSession(FrameArrays(clip(FRAMES)), self.driver, SessionOptions(retain=retain))
        self.said: dict[int, dict[int, int]] = {}  # object -> frame -> clicks; 0 stands for a mask
        self.shown: dict[tuple[int, int], Any] = {}  # what a prompted frame last showed

    @rule(frame=frames, object_id=objects, add=st.booleans())
    def click(self, frame: int, object_id: int, add: bool) -> None:
        seen = object_id in self.said and self.session.track(object_id).was_tracked(frame)
        _, found = self.session.prompt(  # type: ignore[misc]
            frame=frame, object_id=object_id, points=[(3, 4)], labels=[1], add=add
        )
        said = self.said.setdefault(object_id, {})
        clicks = said.get(frame, 0) if add else 0
        said[frame] = clicks + 1
        note = self.shown[frame, object_id] = found[object_id]
        assert len(note.prompt.points) == clicks + 1
        assert seen or not note.seen  # first sight looks at no memory

    @rule(frame=frames, object_id=objects)
    def draw(self, frame: int, object_id: int) -> None:
        _, found = self.session.prompt(frame=frame, object_id=object_id, mask=np.ones(SIZE, bool))  # type: ignore[misc]
        self.said.setdefault(object_id, {})[frame] = 0
        self.shown[frame, object_id] = found[object_id]

    @rule(frame=frames, object_id=objects)
    def clear(self, frame: int, object_id: int) -> None:
        if frame in self.said.get(object_id, {}):
            self.session.clear(frame, object_id)
            del self.said[object_id][frame]
        else:
            with pytest.raises(PromptError):
                self.session.clear(frame, object_id)

    @rule(object_id=objects)
    def remove(self, object_id: int) -> None:
        if object_id in self.said:
            self.session.remove(object_id)
            del self.said[object_id]
        else:
            with pytest.raises(PromptError):
                self.session.remove(object_id)

    @rule()
    def reset(self) -> None:
        self.session.reset()
        self.said.clear()

    @rule(
        direction=st.sampled_from(["forward", "backward", "both"]), start=st.none() | frames, stride=strides
    )
    def propagate(self, direction: Any, start: int | None, stride: int) -> None:
        if not self.said or not all(self.said.values()):
            with pytest.raises(PromptError):
                self.session.propagate(direction, start=start, stride=stride)
            return
        prompted = {frame for clicks in self.said.values() for frame in clicks}
        first = start
        if first is None:
            first = max(prompted) if direction == "backward" else min(prompted)
        ahead, behind = list(range(first, FRAMES, stride)), list(range(first, -1, -stride))
        begin = start or 0
        grid = min([f for f in prompted if f >= begin], default=begin)
        both = [f for f in range(begin, FRAMES) if (f - grid) % stride == 0]
        expected = {"forward": ahead, "backward": behind, "both": both}[direction]
        order = []
        for frame, found in self.session.propagate(direction, start=start, stride=stride):  # type: ignore[misc]
            order.append(frame)
            assert tuple(found) == tuple(sorted(self.said))
            for object_id, note in found.items():
                if frame in self.said[object_id]:
                    assert note is self.shown[frame, object_id]  # a corrected frame stays corrected
                elif start is not None:
                    assert note is not None and note.kind == "tracked"
        assert order == expected

    @precondition(lambda self: self.said)
    @rule(data=st.data(), steps=st.integers(1, 4))
    def walk_a_little(self, data: st.DataObject, steps: int) -> None:
        if all(self.said.values()):
            walk = self.session.propagate(start=data.draw(frames))
            for _ in zip(range(steps), walk, strict=False):
                pass

    @invariant()
    def prompts_and_memories_agree(self) -> None:
        assert self.session.objects == tuple(sorted(self.said))
        for object_id, clicks in self.said.items():
            track = self.session.track(object_id)
            assert track.prompts.keys() == track.bank.prompted.keys() == clicks.keys()
            assert not track.bank.prompted.keys() & track.bank.tracked.keys()
            assert track.predictions.keys() <= track.bank.prompted.keys() | track.bank.tracked.keys()
            assert all(f in track.predictions for f in clicks)
            if not clicks:
                assert not track.bank.tracked and not track.predictions and not track.ways
            for frame, memory in [*track.bank.prompted.items(), *track.bank.tracked.items()]:
                assert memory.frame == frame  # type: ignore[attr-defined]
            for frame in track.bank.prompted:
                assert track.bank.prompted[frame] is self.shown[frame, object_id]


SessionMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestSessions = SessionMachine.TestCase
