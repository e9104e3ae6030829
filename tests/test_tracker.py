"""The three functions of the tracking algorithm, and batches of objects."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor

from sam2_video import tracker
from sam2_video.model.sam2 import SAM2, no_prompt
from sam2_video.tracker import PREVIOUS_LIMIT, remember, segment_next, segment_prompt, stack_recalls
from sam2_video.types import FrameMemory, ImageFeatures, MaskCandidates, PromptTensors, Recall
from tests.toys import SIDE, toy_model

LOW = SIDE // 4
# Batches of another size may run other kernels, whose last digits differ.
CLOSE = 1e-4


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def model() -> SAM2:
    return toy_model()


@pytest.fixture(scope="module")
def features(model: SAM2) -> ImageFeatures:
    with torch.no_grad():
        return model.encode_image(draw(1, 3, SIDE, SIDE))


def clicks(count: int, **more: Any) -> PromptTensors:
    points = torch.tensor([[[10.0 * k + 5, 20.0] for k in range(count)]]).reshape(1, count, 2)
    return PromptTensors(points, torch.ones(1, count, dtype=torch.int64), **more)


def memory_of(model: SAM2, features: ImageFeatures, seed: int) -> FrameMemory:
    prediction = segment_prompt(model, features, clicks(1 + seed % 3))
    made = remember(model, features, prediction, prompted=True)
    return FrameMemory(made.features + draw(*made.features.shape, seed=seed).bfloat16(), made.pointer)


@torch.no_grad()
@pytest.mark.parametrize("gap", [0, 7], ids=["equal distances", "distances of their own"])
def test_a_batch_is_the_objects_one_by_one(model: SAM2, features: ImageFeatures, gap: int) -> None:
    pasts = [[memory_of(model, features, 10 * k + i) for i in range(3)] for k in range(3)]
    recalls = [
        Recall(((-1, past[0]), (1, past[1]), (0, past[2])), ((5 + k * gap, past[0]), (1, past[2])), 9)
        for k, past in enumerate(pasts)
    ]
    batch = stack_recalls(recalls)
    assert batch.layout == recalls[0].layout == ((-1, 1, 0), (5, 1), 9)
    together = segment_next(model, features, batch)
    remembered = remember(model, features, together, prompted=False)
    assert together.logits.shape == (3, 1, LOW, LOW)
    for k, recall in enumerate(recalls):
        alone, item = segment_next(model, features, recall), together.item(k)
        for name in ("logits", "iou", "pointer", "presence"):
            torch.testing.assert_close(getattr(item, name), getattr(alone, name), rtol=CLOSE, atol=CLOSE)
        kept = remember(model, features, alone, prompted=False)
        torch.testing.assert_close(remembered.features[k : k + 1], kept.features, rtol=1 / 64, atol=1e-2)
    assert (together.logits[0] - together.logits[1]).abs().max() > 100 * CLOSE  # they could be mixed up


def test_one_recall_is_a_batch_without_copies() -> None:
    past = FrameMemory(draw(1, 2, 2, 2), draw(1, 4))
    assert stack_recalls([Recall(((-1, past),))]).masks[0][1] is past


def test_recalls_of_unequal_shape_do_not_share_a_batch() -> None:
    past = FrameMemory(draw(1, 2, 2, 2), draw(1, 4))
    one = Recall(((-1, past), (0, past)), ((1, past),), 15)
    for other in (
        Recall(((-1, past), (1, past)), ((1, past),), 15),
        Recall(((-1, past),), ((1, past),), 15),
        Recall(((-1, past), (0, past)), ((1, past), (2, past)), 15),
    ):
        with pytest.raises(ValueError, match="equal shape"):
            stack_recalls([one, other])


class Spy:
    """Stands in for `best`: writes down whether several masks were compared."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.multimask: list[bool] = []
        self._real = tracker.best
        monkeypatch.setattr(tracker, "best", self)

    def __call__(self, candidates: MaskCandidates, *, multimask: bool) -> Any:
        self.multimask.append(multimask)
        return self._real(candidates, multimask=multimask)


@torch.no_grad()
def test_only_ambiguous_prompts_compare_several_masks(
    model: SAM2, features: ImageFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(monkeypatch)
    for count in (0, 1, 2, 5):  # a box alone counts as two points
        segment_prompt(model, features, clicks(count))
    assert spy.multimask == [True, True, False, False]
    segment_next(model, features, Recall(((-1, memory_of(model, features, 0)),)))
    assert spy.multimask[-1]


@torch.no_grad()
def test_previous_logits_are_clamped(model: SAM2, features: ImageFeatures) -> None:
    previous = 100 * draw(1, 1, LOW, LOW)
    assert PREVIOUS_LIMIT == 32
    fed = segment_prompt(model, features, clicks(2, previous=previous))
    clamped = segment_prompt(model, features, clicks(2, previous=previous.clamp(-32, 32)))
    without = segment_prompt(model, features, clicks(2))
    assert torch.equal(fed.logits, clamped.logits)
    assert not torch.allclose(fed.logits, without.logits, atol=0.1)
    halved = segment_prompt(model, features, clicks(2, previous=previous.clamp(-16, 16)))
    assert not torch.allclose(fed.logits, halved.logits, atol=1e-3)


@torch.no_grad()
def test_a_prompt_looks_at_memory_where_there_is_some(model: SAM2, features: ImageFeatures) -> None:
    fresh = segment_prompt(model, features, clicks(1))
    same = segment_prompt(model, features, clicks(1), Recall())
    recalling = segment_prompt(model, features, clicks(1), Recall(((-1, memory_of(model, features, 1)),)))
    assert torch.equal(fresh.logits, same.logits)
    assert not torch.allclose(fresh.logits, recalling.logits, atol=1e-2)


@torch.no_grad()
def test_a_mask_is_taken_as_it_is(model: SAM2, features: ImageFeatures) -> None:
    mask = torch.zeros(1, 1, SIDE, SIDE)
    mask[..., 16:40, 8:32] = 1
    nothing = no_prompt(1, mask.device)
    prompt = PromptTensors(nothing.points, nothing.labels, mask=mask)
    found = segment_prompt(model, features, prompt, Recall(((-1, memory_of(model, features, 1)),)))
    assert torch.equal(found.logits > 0, mask[..., ::4, ::4] > 0)
    assert float(found.iou) == 1


def test_a_change_of_a_memory_reaches_its_tensors_and_leaves_the_keys_behind() -> None:
    memory = FrameMemory(draw(2, 3, 4, 4), draw(2, 8), (draw(1, 16, 4), draw(1, 16, 4)))
    changed = memory.map(lambda tensor: tensor[1:] + 1)
    assert {field.name for field in fields(FrameMemory)} == {"features", "pointer", "keys"}
    assert torch.equal(changed.features, memory.features[1:] + 1)
    assert torch.equal(changed.pointer, memory.pointer[1:] + 1)
    assert changed.keys is None  # they belong to the memory as it was


def test_keys_of_a_batch_are_those_of_its_objects() -> None:
    one, two = (FrameMemory(draw(1, 3, 4, 4), draw(1, 8), (draw(1, 16, 4, seed=k),)) for k in (1, 2))
    stacked = stack_recalls([Recall(((0, one),)), Recall(((0, two),))]).masks[0][1]
    assert stacked.keys is not None and stacked.keys[0] is one.keys[0] and stacked.keys[1] is two.keys[0]
    without = stack_recalls([Recall(((0, one),)), Recall(((0, one.map(torch.clone)),))])
    assert without.masks[0][1].keys is None
