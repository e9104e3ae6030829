"""Undo: a session is as if the change had never been made."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest

from sam2_video.history import STEPS, Change
from sam2_video.memory import MemoryPolicy
from sam2_video.session import VideoSession
from sam2_video.types import ObjectInfo, PromptError
from tests.fakes import CLICK, SIZE, NumberDriver, masks, open_numbers

FRAMES = 12
MASK = np.ones(SIZE, bool)


@pytest.fixture
def opened() -> tuple[VideoSession, NumberDriver]:
    session, driver = open_numbers(FRAMES)
    session.prompt(frame=0, object_id=1, **CLICK)
    list(session.propagate())
    return session, driver


def snapshot(session: VideoSession) -> Any:
    """All that a session knows, with numbers in place of tensors."""
    return {
        object_id: (
            found.info,
            {
                frame: (
                    record.prompt,
                    None if record.prediction is None else record.prediction.logits.tolist(),
                    None if record.memory is None else record.memory.features.tolist(),
                    (record.version, record.settled, record.recipe, record.way),
                )
                for frame, record in found.frames.items()
            },
        )
        for object_id, found in session.state().objects.items()
    }


def test_prompt_and_undo_is_nothing(opened: Any) -> None:
    session, driver = opened
    before = snapshot(session)
    session.prompt(frame=4, object_id=1, **CLICK)
    assert snapshot(session) != before
    assert session.undo() == Change("prompt", 1, 4)
    assert snapshot(session) == before
    tracked = len(driver.tracked)
    list(session.propagate())
    assert len(driver.tracked) == tracked  # nothing has changed, so nothing is tracked


@pytest.mark.parametrize(
    "said", [{"points": [(20, 20)], "labels": [0]}, {"mask": MASK}, {**CLICK, "add": False}]
)
def test_a_replaced_prompt_comes_back(opened: Any, said: Any) -> None:
    session, _ = opened
    session.prompt(frame=4, object_id=1, **CLICK)
    before = snapshot(session)
    session.prompt(frame=4, object_id=1, **said)
    session.undo()
    assert snapshot(session) == before
    assert session.track(1).prompts[4].points == ((10, 10),)


def test_undo_goes_further_back(opened: Any) -> None:
    session, _ = opened
    history = [snapshot(session)]
    session.prompt(frame=4, object_id=1, **CLICK)
    history.append(snapshot(session))
    session.prompt(frame=6, object_id=2, **CLICK)
    history.append(snapshot(session))
    session.clear(4, 1)
    history.append(snapshot(session))
    session.clear(6, 2)  # its only one: the whole timeline goes
    history.append(snapshot(session))
    session.remove(1)
    for expected in (
        Change("remove", 1),
        Change("clear", 2, 6),
        Change("clear", 1, 4),
        Change("prompt", 2, 6),
        Change("prompt", 1, 4),
    ):
        assert session.undo() == expected
        assert snapshot(session) == history.pop()
    session.undo()
    assert session.objects == ()
    with pytest.raises(PromptError, match="nothing to undo"):
        session.undo()


def test_an_undone_prompt_has_no_effect_on_later_results(opened: Any) -> None:
    session, _ = opened
    expected = masks(session.propagate())
    session.prompt(frame=4, object_id=1, **CLICK)
    wrong = masks(session.propagate())
    assert wrong[9] != expected[9]
    session.undo()
    assert masks(session.propagate()) == expected


def test_what_was_tracked_with_an_undone_prompt_in_view_is_not_read(opened: Any) -> None:
    session, driver = opened
    session.prompt(frame=4, object_id=1, **CLICK)
    list(session.propagate())
    session.undo()
    track = session.track(1)
    assert sorted(track.bank.versions) == [0, 4]  # 4 as it was before the prompt
    result = next(iter(session.propagate(start=8)))
    assert [frame for _, frame in track.select(8, track.ways[8], FRAMES).masks] == [0, 4]
    assert not result.prompted[0] and driver.tracked[-1] == 8


def test_only_readers_are_forgotten() -> None:
    session, _ = open_numbers(FRAMES, memory=MemoryPolicy(prompted=1, recent=1, pointers=1))
    for frame in (0, 8):
        session.prompt(frame=frame, object_id=1, **CLICK)
    list(session.propagate())
    session.prompt(frame=4, object_id=1, **CLICK)
    list(session.propagate())
    session.undo()
    # 5 read the prompt and 6 and 7 one another; what comes before and after did not.
    assert sorted(session.track(1).bank.versions) == [0, 1, 2, 3, 4, 8, 9, 10, 11]


def test_a_chain_of_readers_is_forgotten_to_its_end() -> None:
    session, _ = open_numbers(FRAMES, memory=MemoryPolicy(prompted=1, recent=2, pointers=0))
    for frame in (0, 8):
        session.prompt(frame=frame, object_id=1, **CLICK)
    list(session.propagate())
    session.prompt(frame=4, object_id=1, **CLICK)
    list(session.propagate())
    session.undo()
    # 9 did not read the prompt but frame 7, which did; 10 and 11 read frame 9.
    assert sorted(session.track(1).bank.versions) == [0, 1, 2, 3, 4, 8]


def test_undo_in_the_middle_of_a_pass(opened: Any) -> None:
    session, _ = opened
    walk = session.propagate()
    list(islice(walk, 3))
    session.prompt(frame=2, object_id=5, **CLICK)
    assert next(walk).object_ids == (1, 5)
    session.undo()
    assert next(walk).object_ids == (1,)


def test_undo_in_a_window_that_has_moved_on() -> None:
    session, _ = open_numbers(60, retain="window", memory=MemoryPolicy(prompted=1))
    session.prompt(frame=0, object_id=1, **CLICK)
    for result in session.propagate():
        if result.frame in (5, 10):
            session.prompt(frame=result.frame, object_id=1, **CLICK)
    assert sorted(session.track(1).prompts) == [0, 5, 10]  # what an undo would make reachable is kept
    session.undo()
    session.undo()
    fresh, _ = open_numbers(60, memory=MemoryPolicy(prompted=1))
    fresh.prompt(frame=0, object_id=1, **CLICK)
    assert masks(session.propagate()) == masks(fresh.propagate())


def test_names_go_with_the_prompt_that_gave_them(opened: Any) -> None:
    session, _ = opened
    session.prompt(frame=3, object_id=1, **CLICK, name="cup")
    session.undo()
    assert session.track(1).info == ObjectInfo()
    session.prompt(frame=3, object_id=1, **CLICK)
    session.describe(1, name="dog", category="animal")
    session.undo()
    assert session.track(1).info == ObjectInfo("dog", "animal")  # `describe` is no prompt


def test_names_that_were_given_since_stay(opened: Any) -> None:
    session, _ = opened
    session.prompt(frame=3, object_id=1, **CLICK, name="cup", category="dishes")
    session.describe(1, name="left cup")
    session.undo()
    assert session.track(1).info == ObjectInfo("left cup")  # the class went with the prompt
    session.clear(0, 1)  # the last prompt: a timeline of its own begins
    session.describe(1, name="dog")
    session.undo()
    assert session.track(1).info == ObjectInfo("dog")


def test_a_prompt_that_fails_is_nothing_to_undo(opened: Any) -> None:
    session, _ = opened
    with pytest.raises(PromptError):
        session.prompt(frame=3, object_id=1, points=[(999, 0)], labels=[1])
    assert session.undo() == Change("prompt", 1, 0)


def test_history_is_bounded(opened: Any) -> None:
    session, _ = opened
    for _ in range(STEPS + 5):
        session.prompt(frame=3, object_id=1, **CLICK)
    for _ in range(STEPS):
        session.undo()
    with pytest.raises(PromptError, match=f"the last {STEPS}"):
        session.undo()
    assert len(session.track(1).prompts[3].points) == 5


def test_reset_cannot_be_undone(opened: Any) -> None:
    session, _ = opened
    session.reset()
    with pytest.raises(PromptError, match="opened, resumed or reset"):
        session.undo()


# Names


def test_names_come_with_every_result(opened: Any) -> None:
    session, _ = opened
    shown = session.prompt(frame=2, object_id=7, **CLICK, name="left cup", category="cup")
    assert shown.info == (ObjectInfo("left cup", "cup"),)
    session.describe(7, category="dish")
    session.describe(1, name="dog")
    result = next(iter(session.propagate("both")))
    assert result.info == (ObjectInfo("dog"), ObjectInfo("left cup", "dish"))
    session.clear(2, 7)
    assert session.track(7).info == ObjectInfo("left cup", "dish")
    assert session.prompt(frame=2, object_id=7, **CLICK, name="").info == (ObjectInfo("", "dish"),)


def test_bad_names_are_refused(opened: Any) -> None:
    session, _ = opened
    before = snapshot(session)
    with pytest.raises(PromptError, match="the name of an object is text; got 3"):
        session.prompt(frame=1, object_id=1, **CLICK, name=3)
    with pytest.raises(PromptError, match="the category of an object is text"):
        session.describe(1, category=["cup"])  # type: ignore[arg-type]
    with pytest.raises(PromptError, match="no object 4"):
        session.describe(4, name="x")
    assert snapshot(session) == before
