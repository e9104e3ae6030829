"""Tables of scores: an oracle is exactly 100, what is missing is said, objects and groups are averaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from sam2_video.evaluation.scores import MetricOptions, ObjectScore, each_pair, score_objects, summarise
from sam2_video.evaluation.sequences import EvaluatedObject, VosSequence
from sam2_video.types import DataError

Masks = dict[int, NDArray[np.bool_]]


def square(x: int, y: int, side: int = 10) -> NDArray[np.bool_]:
    mask = np.zeros((40, 60), bool)
    mask[y : y + side, x : x + side] = True
    return mask


@dataclass
class Toy:
    """A sequence held in memory."""

    truth: list[Masks | None]
    objects: tuple[EvaluatedObject, ...]
    name: str = "toy"
    size: tuple[int, int] = (40, 60)
    voids: dict[int, NDArray[np.bool_]] = field(default_factory=dict)

    @property
    def frame_names(self) -> tuple[str, ...]:
        return tuple(f"{k:05d}" for k in range(len(self.truth)))

    def image(self, frame: int) -> NDArray[np.uint8]:
        return np.zeros((*self.size, 3), np.uint8)

    def masks(self, frame: int) -> Mapping[int, NDArray[np.bool_]] | None:
        return self.truth[frame]

    def void(self, frame: int) -> NDArray[np.bool_] | None:
        return self.voids.get(frame)


def toy() -> Toy:
    """Object 1 moves and leaves on frame 3; object 2 comes on frame 1 and stays. Frame 4 has no truth."""
    truth: list[Masks | None] = [
        {1: square(0, 0)},
        {1: square(5, 0), 2: square(30, 20)},
        {1: square(10, 0), 2: square(30, 20)},
        {2: square(30, 20)},
        None,
        {2: square(30, 20)},
    ]
    objects = (EvaluatedObject(1, 0, (1, 2, 3), "seen", "cup"), EvaluatedObject(2, 1, (2, 3, 5), "unseen"))
    return Toy(truth, objects)


def test_an_oracle_scores_exactly_100() -> None:
    clip = toy()
    assert isinstance(clip, VosSequence)
    summary = summarise(score_objects(clip, clip.masks))
    assert (summary.overall.j.mean, summary.overall.f.mean, summary.overall.jandf) == (1, 1, 1)
    assert summary.overall.objects == 2 and summary.missing == 0 and summary.g == 1
    assert summary.overall.j.recall == 1 and summary.overall.j.decay == 0


def test_an_empty_prediction_is_right_only_where_the_object_is_gone() -> None:
    one, two = score_objects(toy(), lambda frame: {})
    assert one.j == one.f == (0, 0, 1)  # DAVIS: two empty masks agree
    assert two.j == two.f == (0, 0, 0)
    assert (one.category, one.group) == ("cup", "seen")


def test_a_shifted_prediction_scores_what_the_definition_says() -> None:
    clip = toy()

    def shifted(frame: int) -> Masks:
        return {k: np.roll(mask, 5, axis=1) for k, mask in (clip.masks(frame) or {}).items()}

    one, two = score_objects(clip, shifted)
    assert one.j == pytest.approx((1 / 3, 1 / 3, 1)) and two.j == pytest.approx((1 / 3,) * 3)
    summary = summarise([one, two])
    assert summary.overall.j.mean == pytest.approx(((2 / 3 + 1) / 3 + 1 / 3) / 2)  # objects count, not frames
    assert summary.groups["seen"].j.mean == pytest.approx((2 / 3 + 1) / 3)
    assert summary.g == pytest.approx((summary.groups["seen"].jandf + summary.groups["unseen"].jandf) / 2)


def test_a_mask_where_the_object_is_gone_costs_all_of_that_frame() -> None:
    clip = toy()
    one, _ = score_objects(clip, lambda frame: {1: square(0, 0), 2: square(30, 20)})
    assert one.j[2] == one.f[2] == 0


def test_an_object_without_prediction_takes_nothing_from_the_others() -> None:
    clip = toy()

    def gappy(frame: int) -> Mapping[int, NDArray[np.bool_] | None]:
        """Object 2 has no file before it counts, which it need not have, and none on frame 3."""
        return {1: square(0, 0), **(clip.truth[frame] or {}), **({2: None} if frame in (1, 3) else {})}

    with pytest.raises(DataError, match=r"no prediction of the frames 00003;"):
        score_objects(clip, gappy)
    one, two = score_objects(clip, gappy, MetricOptions(allow_incomplete=True))
    assert one.j == (1, 1, 0) and one.missing == ()  # on frame 3 it is gone, and was predicted
    assert two.j == (1, 0, 1) and two.missing == (3,)


def test_missing_predictions_are_refused_unless_asked_for() -> None:
    clip = toy()

    def gappy(frame: int) -> Mapping[int, NDArray[np.bool_]] | None:
        return None if frame == 2 else clip.masks(frame)

    with pytest.raises(DataError, match=r"toy has no prediction of the frames 00002;.*allow incomplete"):
        score_objects(clip, gappy)
    one, two = score_objects(clip, gappy, MetricOptions(allow_incomplete=True))
    assert one.j == (1, 0, 1) and one.missing == two.missing == (2,)
    assert summarise([one, two]).missing == 2


def test_void_pixels_are_left_out() -> None:
    clip = toy()
    clip.voids[2] = square(15, 0)
    one, _ = score_objects(clip, lambda frame: {1: square(15, 0) if frame == 2 else square(5, 0)})
    assert one.j[1] == 0  # nothing of the prediction is left: it lies in the void


def test_frames_without_truth_cannot_count() -> None:
    clip = toy()
    clip.objects = (EvaluatedObject(2, 1, (4,)),)
    with pytest.raises(DataError, match="frame 4 is to be scored but has no annotation"):
        score_objects(clip, lambda frame: {})


def test_predictions_of_another_size_are_named() -> None:
    with pytest.raises(DataError, match=r"toy, object 1, frame 1: a prediction of \(4, 4\), .*\(40, 60\)"):
        score_objects(toy(), lambda frame: {1: np.zeros((4, 4), bool)})


def test_objects_without_frames_that_count_are_left_out() -> None:
    clip = toy()
    clip.objects = (EvaluatedObject(1, 0, ()), clip.objects[1])
    assert [score.object_id for score in score_objects(clip, clip.masks)] == [2]
    with pytest.raises(DataError, match="nothing to summarise"):
        summarise([])


def test_without_groups_there_is_no_g() -> None:
    score = ObjectScore("a", 1, (1, 2), (0.5, 1.0), (0.5, 0.5))
    summary = summarise([score, ObjectScore("b", 1, (1,), (0.0,), (0.0,))])
    assert summary.g is None and summary.groups == {}
    assert summary.by_sequence["a"].jandf == pytest.approx(0.625) and list(summary.by_sequence) == ["a", "b"]


def test_without_boundaries_f_is_not_a_number_instead_of_a_bad_score() -> None:
    clip = toy()
    summary = summarise(score_objects(clip, clip.masks, MetricOptions(boundary=False)))
    assert summary.overall.j.mean == 1
    f = summary.overall.f
    assert np.isnan(
        [f.mean, f.recall, f.decay, summary.overall.jandf, summary.by_sequence["toy"].jandf]
    ).all()


def test_pairs_come_frame_by_frame_and_masks_are_read_once() -> None:
    clip, reads = toy(), []

    def read(frame: int) -> Masks | None:
        reads.append(frame)
        return clip.masks(frame) if frame != 5 else None

    pairs = list(each_pair(clip, read, allow_incomplete=True))
    assert [(pair.frame, pair.object.object_id) for pair in pairs] == [
        (1, 1),
        (2, 1),
        (2, 2),
        (3, 1),
        (3, 2),
        (5, 2),
    ]
    assert reads == [1, 2, 3, 5]
    assert [pair.is_missing for pair in pairs] == [False] * 5 + [True] and not pairs[-1].predicted.any()


def test_sequences_and_groups_keep_their_order_and_their_objects() -> None:
    scores = [
        ObjectScore(name, k, (1,), (value,), (value,), group)
        for name, k, value, group in (
            ("b", 1, 0.2, "unseen"),
            ("a", 1, 0.4, "seen"),
            ("b", 2, 0.6, "seen"),
            ("a", 7, 1.0, ""),
        )
    ]
    summary = summarise(scores)
    assert list(summary.by_sequence) == ["b", "a"] and list(summary.groups) == ["unseen", "seen"]
    assert summary.by_sequence["b"].jandf == pytest.approx(0.4) and summary.by_sequence["a"].objects == 2
    assert summary.groups["seen"].jandf == pytest.approx(0.5) and summary.groups["unseen"].objects == 1
    assert summary.g == pytest.approx((0.5 + 0.2) / 2) and summary.overall.jandf == pytest.approx(0.55)
