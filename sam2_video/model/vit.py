"""SAM 1's trunk: a plain vision transformer with windows and learned relative positions, and its neck.

After ViTDet (arXiv 2203.16527), as segment-anything has it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam2_video.model.hiera import partition, unpartition
from sam2_video.model.kernels import Activation, attend
from sam2_video.model.layers import LayerNorm2d, Linear, merge_heads, split_heads

PATCH = 16
# How many values of relative positions exist at once. In global attention of a picture of 1024 pixels all of
# them would take 0.8 GB (ViT-B); they are made for a few rows of queries at a time, which changes no result.
BIAS_BUDGET = 2**25


class TwoLayerMLP(nn.Module):
    """Linear, activation, linear, under SAM 1's names."""

    def __init__(self, width: int, hidden: int, *, gelu: bool) -> None:
        super().__init__()
        self.lin1 = Linear(width, hidden)
        self.lin2 = Linear(hidden, width)
        self.activation: Activation = "gelu" if gelu else "relu"

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.lin2(self.lin1(x, self.activation)))


def relative_positions(table: Tensor, side: int) -> Tensor:
    """(2 * side - 1, D) vectors of the distances along an axis -> (side, side, D), of query and key.

    A table that was learned for another side is stretched, linearly.
    """
    if len(table) != 2 * side - 1:
        stretched = F.interpolate(table.T[None].float(), size=2 * side - 1, mode="linear")
        table = stretched[0].T.to(table.dtype)
    place = torch.arange(side, device=table.device)
    return table[place[:, None] - place[None, :] + side - 1]


class RelativeAttention(nn.Module):
    """Self-attention over a map; a learned vector for each distance along rows and columns adds to it.

    `grid` is the side of the map that the vectors are learned for.
    """

    def __init__(self, width: int, heads: int, grid: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width)
        self.proj = Linear(width, width)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * grid - 1, width // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * grid - 1, width // heads))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        height, width = x.shape[1:3]
        q, k, v = (split_heads(t.flatten(1, 2), self.heads) for t in self.qkv(x).chunk(3, dim=-1))
        rows = relative_positions(self.rel_pos_h, height)  # (H, H, D)
        columns = relative_positions(self.rel_pos_w, width)  # (W, W, D)
        queries = torch.unflatten(q, 2, (height, width))  # (B, heads, H, W, D)
        step = max(1, BIAS_BUDGET // (q.shape[0] * q.shape[1] * width * height * width))
        mixed = []
        for start in range(0, height, step):
            part = queries[:, :, start : start + step]
            by_row = torch.einsum("bnhwd,hkd->bnhwk", part, rows[start : start + step])
            by_column = torch.einsum("bnhwd,wkd->bnhwk", part, columns)
            bias = by_row[..., :, None] + by_column[..., None, :]  # (B, heads, step, W, H, W)
            mixed.append(attend(part.flatten(2, 3), k, v, bias.flatten(4).flatten(2, 3)))
        joined = merge_heads(torch.cat(mixed, dim=2))
        return torch.as_tensor(self.proj(torch.unflatten(joined, 1, (height, width))))


class ViTBlock(nn.Module):
    """Attention and MLP with residuals; `window` 0 means that the whole map is one window."""

    def __init__(self, width: int, heads: int, *, window: int, grid: int) -> None:
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = RelativeAttention(width, heads, window or grid)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = TwoLayerMLP(width, 4 * width, gelu=True)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self._attend_in_windows(self.norm1(x))
        return torch.add(x, self.mlp(self.norm2(x)))

    def _attend_in_windows(self, x: Tensor) -> Tensor:
        if not self.window:
            return torch.as_tensor(self.attn(x))
        # Padding cells take part as keys (with the bias alone as their content): the weights were trained so.
        windows = self.attn(partition(x, self.window))
        return unpartition(windows, self.window, x.shape[1], x.shape[2])


class PatchProjection(nn.Module):
    """Patches of 16 x 16 pixels, side by side."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=PATCH, stride=PATCH)

    def forward(self, pixels: Tensor) -> Tensor:
        return torch.as_tensor(self.proj(pixels)).permute(0, 2, 3, 1)  # (B, 3, S, S) -> (B, S/16, S/16, C)


class ViT(nn.Module):
    """Pictures to one map at stride 16, of `width` channels.

    The blocks listed in `global_att_blocks` see the whole map, the others windows of side `window`. `grid` is
    the side of the map that positions are learned for (64 in the released models, for pictures of 1024
    pixels); on another map they are stretched.
    """

    def __init__(
        self,
        *,
        embed_dim: int,
        depth: int,
        num_heads: int,
        global_att_blocks: Sequence[int],
        window: int,
        grid: int,
        width: int,
    ) -> None:
        super().__init__()
        if embed_dim % num_heads:
            raise ValueError(f"embed_dim {embed_dim} is not divisible by {num_heads} heads")
        if any(not 0 <= block < depth for block in global_att_blocks):
            raise ValueError(f"global_att_blocks {list(global_att_blocks)} exceed the {depth} blocks")
        self.patch_embed = PatchProjection(embed_dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, embed_dim))
        self.blocks = nn.ModuleList(
            ViTBlock(embed_dim, num_heads, window=0 if index in global_att_blocks else window, grid=grid)
            for index in range(depth)
        )
        self.neck = nn.Sequential(
            nn.Conv2d(embed_dim, width, kernel_size=1, bias=False),
            LayerNorm2d(width),
            nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False),
            LayerNorm2d(width),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, width, S/16, S/16); S is a multiple of 16."""
        x = self.patch_embed(pixels)
        x = x + self._position(x.shape[1], x.shape[2])
        for block in self.blocks:
            x = block(x)
        return torch.as_tensor(self.neck(x.permute(0, 3, 1, 2)))

    def _position(self, height: int, width: int) -> Tensor:
        if self.pos_embed.shape[1:3] == (height, width):
            return self.pos_embed
        table = self.pos_embed.permute(0, 3, 1, 2).float()
        stretched = F.interpolate(table, size=(height, width), mode="bicubic")
        return stretched.permute(0, 2, 3, 1).to(self.pos_embed.dtype)
