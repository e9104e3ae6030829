"""Only what depends on a change is tracked again, and the results are those of tracking everything anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from sam2_video.memory import MemoryPolicy
from sam2_video.session import SessionState, VideoSession
from tests.fakes import CLICK, NumberDriver, masks, open_numbers, restored

FRAMES = 12


def from_scratch(session: VideoSession, direction: Any = "forward") -> Any:
    """What a session finds that knows the same prompts, and nothing else."""
    state = session.state()
    objects = {
        object_id: replace(
            found,
            frames={
                frame: replace(record, way=None)
                for frame, record in found.frames.items()
                if record.prompt is not None
            },
        )
        for object_id, found in state.objects.items()
    }
    fresh = restored(SessionState(state.options, state.size, state.frame_count, objects), FRAMES)[0]
    return masks(fresh.propagate(direction))


def new_work(driver: NumberDriver, work: Callable[[], Any]) -> tuple[list[int], list[int]]:
    """(frames tracked, frames encoded) while `work` is done."""
    tracked, looks = len(driver.tracked), len(driver.looks)
    work()
    return driver.tracked[tracked:], driver.looks[looks:]


@pytest.fixture
def opened() -> Iterator[tuple[VideoSession, NumberDriver]]:
    """Two objects, tracked forward."""
    session, driver = open_numbers(FRAMES)
    with session:
        session.prompt(frame=0, object_id=1, **CLICK)
        session.prompt(frame=2, object_id=2, **CLICK)
        list(session.propagate())
        yield session, driver


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_pass_made_again_costs_nothing(direction: Any, stride: int) -> None:
    session, driver = open_numbers(FRAMES)
    session.prompt(frame=3, object_id=1, **CLICK)
    session.prompt(frame=8, object_id=1, **CLICK)
    first = masks(session.propagate(direction, stride=stride))
    again = {}
    assert new_work(driver, lambda: again.update(masks(session.propagate(direction, stride=stride)))) == (
        [],
        [],
    )
    assert again == first and first


def test_correcting_one_object_costs_nothing_for_the_other(opened: Any) -> None:
    session, driver = opened
    before = masks(session.propagate())
    session.prompt(frame=6, object_id=2, **CLICK)
    found = {}
    tracked, looks = new_work(driver, lambda: found.update(masks(session.propagate())))
    assert tracked == looks == [3, 4, 5, 7, 8, 9, 10, 11]  # object 2 alone, and each frame encoded once
    assert {t: row[1] for t, row in found.items()} == {t: row[1] for t, row in before.items()}
    assert all(found[t][2] != before[t][2] for t in tracked)
    assert found == from_scratch(session)


def test_when_both_are_corrected_a_frame_is_encoded_once(opened: Any) -> None:
    session, driver = opened
    session.prompt(frame=6, object_id=1, **CLICK)
    session.prompt(frame=6, object_id=2, **CLICK)
    tracked, looks = new_work(driver, lambda: list(session.propagate(start=6)))
    assert looks == [7, 8, 9, 10, 11] and sorted(tracked) == sorted(looks * 2)


def test_frames_before_the_start_are_left_alone(opened: Any) -> None:
    session, driver = opened
    session.prompt(frame=6, object_id=1, **CLICK)
    tracked, _ = new_work(driver, lambda: list(session.propagate(start=6)))
    assert tracked == [7, 8, 9, 10, 11]


def test_with_one_prompted_memory_a_correction_is_local() -> None:
    session, driver = open_numbers(FRAMES, memory=MemoryPolicy(prompted=1))
    session.prompt(frame=0, object_id=1, **CLICK)
    list(session.propagate())
    session.prompt(frame=6, object_id=1, **CLICK)
    found = {}
    tracked, _ = new_work(driver, lambda: found.update(masks(session.propagate())))
    assert tracked == [7, 8, 9, 10, 11]
    assert found == from_scratch(session)


def test_a_memory_that_is_out_of_reach_changes_nothing() -> None:
    policy = MemoryPolicy(prompted=1, recent=1, pointers=1)
    session, driver = open_numbers(FRAMES, memory=policy)
    for frame in (0, 7):
        session.prompt(frame=frame, object_id=1, **CLICK)
    list(session.propagate())
    session.prompt(frame=3, object_id=1, **CLICK)
    found = {}
    tracked, _ = new_work(driver, lambda: found.update(masks(session.propagate())))
    assert tracked == [4, 5, 6]  # frame 8 and what follows read nothing from before frame 7
    assert found == from_scratch(session)


def test_a_new_object_costs_its_own_frames(opened: Any) -> None:
    session, driver = opened
    session.prompt(frame=4, object_id=9, **CLICK)
    found = {}
    tracked, looks = new_work(driver, lambda: found.update(masks(session.propagate())))
    assert tracked == looks == [5, 6, 7, 8, 9, 10, 11]
    assert found == from_scratch(session)


def test_a_removed_object_costs_nothing(opened: Any) -> None:
    session, driver = opened
    session.remove(2)
    found = {}
    assert new_work(driver, lambda: found.update(masks(session.propagate()))) == ([], [])
    assert found == from_scratch(session)


def test_cleared_prompts_are_no_longer_read(opened: Any) -> None:
    session, driver = opened
    before = masks(session.propagate())
    session.prompt(frame=6, object_id=1, **CLICK)
    list(session.propagate())
    session.clear(6, 1)
    found = {}
    tracked, _ = new_work(driver, lambda: found.update(masks(session.propagate())))
    assert tracked == list(range(1, 12))
    assert found == before == from_scratch(session)


def test_a_pass_the_other_way_is_not_mistaken_for_the_first() -> None:
    session, driver = open_numbers(FRAMES)
    session.prompt(frame=0, object_id=1, **CLICK)
    first = masks(session.propagate())
    back = masks(session.propagate("backward", start=8))
    assert back[4] != first[4]
    again = {}
    tracked, _ = new_work(driver, lambda: again.update(masks(session.propagate())))
    assert again == first
    assert tracked == list(range(1, FRAMES))  # 9 to 11 too: they read what was overwritten


def test_what_was_reused_is_a_copy_of_nothing(opened: Any) -> None:
    session, _ = opened
    memories = dict(session.track(1).bank.tracked)
    versions = dict(session.track(1).bank.versions)
    session.prompt(frame=5, object_id=2, **CLICK)
    list(session.propagate())
    assert session.track(1).bank.versions == versions
    assert all(session.track(1).bank.tracked[t] is memory for t, memory in memories.items())


def test_prompted_frames_are_never_overwritten(opened: Any) -> None:
    session, _ = opened
    shown = session.prompt(frame=6, object_id=1, **CLICK)
    memory = session.track(1).bank.prompted[6]
    for direction in ("forward", "backward", "both"):
        found = masks(session.propagate(direction, start=8 if direction == "backward" else None))
        assert found[6][1] == tuple(shown.logits.flatten().tolist())
        assert session.track(1).bank.prompted[6] is memory


def test_order_of_prompting_does_not_matter() -> None:
    def found(order: list[int]) -> Any:
        session, _ = open_numbers(FRAMES)
        for frame in order:
            session.prompt(frame=frame, object_id=1, **CLICK)
        return masks(session.propagate("both"))

    assert found([2, 9, 5]) == found([9, 5, 2])


def test_a_driver_that_fails_on_the_way_leaves_nothing_half_done(opened: Any) -> None:
    session, driver = opened
    session.prompt(frame=4, object_id=1, **CLICK)
    follow = driver.follow

    def fail(features: Any, recalls: Any) -> Any:
        if features == 8:
            raise KeyboardInterrupt
        return follow(features, recalls)

    driver.follow = fail
    walk = session.propagate()
    with pytest.raises(KeyboardInterrupt):
        list(walk)
    driver.follow = follow
    assert [result.frame for result in session.carry_on()] == [8, 9, 10, 11]
    assert masks(session.propagate()) == from_scratch(session)
