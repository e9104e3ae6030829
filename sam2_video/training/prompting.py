"""Simulated users: the prompts that training gives in a person's place.

    rng = np.random.default_rng([seed, step])
    prompt = box_prompt(masks, rng)                # or mask_prompt, click_prompt; masks (B, S, S) of 0, 1
    click = correction_click(rng, logits, masks)        # logits (B, h, w) of any resolution -> Clicks
    prompt = corrected(prompt, click, previous=logits[:, None])

Points are pixels of the S x S model frame, x then y, a pixel's index standing for the pixel.
Everything is a pure function of the generator's state.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam2_video.evaluation.clicks import deepest, thickest_error
from sam2_video.types import PromptTensors, upsample_logits

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Clicks:
    """One click per object."""

    points: Tensor  # (B, 1, 2) float32
    labels: Tensor  # (B, 1) int64


def mask_prompt(masks: Tensor) -> PromptTensors:
    """Return the masks themselves, without points."""
    batch = len(masks)
    none = masks.new_zeros((batch, 0, 2), dtype=torch.float32)
    return PromptTensors(none, none.new_zeros((batch, 0), dtype=torch.int64), mask=masks[:, None].float())


def box_prompt(masks: Tensor, rng: np.random.Generator | None = None, *, noise: float = 0.1) -> PromptTensors:
    """Box the masks; with a generator each side is off by some `noise` of the box, at most S / 20."""
    side = masks.shape[-1]
    corners = np.zeros((len(masks), 2, 2), np.float32)
    for row, mask in zip(corners, _bools(masks), strict=True):
        xs, ys = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        box = np.array([xs[0], ys[0], xs[-1], ys[-1]] if len(xs) else [0, 0, 0, 0], np.float32)
        if rng is not None:
            spread = np.tile(box[2:] - box[:2], 2) * noise
            box += np.clip(rng.standard_normal(4) * spread, -side / 20, side / 20).astype(np.float32)
        box = np.clip(box, 0, side - 1)
        row[0], row[1] = np.minimum(box[:2], box[2:]), np.maximum(box[:2], box[2:])
    labels = torch.tensor([2, 3], device=masks.device).expand(len(masks), 2)
    return PromptTensors(torch.from_numpy(corners).to(masks.device), labels.clone())


def click_prompt(
    masks: Tensor, rng: np.random.Generator | None = None, *, centre: float = 0.0
) -> PromptTensors:
    """Click once on each mask: in its middle without a generator, else anywhere but for a share of `centre`.

    An empty mask gets a click off the object, anywhere.
    """
    spots = [_click_on(mask, rng, centre) for mask in _bools(masks)]
    click = _clicks(spots, masks.device)
    return PromptTensors(click.points, click.labels)


def correction_click(
    rng: np.random.Generator | None, predicted: Tensor, masks: Tensor, *, void: Tensor | None = None
) -> Clicks:
    """Click where the prediction is wrong: label 1 on what it misses, 0 on what it has too much.

    predicted (B, h, w) logits or bool, masks and void (B, S, S). With a generator anywhere in the error,
    without one in the middle of its thickest part. Where nothing is wrong, the click confirms the object (or
    its absence).
    """
    side = masks.shape[-1]
    if predicted.dtype != torch.bool:
        predicted = predicted.detach()
        if predicted.shape[-1] != side:
            predicted = upsample_logits(predicted, (side, side))
        predicted = predicted > 0
    ignore = None if void is None else _bools(void)
    spots = []
    for row, (guess, truth) in enumerate(zip(_bools(predicted), _bools(masks), strict=True)):
        wrong = guess != truth
        if ignore is not None:
            wrong &= ~ignore[row]
        if not wrong.any():
            spots.append(_click_on(truth, rng, 0.0))
        elif rng is None:
            spots.append(thickest_error(wrong, truth))
        else:
            x, y = _anywhere(wrong, rng)
            spots.append((x, y, int(truth[y, x])))
    return _clicks(spots, masks.device)


def corrected(prompt: PromptTensors, click: Clicks, *, previous: Tensor | None) -> PromptTensors:
    """Add a click to the points of a prompt; `previous` (B, 1, S/4, S/4) logits are what is to be refined.

    A mask prompt is dropped: its refinement starts from `previous`.
    """
    points = torch.cat([prompt.points, click.points], dim=1)
    return PromptTensors(points, torch.cat([prompt.labels, click.labels], dim=1), previous=previous)


def _bools(masks: Tensor) -> Bools:
    return np.asarray((masks.detach() > 0).cpu().numpy())


def _clicks(spots: list[tuple[int, int, int]], device: torch.device) -> Clicks:
    table = torch.tensor(spots, dtype=torch.int64, device=device).reshape(-1, 1, 3)
    return Clicks(table[..., :2].float(), table[..., 2])


def _click_on(mask: Bools, rng: np.random.Generator | None, centre: float) -> tuple[int, int, int]:
    if not mask.any():
        x, y = (mask.shape[1] // 2, mask.shape[0] // 2) if rng is None else _anywhere(~mask, rng)
        return x, y, 0
    if rng is None or rng.random() < centre:
        return (*deepest(mask)[:2], 1)
    return (*_anywhere(mask, rng), 1)


def _anywhere(region: Bools, rng: np.random.Generator) -> tuple[int, int]:
    inside = np.flatnonzero(region)
    y, x = divmod(int(inside[rng.integers(len(inside))]), region.shape[1])
    return x, y
