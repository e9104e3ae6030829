"""Attention in Triton for few heads, many keys and narrow values, with the keys dealt out in parts.

Each program takes a block of queries through one part of the keys (online softmax) and leaves a sum, its
largest score and its weight; plain operations then join the parts. Values are read as narrow as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl

    HAS_TRITON = True
except ImportError:  # a CPU build of PyTorch, Windows
    HAS_TRITON = False

LOG2_E = 1.4426950408889634
MOST_PARTS = 8
FEWEST_KEYS = 256  # of a part
FULL_TURN = 0.85  # of the multiprocessors: a last turn that keeps so many busy wastes little


@dataclass(frozen=True)
class Tile:
    """What one program works on at once."""

    queries: int = 128
    keys: int = 64
    warps: int = 8
    stages: int = 3  # blocks of keys under way at once


def parts_of(blocks: int, keys: int, multiprocessors: int) -> int:
    """Into how many parts keys are dealt so that as few multiprocessors as possible have nothing to do."""
    most = max(min(MOST_PARTS, keys // FEWEST_KEYS), 1)

    def busy(parts: int) -> float:
        turns = -(-blocks * parts // multiprocessors)
        return blocks * parts / (turns * multiprocessors)

    enough = [parts for parts in range(1, most + 1) if busy(parts) >= FULL_TURN]
    return enough[0] if enough else max(range(1, most + 1), key=busy)


def attend_in_parts(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    multiprocessors: int,
    *,
    tile: Tile | None = None,
    parts: int | None = None,
) -> Tensor:
    """q (B, heads, N, D), k (B, heads, K, D), v (B, heads, K, E), D and E powers of 2 -> (B, heads, N, E)."""
    batch, heads, queries, depth = q.shape
    keys, width = v.shape[-2:]
    if depth & (depth - 1) or width & (width - 1) or min(depth, width) < 16 or k.stride(-1) != 1:
        raise ValueError(f"channels must be powers of 2 from 16 on, got {depth} and {width}")
    tile = tile or Tile()
    blocks = -(-queries // tile.queries)
    parts = parts or parts_of(blocks * batch * heads, keys, multiprocessors)
    each = -(-keys // (parts * tile.keys)) * tile.keys
    parts = -(-keys // each)  # no part may be empty
    out = q.new_empty((parts, batch, heads, queries, width), dtype=torch.float32)
    sums = q.new_empty((parts, batch, heads, queries), dtype=torch.float32)
    _attend[(blocks, batch * heads, parts)](
        q, k, v, out, sums,
        *q.stride()[:3], *k.stride()[:3], *v.stride(), *out.stride()[:4], *sums.stride()[:3],
        heads, queries, keys, each, depth**-0.5 * LOG2_E,
        DEPTH=depth, WIDTH=width, BLOCK_Q=tile.queries, BLOCK_K=tile.keys,
        num_warps=tile.warps, num_stages=tile.stages,
    )  # fmt: skip
    return (out[0] if parts == 1 else _joined(out, sums)).to(q.dtype)


def _joined(out: Tensor, sums: Tensor) -> Tensor:
    """Parts (P, ..., N, E), with the base-2 logarithms of their weights (P, ..., N), as one."""
    share = torch.exp2(sums - sums.amax(dim=0))
    share = share / share.sum(dim=0)
    return (out * share[..., None]).sum(dim=0)


if HAS_TRITON:

    @triton.jit  # type: ignore[untyped-decorator]
    def _attend(  # type: ignore[no-untyped-def]
        Q, K, V, OUT, SUMS,
        q_b, q_h, q_n, k_b, k_h, k_n, v_b, v_h, v_n, v_e,
        o_p, o_b, o_h, o_n, s_p, s_b, s_h,
        heads, queries, keys, each, scale,
        DEPTH: tl.constexpr, WIDTH: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
    ):  # fmt: skip
        block, pair, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
        b, h = (pair // heads).to(tl.int64), pair % heads
        rows = block * BLOCK_Q + tl.arange(0, BLOCK_Q)
        depth, width, cells = tl.arange(0, DEPTH), tl.arange(0, WIDTH), tl.arange(0, BLOCK_K)
        here = rows[:, None] < queries
        q = tl.load(Q + b * q_b + h * q_h + rows[:, None] * q_n + depth[None, :], mask=here, other=0.0)
        first, last = part * each, tl.minimum((part + 1) * each, keys)
        k_at = K + b * k_b + h * k_h + depth[:, None]
        v_at = V + b * v_b + h * v_h + width[None, :] * v_e
        top = tl.full([BLOCK_Q], -1e30, tl.float32)
        weight = tl.zeros([BLOCK_Q], tl.float32)
        total = tl.zeros([BLOCK_Q, WIDTH], tl.float32)
        for start in range(first, last, BLOCK_K):
            at = start + cells
            known = at < last
            k = tl.load(k_at + at[None, :] * k_n, mask=known[None, :], other=0.0)
            score = tl.where(known[None, :], tl.dot(q, k) * scale, -1e30)
            higher = tl.maximum(top, tl.max(score, 1))
            p = tl.exp2(score - higher[:, None])
            fade = tl.exp2(top - higher)
            weight = weight * fade + tl.sum(p, 1)
            v = tl.load(v_at + at[:, None] * v_n, mask=known[:, None], other=0.0)
            total = total * fade[:, None] + tl.dot(p.to(v.dtype), v)
            top = higher
        o_at = OUT + part * o_p + b * o_b + h * o_h + rows[:, None] * o_n + width[None, :]
        tl.store(o_at, total / weight[:, None], mask=here)
        s_at = SUMS + part * s_p + b * s_b + h * s_h + rows
        tl.store(s_at, top + tl.log2(weight), mask=rows < queries)
