"""The online protocol stops at the first bad frame, and what has passed stays as it is."""

from __future__ import annotations

import numpy as np
import pytest

import sam2_video
from sam2_video.evaluation.metrics import compare
from sam2_video.evaluation.protocols.offline import Offline
from sam2_video.evaluation.protocols.online import Online
from sam2_video.evaluation.results import Round
from sam2_video.evaluation.sequences import Bools, EvaluatedObject
from sam2_video.sources import FrameArrays
from sam2_video.types import DataError
from tests.evaluation.protocols.oracle import NOTHING, SIZE, Oracle, Script, Story, square, standing
from tests.toys import toy_clip, toy_model

MIDDLE = (25, 15, 1)  # of a square that stands at (20, 10)
Masks = dict[int, dict[int, Bools]]


def interact(story: Story, oracle: object, **options: object) -> tuple[list[Round], Masks]:
    protocol = Online(**options)  # type: ignore[arg-type]
    masks = {p.frame: p.masks for p in protocol.run(oracle, story, seed=0)}  # type: ignore[arg-type]
    assert list(masks) == list(range(len(story.truth)))
    return protocol.rounds, masks


def lost_from(*frames: int) -> Script:
    """The object is lost on each of these frames, and found again where it is clicked on."""

    def script(object_id: int, frame: int, prompted: frozenset[int]) -> Bools | None:
        told = max(prompted)
        return NOTHING if any(told < lost <= frame for lost in frames) else None

    return script


def test_it_stops_at_the_first_bad_frame_and_goes_on_from_there() -> None:
    """Lost on frame 3 and again on 6, of frames 1 to 8 that count."""
    story = standing(10)
    rounds, masks = interact(story, Oracle(story, lost_from(3, 6)))
    assert [(r.number, r.frame, r.clicks) for r in rounds] == [
        (1, 0, (MIDDLE,)), (2, 3, (MIDDLE,)), (3, 6, (MIDDLE,)),
        *((n, 6, ()) for n in range(4, 9)),
    ]  # fmt: skip
    assert 9 not in story.judged  # the last frame does not count
    # With one frame it would be lost from 3 on, with two from 6 on.
    assert [r.j for r in rounds] == [2 / 8, 5 / 8, *[1.0] * 6]
    assert all(np.array_equal(mask[1], square(20, 10)) for mask in masks.values())
    assert sorted(story.read) == list(range(10))  # one pass: every frame is read once


def test_a_frame_is_bad_below_three_quarters() -> None:
    """8 of 11 rows are J = 0.727, 9 are 0.818; 3 of 4 columns on the bound itself are good enough."""
    story = standing(6)
    eight, nine = square(20, 10), square(20, 10)
    eight[18:], nine[19:] = False, False
    wrong = {2: nine, 3: eight}
    script: Script = lambda object_id, frame, prompted: wrong.get(frame)  # noqa: E731
    rounds, masks = interact(story, Oracle(story, script))
    assert [r.frame for r in rounds[:3]] == [0, 3, 3] and not rounds[2].clicks
    assert np.array_equal(masks[2][1], nine) and np.array_equal(masks[3][1], square(20, 10))
    story.truth = [{1: square(20, 10, side=8)} for _ in range(6)]
    on_the_bound = square(20, 10, side=8)
    on_the_bound[16:] = False  # 6 of 8 rows
    wrong = {2: on_the_bound}
    rounds, _ = interact(story, Oracle(story, script))
    assert [r.frame for r in rounds] == [0] * 8


def test_no_more_frames_are_clicked_on_than_allowed() -> None:
    """Lost on every frame: with 3 frames it is right on 0, 1, 2 and nowhere after."""
    story = standing(7)
    rounds, masks = interact(story, Oracle(story, lost_from(*range(1, 7))), frames=3)
    assert [r.frame for r in rounds] == [0, 1, 2] and [r.j for r in rounds] == [0, 1 / 5, 2 / 5]
    assert [frame for frame in masks if masks[frame][1].any()] == [0, 1, 2]


def test_clicks_end_where_nothing_is_wrong_and_go_on_for_three_where_it_is() -> None:
    story = standing(5)
    rounds, _ = interact(story, Oracle(story, lost_from(2), lazy=2))
    assert [r.clicks for r in rounds[:2]] == [(MIDDLE, MIDDLE)] * 2
    rounds, masks = interact(story, Oracle(story, lost_from(2), lazy=99), frames=2)
    # A frame on which three clicks did not help is not stopped on again.
    assert [(r.frame, len(r.clicks)) for r in rounds] == [(0, 3), (2, 3)]
    assert not masks[2][1].any()
    # Nor is the first one, where it counts.
    story.objects = (EvaluatedObject(1, 0, (0, 1, 2, 3)),)
    rounds, _ = interact(story, Oracle(story, lost_from(2), lazy=99), frames=3)
    assert [(r.frame, len(r.clicks)) for r in rounds] == [(0, 3), (2, 3), (2, 0)] and rounds[0].j == 1 / 4


def test_frames_without_truth_are_passed_and_surplus_is_clicked_off() -> None:
    story = standing(8)
    story.truth[2] = None
    story.truth[4] = {}
    story.objects = (EvaluatedObject(1, 0, (1, 3, 4, 5, 6)),)
    ghost = square(40, 20)
    story.voids[5] = square(0, 0, side=50)  # nothing of frame 5 counts
    wrong = {2: NOTHING, 4: ghost, 5: NOTHING}
    rounds, masks = interact(story, Oracle(story, lambda o, frame, p: wrong.get(frame)))
    assert [(r.frame, r.clicks) for r in rounds[:3]] == [(0, (MIDDLE,)), (4, ((45, 25, 0),)), (4, ())]
    assert not masks[4][1].any() and rounds[1].j == 1


def test_void_pixels_of_a_bad_frame_are_not_clicked() -> None:
    story = standing(5)
    story.voids[2] = square(40, 20, side=6)
    surplus = square(20, 10) | square(40, 20)
    rounds, _ = interact(story, Oracle(story, lambda o, frame, p: surplus if frame == 2 else None))
    ((x, y, label),) = rounds[1].clicks
    assert label == 0 and surplus[y, x] and not story.voids[2][y, x]


def test_each_object_is_stopped_for_itself() -> None:
    """Object 1 is lost on 2, object 2, which begins on 3, on 5; clicks on one change nothing of the other."""
    left, right = square(5, 10), square(40, 10)
    story = Story([{1: left} if t < 3 else {1: left, 2: right} for t in range(8)], ())
    story.objects = (EvaluatedObject(1, 0, (1, 2, 3, 4, 5, 6)), EvaluatedObject(2, 3, (1, 2, 3, 4, 5, 6)))

    def script(object_id: int, frame: int, prompted: frozenset[int]) -> Bools | None:
        lost = {1: 2, 2: 5}[object_id]
        return NOTHING if max(prompted) < lost <= frame else None

    rounds, masks = interact(story, Oracle(story, script), frames=3)
    assert [(r.object_id, r.number, r.frame) for r in rounds] == [
        (1, 1, 0), (1, 2, 2), (1, 3, 2), (2, 1, 3), (2, 2, 5), (2, 3, 5),
    ]  # fmt: skip
    assert [r.j for r in rounds] == pytest.approx([1 / 6, 1, 1, 4 / 6, 1, 1])
    assert not masks[2][2].any() and masks[3][2].any()


@pytest.mark.parametrize("overlapping", [False, True])
def test_objects_do_not_share_pixels_unless_they_may(overlapping: bool) -> None:
    a, b = square(10, 10), square(17, 10)
    story = Story([{1: a, 2: b} for _ in range(5)], ())
    story.objects = tuple(EvaluatedObject(k, 0, (1, 2, 3)) for k in (1, 2))
    oracle = Oracle(story, lost_from(2), non_overlapping=True)
    rounds, masks = interact(story, oracle, overlapping=overlapping)
    assert [r.frame for r in rounds if r.clicks] == [0, 2, 0, 2] and rounds[-1].j == 1
    for frame in range(5):
        assert np.array_equal(masks[frame][2], b)
        assert np.array_equal(masks[frame][1], a if overlapping else a & ~b)


def test_truth_that_is_kept_elsewhere_is_no_use() -> None:
    story = standing(4)
    story.objects = (EvaluatedObject(1, 0, ()),)
    with pytest.raises(DataError, match="has no frame that counts"):
        interact(story, Oracle(story))
    story = standing(4)
    story.truth[2] = None
    with pytest.raises(DataError, match="frame 2 is to be scored but has no annotation"):
        interact(story, Oracle(story))


def test_an_object_of_which_no_frame_counts_is_tracked_and_has_no_rounds() -> None:
    story = Story([{1: square(5, 10), 2: square(40, 10)} for _ in range(5)], ())
    story.objects = (EvaluatedObject(1, 0, (1, 2, 3)), EvaluatedObject(2, 0, ()))
    for protocol in (Online(), Offline()):
        (*_, last) = protocol.run(Oracle(story, lost_from(1)), story, 0)  # type: ignore[arg-type]
        assert {r.object_id for r in protocol.rounds} == {1} and len(protocol.rounds) == 8
        assert set(last.masks) == {1, 2}


class Moving(Story):
    """The toy clip: a bright square that moves, and one that stands."""

    def image(self, frame: int) -> np.ndarray:
        self.read.append(frame)
        return CLIP[frame]


CLIP = toy_clip(20, SIZE)


def moving() -> Moving:
    """Object 2 begins on frame 4."""
    truth = []
    for t in range(20):
        x, y = (5 + 3 * t) % (SIZE[1] - 16), (8 + 2 * t) % (SIZE[0] - 16)
        truth.append({1: square(x, y, side=16)} | ({2: square(44, 2, side=9)} if t > 3 else {}))
    scored = tuple(range(1, 19))
    return Moving(truth, (EvaluatedObject(1, 0, scored), EvaluatedObject(2, 4, scored)))


def test_the_curve_is_that_of_separate_runs() -> None:
    """With a network: round k is what a run with k frames gives."""
    predictor = sam2_video.VideoPredictor(toy_model())
    story = moving()
    rounds, _ = interact(story, predictor, frames=4)
    assert sorted(story.read) == list(range(20))
    for budget in (1, 2, 3):
        fewer, _ = interact(moving(), predictor, frames=budget)
        for object_id in (1, 2):
            of = [r for r in rounds if r.object_id == object_id]
            few = [r for r in fewer if r.object_id == object_id]
            assert [(r.frame, r.clicks) for r in of[:budget]] == [(r.frame, r.clicks) for r in few]
            assert [r.j for r in of[:budget]] == pytest.approx([r.j for r in few], abs=1e-9)
            assert [r.f for r in of[:budget]] == pytest.approx([r.f for r in few], abs=1e-9)
    assert len({r.j for r in rounds if r.object_id == 1}) == 4, (
        "clicks change nothing here: nothing was shown"
    )


def test_it_is_a_session_that_is_stopped_by_hand() -> None:
    """One object, two frames to click on: the same by `prompt` and `propagate(start=)`."""
    predictor = sam2_video.VideoPredictor(toy_model())
    story = moving()
    story.objects = story.objects[:1]
    rounds, masks = interact(story, predictor, frames=2)
    first, second = rounds
    expected = {}
    with predictor.open(FrameArrays(CLIP)) as session:
        for x, y, label in first.clicks:
            session.prompt(frame=0, object_id=1, points=[(x, y)], labels=[label])
        for result in session.propagate(stop=second.frame + 1):
            expected[result.frame] = result.masks[0]
        truth = (story.truth[second.frame] or {})[1]
        assert compare(expected[second.frame], truth).j < 0.75
        for x, y, label in second.clicks:
            session.prompt(frame=second.frame, object_id=1, points=[(x, y)], labels=[label])
        for result in session.propagate(start=second.frame):
            expected[result.frame] = result.masks[0]
    assert all(np.array_equal(masks[frame][1], expected[frame]) for frame in range(20))
