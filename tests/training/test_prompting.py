from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from sam2_video.evaluation.clicks import centre_of_error
from sam2_video.training.prompting import (
    Clicks,
    Dice,
    box_prompt,
    click_prompt,
    corrected,
    correction_click,
    deepest,
    mask_prompt,
)

CPU = torch.device("cpu")


def square(side: int = 32, x: slice = slice(8, 19), y: slice = slice(4, 15)) -> torch.Tensor:
    mask = torch.zeros(side, side, dtype=torch.uint8)
    mask[y, x] = 1
    return mask


MASKS = torch.stack([square(), square(x=slice(20, 31), y=slice(10, 21))])


def test_a_mask_prompt_is_the_mask() -> None:
    prompt = mask_prompt(MASKS)
    assert prompt.mask is not None and prompt.mask.shape == (2, 1, 32, 32)
    assert torch.equal(prompt.mask[:, 0], MASKS.float())
    assert prompt.points.shape == (2, 0, 2) and prompt.labels.shape == (2, 0)


def test_a_box_without_noise_is_tight() -> None:
    prompt = box_prompt(MASKS)
    assert prompt.points.tolist() == [[[8, 4], [18, 14]], [[20, 10], [30, 20]]]
    assert prompt.labels.tolist() == [[2, 3], [2, 3]]


def test_a_noisy_box_stays_ordered_in_the_frame_and_near() -> None:
    dice = Dice(0, CPU)
    offsets = []
    for _ in range(100):
        points = box_prompt(MASKS, dice, noise=0.5).points
        assert (points >= 0).all() and (points <= 31).all()
        assert (points[:, 0] <= points[:, 1]).all()
        offsets.append((points - box_prompt(MASKS).points).abs().max())
    assert 0 < max(offsets) <= 32 / 20 + 1e-5


def test_a_click_lies_on_its_object() -> None:
    dice = Dice(1, CPU)
    seen = set()
    for _ in range(50):
        prompt = click_prompt(MASKS, dice, centre=0.0)
        assert prompt.labels.tolist() == [[1], [1]]
        for mask, (x, y) in zip(MASKS, prompt.points[:, 0].long().tolist(), strict=True):
            assert mask[y, x] == 1
            seen.add((x, y))
    assert len(seen) > 50  # anywhere on it
    assert click_prompt(MASKS, dice, centre=1.0).points.tolist() == [[[13, 9]], [[25, 15]]]


def test_an_absent_object_gets_a_click_off_it() -> None:
    assert click_prompt(torch.zeros(1, 32, 32), Dice(0, CPU)).labels.tolist() == [[0]]


def test_prompts_repeat_with_the_generator() -> None:
    a, b = (
        [click_prompt(MASKS, dice).points.tolist() for _ in range(10)]
        for dice in (Dice(8, CPU), Dice(8, CPU))
    )
    assert a == b


def test_corrections_fall_into_the_error() -> None:
    dice = Dice(2, CPU)
    predicted = torch.stack([square(x=slice(8, 12)), square(x=slice(18, 32), y=slice(10, 21))])
    logits = (
        predicted.float() * 2 - 1
    )  # misses the right part of the first, has two columns too many on the second
    for _ in range(30):
        clicks = correction_click(dice, logits, MASKS, centre=0.0)
        assert clicks.labels.tolist() == [[1], [0]]
        (x0, y0), (x1, y1) = clicks.points[:, 0].tolist()
        assert 12 <= x0 <= 18 and 4 <= y0 <= 14
        assert x1 in (18, 19, 31) and 10 <= y1 <= 20


def test_a_correction_in_the_middle_is_that_of_the_thickest_error() -> None:
    predicted = MASKS.clone()
    predicted[0, 20:25, 0:5] = 1  # too much, 5 wide
    predicted[0, 4:15, 8:10] = 0  # missing, 2 wide: one with what follows it would be 5 wide
    predicted[0, 4:15, 5:8] = 1
    predicted[1, 10:21, 20:27] = 0
    clicks = correction_click(Dice(0, CPU), predicted > 0, MASKS, centre=1.0)
    assert clicks.points.tolist() == [[[2, 22]], [[23, clicks.points[1, 0, 1]]]]
    assert clicks.labels.tolist() == [[0], [1]]


def test_depth_is_the_distance_to_the_edge_and_to_the_border() -> None:
    regions = torch.zeros(3, 32, 32, dtype=torch.bool)
    regions[0, 4:15, 8:19] = True
    regions[1] = True
    where, depth = deepest(regions)
    assert depth.tolist() == [6, 16, 0]
    assert where[0].nonzero().tolist() == [[9, 13]]
    assert where[1].nonzero().tolist() == [[15, 15], [15, 16], [16, 15], [16, 16]]
    assert not where[2].any()


def test_coarse_logits_are_brought_to_the_masks_size() -> None:
    logits = torch.full((2, 8, 8), -3.0)
    clicks = correction_click(Dice(0, CPU), logits, MASKS)
    assert clicks.labels.tolist() == [[1], [1]]
    assert all(mask[int(y), int(x)] for mask, (x, y) in zip(MASKS, clicks.points[:, 0].tolist(), strict=True))


def test_void_is_never_corrected() -> None:
    predicted = torch.zeros(1, 32, 32, dtype=torch.bool)
    void = torch.zeros(1, 32, 32, dtype=torch.bool)
    void[0, :, 10:] = True
    for seed in range(20):
        clicks = correction_click(Dice(seed, CPU), predicted, MASKS[:1], void=void)
        assert 8 <= float(clicks.points[0, 0, 0]) < 10


def test_where_nothing_is_wrong_the_click_confirms() -> None:
    clicks = correction_click(Dice(0, CPU), MASKS.bool(), MASKS)
    assert clicks.labels.tolist() == [[1], [1]]
    x, y = clicks.points[0, 0].long().tolist()
    assert MASKS[0, y, x] == 1
    nothing = torch.zeros(1, 32, 32, dtype=torch.bool)
    assert correction_click(Dice(0, CPU), nothing, nothing).labels.tolist() == [[0]]


def test_a_click_is_appended() -> None:
    click = Clicks(torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]]), torch.tensor([[0], [1]]))
    previous = torch.zeros(2, 1, 8, 8)
    prompt = corrected(box_prompt(MASKS), click, previous=previous)
    assert prompt.labels.tolist() == [[2, 3, 0], [2, 3, 1]]
    assert prompt.points[1, 2].tolist() == [3, 4]
    assert prompt.previous is previous
    assert corrected(mask_prompt(MASKS), click, previous=previous).mask is None


def test_the_centre_of_the_error() -> None:
    truth = MASKS[0].numpy().astype(bool)
    assert centre_of_error(truth, truth) is None
    assert centre_of_error(np.zeros_like(truth), truth) == (13, 9, 1)
    too_much = truth.copy()
    too_much[20:25, 0:5] = True
    assert centre_of_error(too_much, truth) == (2, 22, 0)
    # A missing stripe beside a surplus one: two thin errors lose to a thicker one elsewhere.
    shifted = np.roll(truth, 2, axis=1)
    shifted[26:29, 26:29] = True
    assert centre_of_error(shifted, truth) == (27, 27, 0)


def test_the_middle_does_not_depend_on_the_last_digits_of_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV's distances vary by rounding from call to call; a resumed run must click on the same pixel."""
    exact, rng = cv2.distanceTransform, np.random.default_rng(0)

    def jittered(*args: object) -> np.ndarray:
        depth = exact(*args)
        return depth * (1 + 1e-6 * rng.standard_normal(depth.shape).astype(np.float32))

    mask = np.zeros((40, 60), dtype=bool)
    mask[10:20, 5:55] = True  # a bar: its whole middle line ties
    monkeypatch.setattr(cv2, "distanceTransform", jittered)
    assert len({centre_of_error(np.zeros_like(mask), mask) for _ in range(20)}) == 1


def test_a_generator_takes_the_place_of_dice() -> None:
    """Each call takes another seed from it."""
    a, b = (
        [click_prompt(MASKS, rng).points.tolist() for _ in range(5)]
        for rng in (np.random.default_rng(3), np.random.default_rng(3))
    )
    assert a == b and len({str(one) for one in a}) > 1
    assert box_prompt(MASKS, np.random.default_rng(0)).points.shape == (2, 2, 2)
    assert correction_click(np.random.default_rng(0), MASKS > 1, MASKS).labels.tolist() == [[1], [1]]
