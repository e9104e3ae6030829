"""Losses of single objects, to be weighted: objects of one picture share its weight.

terms = compare(logits, iou, presence, target, void, factors)      # each (N,)
total(terms, weights)                                              # scalar and parts
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from sam2_video.finetuning.settings import LossSettings
from sam2_video.training.losses import focal_and_dice, true_iou


@dataclass(frozen=True)
class Terms:
    """Parts of the loss before they are weighted, (N,) each, or scalars of a log."""

    bce: Tensor
    focal: Tensor
    dice: Tensor
    iou: Tensor
    presence: Tensor

    def total(self, factors: LossSettings) -> Tensor:
        """(N,) or scalar: the weighted sum of the parts that count."""
        parts = [
            getattr(factors, part.name) * getattr(self, part.name)
            for part in fields(self)
            if getattr(factors, part.name)
        ]
        return torch.stack(parts).sum(dim=0)

    def weighted(self, weights: Tensor) -> Terms:
        """Sum each part over objects, with a weight (N,) for each."""
        return Terms(*((getattr(self, part.name) * weights).sum() for part in fields(self)))

    def detach(self) -> Terms:
        """Return the values alone: what is kept for a log must not keep a graph alive."""
        return Terms(*(getattr(self, part.name).detach() for part in fields(self)))


def compare(
    logits: Tensor,
    iou: Tensor,
    presence: Tensor,
    target: Tensor,
    void: Tensor | None,
    factors: LossSettings,
) -> Terms:
    """Compare candidates with the truth.

    logits (N, K, h, w), iou (N, K), presence (N,) logit, target (N, h, w) in 0..1, void (N, h, w) bool. Of
    several candidates only the best is taught its mask, all are taught their IoU. Frames without the object
    teach presence only; pixels that are void teach nothing.
    """
    logits, iou, target = logits.float(), iou.float(), target.float()
    known = None if void is None else (~void).float()
    is_shown = (target.amax(dim=(1, 2)) > 0).float()  # an object whose cells are all void is there
    target = target if known is None else target * known
    is_there = (target.amax(dim=(1, 2)) > 0).float()
    chosen = _best(logits, target, known, factors)[:, None]
    masked = None if known is None else known[:, None]
    focal, dice = focal_and_dice(chosen, target[:, None], masked)
    truth = true_iou(logits.detach(), target, known)
    return Terms(
        bce=_bce(chosen, target[:, None], masked)[:, 0] * is_there,
        focal=focal[:, 0] * is_there,
        dice=dice[:, 0] * is_there,
        iou=(iou - truth).abs().mean(dim=1) * is_there,
        presence=F.binary_cross_entropy_with_logits(presence.float(), is_shown, reduction="none"),
    )


def mean(answers: Sequence[Terms]) -> Terms:
    """Average answers about the same objects."""
    return Terms(
        *(torch.stack([getattr(a, part.name) for a in answers]).mean(dim=0) for part in fields(Terms))
    )


def _best(logits: Tensor, target: Tensor, known: Tensor | None, factors: LossSettings) -> Tensor:
    """(N, h, w): of each object the candidate with the lowest mask loss."""
    if logits.shape[1] == 1:
        return logits[:, 0]
    with torch.no_grad():  # choosing needs no gradient, and only the chosen one pays for a backward pass
        many = None if known is None else known[:, None]
        focal, dice = focal_and_dice(logits, target[:, None], many)
        bce = _bce(logits, target[:, None], many)
        choice = (factors.bce * bce + factors.focal * focal + factors.dice * dice).argmin(dim=1)
    return logits[torch.arange(len(logits), device=logits.device), choice]


def _bce(logits: Tensor, target: Tensor, known: Tensor | None) -> Tensor:
    """(N, K) cross-entropy: logits (N, K, h, w), target and known (N, 1, h, w)."""
    entropy = F.softplus(logits) - logits * target
    return (entropy if known is None else entropy * known).mean(dim=(2, 3))
