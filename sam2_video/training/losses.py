"""What training minimises: focal 20, Dice 1, predicted IoU 1, presence 1, as in the SAM 2 paper (appendix D).

    target, void = shrink_target(masks, side // 4, void)          # (B, S, S) -> (B, S/4, S/4)
    parts = mask_losses(logits, iou, presence, target, void=void)  # of the candidates that may be chosen
    parts.total.backward()
    average([parts, ...])                                         # over frames and correction steps

Targets are the share of each coarse pixel that the object covers, not 0 or 1: the logits are upsampled before
they are thresholded, so their slope across the edge says where within a pixel the edge runs. Only the IoU
that the network must predict is counted on thresholded masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

FOCAL, DICE, IOU, PRESENCE = 20.0, 1.0, 1.0, 1.0  # factor of each part in the total
# Focal loss: weight of object pixels, and how much well-known pixels are played down.
ALPHA, GAMMA = 0.25, 2.0


@dataclass(frozen=True)
class Losses:
    """Scalars: the weighted total, and the parts before weighting, each a mean over the batch."""

    total: Tensor
    focal: Tensor
    dice: Tensor
    iou: Tensor
    presence: Tensor

    def detach(self) -> Losses:
        """Return the values alone: what is kept for a log must not keep the step's graph alive."""
        return Losses(*(getattr(self, part.name).detach() for part in fields(self)))

    def numbers(self) -> dict[str, float]:
        """Return the values for a log."""
        return {part.name: float(getattr(self, part.name).detach()) for part in fields(self)}


def average(losses: Sequence[Losses]) -> Losses:
    """Return the mean of each part over frames or steps."""
    if not losses:
        raise ValueError("nothing to average: expected at least one Losses")
    return Losses(*(torch.stack([getattr(x, part.name) for x in losses]).mean() for part in fields(Losses)))


def weighted(parts: Sequence[tuple[Losses, float]]) -> Losses:
    """Return the sum of losses, each times its share."""
    return Losses(*(sum(getattr(x, part.name) * share for x, share in parts) for part in fields(Losses)))


def shrink_target(masks: Tensor, side: int, void: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """(B, S, S) masks of 0 and 1 -> (B, side, side) float32 cover; void where any of a pixel is void.

    S must be a multiple of `side`.
    """
    factor, rest = divmod(masks.shape[-1], side)
    if rest or factor < 1:
        raise ValueError(
            f"masks of {masks.shape[-1]} pixels cannot be averaged to {side}: not a whole factor"
        )
    target = F.avg_pool2d(masks[:, None].float(), factor)[:, 0]
    if void is None:
        return target, None
    return target, F.max_pool2d(void[:, None].float(), factor)[:, 0] > 0


def mask_losses(
    logits: Tensor,
    iou: Tensor,
    presence: Tensor,
    target: Tensor,
    *,
    void: Tensor | None = None,
) -> Losses:
    """Compare candidates with the truth.

    logits (B, K, h, w), iou (B, K), presence (B,) logit, target (B, h, w) in 0..1, void (B, h, w) bool. Of
    several candidates only the one with the lowest mask loss is taught its mask; all are taught their IoU.
    Frames without the object teach presence only; pixels that are void teach nothing.
    """
    logits, iou, target = logits.float(), iou.float(), target.float()
    known = None if void is None else (~void).float()
    is_shown = (target.amax(dim=(1, 2)) > 0).float()  # an object whose cells are all void is there
    if known is not None:
        target = target * known
    is_there = (target.amax(dim=(1, 2)) > 0).float()  # (B,)
    best = _best_candidate(logits, target, known)
    focal, dice = focal_and_dice(best[:, None], target[:, None], None if known is None else known[:, None])
    truth = true_iou(logits.detach(), target, known)
    parts = (
        (focal[:, 0] * is_there).mean(),
        (dice[:, 0] * is_there).mean(),
        ((iou - truth).abs().mean(dim=1) * is_there).mean(),
        F.binary_cross_entropy_with_logits(presence.float(), is_shown),
    )
    focal_mean, dice_mean, iou_mean, presence_mean = parts
    total = FOCAL * focal_mean + DICE * dice_mean + IOU * iou_mean + PRESENCE * presence_mean
    return Losses(total, *parts)


def true_iou(logits: Tensor, target: Tensor, known: Tensor | None = None) -> Tensor:
    """(B, K) intersection over union of the thresholded candidates and the thresholded target."""
    predicted, truth = logits > 0, (target >= 0.5)[:, None]
    if known is not None:
        predicted = predicted & (known > 0)[:, None]
    both = (predicted & truth).sum(dim=(2, 3))
    either = (predicted | truth).sum(dim=(2, 3))
    return both / either.clamp(min=1)


def _best_candidate(logits: Tensor, target: Tensor, known: Tensor | None) -> Tensor:
    """(B, h, w): for each object the candidate with the lowest mask loss."""
    if logits.shape[1] == 1:
        return logits[:, 0]
    with torch.no_grad():  # choosing needs no gradient, and only the chosen one pays for a backward pass
        many = None if known is None else known[:, None]
        focal, dice = focal_and_dice(logits, target[:, None], many)
        choice = (FOCAL * focal + DICE * dice).argmin(dim=1)
    return logits[torch.arange(len(logits), device=logits.device), choice]


def focal_and_dice(logits: Tensor, target: Tensor, known: Tensor | None) -> tuple[Tensor, Tensor]:
    """Both losses of each mask: logits (B, K, h, w), target and known (B, 1, h, w) -> (B, K) each."""
    chance = logits.sigmoid()
    wrong = chance + target - 2 * chance * target  # 1 - p_t, for targets between 0 and 1 too
    entropy = F.softplus(logits) - logits * target
    weight = (1 - ALPHA) + (2 * ALPHA - 1) * target
    focal = weight * wrong.pow(GAMMA) * entropy
    if known is not None:
        focal, chance = focal * known, chance * known
    overlap = (chance * target).sum(dim=(2, 3))
    # Adding one to both keeps the quotient defined and calm for objects of a few pixels.
    dice = 1 - (2 * overlap + 1) / (chance.sum(dim=(2, 3)) + target.sum(dim=(2, 3)) + 1)
    return focal.mean(dim=(2, 3)), dice
