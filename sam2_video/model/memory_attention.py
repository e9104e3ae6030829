"""Conditioning of a frame on memories: attention with rotary positions (SAM 2, arXiv 2408.00714, 4).

What is written here computes what the paper's layers do, in another order:

* Values are the memories themselves. Projecting them and projecting the outcome are both linear, so their
  product is applied to the outcome, a quarter as wide.
* A key is the sum of a part that depends on a memory alone and one that depends on its slot alone. The first
  is made once for each memory (`memory_keys`), the second once for a model and a grid.
* Channels of queries and keys are reordered, see `pairs_apart`.

With `pool` 2 it computes something else, faster: 2 x 2 cells of a memory become one. Its key is the mean of
their turned keys, its value that of their values, and it counts four times: what the sum over the four comes
to where their scores differ little.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from sam2_video.model.derived import Derived
from sam2_video.model.kernels import attend, linear
from sam2_video.model.layers import Attention, Linear, merge_heads, split_heads
from sam2_video.model.position import GridTable, axial_rope, pairs_apart, rotate

POSITION_SCALE = 0.1  # the released weights were trained with the frame's position at a tenth of its size
POOLS = (1, 2)  # a grid has an even number of rows and columns at every picture side that is allowed

Weights = tuple[Tensor, Tensor]  # of a linear layer: (C', C) and (C',)
Keys = Sequence[Tensor] | Tensor  # of a memory: per object (layers, N, C), apart or (B, layers, N, C)


@dataclass(frozen=True)
class MemoryTokens:
    """What a frame looks back at: G grids of N cells, then P tokens without a place."""

    values: Tensor  # (B, M, G * N + P): memories as they are, channels first
    keys: Sequence[Keys]  # of each grid and object: (layers, N, C), as `memory_keys` gives them
    slots: Sequence[int]  # of each grid: its row of `codes`
    codes: Tensor  # (S, M): what a slot adds to each cell of a memory before it becomes a key
    placeless: Tensor  # (B, P, M): tokens with their codes, to become keys; P may be 0


class RoPEAttention(Attention):
    """Attention whose queries and keys are turned by their place on the grid."""

    def __init__(self, width: int, heads: int, *, key_width: int | None = None) -> None:
        super().__init__(width, heads, key_width=key_width)
        self._query = Derived(partial(_apart, heads=heads))
        self._key = Derived(partial(_apart, heads=heads))

    def queries(self, x: Tensor, table: Tensor) -> Tensor:
        """(B, N, C) -> (B, heads, N, D), turned."""
        projected = linear(x, *self._query(self.q_proj.weight, self.q_proj.bias))
        return rotate(split_heads(projected, self.heads), table)

    def keys(self, x: Tensor, table: Tensor) -> Tensor:
        """(B, N, M) -> (B, N, C): keys of cells, turned."""
        projected = linear(x, *self.key_weights)
        return merge_heads(rotate(split_heads(projected, self.heads), table))

    @property
    def key_weights(self) -> Weights:
        """The projection of keys, in the order of channels that `rotate` takes."""
        weights: Weights = self._key(self.k_proj.weight, self.k_proj.bias)
        return weights


class SelfAttention(RoPEAttention):
    """Tokens of one frame attend to each other."""

    def forward(self, x: Tensor, table: Tensor) -> Tensor:  # type: ignore[override]
        """x (B, N, C), `table` (2, N, D/2) -> (B, N, C)."""
        keys = split_heads(self.keys(x, table), self.heads)
        mixed = attend(self.queries(x, table), keys, split_heads(self.v_proj(x), self.heads))
        return torch.as_tensor(self.out_proj(merge_heads(mixed)))


class CrossAttention(RoPEAttention):
    """Tokens of a frame attend to memories, which are narrower."""

    def __init__(self, width: int, heads: int, *, key_width: int) -> None:
        super().__init__(width, heads, key_width=key_width)
        self._out = Derived(partial(_values_last, heads=heads))
        self._slots = Derived(self._turned_codes)

    def forward(  # type: ignore[override]
        self, x: Tensor, memory: MemoryTokens, layer: int, tables: Tables
    ) -> Tensor:
        """x (1 or B, N, C) -> (B, N, C)."""
        keys = split_heads(self._all_keys(memory, layer, tables.memory), self.heads)
        values = memory.values[:, None].expand(-1, self.heads, -1, -1).transpose(-2, -1)
        counts = tables.log_counts(memory, x)
        if counts is not None:
            counts = counts.expand(len(keys), self.heads, x.shape[1], -1)
        mixed = merge_heads(attend(self.queries(x, tables.frame), keys, values, counts))  # (B, N, heads * M)
        parts = self.v_proj.weight, self.v_proj.bias, self.out_proj.weight, self.out_proj.bias
        return linear(mixed, *self._out(*parts))

    def _all_keys(self, memory: MemoryTokens, layer: int, table: Tensor) -> Tensor:
        """(B, G * N + P, C)"""
        slots = self._slots(self.k_proj.weight, memory.codes, of=(_Table(table),))
        placeless = linear(memory.placeless, *self.key_weights)
        if torch.is_grad_enabled():
            grids = (_of_layer(known, layer) for known in memory.keys)
            turned = (grid + slots[slot] for grid, slot in zip(grids, memory.slots, strict=True))
            return torch.cat([*turned, placeless], dim=1)
        whole = placeless.new_empty((len(placeless), memory.values.shape[-1], placeless.shape[-1]))
        cells = table.shape[1]
        for place, (known, slot) in enumerate(zip(memory.keys, memory.slots, strict=True)):
            part = slice(place * cells, (place + 1) * cells)
            for row, one in enumerate(known):
                torch.add(one[layer], slots[slot], out=whole[row, part])
        whole[:, len(memory.keys) * cells :] = placeless
        return whole

    def _turned_codes(self, weight: Tensor, codes: Tensor, table: _Table) -> Tensor:
        """(S, N, C): what each slot adds to keys."""
        projected = split_heads((codes @ pairs_apart(weight, self.heads).T)[:, None], self.heads)
        return merge_heads(rotate(projected.expand(-1, -1, table.cells, -1), table.table))


@dataclass(frozen=True)
class Tables:
    """Rotary tables of a frame's cells (2, N, D/2), and of memories', where `pool` 2 makes one of four."""

    frame: Tensor
    memory: Tensor
    pool: int = 1

    def log_counts(self, memory: MemoryTokens, like: Tensor) -> Tensor | None:
        """(1, 1, 1, K): logarithms of how often each key counts; None where all count once."""
        if self.pool == 1:
            return None
        counts = like.new_zeros(memory.values.shape[-1])
        counts[: len(memory.keys) * self.memory.shape[1]] = 2 * math.log(self.pool)
        return counts[None, None, None]


@dataclass(frozen=True)
class _Table:
    """A rotary table, told from others by its identity: `GridTable` keeps one for each grid and type."""

    table: Tensor

    @property
    def cells(self) -> int:
        return self.table.shape[1]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Table) and self.table is other.table

    def __hash__(self) -> int:
        return id(self.table)


class MemoryAttentionLayer(nn.Module):
    """Self-attention, cross-attention to memory, feed-forward; each behind a norm and with a residual."""

    def __init__(self, *, width: int, memory_width: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.self_attn = SelfAttention(width, heads)
        self.cross_attn_image = CrossAttention(width, heads, key_width=memory_width)
        self.linear1 = Linear(width, hidden)
        self.linear2 = Linear(hidden, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)

    def forward(self, x: Tensor, memory: MemoryTokens, layer: int, tables: Tables) -> Tensor:
        x = x + self.self_attn(self.norm1(x), tables.frame)
        x = x + self.cross_attn_image(self.norm2(x), memory, layer, tables)
        return torch.add(x, self.linear2(self.linear1(self.norm3(x), "relu")))


class MemoryAttention(nn.Module):
    """A stack of layers that lets a frame's tokens look at what is remembered."""

    def __init__(
        self,
        *,
        width: int,
        memory_width: int,
        num_layers: int,
        hidden: int = 2048,
        heads: int = 1,
        pool: int = 1,
    ) -> None:
        super().__init__()
        if pool not in POOLS:
            raise ValueError(f"pool makes one memory cell of pool x pool; 1 or 2, got {pool!r}")
        self.layers = nn.ModuleList(
            MemoryAttentionLayer(width=width, memory_width=memory_width, hidden=hidden, heads=heads)
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.hidden = hidden
        self.pool = pool
        self._rope = GridTable(partial(axial_rope, channels=width // heads))
        # A slot's code is the same in all cells: the mean of it turned is it turned by the mean.
        self._pooled_rope = GridTable(partial(_pooled_rope, channels=width // heads, pool=pool))

    def forward(self, x: Tensor, position: Tensor, memory: MemoryTokens, grid: tuple[int, int]) -> Tensor:
        """Condition a frame's tokens x (1 or B, N, C) with their position (1, N, C) -> (B, N, C).

        Until they look at memories the tokens of a frame are the same for all objects: a batch of 1 does.
        """
        frame = self._rope(*grid, like=x)
        tables = Tables(frame, frame if self.pool == 1 else self._pooled_rope(*grid, like=x), self.pool)
        x = x + POSITION_SCALE * position
        for index, layer in enumerate(self.layers):
            x = layer(x, memory, index, tables)
        out: Tensor = self.norm(x)
        return out

    def memory_keys(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Make what all layers need of a memory: cells with their position (B, N, M) -> (B, layers, N, C).

        With `pool` 2 there are a quarter as many.
        """
        table = self._rope(*grid, like=tokens)
        cross = (cast(MemoryAttentionLayer, layer).cross_attn_image for layer in self.layers)
        return torch.stack([pooled(one.keys(tokens, table), grid, self.pool) for one in cross], dim=1)


def pooled(cells: Tensor, grid: tuple[int, ...], side: int) -> Tensor:
    """(..., h * w, C) -> (..., h * w / side^2, C): means over side x side cells of a grid (h, w)."""
    if side == 1:
        return cells
    rows, columns = grid
    blocks = torch.unflatten(cells, -2, (rows // side, side, columns // side, side))
    return blocks.mean(dim=(-4, -2)).flatten(-3, -2)


def _pooled_rope(height: int, width: int, channels: int, pool: int) -> Tensor:
    return pooled(axial_rope(height, width, channels), (height, width), pool)


def _apart(weight: Tensor, bias: Tensor, heads: int) -> Weights:
    """A projection of queries or keys, with its outputs in the order that `rotate` takes."""
    return pairs_apart(weight, heads), pairs_apart(bias, heads)


def _of_layer(known: Keys, layer: int) -> Tensor:
    """(B, N, C): the keys that one layer needs of a memory."""
    if isinstance(known, Tensor):
        return known[:, layer]
    return torch.stack([one[layer] for one in known])


def _values_last(value: Tensor, value_bias: Tensor, out: Tensor, out_bias: Tensor, heads: int) -> Weights:
    """Projections of values and of outcomes, as one of outcomes (B, N, heads * M).

    The weights of a softmax add up to 1, so that the bias of the values comes through as it is.
    """
    by_head = torch.unflatten(out.float(), 1, (heads, -1)).transpose(0, 1)  # (heads, C, D)
    product = by_head @ torch.unflatten(value.float(), 0, (heads, -1))  # (heads, C, M)
    bias = out.float() @ value_bias.float() + out_bias.float()
    return product.transpose(0, 1).flatten(1).to(out.dtype), bias.to(out.dtype)
