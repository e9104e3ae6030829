"""Whatever a user does in whatever order, a session is what the plain restatement of its rules says."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sam2_video.memory import MemoryPolicy
from sam2_video.saved import read_saved, restore_session
from sam2_video.session import SessionOptions, VideoSession
from sam2_video.sources import FrameArrays
from sam2_video.types import FrameResult, ObjectInfo, Prompt, PromptError
from tests.fakes import CLICK, SIZE, NumberDriver, numbered_clip, values
from tests.naive import NaiveSession

FRAMES = 9
frames = st.integers(0, FRAMES - 1)
objects = st.integers(0, 2)
MASK = np.arange(SIZE[0] * SIZE[1]).reshape(SIZE) % 80 < 30
POLICIES = [
    MemoryPolicy(),
    MemoryPolicy(recent=2, pointers=3),
    MemoryPolicy(recent=2, pointers=2, prompted=1),
    MemoryPolicy(prompted=2),
]


class SessionMachine(RuleBasedStateMachine):
    """A session beside its restatement, which tracks everything anew and is never interrupted."""

    @initialize(retain=st.sampled_from(["all", "window"]), policy=st.sampled_from(POLICIES))
    def open(self, retain: Any, policy: MemoryPolicy) -> None:
        self.driver = NumberDriver()
        self.session = VideoSession(
            FrameArrays(numbered_clip(FRAMES)), self.driver, SessionOptions(policy, retain)
        )
        self.plain = NaiveSession(FRAMES, policy, retain)
        self.expected: Iterator[Any] = iter(())  # what is left of the last pass

    def reopened(self, through_a_file: bool) -> VideoSession:
        """The session, gone through its state, or through a file."""
        self.driver, source = NumberDriver(), FrameArrays(numbered_clip(FRAMES))
        if not through_a_file:
            return VideoSession.restore(source, self.driver, self.session.state())
        with TemporaryDirectory() as folder:
            self.session.save(Path(folder) / "work.sam2")
            return restore_session(read_saved(Path(folder) / "work.sam2"), source, self.driver)

    @rule(frame=frames, object_id=objects, add=st.booleans())
    def click(self, frame: int, object_id: int, add: bool) -> None:
        shown = self.session.prompt(frame=frame, object_id=object_id, add=add, **CLICK)
        assert values(shown)[object_id] == self.plain.prompt(frame, object_id, add, **CLICK)
        self.check_rows(shown)

    @rule(frame=frames, object_id=objects, name=st.sampled_from(["cup", "dog"]))
    def draw(self, frame: int, object_id: int, name: str) -> None:
        shown = self.session.prompt(frame=frame, object_id=object_id, mask=MASK, name=name)
        assert values(shown)[object_id] == self.plain.prompt(frame, object_id, name=name, mask=MASK)
        self.check_rows(shown)

    @precondition(lambda self: self.plain.objects)
    @rule(data=st.data(), name=st.sampled_from(["", "cat"]))
    def describe(self, data: st.DataObject, name: str) -> None:
        object_id = data.draw(st.sampled_from(sorted(self.plain.objects)))
        self.session.describe(object_id, name=name)
        self.plain.objects[object_id].name = name

    @precondition(lambda self: self.plain.objects)
    @rule(data=st.data())
    def clear(self, data: st.DataObject) -> None:
        object_id = data.draw(st.sampled_from(sorted(self.plain.objects)))
        frame = data.draw(st.sampled_from([*self.plain.objects[object_id].prompts, 0]))
        if frame in self.plain.objects[object_id].prompts:
            self.session.clear(frame, object_id)
            self.plain.clear(frame, object_id)
        else:
            with pytest.raises(PromptError):
                self.session.clear(frame, object_id)

    @precondition(lambda self: self.plain.objects)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        object_id = data.draw(st.sampled_from(sorted(self.plain.objects)))
        self.session.remove(object_id)
        self.plain.remove(object_id)
        with pytest.raises(PromptError):
            self.session.remove(object_id)

    @precondition(lambda self: self.plain.prompted)
    @rule(times=st.integers(1, 3))
    def undo(self, times: int) -> None:
        for _ in range(times):
            if not self.plain.history:
                with pytest.raises(PromptError, match="nothing to undo"):
                    self.session.undo()
                return
            self.session.undo()
            self.plain.undo()
            self.forget_as_much()

    def forget_as_much(self) -> None:
        """All that an undone prompt had a part in is gone; a session may be more careful than that."""
        for object_id, one in self.plain.objects.items():
            kept = self.session.track(object_id).bank.versions.keys()
            assert kept <= one.found.keys()
            for frame in one.found.keys() - kept:
                assert not one.found[frame].settled
                one.set_frame_parts(frame, (None, None, None))

    @precondition(lambda self: len(self.plain.objects) == 3)
    @rule()
    def reset(self) -> None:
        self.session.reset()
        self.plain.objects.clear()
        self.plain.history.clear()
        self.plain.bygone = 0

    @precondition(lambda self: self.plain.objects)
    @rule(file=st.booleans())
    def saved_and_resumed(self, file: bool) -> None:
        self.session = self.reopened(through_a_file=file)
        self.plain.bygone = min(20, self.plain.bygone + len(self.plain.history))
        self.plain.history.clear()

    @precondition(lambda self: self.plain.objects)
    @rule(
        direction=st.sampled_from(["forward", "backward", "both", "both"]),
        start=st.none() | frames,
        length=st.none() | st.integers(0, FRAMES),
        stride=st.sampled_from([1, 1, 1, 2, 3]),
        steps=st.sampled_from([None, 0, 1, 2, 3, 5]),
    )
    def propagate(
        self, direction: Any, start: int | None, length: int | None, stride: int, steps: int | None
    ) -> None:
        stop = None
        if start is not None and length is not None:
            stop = max(start - length, 0) if direction == "backward" else start + length
        if not all(one.settled for one in self.plain.objects.values()):
            with pytest.raises(PromptError):
                self.session.propagate(direction, start, stop, stride)
            return
        walk = self.session.propagate(direction, start, stop, stride)
        self.expected = self.plain.propagate(direction, start, stop, stride)
        self.walk(walk, steps)

    @precondition(lambda self: self.session.state().pending.legs)
    @rule(steps=st.sampled_from([None, 1, 2, 4]))
    def carry_on(self, steps: int | None) -> None:
        self.walk(self.session.carry_on(), steps)

    def walk(self, walk: Iterator[FrameResult], steps: int | None) -> None:
        """Compare the next frames of a pass, or all that are left."""
        asked, tracked = len(self.driver.tracked), len(self.plain.driver.tracked)
        for result, expected in zip(islice(walk, steps), islice(self.expected, steps), strict=True):
            assert (result.frame, values(result)) == expected
            self.check_rows(result)
        assert len(self.driver.tracked) - asked <= len(self.plain.driver.tracked) - tracked

    def check_rows(self, result: FrameResult) -> None:
        for object_id, info, prompted in zip(result.object_ids, result.info, result.prompted, strict=True):
            assert info == ObjectInfo(self.plain.objects[object_id].name)
            assert prompted == (result.frame in self.plain.objects[object_id].prompts)

    @precondition(lambda self: self.plain.objects)
    @rule(direction=st.sampled_from(["forward", "backward", "both"]))
    def repeat(self, direction: Any) -> None:
        """A pass that has just been made costs nothing when it is made again."""
        if self.session.options.retain == "window" or not all(o.settled for o in self.plain.objects.values()):
            return
        self.propagate(direction, None, None, 1, None)
        asked = len(self.driver.tracked), len(self.driver.looks)
        self.propagate(direction, None, None, 1, None)
        assert (len(self.driver.tracked), len(self.driver.looks)) == asked

    @invariant()
    def all_is_as_restated(self) -> None:
        assert self.session.objects == tuple(sorted(self.plain.objects))
        for object_id, one in self.plain.objects.items():
            track = self.session.track(object_id)
            assert track.info.name == one.name
            assert {f: said(p) for f, p in track.prompts.items()} == {
                f: said(p) for f, p in one.prompts.items()
            }
            assert sorted(track.bank.prompted) == one.settled
            assert track.bank.prompted.keys() | track.bank.tracked.keys() == one.found.keys()
            assert not track.bank.prompted.keys() & track.bank.tracked.keys()
            assert track.bank.versions.keys() == track.predictions.keys() == one.found.keys()
            assert len(set(track.bank.versions.values())) == len(track.bank.versions)
            assert track.recipes.keys() <= track.bank.tracked.keys()
            assert track.ways == one.ways
            for frame, found in one.found.items():
                memory = (track.bank.prompted | track.bank.tracked)[frame]
                assert memory.features.tolist() == found.memory.features.tolist()
                assert track.predictions[frame].logits.tolist() == found.prediction.logits.tolist()


def said(prompt: Prompt) -> Any:
    return prompt.points, prompt.labels, prompt.box, None if prompt.mask is None else prompt.mask.tobytes()


SessionMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestSessions = SessionMachine.TestCase
