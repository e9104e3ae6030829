"""Which memories a frame looks back at, against a plain restatement of the rules."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam2_video.memory import MemoryBank, MemoryPolicy
from sam2_video.types import Recall

LENGTH = 24
FRAMES = range(LENGTH)

policies = st.builds(
    MemoryPolicy,
    recent=st.integers(0, 6),
    prompted=st.none() | st.integers(1, 4),
    pointers=st.integers(0, 15),
    stride=st.integers(1, 4),
)
steps = st.sampled_from([1, -1])


def memory(frame: int) -> Any:
    """What is remembered is none of the bank's business: here the number of the frame."""
    return SimpleNamespace(frame=frame)


def bank_of(policy: MemoryPolicy, prompted: set[int], tracked: set[int]) -> MemoryBank:
    bank = MemoryBank(policy)
    for frame in sorted(prompted | tracked):
        bank.add(frame, memory(frame), prompted=frame in prompted)
    return bank


def frames_of(pairs: tuple[tuple[int, Any], ...]) -> list[tuple[int, int]]:
    return [(number, past.frame) for number, past in pairs]


def read(bank: MemoryBank, frame: int, step: int = 1, count: int | None = LENGTH) -> tuple[Any, Any, int]:
    recall = bank.read(frame, step, count)
    return frames_of(recall.masks), frames_of(recall.pointers), recall.pointer_span


# The rules once more, walking forward only: a walk backwards is a walk forward on the clip played backwards.


def restated(
    policy: MemoryPolicy, prompted: set[int], tracked: set[int], frame: int, count: int | None
) -> tuple[Any, Any, int]:
    def by_distance(frames: set[int]) -> list[int]:
        return sorted(frames, key=lambda past: (abs(past - frame), past))

    chosen = set(prompted)
    if policy.prompted is not None and len(prompted) > policy.prompted:
        before = by_distance({past for past in prompted if past < frame})[:1]
        after = by_distance({past for past in prompted if past >= frame})[:1]
        first = (before + after)[: policy.prompted]
        chosen = set((first + [f for f in by_distance(prompted) if f not in first])[: policy.prompted])
    known = tracked | (prompted - chosen)

    masks = {(-1, past) for past in chosen}
    reachable = [frame - 1]  # then the multiples of stride, from two frames back on
    reachable += [past for past in range(frame - 2, -LENGTH * 9, -1) if past % policy.stride == 0]
    masks |= {(slot, past) for slot, past in enumerate(reachable[: policy.recent]) if past in known}

    span = policy.pointers if count is None else min(policy.pointers, count - 1)
    pointers = {(frame - past, past) for past in chosen if past <= frame}
    pointers |= {(frame - past, past) for past in known if 1 <= frame - past <= span}
    return masks, pointers, span


@settings(deadline=None, max_examples=150)
@given(
    policies,
    st.lists(st.sampled_from(["nothing", "tracked", "prompted"]), min_size=LENGTH, max_size=LENGTH),
    st.sampled_from(FRAMES),
    st.none() | st.just(LENGTH) | st.integers(1, LENGTH),
)
def test_reading_forward_is_the_restated_rule(
    policy: MemoryPolicy, kinds: list[str], frame: int, count: int | None
) -> None:
    prompted = {i for i in FRAMES if kinds[i] == "prompted"}
    tracked = {i for i in FRAMES if kinds[i] == "tracked"}
    masks, pointers, span = read(bank_of(policy, prompted, tracked), frame, 1, count)
    expected = restated(policy, prompted, tracked, frame, count)
    assert (set(masks), set(pointers), span) == expected
    assert len(set(masks)) == len(masks) and len(set(pointers)) == len(pointers)
    slots = [slot for slot, _ in masks]
    assert slots == sorted(
        slots, key=lambda slot: -LENGTH if slot == -1 else -slot
    )  # prompted, then the farthest


@settings(deadline=None, max_examples=150)
@given(
    st.integers(0, 6), st.integers(0, 15), st.integers(1, 4),
    st.sets(st.integers(-LENGTH, LENGTH)), st.integers(-LENGTH, LENGTH),
)  # fmt: skip
def test_backward_is_forward_seen_in_a_mirror(
    recent: int, pointers: int, stride: int, tracked: set[int], frame: int
) -> None:
    """Mirrored at frame 0: multiples of the stride stay multiples. The prompted rule is not symmetric."""
    policy = MemoryPolicy(recent=recent, pointers=pointers, stride=stride)
    forward = read(bank_of(policy, {3}, tracked - {3}), frame, 1)
    backward = read(bank_of(policy, {-3}, {-f for f in tracked - {3}}), -frame, -1)
    mirrored = tuple([(number, -past) for number, past in pairs] for pairs in backward[:2])
    assert forward == (*mirrored, backward[2])


@settings(deadline=None, max_examples=60)
@given(policies, steps, st.sets(st.sampled_from(FRAMES), min_size=1, max_size=5), st.booleans())
def test_forgetting_changes_nothing_on_one_pass(
    policy: MemoryPolicy, step: int, prompted: set[int], count_known: bool
) -> None:
    everything = bank_of(policy, prompted, set())
    window = bank_of(policy, prompted, set())
    count = LENGTH if count_known else None
    for frame in FRAMES[::step]:
        assert read(window, frame, step, count) == read(everything, frame, step, count)
        if frame not in prompted:
            for bank in (everything, window):
                bank.add(frame, memory(frame), prompted=False)
        window.forget(frame, step)
        assert len(window.tracked) <= policy.horizon + 1
    assert set(window.prompted) == prompted  # these are never forgotten with time
    assert len(everything.tracked) == LENGTH - len(prompted)


@settings(deadline=None, max_examples=100)
@given(policies, steps, st.lists(st.sampled_from([0, 0, 1, 2]), min_size=LENGTH, max_size=LENGTH))
def test_prompted_memories_out_of_reach_are_never_missed(
    policy: MemoryPolicy, step: int, prompts: list[int]
) -> None:
    """A walk that is prompted on the way (1), on some frames before it begins (2), and forgets as it goes."""
    ahead = {frame for frame in FRAMES if prompts[frame] == 2} or {FRAMES[::step][0]}
    everything, window = bank_of(policy, ahead, set()), bank_of(policy, ahead, set())
    for frame in FRAMES[::step]:
        assert read(window, frame, step) == read(everything, frame, step)
        for bank in (everything, window):
            if frame not in bank.prompted:
                bank.add(frame, memory(frame), prompted=prompts[frame] == 1)
        window.forget(frame, step)
        for past in window.unreachable_prompted(frame, step):
            window.drop(past)
        if policy.prompted is not None:
            behind = [past for past in window.prompted if (frame - past) * step >= 0]
            assert len(behind) <= max(policy.prompted + 1, policy.horizon + 1)


def test_spared_memories_are_the_next_in_line() -> None:
    bank = bank_of(MemoryPolicy(prompted=2, recent=1, pointers=0), set(range(0, 60, 10)), set())
    assert bank.unreachable_prompted(50) == [0, 10, 20]  # 50 may be started over, and then reads 40 and 30
    assert bank.unreachable_prompted(50, spare=2) == [0]
    assert bank.unreachable_prompted(20, -1) == [50]
    assert bank.unreachable_prompted(45) == [0, 10]
    assert MemoryBank(prompted=dict.fromkeys(range(9), memory(0))).unreachable_prompted(50) == []


def test_the_horizon_is_no_larger_than_needed() -> None:
    for policy in (MemoryPolicy(), MemoryPolicy(pointers=0), MemoryPolicy(pointers=0, stride=4)):
        bank = bank_of(policy, set(), set(range(200)))
        reached = {
            past for f in range(150, 190) for _, past in [*read(bank, f)[0], *read(bank, f)[1]] if past < 150
        }
        assert 150 - policy.horizon <= min(reached)
        assert max(f - past for f in range(150, 190) for _, past in read(bank, f)[0]) <= policy.horizon
    assert MemoryPolicy().horizon == 15
    assert MemoryPolicy(pointers=0).horizon == 6
    assert MemoryPolicy(pointers=0, stride=4).horizon == 21
    assert MemoryPolicy(recent=0, pointers=0).horizon == 0
    # at the frame where the stride reaches back farthest, all of it is used
    assert min(past for _, past in MemoryPolicy(stride=4).recent_frames(21, 1)) == 0


# The released setting, in numbers


def test_released_setting_on_a_long_clip() -> None:
    bank = bank_of(MemoryPolicy(), {0}, set(range(1, 100)))
    masks, pointers, span = read(bank, 50, 1, 100)
    assert masks == [(-1, 0), (5, 44), (4, 45), (3, 46), (2, 47), (1, 48), (0, 49)]
    assert pointers == [(50, 0), *((k, 50 - k) for k in range(1, 16))]
    assert span == 15


def test_released_setting_backwards() -> None:
    bank = bank_of(MemoryPolicy(), {0, 60}, set(range(1, 60)))
    masks, pointers, _ = read(bank, 50, -1, 100)
    assert masks == [(-1, 0), (-1, 60), (5, 56), (4, 55), (3, 54), (2, 53), (1, 52), (0, 51)]
    assert pointers == [(10, 60), *((k, 50 + k) for k in range(1, 10))]  # frame 0 still lies ahead


def test_strides_land_on_common_frames() -> None:
    policy = MemoryPolicy(recent=4, stride=3)
    assert policy.recent_frames(20, 1) == [(4, 12), (3, 15), (2, 18), (1, 19)]
    assert policy.recent_frames(21, 1) == [(4, 12), (3, 15), (2, 18), (1, 20)]
    assert policy.recent_frames(20, -1) == [(4, 30), (3, 27), (2, 24), (1, 21)]
    assert policy.recent_frames(19, -1) == [(4, 27), (3, 24), (2, 21), (1, 20)]


def test_a_short_clip_has_a_short_span() -> None:
    bank = bank_of(MemoryPolicy(), {0}, {1, 2, 3})
    assert read(bank, 3, 1, 4)[1:] == ([(3, 0), (1, 2), (2, 1)], 3)
    assert read(bank, 3, 1, None)[2] == 15
    assert read(bank, 0, 1, 1)[2] == 0


def test_closest_prompted_frames() -> None:
    def chosen(limit: int, frame: int) -> list[int]:
        bank = bank_of(MemoryPolicy(prompted=limit, recent=0, pointers=0), {0, 10, 20, 30, 31, 32}, set())
        return [past for _, past in read(bank, frame)[0]]

    assert chosen(2, 15) == [10, 20]
    assert chosen(2, 20) == [10, 20]  # a frame counts among those that follow
    assert chosen(3, 29) == [20, 30, 31]  # one on each side, then by distance
    assert chosen(1, 29) == [20]
    assert chosen(2, 40) == [31, 32]  # nothing follows
    assert chosen(9, 15) == [0, 10, 20, 30, 31, 32]


@pytest.mark.parametrize("limit", [None, 1, 2, 3])
def test_the_order_of_prompting_does_not_matter(limit: int | None) -> None:
    def found(order: list[int]) -> Any:
        bank = MemoryBank(MemoryPolicy(prompted=limit))
        for frame in order:
            bank.add(frame, memory(frame), prompted=True)
        return read(bank, 12), read(bank, 12, -1)

    assert found([3, 9, 15, 21]) == found([15, 3, 21, 9]) == found([21, 15, 9, 3])


def test_prompted_frames_that_are_not_attended_count_as_recent() -> None:
    bank = bank_of(MemoryPolicy(prompted=1), {7, 8, 9}, set())
    masks, pointers, _ = read(bank, 10)
    assert masks == [(-1, 9), (2, 7), (1, 8)]
    assert pointers == [(1, 9), (2, 8), (3, 7)]


# The bank


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["prompted", "tracked", "drop"])), max_size=20))
def test_a_frame_is_prompted_or_tracked(script: list[tuple[int, str]]) -> None:
    bank, expected = MemoryBank(), {}
    for frame, what in script:
        if what == "drop":
            bank.drop(frame)
            expected.pop(frame, None)
        else:
            bank.add(frame, memory(frame), prompted=what == "prompted")
            expected[frame] = what
        assert dict.fromkeys(bank.prompted, "prompted") | dict.fromkeys(bank.tracked, "tracked") == expected
        assert not bank.prompted.keys() & bank.tracked.keys()


def test_an_empty_bank_recalls_nothing() -> None:
    assert MemoryBank().read(3).is_empty
    assert not bank_of(MemoryPolicy(), {9}, set()).read(3).is_empty


def test_equal_layouts_have_equal_numbers() -> None:
    def layout(prompted: set[int], tracked: set[int], frame: int) -> Any:
        return bank_of(MemoryPolicy(), prompted, tracked).read(frame).layout

    assert layout({0}, {1, 2}, 3) == layout({4}, {5, 6}, 7)
    assert layout({0}, {1, 2}, 3) != layout({0}, {1}, 3)
    assert Recall(pointer_span=3).layout != Recall(pointer_span=4).layout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recent": -1}, "at least 0"),
        ({"pointers": -1}, "at least 0"),
        ({"stride": 0}, "stride at least 1"),
        ({"prompted": 0}, "prompted=0"),
    ],
)
def test_impossible_policies(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MemoryPolicy(**options)
