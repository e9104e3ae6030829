"""Clicks, boxes and earlier masks as embeddings for the mask decoder (SAM, arXiv 2304.02643, appendix A)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from sam2_video.model.layers import LayerNorm2d
from sam2_video.model.position import RandomFourier
from sam2_video.types import PromptTensors

POINT_KINDS = 4  # off, on, first box corner, second box corner: the label is the row of the embedding
PADDING_LABEL = -1
FIRST_CORNER = 2


class PromptEncoder(nn.Module):
    def __init__(self, *, width: int, mask_width: int = 16) -> None:
        super().__init__()
        self.pe_layer = RandomFourier(width)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, width) for _ in range(POINT_KINDS))
        self.not_a_point_embed = nn.Embedding(1, width)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, mask_width // 4, kernel_size=2, stride=2),
            LayerNorm2d(mask_width // 4),
            nn.GELU(),
            nn.Conv2d(mask_width // 4, mask_width, kernel_size=2, stride=2),
            LayerNorm2d(mask_width),
            nn.GELU(),
            nn.Conv2d(mask_width, width, kernel_size=1),
        )
        self.no_mask_embed = nn.Embedding(1, width)

    def forward(self, prompt: PromptTensors, image_size: int) -> tuple[Tensor, Tensor]:
        """Return sparse tokens (B, P + 1, C) and a dense map (B, C, h, w), or (1, C, 1, 1) without a mask."""
        return self.sparse(prompt.points, prompt.labels, image_size), self.dense(prompt.previous)

    def sparse(self, points: Tensor, labels: Tensor, image_size: int) -> Tensor:
        """Points (B, P, 2) in pixels, labels (B, P) -> (B, P + 1, C): a padding token comes last.

        Without any point (a mask alone is refined) there are no tokens at all, as in the reference.
        """
        if not points.shape[1]:
            return self.no_mask_embed.weight.new_zeros((len(points), 0, self.no_mask_embed.weight.shape[1]))
        # A click names a pixel; its centre lies half a pixel further.
        code = self.pe_layer((points + 0.5) / image_size)
        code = torch.cat((code, code.new_zeros((len(code), 1, code.shape[2]))), dim=1)
        labels = torch.cat((labels, labels.new_full((len(labels), 1), PADDING_LABEL)), dim=1)
        kinds = self.not_a_point_embed, *self.point_embeddings
        table = torch.cat([cast(nn.Embedding, kind).weight for kind in kinds])
        is_point = (labels != PADDING_LABEL)[..., None]
        return torch.where(is_point, code, 0) + table[labels + 1]

    def dense(self, logits: Tensor | None) -> Tensor:
        if logits is None:
            return self.no_mask_embed.weight[..., None, None]
        out: Tensor = self.mask_downscaling(logits.to(self.no_mask_embed.weight.dtype))
        return out
