"""Conditioning of a frame on memories: attention with rotary positions (SAM 2, arXiv 2408.00714, 4)."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam2_video.model.layers import Attention, attend, merge_heads, split_heads
from sam2_video.model.position import GridTable, axial_rope, rotate

POSITION_SCALE = 0.1  # the released weights were trained with the frame's position at a tenth of its size


class RoPEAttention(Attention):
    """Attention whose queries and spatial keys are turned by their place on the grid.

    Keys come as whole grids (one for each recalled frame, all turned alike) followed by tokens without a
    place.
    """

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, table: Tensor | None = None, placeless: int = 0
    ) -> Tensor:
        """q (B, N, C), k and v (B, K, *) with K = grids * N + placeless, `table` (2, N, D/2) -> (B, N, C)."""
        assert table is not None
        queries = rotate(split_heads(self.q_proj(q), self.heads), table)
        keys = split_heads(self.k_proj(k), self.heads)
        keys = rotate_grids(keys, table, placeless)
        mixed = attend(queries, keys, split_heads(self.v_proj(v), self.heads))
        out: Tensor = self.out_proj(merge_heads(mixed))
        return out


def rotate_grids(keys: Tensor, table: Tensor, placeless: int) -> Tensor:
    """Turn keys (B, heads, grids * N + placeless, D) grid by grid; the last `placeless` stay as they are."""
    spatial = keys.shape[-2] - placeless
    grids = torch.unflatten(keys[..., :spatial, :], -2, (-1, table.shape[1]))  # (B, heads, grids, N, D)
    turned = rotate(grids, table).flatten(-3, -2)
    return torch.cat((turned, keys[..., spatial:, :]), dim=-2) if placeless else turned


class MemoryAttentionLayer(nn.Module):
    """Self-attention, cross-attention to memory, feed-forward; each behind a norm and with a residual."""

    def __init__(self, *, width: int, memory_width: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.self_attn = RoPEAttention(width, heads)
        self.cross_attn_image = RoPEAttention(width, heads, key_width=memory_width)
        self.linear1 = nn.Linear(width, hidden)
        self.linear2 = nn.Linear(hidden, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, table: Tensor, placeless: int) -> Tensor:
        normed = self.norm1(x)
        x = x + self.self_attn(normed, normed, normed, table)
        # Positions go to the keys alone: neither queries nor values carry them.
        x = x + self.cross_attn_image(self.norm2(x), keys, values, table, placeless)
        return torch.add(x, self.linear2(F.relu(self.linear1(self.norm3(x)))))


class MemoryAttention(nn.Module):
    """A stack of layers that lets a frame's tokens look at what is remembered."""

    def __init__(
        self, *, width: int, memory_width: int, num_layers: int, hidden: int = 2048, heads: int = 1
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            MemoryAttentionLayer(width=width, memory_width=memory_width, hidden=hidden, heads=heads)
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(width)
        self._rope = GridTable(partial(axial_rope, channels=width // heads))

    def forward(
        self,
        x: Tensor,
        position: Tensor,
        memory: Tensor,
        memory_position: Tensor,
        *,
        grid: tuple[int, int],
        placeless: int,
    ) -> Tensor:
        """Condition tokens on memory.

        x and position (B, N, C); memory and memory_position (B, K, M), whole grids first, then `placeless`
        pointer tokens; returns (B, N, C).
        """
        table = self._rope(*grid, like=x)
        x = x + POSITION_SCALE * position
        keys = memory + memory_position
        for layer in self.layers:
            x = layer(x, keys, memory, table, placeless)
        out: Tensor = self.norm(x)
        return out
