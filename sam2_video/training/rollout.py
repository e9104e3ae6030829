"""One training step forward: simulated prompts, the tracker's own functions, losses on every answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sam2_video.memory import MemoryBank
from sam2_video.model.sam2 import SAM2
from sam2_video.tracker import remember, segment_next, segment_prompt
from sam2_video.training.batches import Batch
from sam2_video.training.losses import Losses, average, mask_losses, shrink_target
from sam2_video.training.prompting import box_prompt, click_prompt, corrected, correction_click, mask_prompt
from sam2_video.training.settings import Stage
from sam2_video.transforms import PIXEL_MEAN, PIXEL_STD
from sam2_video.types import ImageFeatures, MaskPrediction, PromptTensors

CENTRE_CLICKS = 0.3  # share of first clicks in the middle of the object rather than anywhere on it


@dataclass(frozen=True)
class Plan:
    """The random choices of one step, the same for every clip so that they stay one batch."""

    prompt: str  # "mask", "box" or "click"
    refine_rounds: int  # correction clicks on the first frame
    corrected: int | None  # a later frame that gets a correction click


def draw_plan(stage: Stage, rng: np.random.Generator) -> Plan:
    kind = rng.random()
    if kind < stage.mask_prompts:
        prompt, rounds = "mask", 0
    else:
        prompt = "box" if kind < stage.mask_prompts + stage.box_prompts else "click"
        rounds = int(rng.integers(0, stage.refine_rounds + 1))
    corrects = stage.frames > 1 and rng.random() < stage.correct_frame
    return Plan(prompt, rounds, int(rng.integers(1, stage.frames)) if corrects else None)


def normalise(pixels: Tensor) -> Tensor:
    """(..., 3, S, S) uint8 -> float32, as the frame transform does."""
    mean = torch.tensor(PIXEL_MEAN, device=pixels.device)[:, None, None]
    std = torch.tensor(PIXEL_STD, device=pixels.device)[:, None, None]
    return (pixels.float() / 255 - mean) / std


def roll_out(model: SAM2, batch: Batch, plan: Plan, rng: np.random.Generator) -> Losses:
    """Track the batch's objects through their clips and return the mean losses over all answers."""
    frames, clips = batch.masks.shape[:2]
    everything = model.encode_image(normalise(batch.pixels.flatten(0, 1)))  # one pass over all frames
    bank = MemoryBank()  # all clips walk in step, so one bank holds memories with a batch dimension of B
    answers: list[Losses] = []

    def judge(prediction: MaskPrediction, frame: int, *, multimask: bool) -> None:
        answers.append(_judge(prediction, batch, frame, multimask=multimask))

    def correct(prompt: PromptTensors, prediction: MaskPrediction, frame: int) -> PromptTensors:
        void = None if batch.void is None else batch.void[frame]
        click = correction_click(rng, prediction.logits[:, 0], batch.masks[frame], void=void)
        return corrected(prompt, click, previous=prediction.logits.detach())

    for frame in range(frames):
        features = _at(everything, frame, clips)
        if frame == 0:
            prompt = _first_prompt(batch.masks[0], plan.prompt, rng)
            prediction = segment_prompt(model, features, prompt)
            if prompt.mask is None:
                judge(prediction, 0, multimask=prompt.points.shape[1] <= 1)
            for _ in range(plan.refine_rounds):
                prompt = correct(prompt, prediction, 0)
                prediction = segment_prompt(model, features, prompt)
                judge(prediction, 0, multimask=False)
        else:
            recall = bank.read(frame)
            prediction = segment_next(model, features, recall)
            judge(prediction, frame, multimask=True)
            if frame == plan.corrected:
                prompt = correct(no_points(clips, batch.masks.device), prediction, frame)
                prediction = segment_prompt(model, features, prompt, recall)
                judge(prediction, frame, multimask=True)
        if frame + 1 < frames:
            prompted = frame in (0, plan.corrected)
            bank.add(frame, remember(model, features, prediction, prompted=prompted), prompted=prompted)
    return average(answers)


def _at(everything: ImageFeatures, frame: int, clips: int) -> ImageFeatures:
    rows = slice(frame * clips, (frame + 1) * clips)
    quarter, half = everything.fine
    return ImageFeatures(everything.coarse[rows], (quarter[rows], half[rows]))


def _judge(prediction: MaskPrediction, batch: Batch, frame: int, *, multimask: bool) -> Losses:
    candidates = prediction.candidates
    assert candidates is not None  # only a user's own mask has none, and that is not judged
    asked = slice(1, None) if multimask else slice(0, 1)
    void = None if batch.void is None else batch.void[frame]
    target, void = shrink_target(batch.masks[frame], candidates.logits.shape[-1], void)
    return mask_losses(
        candidates.logits[:, asked], candidates.iou[:, asked], candidates.presence, target, void=void
    )


def _first_prompt(masks: Tensor, kind: str, rng: np.random.Generator) -> PromptTensors:
    if kind == "mask":
        return mask_prompt(masks)
    return box_prompt(masks, rng) if kind == "box" else click_prompt(masks, rng, centre=CENTRE_CLICKS)


def no_points(clips: int, device: torch.device) -> PromptTensors:
    """A prompt without points, to which a correction adds its click."""
    labels = torch.zeros((clips, 0), dtype=torch.int64, device=device)
    return PromptTensors(torch.zeros((clips, 0, 2), device=device), labels)
