"""Points and boxes drawn from the mask of an object on a picture, some of them dropped.

groups = draw_prompts(masks, void, generators, settings)          # objects with prompts of one kind together
for group in groups:
    group.rows, group.prompt
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam2_video.evaluation.clicks import box_of, deepest
from sam2_video.finetuning.settings import PicturePrompts
from sam2_video.transforms import BOX_LABELS
from sam2_video.types import PromptTensors

Bools = NDArray[np.bool_]
NEAR = 0.5  # a point off the object lies in its box, made larger by this part of its sides


@dataclass(frozen=True)
class Group:
    """Objects whose prompts have the same labels, and can be decoded together."""

    rows: Tensor  # (n,)
    prompt: PromptTensors

    @property
    def is_ambiguous(self) -> bool:
        """One point alone: it may mean a part or the whole."""
        return self.prompt.points.shape[1] <= 1


def draw_prompts(
    masks: Tensor, void: Tensor | None, generators: Sequence[np.random.Generator], settings: PicturePrompts
) -> list[Group]:
    """Draw a prompt for each object: masks and void (N, S, S), a random generator each."""
    drawn: dict[tuple[int, ...], list[tuple[int, list[tuple[float, float]]]]] = {}
    truths = masks.cpu().numpy()
    unknown = None if void is None else void.cpu().numpy()
    for row, (mask, rng) in enumerate(zip(truths, generators, strict=True)):
        labels, points = _prompt(mask, None if unknown is None else unknown[row], rng, settings)
        drawn.setdefault(labels, []).append((row, points))
    groups = []
    for labels, rows in sorted(drawn.items()):
        place = torch.tensor([row for row, _ in rows], device=masks.device)
        spots = torch.tensor([points for _, points in rows], dtype=torch.float32, device=masks.device)
        kinds = torch.tensor(labels, device=masks.device).expand(len(rows), -1)
        groups.append(Group(place, PromptTensors(spots, kinds)))
    return groups


def _prompt(
    mask: Bools, void: Bools | None, rng: np.random.Generator, settings: PicturePrompts
) -> tuple[tuple[int, ...], list[tuple[float, float]]]:
    """Labels and points: corners of a box first, then a point on the object, then one off it."""
    visible = mask if void is None or not (mask & ~void).any() else mask & ~void
    has_box = bool(rng.random() >= settings.drop_box)
    has_points = bool(rng.random() >= settings.drop_points) or not has_box
    labels: list[int] = []
    points: list[tuple[float, float]] = []
    box = box_of(visible)
    if has_box:
        x0, y0, x1, y1 = _shaken(box, rng, settings.box_noise, mask.shape[1])
        labels += BOX_LABELS
        points += [(x0, y0), (x1, y1)]
    if has_points:
        middle = rng.random() < settings.centre
        x, y = deepest(visible)[:2] if middle else _anywhere(visible, rng)
        labels.append(1)
        points.append((float(x), float(y)))
        off = ~mask if void is None else ~mask & ~void
        if rng.random() >= settings.drop_negative and off.any():
            x, y = _anywhere(_near(off, box), rng)
            labels.append(0)
            points.append((float(x), float(y)))
    return tuple(labels), points


def _shaken(
    box: tuple[float, float, float, float], rng: np.random.Generator, noise: float, side: int
) -> tuple[float, float, float, float]:
    """A box as people draw it: each side off by some of the box, in order and inside the picture."""
    x0, y0, x1, y1 = box
    spread = noise * np.array([x1 - x0, y1 - y0, x1 - x0, y1 - y0])
    moved = np.array(box) + np.clip(rng.standard_normal(4) * spread, -side / 20, side / 20)
    left, top, right, bottom = np.clip(moved, 0, side - 1).tolist()
    return min(left, right), min(top, bottom), max(left, right), max(top, bottom)


def _near(off: Bools, box: tuple[float, float, float, float]) -> Bools:
    """The part of the background that is close to the object, where there is any: it is what is mistaken."""
    x0, y0, x1, y1 = box
    wide, high = NEAR * (x1 - x0 + 1), NEAR * (y1 - y0 + 1)
    close = np.zeros_like(off)
    close[max(int(y0 - high), 0) : int(y1 + high) + 1, max(int(x0 - wide), 0) : int(x1 + wide) + 1] = True
    return off & close if (off & close).any() else off


def _anywhere(region: Bools, rng: np.random.Generator) -> tuple[int, int]:
    inside = np.flatnonzero(region)
    y, x = divmod(int(inside[rng.integers(len(inside))]), region.shape[1])
    return x, y
