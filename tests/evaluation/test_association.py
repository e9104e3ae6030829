"""Identities: masks are crossed by IoU, and TrackEval says what hand-computed cases say."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from sam2_video.evaluation.association import as_trackeval, associate, cross, summarise_association
from sam2_video.evaluation.sequences import EvaluatedObject
from sam2_video.types import ConfigError, DataError
from tests.evaluation.test_scores import Masks, Toy, square


def pair(name: str = "two", frames: int = 5) -> Toy:
    """Two objects that stay where they are; the frames after the first count."""
    truth: list[Masks | None] = [{1: square(0, 0), 2: square(30, 20)} for _ in range(frames)]
    return Toy(truth, tuple(EvaluatedObject(k, 0, tuple(range(1, frames))) for k in (1, 2)), name)


def swapped(frame: int) -> Masks:
    """The identities of both objects are exchanged on frame 3."""
    a, b = square(0, 0), square(30, 20)
    return {1: a, 2: b} if frame < 3 else {1: b, 2: a}


def test_masks_of_a_frame_are_crossed_by_iou() -> None:
    clip = pair()
    found = {1: square(5, 0), 7: square(30, 25), 2: np.zeros((40, 60), bool)}
    first = cross(clip, lambda frame: found)[0]
    assert first.truth.tolist() == [1, 2] and first.predicted.tolist() == [1, 7]  # 2 has no pixels
    assert first.iou == pytest.approx(np.array([[50 / 150, 0], [0, 50 / 150]]))


def test_objects_take_part_where_they_count_and_strangers_wherever_something_does() -> None:
    clip = pair()
    clip.objects = (EvaluatedObject(1, 0, (1, 2)), EvaluatedObject(2, 2, (3, 4)))
    found = {1: square(0, 0), 2: square(30, 20), 9: square(50, 0)}
    crossed = cross(clip, lambda frame: found)
    assert [one.truth.tolist() for one in crossed] == [[1], [1], [2], [2]]
    assert [one.predicted.tolist() for one in crossed] == [[1, 9], [1, 9], [2, 9], [2, 9]]


def test_void_pixels_belong_to_no_mask() -> None:
    clip = pair()
    clip.voids[1] = square(0, 0, 5) | square(30, 20)
    first = cross(clip, clip.masks)[0]
    assert first.truth.tolist() == first.predicted.tolist() == [1]
    assert first.iou.tolist() == [[1.0]]


def test_ids_are_numbered_without_gaps_for_the_library() -> None:
    found = {1: square(0, 0), 300: square(30, 20)}
    data = as_trackeval(cross(pair(), lambda frame: found if frame < 4 else {}))
    assert [ids.tolist() for ids in data["gt_ids"]] == [[0, 1]] * 4
    assert [ids.tolist() for ids in data["tracker_ids"]] == [[0, 1]] * 3 + [[]]
    assert (data["num_gt_ids"], data["num_tracker_ids"]) == (2, 2)
    assert (data["num_gt_dets"], data["num_tracker_dets"], data["num_timesteps"]) == (8, 6, 4)
    assert data["similarity_scores"][3].shape == (2, 0)


def test_missing_predictions_are_refused_unless_asked_for() -> None:
    with pytest.raises(DataError, match="two has no prediction of the frames 00001, 00002"):
        cross(pair(), lambda frame: None)
    assert [c.predicted.size for c in cross(pair(), lambda f: None, allow_incomplete=True)] == [0] * 4


def test_without_the_library_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackeval.metrics", None)
    with pytest.raises(ConfigError, match="pip install --no-deps trackeval scipy"):
        associate(pair(), pair().masks)


@pytest.fixture
def trackeval() -> Any:
    """No extra asks for it: docs/metrics.md says why."""
    return pytest.importorskip("trackeval", reason="needs pip install --no-deps trackeval scipy")


def test_an_oracle_is_100(trackeval: Any) -> None:
    row = summarise_association([associate(pair(), pair().masks)]).overall
    assert row == {"hota": 1, "deta": 1, "assa": 1, "loca": 1, "idf1": 1, "idsw": 0}


def test_names_of_objects_do_not_matter_but_that_they_stay_does(trackeval: Any) -> None:
    found = {5: square(30, 20), 6: square(0, 0)}
    renamed = associate(pair(), lambda frame: found)
    assert summarise_association([renamed]).overall["hota"] == 1
    row = summarise_association([associate(pair(), swapped)]).overall
    # Each of 8 masks is matched. Two of the four masks of an object are found by the same id, which has two
    # others: 2 / (4 + 4 - 2). One id for each object gives 4 right masks of 8. Both objects switch once.
    expected = {"hota": (1 / 3) ** 0.5, "deta": 1, "assa": 1 / 3, "loca": 1, "idf1": 0.5, "idsw": 2}
    assert row == pytest.approx(expected)


def test_masks_count_up_to_the_threshold_that_they_reach(trackeval: Any) -> None:
    clip = pair()
    clip.objects = clip.objects[:1]
    row = summarise_association([associate(clip, lambda frame: {1: square(5, 0)})]).overall
    # An IoU of 1/3 reaches 0.05, 0.1, ... 0.3 of the 19 thresholds; without a match LocA is 1.
    expected = {
        "hota": 6 / 19,
        "deta": 6 / 19,
        "assa": 6 / 19,
        "loca": (6 / 3 + 13) / 19,
        "idf1": 0,
        "idsw": 0,
    }
    assert row == pytest.approx(expected)


def test_masks_of_nothing_and_objects_not_found_cost_detection_only(trackeval: Any) -> None:
    found = {1: square(0, 0), 9: square(45, 0)}  # object 2 is not found, 9 is nothing
    row = summarise_association([associate(pair(), lambda frame: found)]).overall
    assert row["deta"] == pytest.approx(4 / 12) and row["assa"] == 1
    assert row["idf1"] == pytest.approx(4 / (4 + 2 + 2))


def test_sequences_are_combined_by_their_masks_and_empty_ones_left_out(trackeval: Any) -> None:
    nothing = pair("nothing")
    nothing.truth = [{} for _ in range(5)]
    found = [
        associate(pair("short", 3), lambda frame: {}),
        associate(pair("long", 9), pair("long", 9).masks),
        associate(nothing, lambda frame: {}),
    ]
    extra = summarise_association(found)
    assert list(extra.sequences) == ["short", "long"]
    assert extra.sequences["short"]["hota"] == 0 and extra.sequences["long"]["hota"] == 1
    # 16 of 20 masks are found, and those keep their ids.
    assert extra.overall["deta"] == pytest.approx(16 / 20) and extra.overall["assa"] == 1
    assert extra.overall["hota"] == pytest.approx((16 / 20) ** 0.5)
    assert summarise_association(found[2:]).overall == {}
    assert set(extra.overall) == {column.name for column in extra.columns}
