"""Turning pairs of channels by their place, in one kernel instead of seven."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from sam2_video.model.triton_attention import HAS_TRITON

if HAS_TRITON:
    import triton
    import triton.language as tl

ROWS = 16  # cells of one program
TOLERANCE = 0.05


def takes(x: Tensor) -> bool:
    """Is this for the kernel: a GPU, a type of 16 bits, no gradients, a power of 2 of channels?"""
    half = x.shape[-1] // 2
    is_plain = x.is_cuda and x.dtype in (torch.bfloat16, torch.float16) and not torch.is_grad_enabled()
    return is_plain and x.dim() == 4 and x.stride(-1) == 1 and not half & (half - 1) and works(x.device)


@lru_cache(maxsize=8)
def works(device: torch.device) -> bool:
    """Tried once: a compiler may be missing."""
    if not HAS_TRITON or torch.cuda.is_current_stream_capturing():
        return False
    try:
        x = torch.randn(1, 1, 3, 32, device=device, dtype=torch.bfloat16)
        cos, sin = table = torch.randn(2, 3, 16, device=device, dtype=torch.bfloat16)
        first, second = x.float().chunk(2, dim=-1)
        expected = torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1)
        return bool((turned(x, table).float() - expected).norm() <= TOLERANCE * expected.norm())
    except Exception:  # whatever a compiler or a driver says, there is another way
        return False


def turned(x: Tensor, table: Tensor) -> Tensor:
    """x (B, heads, N, C) turned by `table` (2, N, C/2): as `position.rotate`, rounded once."""
    batch, heads, cells, channels = x.shape
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    table = table.contiguous()
    _turn[(-(-cells // ROWS), batch * heads)](
        x, table, out, *x.stride()[:3], heads, cells, cells * channels // 2, HALF=channels // 2, ROWS=ROWS
    )
    return out


if HAS_TRITON:

    @triton.jit  # type: ignore[untyped-decorator]
    def _turn(  # type: ignore[no-untyped-def]
        X, TABLE, OUT, x_b, x_h, x_n, heads, cells, sines, HALF: tl.constexpr, ROWS: tl.constexpr
    ):
        block, pair = tl.program_id(0), tl.program_id(1)
        rows, half = block * ROWS + tl.arange(0, ROWS), tl.arange(0, HALF)
        here = rows[:, None] < cells
        at = X + (pair // heads).to(tl.int64) * x_b + (pair % heads) * x_h
        at = at + rows[:, None] * x_n + half[None, :]
        first = tl.load(at, mask=here, other=0.0).to(tl.float32)
        second = tl.load(at + HALF, mask=here, other=0.0).to(tl.float32)
        angle = TABLE + rows[:, None] * HALF + half[None, :]
        cos = tl.load(angle, mask=here, other=0.0).to(tl.float32)
        sin = tl.load(angle + sines, mask=here, other=0.0).to(tl.float32)
        to = OUT + pair.to(tl.int64) * cells * 2 * HALF + rows[:, None] * 2 * HALF + half[None, :]
        tl.store(to, (first * cos - second * sin).to(OUT.dtype.element_ty), mask=here)
        tl.store(to + HALF, (first * sin + second * cos).to(OUT.dtype.element_ty), mask=here)
