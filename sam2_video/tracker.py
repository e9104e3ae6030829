"""The tracking algorithm as three functions; training and inference both call these.

Features have a batch of 1 (one frame, N objects) or of N (training: N frames with an object each).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import torch

from sam2_video.model.sam2 import SAM2, best, pointer_times
from sam2_video.types import FrameMemory, ImageFeatures, MaskPrediction, PromptTensors, Recall

PREVIOUS_LIMIT = 32.0  # logits that are fed back are clamped to what the weights have seen
MULTIMASK_POINTS = 1  # up to this many points a prompt is ambiguous: three candidates are compared


def segment_prompt(
    model: SAM2, features: ImageFeatures, prompt: PromptTensors, recall: Recall | None = None
) -> MaskPrediction:
    """Segment N objects from their prompts on a frame; with no recall they are seen for the first time."""
    if prompt.mask is not None:
        return model.mask_as_prediction(features, prompt.mask)
    pixels = model.attend_memory(features, recall or Recall())
    if prompt.previous is not None:
        previous = prompt.previous.clamp(-PREVIOUS_LIMIT, PREVIOUS_LIMIT)
        prompt = PromptTensors(prompt.points, prompt.labels, previous)
    candidates = model.decode(pixels, features.fine, prompt)
    return best(candidates, multimask=prompt.points.shape[1] <= MULTIMASK_POINTS)


def segment_next(model: SAM2, features: ImageFeatures, recall: Recall) -> MaskPrediction:
    """Segment N objects on a frame without a prompt, from what is recalled of them."""
    pixels = model.attend_memory(features, recall)
    return best(model.decode(pixels, features.fine), multimask=True)


def remember(
    model: SAM2, features: ImageFeatures, prediction: MaskPrediction, *, prompted: bool
) -> FrameMemory:
    """Make the memory that N objects leave behind on a frame."""
    return model.encode_memory(features, prediction, prompted=prompted)


def stack_recalls(recalls: Sequence[Recall]) -> Recall:
    """Join the recalls of several objects into one batch. Raises ValueError where their shapes differ.

    Where pointers lie differently far back, `times` are those of each object.
    """
    first = recalls[0]
    if any(recall.shape != first.shape for recall in recalls):
        raise ValueError("only recalls of equal shape can share a batch")
    times = first.times
    if any(recall.layout != first.layout for recall in recalls):
        device = first.pointers[0][1].pointer.device
        times = torch.stack([pointer_times(recall, device) for recall in recalls])
    masks = [(slot, _stack([r.masks[i][1] for r in recalls])) for i, (slot, _) in enumerate(first.masks)]
    pointers = [
        (gap, _pointers([r.pointers[i][1] for r in recalls])) for i, (gap, _) in enumerate(first.pointers)
    ]
    return Recall(tuple(masks), tuple(pointers), first.pointer_span, times)


def _stack(memories: Sequence[FrameMemory]) -> FrameMemory:
    if len(memories) == 1:
        return memories[0]
    known = [m.keys for m in memories if m.keys is not None]
    keys = tuple(chain(*known)) if len(known) == len(memories) else None  # too large to be copied
    return replace(_pointers(memories), features=torch.cat([m.features for m in memories]), keys=keys)


def _pointers(memories: Sequence[FrameMemory]) -> FrameMemory:
    """Join the pointers alone: nothing else is read of a memory that is recalled as a pointer."""
    return replace(memories[0], pointer=torch.cat([m.pointer for m in memories]))
