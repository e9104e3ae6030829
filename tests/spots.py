"""A network in place of SAM: a click finds spots around it, as large as the picture is bright there."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam2_video.model.sam1 import SAM1
from sam2_video.types import ImageFeatures, MaskCandidates, PromptTensors, Recall

SIDE = 64


class Spots(nn.Module):
    """Random weights find masks as large as the picture, all duplicates of each other; these are small."""

    image_size = SIDE
    width = 256  # as a released model: their defaults are for it

    dtype, device = torch.float32, torch.device("cpu")

    def __init__(self) -> None:
        nn.Module.__init__(self)

    def encode_image(self, pixels: Tensor) -> ImageFeatures:
        texture = pixels.mean(dim=1, keepdim=True)
        return ImageFeatures(F.avg_pool2d(texture, 16), (F.avg_pool2d(texture, 4),))

    def attend_memory(self, features: ImageFeatures, recall: Recall) -> Tensor:
        return features.coarse

    def decode(
        self, pixels: Tensor, fine: tuple[Tensor, ...], prompt: PromptTensors, least: float | None = None
    ) -> MaskCandidates:
        texture = fine[0][0, 0]  # (S/4, S/4)
        place = prompt.points[:, 0] / 4  # (B, 2) cells
        y, x = torch.meshgrid(torch.arange(SIDE / 4), torch.arange(SIDE / 4), indexing="ij")
        distance = ((x - place[:, 0, None, None]) ** 2 + (y - place[:, 1, None, None]) ** 2).sqrt()
        cells = place.long().clamp(0, SIDE // 4 - 1)
        bright = texture[cells[:, 1], cells[:, 0]].sigmoid()  # (B,)
        radius = (1 + 2 * bright)[:, None] * torch.tensor([1.0, 0.7, 1.2, 2.2])  # (B, 4)
        logits = 1.5 * (radius[..., None, None] - distance[:, None]) + texture
        if prompt.previous is not None:
            logits = 0.5 * logits + 0.5 * prompt.previous
        iou = (torch.sin(17 * radius + place.sum(dim=1)[:, None]) * 2).sigmoid()
        rows = None if least is None else (iou > least).any(dim=1).nonzero()[:, 0]
        logits, iou = (logits, iou) if rows is None else (logits[rows], iou[rows])
        return MaskCandidates(logits, iou, iou[..., None], torch.ones(len(iou)), rows)

    def answers(self, candidates: MaskCandidates, *, multimask: bool) -> tuple[Tensor, Tensor]:
        rows = slice(1, None) if multimask else slice(0, 1)
        return candidates.logits[:, rows], candidates.iou[:, rows]


class PaddedSpots(Spots, SAM1):
    """The same for pictures that keep their proportions."""
