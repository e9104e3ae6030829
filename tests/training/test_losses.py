from __future__ import annotations

import math

import pytest
import torch

from sam2_video.training.losses import (
    Losses,
    average,
    mask_losses,
    shrink_target,
    true_iou,
)


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def test_values_computed_by_hand() -> None:
    """One pixel on, three off, all predicted with probability 0.8."""
    target = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    logits = torch.full((1, 1, 2, 2), logit(0.8))
    parts = mask_losses(logits, torch.tensor([[0.9]]), torch.tensor([logit(0.7)]), target)
    on = 0.25 * 0.2**2 * -math.log(0.8)
    off = 0.75 * 0.8**2 * -math.log(0.2)
    assert float(parts.focal) == pytest.approx((on + 3 * off) / 4, rel=1e-5)
    assert float(parts.dice) == pytest.approx(1 - (2 * 0.8 + 1) / (4 * 0.8 + 1 + 1), rel=1e-5)
    assert float(parts.iou) == pytest.approx(abs(0.9 - 0.25), rel=1e-5)
    assert float(parts.presence) == pytest.approx(-math.log(0.7), rel=1e-5)
    expected = 20 * parts.focal + parts.dice + parts.iou + parts.presence
    assert float(parts.total) == pytest.approx(float(expected), rel=1e-6)
    assert set(parts.numbers()) == {"total", "focal", "dice", "iou", "presence"}


def test_only_the_best_candidate_learns_its_mask_and_all_learn_their_iou() -> None:
    target = torch.zeros(2, 4, 4)
    target[0, :2] = 1
    target[1, :, :2] = 1
    signs = (target * 2 - 1)[:, None]
    logits = torch.cat([-signs, signs, torch.zeros_like(signs)], dim=1) * 2.0
    logits[1, [0, 1]] = logits[1, [1, 0]]  # the second object's best candidate is the first
    logits.requires_grad_()
    iou = torch.full((2, 3), 0.5, requires_grad=True)
    mask_losses(logits, iou, torch.zeros(2), target).total.backward()
    assert logits.grad is not None and iou.grad is not None
    touched = logits.grad.abs().sum(dim=(2, 3)) > 0
    assert touched.tolist() == [[False, True, False], [True, False, False]]
    assert (iou.grad != 0).all()


def test_a_frame_without_the_object_teaches_presence_only() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    iou = torch.rand(1, 3, requires_grad=True)
    presence = torch.zeros(1, requires_grad=True)
    parts = mask_losses(logits, iou, presence, torch.zeros(1, 4, 4))
    parts.total.backward()
    assert not logits.grad.any() and not iou.grad.any()
    assert float(presence.grad) == pytest.approx(0.5)
    assert float(parts.total.detach()) == pytest.approx(math.log(2))


def test_void_pixels_teach_nothing() -> None:
    target = torch.zeros(1, 4, 4)
    target[0, :2] = 1
    void = torch.zeros(1, 4, 4, dtype=torch.bool)
    void[0, :, 3] = True
    logits = torch.randn(1, 1, 4, 4, requires_grad=True)
    parts = mask_losses(logits, torch.zeros(1, 1), torch.zeros(1), target, void=void)
    parts.total.backward()
    assert not logits.grad[0, 0][void[0]].any()
    assert logits.grad[0, 0][~void[0]].all()
    scribbled = logits.detach().clone()
    scribbled[0, 0, :, 3] = 9.0
    target[0, :, 3] = 1 - target[0, :, 3]
    again = mask_losses(scribbled, torch.zeros(1, 1), torch.zeros(1), target, void=void)
    assert float(again.total) == pytest.approx(float(parts.total.detach()), rel=1e-6)


def test_a_perfect_answer_costs_next_to_nothing() -> None:
    target = (torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    parts = mask_losses((target[:, None] * 2 - 1) * 30, torch.ones(2, 1), torch.full((2,), 30.0), target)
    assert float(parts.total) < 1e-4


def test_half_covered_pixels_pull_towards_the_threshold() -> None:
    """A pixel that is half object is best answered with a logit of zero: the edge runs through it."""
    target = torch.full((1, 1, 1), 0.5)
    logits = torch.tensor([1.0, 0.0, -1.0]).reshape(3, 1, 1, 1)
    costs = [float(mask_losses(x[None], torch.zeros(1, 1), torch.zeros(1), target).focal) for x in logits]
    assert costs[1] < costs[0] == pytest.approx(costs[2])


def test_targets_are_averaged_and_void_spreads() -> None:
    masks = torch.zeros(1, 8, 8, dtype=torch.uint8)
    masks[0, :3, :4] = 1
    void = torch.zeros(1, 8, 8, dtype=torch.bool)
    void[0, 7, 7] = True
    target, unknown = shrink_target(masks, 2, void)
    assert target.tolist() == [[[0.75, 0.0], [0.0, 0.0]]]
    assert unknown is not None and unknown.tolist() == [[[False, False], [False, True]]]
    assert shrink_target(masks, 8)[1] is None
    with pytest.raises(ValueError, match="whole factor"):
        shrink_target(masks, 3)


def test_true_iou() -> None:
    target = torch.tensor([[[1.0, 1.0, 0.0, 0.4]]])
    logits = torch.tensor([[[[1.0, -1.0, 1.0, -1.0]], [[1.0, 1.0, -1.0, -1.0]], [[-1.0, -1.0, -1.0, -1.0]]]])
    assert true_iou(logits, target)[0].tolist() == pytest.approx([1 / 3, 1.0, 0.0])


def test_average() -> None:
    one, two = (Losses(*(torch.tensor(k + float(v)) for v in range(5))) for k in (0, 2))
    assert average([one, two]).numbers() == {"total": 1, "focal": 2, "dice": 3, "iou": 4, "presence": 5}
    with pytest.raises(ValueError, match="nothing to average"):
        average([])


def test_half_precision_answers_are_taken() -> None:
    target = torch.ones(1, 4, 4)
    parts = mask_losses(
        torch.zeros(1, 3, 4, 4, dtype=torch.bfloat16),
        torch.zeros(1, 3, dtype=torch.bfloat16),
        torch.zeros(1, dtype=torch.bfloat16),
        target,
    )
    assert parts.total.dtype == torch.float32
