"""A pass that was left in the middle is carried on as if nothing had happened, in this session or another."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest

from sam2_video.aside import Aside, Shelf
from sam2_video.memory import MemoryPolicy
from sam2_video.session import VideoSession
from sam2_video.sources import FrameArrays
from sam2_video.types import ObjectInfo, Sam2VideoError, SinkError, SourceError
from tests.fakes import CLICK, NumberDriver, masks, numbered_clip, open_numbers, outcome, restored

FRAMES = 12
RETAIN = pytest.mark.parametrize("retain", ["all", "window"])
PASSES: list[dict[str, Any]] = [
    {},
    {"direction": "backward", "start": 10, "stop": 2},
    {"direction": "both"},
    {"direction": "both", "stride": 2, "start": 1},
    {"stride": 3},
]


def prompted(retain: Any) -> tuple[VideoSession, NumberDriver]:
    # A window much shorter than the clip: what is not shown yet must wait elsewhere.
    session, driver = open_numbers(FRAMES, retain=retain, memory=MemoryPolicy(recent=2, pointers=2))
    session.prompt(frame=6, object_id=1, **CLICK, name="cup", category="dish")
    session.prompt(frame=3, object_id=2, mask=numbered_clip(1)[0][..., 0] == 0)
    return session, driver


@RETAIN
@pytest.mark.parametrize("asked", PASSES, ids=str)
def test_carried_on_after_any_frame(retain: Any, asked: dict[str, Any]) -> None:
    undisturbed = masks(prompted(retain)[0].propagate(**asked))
    for seen in range(len(undisturbed) + 1):
        session, _ = prompted(retain)
        found = masks(islice(session.propagate(**asked), seen))
        assert len(found) == seen
        again, driver = restored(session.state(), FRAMES)
        assert found | masks(again.carry_on()) == undisturbed  # in another session
        assert len(driver.tracked) <= 2 * (len(undisturbed) - seen) + (FRAMES if seen == 0 else 0)
        assert found | masks(session.carry_on()) == undisturbed  # and in this one
        assert list(session.carry_on()) == list(again.carry_on()) == []


@RETAIN
def test_a_state_is_a_snapshot(retain: Any) -> None:
    session, _ = prompted(retain)
    undisturbed = masks(session.propagate("both"))
    session, _ = prompted(retain)
    walk = session.propagate("both")
    found = masks(islice(walk, 3))
    state = session.state()
    later = masks(walk)
    session.remove(2)
    session.prompt(frame=1, object_id=1, **CLICK)
    assert found | later == undisturbed
    assert found | masks(restored(state, FRAMES)[0].carry_on()) == undisturbed


def test_a_state_holds_everything() -> None:
    session, _ = prompted("all")
    list(session.propagate())
    state = session.state()
    assert list(state.objects) == [1, 2] and not state.pending.legs
    assert state.objects[1].info == ObjectInfo("cup", "dish")
    again, driver = restored(state, FRAMES)
    assert masks(again.propagate()) == masks(session.propagate())
    assert not driver.tracked and not driver.looks
    shown = again.prompt(frame=8, object_id=1, **CLICK)
    assert masks([shown]) == masks([session.prompt(frame=8, object_id=1, **CLICK)])
    assert shown.info == (ObjectInfo("cup", "dish"),)


def test_a_state_of_another_clip_is_refused() -> None:
    session, _ = prompted("all")
    state = session.state()
    with pytest.raises(SourceError, match="80x48, 12 frames, frames has 80x48, 7 frames"):
        restored(state, 7)
    other = FrameArrays([frame[:40] for frame in numbered_clip(FRAMES)])
    with pytest.raises(SourceError, match="80x48, 12 frames, frames has 80x40"):
        VideoSession.restore(other, NumberDriver(), state)
    endless = VideoSession.restore(FrameArrays(iter(numbered_clip(FRAMES))), NumberDriver(), state)
    assert endless.objects == (1, 2)  # how long it is cannot be told


def test_another_pass_gives_up_the_one_before() -> None:
    session, _ = prompted("all")
    first = session.propagate()
    next(first)
    second = session.propagate("backward")
    assert next(second).frame == 6
    with pytest.raises(Sam2VideoError, match="given up"):
        next(first)
    third = session.carry_on()
    assert next(third).frame == 5
    with pytest.raises(Sam2VideoError, match="given up"):
        next(second)
    assert [result.frame for result in third] == [4, 3, 2, 1, 0]


def test_a_refused_pass_leaves_the_last_one_as_it_was() -> None:
    session, _ = prompted("all")
    walk = session.propagate()
    next(walk)
    with pytest.raises(ValueError, match="stride"):
        session.propagate(stride=0)
    assert next(walk).frame == 4


@RETAIN
def test_prompts_on_the_way_are_part_of_what_is_carried_on(retain: Any) -> None:
    def script(session: VideoSession, interrupt: bool) -> Any:
        walk = session.propagate()
        found = masks(islice(walk, 4))
        session.prompt(frame=7, object_id=3, **CLICK)
        session.prompt(frame=6, object_id=2, **CLICK)
        rest = restored(session.state(), FRAMES)[0].carry_on() if interrupt else walk
        return found | masks(rest)

    assert script(prompted(retain)[0], True) == script(prompted(retain)[0], False)


def test_reset_and_close_leave_nothing_to_carry_on() -> None:
    session, _ = prompted("all")
    next(session.propagate())
    session.reset()
    assert all(not result.object_ids for result in session.carry_on())
    session.close()
    for use in (session.carry_on, session.state, session.undo, lambda: session.describe(1, name="x")):
        with pytest.raises(Sam2VideoError, match="closed"):
            use()


def test_an_iterator_ends_even_where_nothing_is_left_to_track() -> None:
    session, _ = open_numbers(iter(numbered_clip(5)))
    session.prompt(frame=0, object_id=1, **CLICK)
    frames = []
    for result in islice(session.propagate(), 20):
        frames.append(result.frame)
        if result.frame == 1:
            session.remove(1)
    assert frames == [0, 1, 2, 3, 4]


# What waits on disk


def test_what_is_set_aside_comes_back_as_it_was() -> None:
    shelf, aside = Shelf(), Aside()
    for frame in (5, 4, 5):
        aside.put(frame, outcome("kept", frame, len(aside))[0], shelf)
    copy = aside.copy()
    aside.drop(5)
    aside.drop(77)
    assert list(aside) == [4] and list(copy) == [5, 4]
    expected = outcome("kept", 5, 2)[0]
    for what in ("logits", "iou", "pointer", "presence"):
        found = getattr(copy[5], what)
        assert (
            found.tolist() == getattr(expected, what).tolist()
            and found.shape == getattr(expected, what).shape
        )
    assert 5 not in aside and aside.get(5) is None


def test_a_full_disk_is_told_and_can_be_overcome(monkeypatch: pytest.MonkeyPatch) -> None:
    session, _ = prompted("window")
    expected = masks(prompted("window")[0].propagate("both"))

    def fail(**_: Any) -> Any:
        raise OSError(28, "No space left on device")

    walk = session.propagate("both")
    with monkeypatch.context() as patch:
        patch.setattr("tempfile.TemporaryFile", fail)
        with pytest.raises(SinkError, match=r"No space left on device; make room there, or .* TMPDIR"):
            next(walk)
    assert masks(session.carry_on()) == expected
