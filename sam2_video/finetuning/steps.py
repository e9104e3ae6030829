"""One pass of training forward: pictures in two rounds, as SAM's decoder is fine-tuned, and clips as SAM 2.

step = Pass(model, frozen, settings)
loss, parts = step(batch, plan)          # scalars; loss.backward()
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from sam2_video.finetuning.losses import Terms, compare, mean
from sam2_video.finetuning.presets import Frozen
from sam2_video.finetuning.prompts import Group, draw_prompts
from sam2_video.finetuning.samples import Sample
from sam2_video.finetuning.settings import ClipPrompts, FinetuneSettings, PicturePrompts
from sam2_video.memory import MemoryBank
from sam2_video.model.sam2 import SAM2, best
from sam2_video.tracker import MULTIMASK_POINTS, PREVIOUS_LIMIT, remember
from sam2_video.training.losses import shrink_target
from sam2_video.training.prompting import (
    Clicks,
    box_prompt,
    click_prompt,
    corrected,
    correction_click,
    mask_prompt,
)
from sam2_video.types import (
    FrameMemory,
    ImageFeatures,
    MaskCandidates,
    MaskPrediction,
    PromptTensors,
    Recall,
)

PLAN = 13  # random stream of what all clips of a step share
OBJECT = 14  # and of each object
CENTRE_CLICKS = 0.5  # share of first clicks in the middle of the object
Generators = list[np.random.Generator]


@dataclass(frozen=True)
class Batch:
    """Samples as tensors: B pictures or clips of T frames, and N objects, each on one of them."""

    pixels: Tensor | None  # (T, B, 3, S, S), None where all features are known
    features: ImageFeatures | None
    owner: Tensor  # (N,) which of the B an object is on
    masks: Tensor  # (T, N, S, S) bool
    void: Tensor | None  # (T, N, S, S) bool
    weights: Tensor  # (N,), 1 in all
    entropy: tuple[tuple[int, ...], ...]  # of each object

    def generators(self) -> Generators:
        return [np.random.default_rng([*entropy, OBJECT]) for entropy in self.entropy]


def join(
    samples: Sequence[Sample], device: torch.device, features: Sequence[ImageFeatures] | None = None
) -> Batch:
    """Put samples together on a device; with their features, pictures are not taken along."""
    counts = [len(sample.masks) for sample in samples]
    owner = torch.repeat_interleave(torch.arange(len(samples)), torch.tensor(counts))
    void = None
    if any(sample.void is not None for sample in samples):
        blank = torch.zeros_like(samples[0].masks[0])  # (T, S, S)
        each = [blank if sample.void is None else sample.void for sample in samples]
        void = torch.stack(each, dim=1)[:, owner].to(device)
    weights = torch.cat([torch.full((n,), 1 / (n * len(samples))) for n in counts])
    known = None
    if features is not None:
        coarse = torch.cat([one.coarse for one in features])
        levels = zip(*(one.fine for one in features), strict=True)
        known = ImageFeatures(coarse, tuple(torch.cat(parts) for parts in levels))
    return Batch(
        None if features is not None else torch.stack([s.pixels for s in samples], dim=1).to(device),
        known,
        owner.to(device),
        torch.cat([sample.masks for sample in samples]).transpose(0, 1).to(device),
        void,
        weights.to(device),
        tuple((*sample.entropy, n) for sample in samples for n in range(len(sample.masks))),
    )


@dataclass(frozen=True)
class Plan:
    """The random choices of one step, the same for every clip so that they stay one batch."""

    prompt: str = ""  # "mask", "box" or "click"
    corrected: tuple[int, ...] = ()  # frames that get correction clicks
    clicks: int = 0  # on each of them


def draw_plan(settings: FinetuneSettings, step: int) -> Plan:
    """Choose how the clips of a step are prompted and corrected; nothing to choose on pictures."""
    prompts = settings.prompts
    if not isinstance(prompts, ClipPrompts):
        return Plan()
    rng = np.random.default_rng([settings.seed, PLAN, step])
    kind = rng.random()
    prompt = "mask" if kind < prompts.mask else "box" if kind < prompts.mask + prompts.box else "click"
    count = int(rng.integers(0, prompts.correct + 1))
    # A frame whose mask is given leaves nothing to correct.
    frames = np.arange(1 if prompt == "mask" else 0, settings.data.frames)
    chosen = rng.choice(frames, size=min(count, len(frames)), replace=False)
    clicks = int(rng.integers(1, prompts.correction_clicks + 1)) if prompts.correction_clicks else 0
    return Plan(prompt, tuple(sorted(int(k) for k in chosen)) if clicks else (), clicks)


class Pass(nn.Module):
    """The network and a pass through it as one module, for what wraps modules: autocast, processes."""

    def __init__(self, model: SAM2, frozen: Frozen, settings: FinetuneSettings) -> None:
        super().__init__()
        self.model, self.frozen, self.settings = model, frozen, settings

    def forward(self, batch: Batch, plan: Plan) -> tuple[Tensor, Terms]:
        """Return the loss, and for a log its parts, which hold no graph: means over objects and answers.

        Nothing that leaves here with a graph is left out of the loss: processes would wait for its gradient.
        """
        terms = mean(self._clips(batch, plan)) if self.settings.on_clips else self._pictures(batch)
        summed = terms.weighted(batch.weights)
        return summed.total(self.settings.losses), summed.detach()

    def encode(self, pixels: Tensor) -> ImageFeatures:
        """(B, 3, S, S) -> features, without a graph where the encoder stands still."""
        with self.frozen.while_encoding():
            return self.model.encode_image(pixels)

    def _pictures(self, batch: Batch) -> Terms:
        """(N,) losses: prompts, three masks, the best of them as a prompt, one mask."""
        assert isinstance(self.settings.prompts, PicturePrompts)
        features = batch.features
        if features is None:
            assert batch.pixels is not None
            features = self.encode(batch.pixels[0])
        void = None if batch.void is None else batch.void[0]
        groups = draw_prompts(batch.masks[0], void, batch.generators(), self.settings.prompts)
        found = [self._rounds(group, batch, features) for group in groups]
        order = torch.cat([group.rows for group in groups]).argsort()
        parts = zip(*(vars(one).values() for one in found), strict=True)
        return Terms(*(torch.cat(part)[order] for part in parts))

    def _rounds(self, group: Group, batch: Batch, features: ImageFeatures) -> Terms:
        """(n,) losses of objects with prompts of one kind."""
        rows = group.rows
        mine = _of(features, batch.owner[rows])
        pixels = self.model.attend_memory(mine, Recall())
        first = self.model.decode(pixels, mine.fine, group.prompt)
        answers = [self._judge(first, slice(1, None), batch, 0, rows)]
        if not group.is_ambiguous:  # then the single mask is what users see
            answers.append(self._judge(first, slice(0, 1), batch, 0, rows))
        chosen = first.iou[:, 1:].argmax(dim=1) + 1
        shown = first.logits[torch.arange(len(rows), device=rows.device), chosen][:, None].detach()
        again = PromptTensors(
            group.prompt.points, group.prompt.labels, shown.clamp(-PREVIOUS_LIMIT, PREVIOUS_LIMIT)
        )
        second = self.model.decode(pixels, mine.fine, again)
        return mean([*answers, self._judge(second, slice(0, 1), batch, 0, rows)])

    def _clips(self, batch: Batch, plan: Plan) -> list[Terms]:
        """Losses of all answers, (N,) each."""
        assert batch.pixels is not None
        frames, clips = batch.pixels.shape[:2]
        everything = self.encode(batch.pixels.flatten(0, 1))  # one pass over all frames
        bank, generators = MemoryBank(), batch.generators()
        answers: list[Terms] = []
        for frame in range(frames):
            features = _of(everything, batch.owner + frame * clips)
            prompt = _no_points(batch.masks[frame])
            if frame == 0:
                prompt = _first_prompt(batch.masks[0], plan.prompt, generators)
            pixels = self.model.attend_memory(features, bank.read(frame))
            prediction = self._answer(pixels, features, prompt, asked=frame == 0)
            if prediction.candidates is not None:
                answers.append(self._judge_shown(prediction, prompt, batch, frame))
            for _ in range(plan.clicks if frame in plan.corrected else 0):
                prompt = _correct(prompt, prediction, batch, frame, generators)
                prediction = self._answer(pixels, features, prompt, asked=True)
                answers.append(self._judge_shown(prediction, prompt, batch, frame))
            if frame + 1 < frames:
                prompted = frame == 0 or frame in plan.corrected
                bank.add(frame, self._remember(features, prediction, prompted), prompted=prompted)
        return answers

    def _answer(
        self, pixels: Tensor, features: ImageFeatures, prompt: PromptTensors, *, asked: bool
    ) -> MaskPrediction:
        """As `tracker.segment_prompt` and `segment_next`, with memory attended to once for all prompts."""
        if prompt.mask is not None:
            return self.model.mask_as_prediction(features, prompt.mask)
        if prompt.previous is not None:
            previous = prompt.previous.clamp(-PREVIOUS_LIMIT, PREVIOUS_LIMIT)
            prompt = PromptTensors(prompt.points, prompt.labels, previous)
        candidates = self.model.decode(pixels, features.fine, prompt if asked else None)
        return best(candidates, multimask=prompt.points.shape[1] <= MULTIMASK_POINTS)

    def _remember(self, features: ImageFeatures, prediction: MaskPrediction, prompted: bool) -> FrameMemory:
        if not self.frozen.memory:
            return remember(self.model, features, prediction, prompted=prompted)
        with torch.no_grad():
            memory = remember(self.model, features, prediction, prompted=prompted)
        # The pointer comes from the decoder, and would bring its graph along.
        return memory.map(Tensor.detach)

    def _judge_shown(
        self, prediction: MaskPrediction, prompt: PromptTensors, batch: Batch, frame: int
    ) -> Terms:
        """(N,) losses of the masks that the answer was chosen from."""
        assert prediction.candidates is not None
        several = prompt.points.shape[1] <= MULTIMASK_POINTS
        rows = torch.arange(len(batch.owner), device=batch.owner.device)
        return self._judge(
            prediction.candidates, slice(1, None) if several else slice(0, 1), batch, frame, rows
        )

    def _judge(
        self, candidates: MaskCandidates, asked: slice, batch: Batch, frame: int, rows: Tensor
    ) -> Terms:
        logits = candidates.logits[:, asked]
        void = None if batch.void is None else batch.void[frame, rows]
        target, void = shrink_target(batch.masks[frame, rows], logits.shape[-1], void)
        return compare(
            logits, candidates.iou[:, asked], candidates.presence, target, void, self.settings.losses
        )


def _of(features: ImageFeatures, rows: Tensor) -> ImageFeatures:
    """The features of each object's own picture."""
    return ImageFeatures(features.coarse[rows], tuple(part[rows] for part in features.fine))


def _no_points(masks: Tensor) -> PromptTensors:
    """A prompt without points, to which a correction adds its click."""
    labels = torch.zeros((len(masks), 0), dtype=torch.int64, device=masks.device)
    return PromptTensors(torch.zeros((len(masks), 0, 2), device=masks.device), labels)


def _first_prompt(masks: Tensor, kind: str, generators: Generators) -> PromptTensors:
    if kind == "mask":
        return mask_prompt(masks)
    drawn = [
        box_prompt(mask[None], rng) if kind == "box" else click_prompt(mask[None], rng, centre=CENTRE_CLICKS)
        for mask, rng in zip(masks, generators, strict=True)
    ]
    return PromptTensors(torch.cat([one.points for one in drawn]), torch.cat([one.labels for one in drawn]))


def _correct(
    prompt: PromptTensors, prediction: MaskPrediction, batch: Batch, frame: int, generators: Generators
) -> PromptTensors:
    """Add a click on what is wrong, for each object from its own generator."""
    clicks = []
    for row, rng in enumerate(generators):
        one = slice(row, row + 1)
        void = None if batch.void is None else batch.void[frame, one]
        clicks.append(correction_click(rng, prediction.logits[one, 0], batch.masks[frame, one], void=void))
    joined = Clicks(torch.cat([c.points for c in clicks]), torch.cat([c.labels for c in clicks]))
    return corrected(prompt, joined, previous=prediction.logits.detach())
