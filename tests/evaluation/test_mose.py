"""MOSE v2's figures: smoothed J, boundaries as narrow as the object is small, gone and back apart."""

from __future__ import annotations

from math import ceil

import cv2
import numpy as np
import pytest

from sam2_video.evaluation.mose import MoseCurve, MoseFrame, compare_as_mose, mose_curves, summarise_mose
from sam2_video.evaluation.scores import Pair
from sam2_video.evaluation.sequences import EvaluatedObject
from sam2_video.types import DataError
from tests.evaluation.test_metrics import line_of
from tests.evaluation.test_scores import Toy, square, toy

ONE = EvaluatedObject(1, 0, ())


def compared(predicted: np.ndarray, truth: np.ndarray, void: np.ndarray | None = None) -> MoseFrame:
    return compare_as_mose(Pair(0, ONE, predicted, truth, void, False))


def curve(present: str, j: list[float], dot: list[float] | None = None) -> MoseCurve:
    """One object; + and - say on which frames it is there."""
    dots = dot or j
    frames = (MoseFrame(a, 0.5, b, sign == "+") for a, b, sign in zip(j, dots, present, strict=True))
    return MoseCurve("clip", 1, tuple(frames))


def test_j_has_a_pixel_more_above_and_below() -> None:
    truth, nothing = square(0, 0), np.zeros((40, 60), bool)
    assert compared(square(5, 0), truth).j == pytest.approx(51 / 151)
    assert compared(nothing, truth).j == pytest.approx(1 / 101)
    assert compared(nothing, nothing) == MoseFrame(1, 1, 1, present=False)
    assert compared(truth, nothing) == MoseFrame(1 / 101, 0, 0, present=False)
    assert compared(truth, truth) == MoseFrame(1, 1, 1, present=True)
    assert compared(square(15, 0), truth, void=square(15, 0)) == MoseFrame(1 / 101, 0, 0, present=True)


def by_definition(predicted: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """F and F with a dot on the whole picture, in scikit-image's discs and OpenCV's dilation."""
    diagonal = 0.008 * float(np.hypot(*truth.shape))
    own = ceil(0.1 * truth.sum() ** 0.5) if truth.any() else diagonal
    reaches = (ceil(diagonal), own) if own < diagonal else (diagonal, diagonal)
    lines = [line_of(mask).astype(np.uint8) for mask in (predicted, truth)]
    if not lines[0].any() or not lines[1].any():
        return (float(lines[0].any() == lines[1].any()),) * 2
    found = []
    for reach in reaches:
        steps = np.arange(-reach, reach + 1)
        disc = (steps[:, None] ** 2 + steps**2 <= reach**2).astype(np.uint8)
        near = [cv2.dilate(line, disc) for line in lines]
        precision, recall = ((lines[k] & near[1 - k]).sum() / lines[k].sum() for k in range(2))
        found.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return found[0], found[1]


@pytest.mark.parametrize("size", [(270, 480), (333, 401), (480, 854)])
@pytest.mark.parametrize("level", [0.3, 1.6, 2.6])
def test_f_and_f_with_a_dot_equal_the_definition(size: tuple[int, int], level: float) -> None:
    """Objects from everywhere to few pixels: both sides of where the narrower bound begins."""
    rng = np.random.default_rng([*size, int(10 * level)])
    for _ in range(3):
        noise = cv2.GaussianBlur(rng.standard_normal((*size, 2)), (0, 0), float(rng.uniform(2, 9)))
        truth = noise[..., 0] > level * noise.std()
        predicted = np.roll(truth, int(rng.integers(1, 4)), axis=1) ^ (noise[..., 1] > 3 * noise.std())
        for a, b in ((predicted, truth), (truth, predicted), (predicted, np.zeros(size, bool))):
            found = compared(a, b)
            assert (found.f, found.f_dot) == pytest.approx(by_definition(a, b), abs=1e-12)


def test_small_objects_need_a_closer_outline() -> None:
    truth = np.zeros((600, 800), bool)  # outlines match within 8 pixels
    truth[100:120, 100:120] = True  # an object of its own size: within a tenth of 20
    moved = np.roll(truth, 4, axis=1)
    found = compared(moved, truth)
    assert found.f == 1 and found.f_dot < 0.8
    assert compared(np.roll(truth, 2, axis=1), truth).f_dot == 1


def test_gone_and_back_are_stretches_that_count_once_each() -> None:
    row = summarise_mose([curve("++--+-++", [1, 1, 0.2, 0.4, 0.5, 0.9, 0.1, 0.3])]).overall
    assert row["mose_jf_d"] == pytest.approx((0.3 + 0.9) / 2)  # two frames as much as one
    assert row["mose_jf_r"] == pytest.approx((0.5 + 0.2) / 2)
    assert row["mose_j"] == pytest.approx(4.4 / 8) and row["mose_jf"] == pytest.approx((4.4 / 8 + 0.5) / 2)


def test_before_its_first_appearance_an_object_is_not_gone_but_then_it_comes_back() -> None:
    row = summarise_mose([curve("--++-", [0.9, 0.7, 0.2, 0.4, 0.6], [0.5, 0.5, 0.4, 0.6, 0.8])]).overall
    assert row["mose_jf_r"] == pytest.approx((0.3 + 0.5) / 2) and row["mose_jf_d"] == pytest.approx(0.7)
    always = summarise_mose([curve("+++", [0.9, 0.7, 0.2])]).overall
    assert set(always) == {"mose_jf_dot", "mose_j", "mose_f_dot", "mose_f", "mose_jf"}


def test_objects_that_never_left_do_not_count_in_those() -> None:
    curves = [curve("+-", [0.5, 0.1]), MoseCurve("clip", 2, curve("++", [1, 1]).frames, "seen")]
    extra = summarise_mose([*curves, MoseCurve("other", 1, curve("+-", [0, 0.3]).frames, "seen")])
    assert extra.overall["mose_jf_d"] == pytest.approx((0.1 + 0.3) / 2)
    assert extra.overall["mose_j"] == pytest.approx((0.3 + 1 + 0.15) / 3)
    assert extra.sequences["clip"]["mose_j"] == pytest.approx(0.65)
    assert "mose_jf_d" not in extra.objects["clip", 2]
    assert extra.groups == {"seen": pytest.approx({**extra.groups["seen"], "mose_j": (1 + 0.15) / 2})}
    assert {name for row in extra.objects.values() for name in row} <= {c.name for c in extra.columns}


def test_an_oracle_scores_exactly_100_and_missing_predictions_are_refused() -> None:
    clip: Toy = toy()
    extra = summarise_mose(mose_curves(clip, clip.masks))
    assert set(extra.overall.values()) == {1.0} and "mose_jf_d" in extra.overall  # object 1 leaves
    with pytest.raises(DataError, match="no prediction of the frames"):
        mose_curves(clip, lambda frame: None)
    empty = summarise_mose(mose_curves(clip, lambda frame: None, allow_incomplete=True))
    assert empty.objects["toy", 1]["mose_j"] == pytest.approx((1 / 101 + 1 / 101 + 1) / 3)
