"""Both directions in one pass: the nearest prompted frame decides, and frames come out in order."""

from __future__ import annotations

import tempfile
from itertools import islice
from typing import Any

import pytest

from sam2_video.memory import MemoryPolicy
from sam2_video.passes import Leg, both_ways
from sam2_video.session import VideoSession
from sam2_video.types import SourceError
from tests.fakes import CLICK, masks, numbered_clip, open_numbers, restored

FRAMES = 14
RETAIN = pytest.mark.parametrize("retain", ["all", "window"])


def prompted(said: dict[int, list[int]], frames: Any = FRAMES, **options: Any) -> tuple[VideoSession, Any]:
    session, driver = open_numbers(frames, **options)
    for object_id, on in said.items():
        for frame in on:
            session.prompt(frame=frame, object_id=object_id, **CLICK)
    return session, driver


def stretch(on: list[int], direction: Any, start: int, stop: int | None, stride: int = 1) -> Any:
    """What one stretch gives when it is walked alone, by a session that knows the same prompts."""
    return masks(prompted({1: on})[0].propagate(direction, start=start, stop=stop, stride=stride))


@RETAIN
def test_each_frame_is_decided_by_the_nearest_prompted_frame(retain: str) -> None:
    on = [3, 8, 11]  # frame 5 is nearer to 3, frame 6 to 8, frame 9 to 8, frame 10 to 11
    expected = stretch(on, "backward", 3, None) | stretch(on, "forward", 3, 6)
    expected |= stretch(on, "backward", 8, 5) | stretch(on, "forward", 8, 10)
    expected |= stretch(on, "backward", 11, 9) | stretch(on, "forward", 11, None)
    session, _ = prompted({1: on}, retain=retain)
    results = list(session.propagate("both"))
    assert [result.frame for result in results] == list(range(FRAMES))
    assert masks(results) == expected


def test_a_tie_goes_to_the_earlier_one() -> None:
    session, _ = prompted({1: [2, 6]})
    list(session.propagate("both"))
    ways = session.track(1).ways
    assert {frame: way.since for frame, way in ways.items() if 2 < frame < 6} == {3: 2, 4: 2, 5: 6}
    assert {frame: way.pace for frame, way in ways.items() if 2 < frame < 6} == {3: 1, 4: 1, 5: -1}


@RETAIN
def test_objects_do_not_depend_on_each_other(retain: str) -> None:
    said = {1: [4], 2: [9], 3: [0, 13]}
    together = masks(prompted(said, retain=retain)[0].propagate("both"))
    for object_id, on in said.items():
        alone = masks(prompted({object_id: on}, retain=retain)[0].propagate("both"))
        assert {t: {object_id: row[object_id]} for t, row in together.items()} == alone


@pytest.mark.parametrize("on", [[5], [2, 7], [0, 3, 12], [1, 2, 13]])
def test_the_mirror_image(on: list[int]) -> None:
    """Without ties: those go to the earlier frame, which in a mirror is the later one."""
    last = FRAMES - 1
    forward = masks(prompted({1: on})[0].propagate("both"))
    mirrored = masks(
        prompted({1: [last - frame for frame in on]}, numbered_clip(FRAMES)[::-1])[0].propagate("both")
    )
    assert {last - t: row for t, row in mirrored.items()} == forward


def test_nothing_of_another_pass_is_read() -> None:
    fresh = masks(prompted({1: [4, 9]})[0].propagate("both"))
    session, _ = prompted({1: [4, 9]})
    for direction in ("forward", "backward"):
        list(session.propagate(direction, start=6))
    assert masks(session.propagate("both")) == fresh


@RETAIN
def test_a_range(retain: str) -> None:
    session, _ = prompted({1: [2, 8]}, retain=retain)
    found = masks(session.propagate("both", start=4, stop=12))
    assert list(found) == [4, 5, 6, 7, 8, 9, 10, 11]
    # Frames 4 and 5 are frame 2's: walked from the edge of the range on, from what is remembered of it.
    assert found == stretch([2, 8], "forward", 4, 6) | stretch([2, 8], "backward", 8, 5) | stretch(
        [2, 8], "forward", 8, 12
    )


def test_a_range_without_prompts_is_tracked_from_outside() -> None:
    session, driver = prompted({1: [1], 2: [12]})
    found = masks(session.propagate("both", start=5, stop=9))
    assert list(found) == [5, 6, 7, 8]
    # Object 2 on the way back, then object 1; the last three frames are still at hand.
    assert driver.looks[2:] == [8, 7, 6, 5, 8] and len(driver.tracked) == 4 + 4
    assert all(mask is not None for row in found.values() for mask in row.values())
    assert masks(session.propagate("both", start=5, stop=5)) == {}


@RETAIN
def test_the_grid_of_a_stride_goes_through_the_earliest_prompt(retain: str) -> None:
    session, _ = prompted({1: [4, 9]}, retain=retain)
    found = masks(session.propagate("both", stride=3))
    assert list(found) == [1, 4, 7, 10, 13]
    # 9 is not on the grid; it decides 7 (and 10, 13) all the same.
    expected = stretch([4, 9], "backward", 4, 0, 3) | stretch([4, 9], "backward", 7, 6, 3)
    assert found == expected | stretch([4, 9], "forward", 10, None, 3)
    assert list(masks(session.propagate("both", start=5, stride=3))) == [6, 9, 12]


def test_each_frame_is_encoded_once_where_all_objects_walk_one_way() -> None:
    session, driver = prompted({1: [5], 2: [5]})
    list(session.propagate("both"))
    assert driver.looks == [5, 4, 3, 2, 1, 0, 6, 7, 8, 9, 10, 11, 12, 13]
    session, driver = prompted({1: [4], 2: [9]})
    list(session.propagate("both"))
    assert driver.looks == [4, 9, *range(8, -1, -1), *range(5, 14)]  # there and back: twice at most


def test_a_way_back_begins_when_its_frames_are_due() -> None:
    session, driver = prompted({1: [2, 10]})
    walk = session.propagate("both")
    assert next(walk).frame == 0 and driver.looks == [2, 10, 1, 0]
    assert [result.frame for result in islice(walk, 6)] == [1, 2, 3, 4, 5, 6]
    assert driver.looks[4:] == [3, 4, 5, 6]
    next(walk)
    assert driver.looks[8:] == [9, 8, 7]


def test_legs_of_a_pass() -> None:
    def legs(anchors: dict[int, list[int]], *rest: Any) -> list[tuple[int, int | None, int, bool]]:
        found = both_ways(anchors, *rest).legs
        return [(leg.first, leg.stop, leg.step, leg.shown) for leg in found if not leg.is_over]

    assert legs({1: [0]}, 0, 9, 1) == [(0, 9, 1, True)]
    assert legs({1: [8]}, 0, 9, 1) == [(7, -1, -1, False), (0, 9, 1, True)]
    assert legs({1: [2], 2: [5]}, 0, 9, 1) == [(4, -1, -1, False), (0, 9, 1, True)]
    assert legs({1: [0, 7]}, 0, None, 1) == [(0, 4, 1, True), (6, 3, -1, False), (4, None, 1, True)]
    shared = [(0, 4, 1, True), (8, 3, -1, False), (4, 12, 1, True)]
    assert legs({1: [0, 6], 2: [0, 9]}, 0, 12, 1) == shared  # 4, 5 and 5 to 8: visited once, together
    apart = [(0, 3, 1, True), (4, 2, -1, False), (3, 5, 1, True), (8, 4, -1, False), (5, 12, 1, True)]
    assert legs({1: [0, 5], 2: [0, 9]}, 0, 12, 1) == apart
    assert legs({1: [20]}, 3, 9, 2) == [(7, 2, -2, False), (3, 9, 2, True)]
    assert legs({1: [1]}, 3, 9, 1) == [(3, 9, 1, True)]
    assert Leg(3, 3, 1).is_over and not Leg(3, None, 1).is_over and not Leg(3, -1, -4).is_over


@RETAIN
def test_an_object_prompted_on_the_way_is_tracked_forward_from_there(retain: str) -> None:
    session, _ = prompted({1: [2, 10]}, retain=retain)
    rows = {}
    for result in session.propagate("both"):
        rows |= masks([result])
        if result.frame == 3:
            session.prompt(frame=8, object_id=2, **CLICK)
    # Object 1 is walked backward over 7 and 8 after the prompt: object 2 is not.
    assert [t for t, row in rows.items() if row.get(2)] == list(range(8, 14))
    undisturbed = masks(prompted({1: [2, 10]})[0].propagate("both"))
    assert {t: {1: row[1]} for t, row in rows.items()} == undisturbed


def test_a_click_on_a_frame_of_both_looks_back_the_way_it_was_tracked() -> None:
    session, _ = prompted({1: [5]})
    list(session.propagate("both"))
    way = session.track(1).ways[3]
    read = session.track(1).select(3, way, FRAMES)
    assert [frame for _, frame in read.masks] == [5, 4]  # nothing from beyond frame 5


def test_an_iterator_cannot_go_back() -> None:
    session, _ = prompted({1: [3]}, iter(numbered_clip(FRAMES)))
    with pytest.raises(SourceError, match="cannot go back"):
        next(session.propagate("both"))
    session, _ = prompted({1: [0]}, iter(numbered_clip(FRAMES)))  # nothing to go back to
    assert list(masks(session.propagate("both"))) == list(range(FRAMES))


def test_a_window_keeps_the_prompts_that_a_pass_comes_back_to() -> None:
    def found(retain: str) -> Any:
        session, _ = prompted(
            {1: [5, 12, 20, 28], 2: [0, 39]}, 40, retain=retain, memory=MemoryPolicy(2, 1, 2)
        )
        return masks(restored(session.state(), 40)[0].propagate("both"))  # with no history to keep them for

    assert found("window") == found("all")


def test_what_waits_is_on_disk_and_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    files, make = [], tempfile.TemporaryFile
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **how: files.append(make(**how)) or files[-1])
    policy = MemoryPolicy(recent=2, pointers=2)
    session, _ = prompted({1: [60, 150]}, 200, retain="window", memory=policy)
    track = session.track(1)
    for result in session.propagate("both"):
        assert len(track.bank.tracked) <= 2 * (policy.horizon + 1)  # of both ways
        assert len(track.predictions) <= 2 * (policy.horizon + 1) + 2
        ahead = 60 if result.frame < 60 else 150 if result.frame > 105 else 0
        assert len(track.aside) == max(ahead - result.frame - 1, 0)
        assert [file.closed for file in files] == [result.frame >= 59, result.frame >= 149][: len(files)]
    assert len(files) == 2


@RETAIN
@pytest.mark.parametrize("gone", [0, 10])
def test_frames_are_tracked_on_where_their_prompt_is_taken_back_meanwhile(retain: Any, gone: int) -> None:
    """Nobody else walks them: they were to come from that prompt."""
    session, _ = prompted({1: [0, 10]}, retain=retain)
    walk = session.propagate("both")
    before = [next(walk) for _ in range(3)]
    session.clear(gone, 1)
    rest = list(walk)
    assert len(before + rest) == FRAMES
    assert all(value is not None for _, values in masks(rest).items() for value in values.values())


def test_a_pass_that_is_given_up_leaves_nothing_waiting() -> None:
    session, _ = prompted({1: [9]}, retain="window")
    next(session.propagate("both"))
    session.prompt(frame=11, object_id=2, **CLICK)
    track = session.track(2)
    assert len(session.track(1).aside) == 8
    session.remove(1)
    list(session.propagate())
    session.undo()
    assert len(session.track(1).aside) == len(track.aside) == 0
