"""Layer norm over few channels of a large map, many cells at a time.

The framework's kernel gives each cell threads of its own, however few its channels are; masks are remembered
by way of 512 x 512 cells of 4.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from sam2_video.model.triton_attention import HAS_TRITON

if HAS_TRITON:
    import triton
    import triton.language as tl

MOST_CHANNELS = 64
VALUES = 4096  # of one program
TOLERANCE = 0.02


def takes(x: Tensor) -> bool:
    """Is this for the kernel: a map (B, C, H, W) of 16 bits on a GPU, without gradients, of few channels?"""
    channels = x.shape[1]
    is_plain = x.is_cuda and x.dtype in (torch.bfloat16, torch.float16) and not torch.is_grad_enabled()
    is_narrow = channels <= MOST_CHANNELS and not channels & (channels - 1)
    return is_plain and is_narrow and x.stride(2) == x.shape[3] * x.stride(3) and works(x.device)


@lru_cache(maxsize=8)
def works(device: torch.device) -> bool:
    """Tried once: a compiler may be missing."""
    if not HAS_TRITON or torch.cuda.is_current_stream_capturing():
        return False
    try:
        x = torch.randn(1, 4, 5, 7, device=device, dtype=torch.bfloat16)
        weight, bias = torch.randn(2, 4, device=device, dtype=torch.bfloat16)
        expected = F.layer_norm(x.float().permute(0, 2, 3, 1), (4,), weight.float(), bias.float(), 1e-6)
        found = normed(x, weight, bias, 1e-6).float().permute(0, 2, 3, 1)
        return bool((found - expected).norm() <= TOLERANCE * expected.norm())
    except Exception:  # whatever a compiler or a driver says, there is another way
        return False


def normed(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """x (B, C, H, W), in any order of memory whose rows follow each other -> the same with channels last."""
    batch, channels, height, width = x.shape
    out = torch.empty((batch, height, width, channels), dtype=x.dtype, device=x.device)
    cells, each = height * width, VALUES // channels
    _norm[(-(-cells // each), batch)](
        x, weight, bias, out, x.stride(0), x.stride(1), x.stride(3), cells, eps, CHANNELS=channels, EACH=each
    )
    return out.permute(0, 3, 1, 2)


if HAS_TRITON:

    @triton.jit  # type: ignore[untyped-decorator]
    def _norm(  # type: ignore[no-untyped-def]
        X, WEIGHT, BIAS, OUT, x_b, x_c, x_p, cells, eps, CHANNELS: tl.constexpr, EACH: tl.constexpr
    ):
        block, b = tl.program_id(0), tl.program_id(1).to(tl.int64)
        at, channel = block * EACH + tl.arange(0, EACH), tl.arange(0, CHANNELS)
        here = at[:, None] < cells
        x = tl.load(X + b * x_b + at[:, None] * x_p + channel[None, :] * x_c, mask=here, other=0.0)
        x = x.to(tl.float32)
        x = x - (tl.sum(x, 1) / CHANNELS)[:, None]
        x = x / tl.sqrt(tl.sum(x * x, 1) / CHANNELS + eps)[:, None]
        weight, bias = tl.load(WEIGHT + channel).to(tl.float32), tl.load(BIAS + channel).to(tl.float32)
        x = x * weight[None, :] + bias[None, :]
        to = OUT + b * cells * CHANNELS + at[:, None] * CHANNELS + channel[None, :]
        tl.store(to, x.to(OUT.dtype.element_ty), mask=here)
