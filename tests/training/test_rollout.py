"""One training step: which frames are prompted when, and that nothing in it waits for the device."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from sam2_video.config import build_model
from sam2_video.model.sam1 import with_memory
from sam2_video.model.sam2 import SAM2
from sam2_video.training import rollout
from sam2_video.training.batches import Batch
from sam2_video.training.losses import Losses, average, mask_losses, shrink_target
from sam2_video.training.prompting import Dice
from sam2_video.training.rollout import Answer, Plan, draw_plan, judge, roll_out
from sam2_video.training.settings import Stage
from tests.training.test_loop import TOY

CPU = torch.device("cpu")


def toy_model() -> SAM2:
    torch.manual_seed(0)
    return with_memory(build_model("nano", TOY), "training").train()


def toy_batch(frames: int, clips: int = 2, device: torch.device = CPU) -> Batch:
    masks = torch.zeros(frames, clips, 64, 64, dtype=torch.uint8)
    masks[:, :, 10:40, 20:50] = 1
    pixels = torch.randint(0, 256, (frames, clips, 64, 64, 3), dtype=torch.uint8)
    return Batch(pixels, masks, torch.zeros(masks.shape, dtype=torch.bool)).to(device)


class NoDice(Dice):
    """Random numbers of a device that has no generator."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def uniform(self, *shape: int) -> torch.Tensor:
        return torch.rand(shape, device=self.device)

    def normal(self, *shape: int) -> torch.Tensor:
        return torch.randn(shape, device=self.device)


@pytest.mark.parametrize(
    "plan",
    [Plan("mask", 0, {1: 3, 3: 1}, ahead=True), Plan("click", 2, {2: 2}), Plan("box", 1)],
    ids=lambda plan: plan.prompt,
)
def test_a_step_neither_leaves_the_device_nor_waits_for_it(plan: Plan) -> None:
    """The meta device has no values: what asks for one fails there, and so does a tensor left behind."""
    meta = torch.device("meta")
    losses = roll_out(toy_model().to(meta), toy_batch(4, device=meta), plan, NoDice(meta))
    losses.total.backward()  # type: ignore[no-untyped-call]
    assert losses.total.device == meta


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int, int]]]:
    """(masks recalled, those of prompted frames, points) of each answer."""
    out: list[tuple[int, int, int]] = []
    follow, prompt = rollout.segment_next, rollout.segment_prompt

    def note(recall: rollout.Recall, points: int) -> None:
        out.append((len(recall.masks), sum(slot == -1 for slot, _ in recall.masks), points))

    def segment_next(model, features, recall):  # type: ignore[no-untyped-def]
        note(recall, 0)
        return follow(model, features, recall)

    def segment_prompt(model, features, asked, recall=None):  # type: ignore[no-untyped-def]
        note(recall or rollout.Recall(), asked.points.shape[1])
        return prompt(model, features, asked, recall)

    monkeypatch.setattr(rollout, "segment_next", segment_next)
    monkeypatch.setattr(rollout, "segment_prompt", segment_prompt)
    yield out


def test_a_frame_is_corrected_when_it_is_reached(seen: list[tuple[int, int, int]]) -> None:
    roll_out(toy_model(), toy_batch(4), Plan("box", 1, {2: 2}), Dice(0, CPU))
    assert seen == [(0, 0, 2), (0, 0, 3), (1, 1, 0), (2, 1, 0), (2, 1, 1), (2, 1, 2), (3, 2, 0)]


def test_frames_corrected_ahead_are_read_by_all_others(seen: list[tuple[int, int, int]]) -> None:
    roll_out(toy_model(), toy_batch(4), Plan("mask", 0, {3: 1}, ahead=True), Dice(0, CPU))
    assert seen == [(0, 0, 0), (1, 1, 0), (1, 1, 1), (2, 2, 0), (3, 2, 0)]


def test_plans_keep_to_their_stage() -> None:
    stage = Stage("s", 1, 6, 1, 64, correct_frame=0.8, correct_frames=2, correct_clicks=3, correct_ahead=0.5)
    plans = [draw_plan(stage, np.random.default_rng(seed)) for seed in range(300)]
    assert all(0 < frame < 6 and 1 <= clicks <= 3 for plan in plans for frame, clicks in plan.clicks.items())
    assert {len(plan.clicks) for plan in plans} == {0, 1, 2}
    assert 200 < sum(bool(plan.clicks) for plan in plans) < 280
    assert 100 < sum(plan.ahead for plan in plans) < 200


def test_answers_judged_together_count_as_those_judged_alone() -> None:
    batch = toy_batch(3)
    assert batch.void is not None
    batch.void[1, :, :20] = True
    draw = torch.Generator().manual_seed(0)

    def answer(frame: int, count: int) -> Answer:
        logits = torch.randn(2, count, 16, 16, generator=draw)
        return Answer(frame, logits, torch.rand(2, count, generator=draw), torch.randn(2, generator=draw))

    answers = [answer(0, 3), answer(0, 1), answer(1, 3), answer(2, 3)]
    alone: list[Losses] = []
    for one in answers:
        target, void = shrink_target(batch.masks[one.frame], 16, batch.void[one.frame])
        alone.append(mask_losses(one.logits, one.iou, one.presence, target, void=void))
    together, apart = judge(answers, batch).numbers(), average(alone).numbers()
    assert together == pytest.approx(apart, rel=1e-5)
