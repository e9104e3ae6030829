"""The offline protocol clicks on the worst frame, and only where something is wrong; worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sam2_video.evaluation.protocols.kept_features import KeptFeatures
from sam2_video.evaluation.protocols.offline import Offline
from sam2_video.evaluation.results import Round
from sam2_video.evaluation.sequences import Bools, EvaluatedObject
from sam2_video.types import DataError
from tests.evaluation.protocols.oracle import NOTHING, Oracle, Story, square, standing

MIDDLE = (25, 15, 1)  # of a square that stands at (20, 10)


def interact(story: Story, oracle: Oracle, **options: int) -> tuple[list[Round], dict[int, dict[int, Bools]]]:
    protocol = Offline(**options)  # type: ignore[arg-type]
    masks = {p.frame: p.masks for p in protocol.run(oracle, story, seed=0)}  # type: ignore[arg-type]
    assert list(masks) == list(range(len(story.truth)))
    return protocol.rounds, masks


def mistakes(wrong: dict[int, Bools]) -> object:
    """A script: these masks on these frames, until they are corrected."""
    return lambda object_id, frame, prompted: None if frame in prompted else wrong.get(frame)


def test_the_worst_frame_is_corrected_first_and_what_is_right_is_left_alone() -> None:
    """Frame 3 is half right (J = 55/187), frame 6 is missed: both are clicked on once, 6 first."""
    half = square(26, 10)  # 5 of 11 columns in common, 17 in all
    story = standing(9)
    rounds, masks = interact(story, Oracle(story, mistakes({3: half, 6: NOTHING})))  # type: ignore[arg-type]
    assert [(r.frame, r.clicks) for r in rounds[:3]] == [
        (0, (MIDDLE,)),
        (6, (MIDDLE,)),
        (3, ((22, 12, 1),)),  # the left 6 of 11 columns are missed: 3 from their edge is as deep as it gets
    ]
    j = 5 / 17
    assert [r.j for r in rounds[:3]] == pytest.approx([(5 + j) / 7, (6 + j) / 7, 1.0])
    assert rounds[2].f == 1 and all(mask[1].any() for mask in masks.values())
    assert story.judged.count(7) == 3  # passes
    # Nothing is left to correct: the last score stands for the rounds that would have come.
    assert [(r.number, r.frame, r.clicks, r.j) for r in rounds[3:]] == [(n, 3, (), 1.0) for n in range(4, 9)]


def test_of_equally_bad_frames_the_first_is_taken_and_none_twice() -> None:
    """Every tracked frame is missed and clicks do not help but on their own frame."""
    story = standing(6)
    oracle = Oracle(story, lambda object_id, frame, prompted: NOTHING)
    rounds, masks = interact(story, oracle, frames=4)
    assert [r.frame for r in rounds] == [0, 1, 2, 3]
    assert [frame for frame, mask in masks.items() if mask[1].any()] == [0, 1, 2, 3]
    assert [r.j for r in rounds] == [0, 0.25, 0.5, 0.75]  # of the frames 1 to 4


def test_three_clicks_at_most_go_to_a_frame() -> None:
    story = standing(4)
    oracle = Oracle(story, mistakes({2: NOTHING}), lazy=3)  # type: ignore[arg-type]
    rounds, _ = interact(story, oracle)
    assert [r.clicks for r in rounds[:2]] == [(MIDDLE,) * 3] * 2
    never = Oracle(story, mistakes({2: NOTHING}), lazy=99)  # type: ignore[arg-type]
    rounds, _ = interact(story, never, frames=2)
    assert [len(r.clicks) for r in rounds] == [3, 3]
    # Clicks of a frame add up: what is said last holds all of them, and those of frame 2 are its own.
    assert [(frame, len(prompt.points)) for frame, prompt in never.prompts] == [
        (0, 1), (0, 2), (0, 3), (2, 1), (2, 2), (2, 3),
    ]  # fmt: skip


def test_a_mask_where_there_is_no_object_gets_a_click_off_it() -> None:
    story = standing(6)
    story.truth[3] = {}
    ghost = square(40, 20)
    rounds, masks = interact(story, Oracle(story, mistakes({3: ghost})))  # type: ignore[arg-type]
    assert (rounds[1].frame, rounds[1].clicks) == (3, ((45, 25, 0),))
    assert not masks[3][1].any() and rounds[0].j == 0.75 and rounds[1].j == 1


def test_frames_without_truth_and_void_pixels_are_not_clicked() -> None:
    story = standing(8)
    story.truth[2] = None  # nobody knows; the tracker shows nothing there
    story.objects = (EvaluatedObject(1, 0, (1, 3, 4, 5, 6)),)
    surplus = square(20, 10) | square(40, 20)
    story.voids[5] = square(38, 18, side=15)  # hides the whole surplus
    story.voids[6] = square(40, 20, side=6)  # hides a part of it
    script = mistakes({2: NOTHING, 5: surplus, 6: surplus})
    rounds, _ = interact(story, Oracle(story, script))  # type: ignore[arg-type]
    assert [r.frame for r in rounds[:2]] == [0, 6] and not rounds[2].clicks
    ((x, y, label),) = rounds[1].clicks
    assert label == 0 and surplus[y, x] and not story.voids[6][y, x]


def test_frames_that_do_not_count_are_not_clicked() -> None:
    """The last one does not, though it is worst."""
    story = standing(6)
    rounds, masks = interact(story, Oracle(story, mistakes({5: NOTHING, 2: square(20, 12)})))  # type: ignore[arg-type]
    assert [r.frame for r in rounds if r.clicks] == [0, 2] and rounds[-1].j == 1
    assert not masks[5][1].any()


def test_each_object_is_corrected_for_itself() -> None:
    """Object 2 begins on frame 2 where it stays; both are wrong on frames of their own."""
    left, right = square(5, 10), square(40, 10)
    story = Story([{1: left} if t < 2 else {1: left, 2: right} for t in range(7)], ())
    story.objects = (EvaluatedObject(1, 0, (1, 2, 3, 4, 5)), EvaluatedObject(2, 2, (1, 2, 3, 4, 5)))
    wrong = {(1, 4): left & square(5, 10, side=10), (2, 5): NOTHING, (2, 3): square(42, 10)}

    def script(object_id: int, frame: int, prompted: frozenset[int]) -> Bools | None:
        return None if frame in prompted else wrong.get((object_id, frame))

    oracle = Oracle(story, script)
    rounds, masks = interact(story, oracle, frames=3)
    by_object = {k: [r for r in rounds if r.object_id == k] for k in (1, 2)}
    assert [r.frame for r in by_object[1]] == [0, 4, 4] and [r.frame for r in by_object[2]] == [2, 5, 3]
    assert by_object[1][0].j == pytest.approx((4 + 100 / 121) / 5)
    assert by_object[2][0].j == pytest.approx((3 + 9 / 13) / 5)  # it counts as absent before it begins
    assert not masks[1][2].any() and masks[2][2].any()


def test_objects_do_not_share_pixels_unless_they_may() -> None:
    a, b = square(10, 10), square(17, 10)
    story = Story([{1: a, 2: b} for _ in range(4)], ())
    story.objects = tuple(EvaluatedObject(k, 0, (1, 2)) for k in (1, 2))
    oracle = Oracle(story)
    oracle.non_overlapping = True  # has no say in this: each object is judged for itself
    rounds, masks = interact(story, oracle)
    assert all(r.j == 1 for r in rounds)
    assert np.array_equal(masks[2][1], a & ~b) and np.array_equal(masks[2][2], b)  # logits 6 and 7
    protocol = Offline(overlapping=True)
    last = list(protocol.run(oracle, story, seed=0))[-1]  # type: ignore[arg-type]
    assert np.array_equal(last.masks[1], a) and np.array_equal(last.masks[2], b)


def test_frames_are_encoded_once_as_long_as_there_is_memory() -> None:
    story = standing(10)
    oracle = Oracle(story, lambda object_id, frame, prompted: NOTHING)
    interact(story, oracle, frames=4)
    assert sorted(oracle.looks) == list(range(10))

    class Source:
        latest = 0

    source, driver = Source(), Oracle(story)
    kept = KeptFeatures(driver, source, most=3 * 8)  # type: ignore[arg-type]
    for frame in (0, 1, 2, 3, 4, 0, 1, 2, 3, 4):  # a number takes 8 bytes
        source.latest = frame
        assert int(kept.look(story.image(frame)).coarse) == frame
    assert driver.looks == [0, 1, 2, 3, 4, 3, 4]


def test_truth_that_cannot_be_used_is_refused() -> None:
    story = standing(4)
    story.objects = (EvaluatedObject(1, 0, ()),)
    with pytest.raises(DataError, match="has no frame that counts"):
        interact(story, Oracle(story))
    story = standing(4)
    story.truth[0] = {1: NOTHING}
    with pytest.raises(DataError, match="object 1 is to be given to the tracker on frame 00000"):
        interact(story, Oracle(story))
