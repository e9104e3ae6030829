"""From logits to clean masks: holes, sprinkles, overlaps, run lengths; pure functions."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FILLED, REMOVED = 0.1, -0.1  # just inside and just outside of a mask
CERTAIN = 10.0  # how far from the threshold the image predictors' cleaning puts what it changes


class RunLengths(TypedDict):
    """A mask in COCO's uncompressed form: column by column, runs of 0 and 1 in turn, beginning with 0."""

    size: list[int]  # H, W
    counts: list[int]


def fill_holes(logits: Tensor, area: int) -> Tensor:
    """(N, h, w) logits with holes and sprinkles of up to `area` low-resolution pixels removed.

    A hole is a region of background, a sprinkle a region of foreground (8-connected); a mask that consists of
    small regions only keeps them. `area` 0 changes nothing.
    """
    if area <= 0 or logits.numel() == 0:
        return logits
    masks = (logits > 0).cpu().numpy()
    holes = np.stack([_small_regions(~mask, area) for mask in masks])
    sprinkles = np.stack([_small_regions(mask, area) for mask in masks])
    # What is all small would vanish whole: a mask keeps its regions if none of them is larger than the limit.
    sprinkles &= (masks & ~sprinkles).any(axis=(1, 2), keepdims=True)
    out = torch.where(torch.from_numpy(holes).to(logits.device), FILLED, logits)
    return torch.where(torch.from_numpy(sprinkles).to(logits.device), REMOVED, out)


def clean_logits(logits: Tensor, hole_area: int, sprinkle_area: int, threshold: float = 0.0) -> Tensor:
    """(N, h, w) logits with holes of up to `hole_area` pixels filled, and sprinkles removed likewise.

    The rule of the reference's image predictors: unlike `fill_holes` it removes a mask that is all small, and
    leaves what it changes `CERTAIN` away from the threshold. Both are looked for in the logits as they come:
    a sprinkle inside of a hole is removed. Areas of 0 change nothing.
    """
    found = logits > threshold
    for area, inside, value in ((hole_area, False, CERTAIN), (sprinkle_area, True, -CERTAIN)):
        if area > 0 and logits.numel():
            masks = found.cpu().numpy()
            small = np.stack([_small_regions(mask if inside else ~mask, area) for mask in masks])
            logits = torch.where(torch.from_numpy(small).to(logits.device), threshold + value, logits)
    return logits


def _small_regions(mask: NDArray[np.bool_], area: int) -> NDArray[np.bool_]:
    import cv2

    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    small = np.zeros(count, dtype=bool)
    small[1:] = stats[1:, cv2.CC_STAT_AREA] <= area
    return np.asarray(small[labels])


def non_overlapping(logits: Tensor) -> Tensor:
    """(N, h, w) logits of N objects, changed so that a pixel belongs to at most one: the largest logit wins.

    Where another object is present too, an object gets its lead over the best of the others. Two objects'
    logits then never add up to more than 0, which interpolation keeps: masks stay apart at every
    resolution.
    """
    if logits.shape[0] < 2:
        return logits
    (best, second), rows = logits.topk(2, dim=0)  # each (h, w)
    own = torch.arange(logits.shape[0], device=logits.device).view(-1, 1, 1)
    rival = torch.where(rows[0] == own, second, best)  # (N, h, w): the best of the others
    return logits - rival.clamp(min=0)


def encode_rle(mask: NDArray[np.bool_]) -> RunLengths:
    """(H, W) mask -> run lengths."""
    flat = np.asarray(mask, dtype=bool).ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    borders = np.concatenate([[0], changes, [flat.size]])
    counts = np.diff(borders).tolist() if flat.size else []
    if flat.size and flat[0]:
        counts = [0, *counts]
    return {"size": [int(side) for side in mask.shape], "counts": counts}


def decode_rle(runs: RunLengths) -> NDArray[np.bool_]:
    """Run lengths -> (H, W) mask; ValueError if they do not add up to H * W."""
    height, width = runs["size"]
    counts = np.asarray(runs["counts"], dtype=np.int64)
    if (counts < 0).any() or counts.sum() != height * width:
        raise ValueError(f"runs of {counts.sum()} pixels do not fill {height} x {width} = {height * width}")
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return flat.reshape((height, width), order="F")
