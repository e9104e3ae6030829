"""Simulated users: the prompts that training gives in a person's place.

    dice = Dice(seed_of_this_step, masks.device)
    prompt = box_prompt(masks, dice)               # or mask_prompt, click_prompt; masks (B, S, S) of 0, 1
    click = correction_click(dice, logits, masks)        # logits (B, h, w) of any resolution -> Clicks
    prompt = corrected(prompt, click, previous=logits[:, None])

Points are pixels of the S x S model frame, x then y, a pixel's index standing for the pixel.
Everything is a pure function of the seed, and computed for all objects at once where the masks are: asking a
graphics card for one number would make it wait for the answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sam2_video.types import PromptTensors, upsample_logits

CENTRE_CLICKS = 0.6  # share of clicks in the middle of their region, where people click, not anywhere in it


class Dice:
    """Random numbers on one device, from a seed."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.device = device
        self._generator = torch.Generator(device).manual_seed(seed)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self._generator, device=self.device)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._generator, device=self.device)


Chance = Dice | np.random.Generator  # a generator gives the seed


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


def box_prompt(masks: Tensor, chance: Chance | None = None, *, noise: float = 0.1) -> PromptTensors:
    """Box the masks; with chance each side is off by some `noise` of the box, at most S / 20."""
    inside, side = masks > 0, masks.shape[-1]
    low_x, high_x = _ends(inside.any(dim=1))
    low_y, high_y = _ends(inside.any(dim=2))
    box = torch.stack([low_x, low_y, high_x, high_y], dim=1).float()
    if chance is not None:
        dice = _dice(chance, masks.device)
        spread = (box[:, 2:] - box[:, :2]).repeat(1, 2) * noise
        box = box + (dice.normal(len(masks), 4) * spread).clamp(-side / 20, side / 20)
    first, second = torch.unflatten(box.clamp(0, side - 1), 1, (2, 2)).unbind(dim=1)
    corners = torch.stack([torch.minimum(first, second), torch.maximum(first, second)], dim=1)
    return PromptTensors(corners, torch.arange(2, 4, device=masks.device).expand(len(masks), 2))


def click_prompt(masks: Tensor, chance: Chance, *, centre: float = CENTRE_CLICKS) -> PromptTensors:
    """Click once on each mask: a share of `centre` in its middle, the others anywhere on it.

    An empty mask gets a click off the object, anywhere.
    """
    click = _click_on(masks > 0, _dice(chance, masks.device), centre)
    return PromptTensors(click.points, click.labels)


def correction_click(
    chance: Chance,
    predicted: Tensor,
    masks: Tensor,
    *,
    void: Tensor | None = None,
    centre: float = CENTRE_CLICKS,
) -> Clicks:
    """Click where the prediction is wrong: label 1 on what it misses, 0 on what it has too much.

    predicted (B, h, w) logits or bool, masks and void (B, S, S). A share of `centre` falls in the middle of
    the thickest error, the others anywhere in the error. Where nothing is wrong, the click confirms the
    object (or its absence).
    """
    dice, truth, side = _dice(chance, masks.device), masks > 0, masks.shape[-1]
    if predicted.dtype != torch.bool:
        predicted = predicted.detach()
        if predicted.shape[-1] != side:
            predicted = upsample_logits(predicted, (side, side))
        predicted = predicted > 0
    wrong = predicted != truth
    if void is not None:
        wrong = wrong & ~void
    # Missing and surplus parts are measured apart: side by side they are two errors, not a thicker one.
    missing, surplus = wrong & truth, wrong & ~truth
    centres, depth = deepest(torch.cat([missing, surplus]))
    is_missing = (depth[: len(masks)] >= depth[len(masks) :])[:, None, None]
    thickest = torch.where(is_missing, centres[: len(masks)], centres[len(masks) :])
    in_middle = (dice.uniform(len(masks)) < centre)[:, None, None]
    spot = _anywhere(torch.where(in_middle, thickest, wrong), dice)
    label = truth.flatten(1).gather(1, spot[:, None])[:, 0].long()
    confirming = _click_on(truth, dice, 0.0)
    is_wrong = wrong.flatten(1).any(dim=1)
    points = torch.where(is_wrong[:, None, None], _points(spot, side), confirming.points)
    return Clicks(points, torch.where(is_wrong[:, None], label[:, None], confirming.labels))


def corrected(prompt: PromptTensors, click: Clicks, *, previous: Tensor | None) -> PromptTensors:
    """Add a click to the points of a prompt; `previous` (B, 1, S/4, S/4) logits are what is to be refined.

    A mask prompt is dropped: its refinement starts from `previous`.
    """
    points = torch.cat([prompt.points, click.points], dim=1)
    return PromptTensors(points, torch.cat([prompt.labels, click.labels], dim=1), previous=previous)


def deepest(regions: Tensor) -> tuple[Tensor, Tensor]:
    """Find the pixels of each region (B, S, S) that are farthest from its edge; the frame's border is one.

    Distance is the larger of those in x and y. Returns them (B, S, S), and their depth (B,): 0 for none.
    """
    left = regions
    depth = regions.flatten(1).any(dim=1).long()
    radius = 1 << max(regions.shape[-1] // 2 - 1, 1).bit_length() - 1
    while radius:  # a depth is a sum of powers of two: take each one that leaves something of the region
        less = _eroded(left, radius)
        survives = less.flatten(1).any(dim=1)
        left = torch.where(survives[:, None, None], less, left)
        depth = depth + radius * survives
        radius //= 2
    return left, depth


def _dice(chance: Chance, device: torch.device) -> Dice:
    return chance if isinstance(chance, Dice) else Dice(int(chance.integers(2**62)), device)


def _eroded(regions: Tensor, radius: int) -> Tensor:
    """Keep the pixels whose square neighbourhood of `radius` lies in the region."""
    for dim in (1, 2):  # sums of what is outside, by differences of running sums: their cost has no radius
        outside = (~regions).transpose(dim, 2).float()
        total = F.pad(F.pad(outside, (radius, radius), value=1.0).cumsum(dim=2), (1, 0))
        near = total[..., 2 * radius + 1 :] - total[..., : -2 * radius - 1]
        regions = (near == 0).transpose(dim, 2)
    return regions


def _click_on(masks: Tensor, dice: Dice, centre: float) -> Clicks:
    """Click on each (B, S, S) bool mask, or anywhere off it where it is empty."""
    region = masks
    if centre > 0:
        in_middle = (dice.uniform(len(masks)) < centre)[:, None, None]
        region = torch.where(in_middle, deepest(masks)[0], masks)
    is_there = masks.flatten(1).any(dim=1)
    spot = _anywhere(region | ~is_there[:, None, None], dice)
    return Clicks(_points(spot, masks.shape[-1]), is_there.long()[:, None])


def _anywhere(regions: Tensor, dice: Dice) -> Tensor:
    """(B,) index of a random pixel of each region (B, S, S); any where a region is empty."""
    flat = regions.flatten(1)
    return ((dice.uniform(*flat.shape) + 1) * flat).argmax(dim=1)


def _points(spot: Tensor, side: int) -> Tensor:
    """(B,) index -> (B, 1, 2) x and y."""
    y = torch.div(spot, side, rounding_mode="floor")
    return torch.stack([spot - y * side, y], dim=1)[:, None].float()


def _ends(line: Tensor) -> tuple[Tensor, Tensor]:
    """First and last true position of each line (B, S); zeros where there is none."""
    order = torch.arange(1, line.shape[1] + 1, device=line.device)
    last = (line * order).amax(dim=1)
    first = (line * order.flip(0)).amax(dim=1)
    none = last == 0
    return (line.shape[1] - first).masked_fill(none, 0), (last - 1).masked_fill(none, 0)
