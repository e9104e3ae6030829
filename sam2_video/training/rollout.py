"""One training step forward: simulated prompts, the tracker's own functions, losses on every answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from sam2_video.memory import MemoryBank
from sam2_video.model.derived import made_once
from sam2_video.model.sam2 import SAM2
from sam2_video.tracker import MULTIMASK_POINTS, remember, segment_next, segment_prompt
from sam2_video.training.batches import Batch
from sam2_video.training.losses import Losses, mask_losses, shrink_target, weighted
from sam2_video.training.prompting import (
    Dice,
    box_prompt,
    click_prompt,
    corrected,
    correction_click,
    mask_prompt,
)
from sam2_video.training.settings import Stage
from sam2_video.transforms import PIXEL_MEAN, PIXEL_STD
from sam2_video.types import ImageFeatures, MaskPrediction, PromptTensors, Recall


@dataclass(frozen=True)
class Plan:
    """The random choices of one step, the same for every clip so that they stay one batch."""

    prompt: str  # "mask", "box" or "click"
    refine_rounds: int = 0  # correction clicks on the first frame
    clicks: dict[int, int] = field(default_factory=dict)  # later frames that are corrected: how many clicks
    ahead: bool = False  # later frames are corrected before the walk, which then reads all of them


def draw_plan(stage: Stage, rng: np.random.Generator) -> Plan:
    kind = rng.random()
    if kind < stage.mask_prompts:
        prompt, rounds = "mask", 0
    else:
        prompt = "box" if kind < stage.mask_prompts + stage.box_prompts else "click"
        rounds = int(rng.integers(0, stage.refine_rounds + 1))
    clicks: dict[int, int] = {}
    if stage.frames > 1 and rng.random() < stage.correct_frame:
        count = min(int(rng.integers(1, stage.correct_frames + 1)), stage.frames - 1)
        frames = np.sort(rng.choice(np.arange(1, stage.frames), count, replace=False))
        clicks = {int(frame): int(rng.integers(1, stage.correct_clicks + 1)) for frame in frames}
    return Plan(prompt, rounds, clicks, bool(rng.random() < stage.correct_ahead))


def normalise(pixels: Tensor) -> Tensor:
    """(..., 3, S, S) uint8 -> float32, as the frame transform does."""
    mean, std = (
        torch.tensor(values, device="cpu")[:, None, None].to(pixels.device, non_blocking=True)
        for values in (PIXEL_MEAN, PIXEL_STD)
    )
    return (pixels.float() / 255 - mean) / std


def roll_out(model: SAM2, batch: Batch, plan: Plan, dice: Dice) -> Losses:
    """Track the batch's objects through their clips and return the mean losses over all answers."""
    with made_once():
        walk = _Walk(model, batch, plan, dice)
        walk.begin()
        if plan.ahead:
            for frame in plan.clicks:
                walk.correct(frame, walk.bank.read(frame))
        for frame in range(1, walk.frames):
            if frame not in walk.bank.prompted:
                walk.follow(frame)
    return judge(walk.answers, batch)


@dataclass(frozen=True)
class Answer:
    """The candidates for one frame that may be chosen."""

    frame: int
    logits: Tensor  # (B, K, h, w)
    iou: Tensor  # (B, K)
    presence: Tensor  # (B,)


def judge(answers: Sequence[Answer], batch: Batch) -> Losses:
    """Mean losses over all answers, those with as many candidates at once."""
    parts = []
    for count in sorted({answer.iou.shape[1] for answer in answers}):
        alike = [answer for answer in answers if answer.iou.shape[1] == count]
        frames = [answer.frame for answer in alike]
        void = None if batch.void is None else torch.cat([batch.void[frame] for frame in frames])
        masks = torch.cat([batch.masks[frame] for frame in frames])
        target, void = shrink_target(masks, alike[0].logits.shape[-1], void)
        logits, iou, presence = (
            torch.cat([getattr(answer, name) for answer in alike]) for name in ("logits", "iou", "presence")
        )
        parts.append((mask_losses(logits, iou, presence, target, void=void), len(alike) / len(answers)))
    return weighted(parts)


class _Walk:
    """All clips of a batch, frame by frame in step, so that one bank holds memories of B objects."""

    def __init__(self, model: SAM2, batch: Batch, plan: Plan, dice: Dice) -> None:
        self.model, self.batch, self.plan, self.dice = model, batch, plan, dice
        self.frames, self.clips = batch.masks.shape[:2]
        self.bank = MemoryBank()
        self.answers: list[Answer] = []
        self._everything = model.encode_image(
            normalise(batch.pixels.flatten(0, 1).permute(0, 3, 1, 2))
        )  # one pass over all

    def begin(self) -> None:
        """Prompt the first frame and refine what comes of it."""
        masks, kind = self.batch.masks[0], self.plan.prompt
        if kind == "mask":
            prompt = mask_prompt(masks)
        else:
            prompt = box_prompt(masks, self.dice) if kind == "box" else click_prompt(masks, self.dice)
        prediction = segment_prompt(self.model, self._features(0), prompt)
        if prompt.mask is None:
            self._judge(prediction, 0, multimask=_is_ambiguous(prompt))
        self._refine(0, prompt, prediction, self.plan.refine_rounds, Recall())

    def follow(self, frame: int) -> None:
        """Track a frame, and correct it where the plan says so."""
        recall = self.bank.read(frame)
        if frame in self.plan.clicks:
            self.correct(frame, recall)
            return
        prediction = segment_next(self.model, self._features(frame), recall)
        self._judge(prediction, frame, multimask=True)
        self._remember(frame, prediction, prompted=False)

    def correct(self, frame: int, recall: Recall) -> None:
        """Track a frame, then click on what is wrong: what comes of it is remembered as certain."""
        prediction = segment_next(self.model, self._features(frame), recall)
        self._judge(prediction, frame, multimask=True)
        nothing = no_points(self.clips, self.batch.masks.device)
        self._refine(frame, nothing, prediction, self.plan.clicks[frame], recall)

    def _refine(
        self, frame: int, prompt: PromptTensors, prediction: MaskPrediction, clicks: int, recall: Recall
    ) -> None:
        void = None if self.batch.void is None else self.batch.void[frame]
        for _ in range(clicks):
            click = correction_click(self.dice, prediction.logits[:, 0], self.batch.masks[frame], void=void)
            prompt = corrected(prompt, click, previous=prediction.logits.detach())
            prediction = segment_prompt(self.model, self._features(frame), prompt, recall)
            self._judge(prediction, frame, multimask=_is_ambiguous(prompt))
        self._remember(frame, prediction, prompted=True)

    def _remember(self, frame: int, prediction: MaskPrediction, *, prompted: bool) -> None:
        if frame + 1 == self.frames and not (prompted and self.plan.ahead):
            return  # nobody looks back at it
        memory = remember(self.model, self._features(frame), prediction, prompted=prompted)
        self.bank.add(frame, replace(memory, keys=self.model.batch_keys(memory)), prompted=prompted)

    def _features(self, frame: int) -> ImageFeatures:
        rows = slice(frame * self.clips, (frame + 1) * self.clips)
        quarter, half = self._everything.fine
        return ImageFeatures(self._everything.coarse[rows], (quarter[rows], half[rows]))

    def _judge(self, prediction: MaskPrediction, frame: int, *, multimask: bool) -> None:
        candidates = prediction.candidates
        assert candidates is not None  # only a user's own mask has none, and that is not judged
        asked = slice(1, None) if multimask else slice(0, 1)
        logits, iou = candidates.logits[:, asked], candidates.iou[:, asked]
        self.answers.append(Answer(frame, logits, iou, candidates.presence))


def _is_ambiguous(prompt: PromptTensors) -> bool:
    return prompt.points.shape[1] <= MULTIMASK_POINTS


def no_points(clips: int, device: torch.device) -> PromptTensors:
    """A prompt without points, to which a correction adds its click."""
    labels = torch.zeros((clips, 0), dtype=torch.int64, device=device)
    return PromptTensors(torch.zeros((clips, 0, 2), device=device), labels)
