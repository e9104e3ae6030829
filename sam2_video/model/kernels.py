"""Linear layers and attention by the fastest exact way that the device has.

PyTorch's CPU kernels leave much of a processor unused. Its fused attention reaches a tenth of the speed of
oneDNN's products in bfloat16; its float32 linear layers go to MKL, which was not made for every maker's
processors, and copies the bias first. So on a CPU, without gradients, products of some size go to oneDNN, and
attention is a product, a softmax and a product on blocks of queries. On CUDA `cuda_attention` chooses.
Other devices, and training, take the framework's. All ways compute the same sums, in different orders.
Measured in benchmarks/kernels.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sam2_video.model import cuda_attention

Activation = Literal["none", "relu", "gelu"]

SMALL_PRODUCT = 2**22  # multiplications below which calling oneDNN costs more than it saves
SHORT_ATTENTION = 2**18  # products of queries and keys up to which all heads are taken in one call
FEW_KEYS = 32  # in float32 the fused kernel is faster up to here
BLOCK_BYTES = 2**24  # weights of one block of queries: they should stay in the cache between the products
PLAIN_PRODUCT_KEYS = 1024  # with gradients


def _find_onednn() -> Callable[..., Tensor] | None:
    """The operator that torch.compile uses for layers on CPUs; None where this build cannot run it."""
    found: Callable[..., Tensor] | None = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    try:
        if found is not None:
            one = torch.ones(1, 1, device="cpu")  # whatever the default is while this module is imported
            found(one, one, None, "none", [], "")
        return found
    except (RuntimeError, TypeError):  # no oneDNN in this build, or another signature
        return None


_ONEDNN = _find_onednn()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, activation: Activation = "none") -> Tensor:
    """Apply a linear layer to x (..., C), weight (C', C), and an activation -> (..., C')."""
    if _ONEDNN is not None and x.numel() * len(weight) >= SMALL_PRODUCT and _is_plain(x, weight):
        return _ONEDNN(x, weight, bias, activation, [], "none" if activation == "gelu" else "")
    out = F.linear(x, weight, bias)
    if activation == "none":
        return out
    return F.relu(out) if activation == "relu" else F.gelu(out)


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Softmax attention of q (B, heads, N, D) over k (B, heads, K, D) and v (B, heads, K, E).

    The batch of q may be 1 where that of k and v is not. `bias` (B, heads, N, K) adds to the scaled products.
    Returns (B, heads, N, E).
    """
    if torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad):
        return _with_gradients(q, k, v, bias)
    if cuda_attention.takes(q, bias):
        return cuda_attention.attend_on_cuda(q, k, v)
    if q.device.type == "cpu":
        few = k.shape[-2] <= FEW_KEYS and q.dtype == torch.float32 and v.shape[-1] == q.shape[-1]
        if not few:
            is_short = q.shape[-2] * k.shape[-2] <= SHORT_ATTENTION
            return _products(q, k, v, bias) if is_short else _in_blocks(q, k, v, bias)
    return _fused(q, k, v, bias)


def _is_plain(x: Tensor, weight: Tensor) -> bool:
    """Is this a product that oneDNN takes: on the CPU, without gradients, of one type?"""
    wants_gradient = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    return x.device.type == "cpu" and x.dtype == weight.dtype and x.dtype in _TYPES and not wants_gradient


_TYPES = (torch.float32, torch.bfloat16)


def _with_gradients(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """In bfloat16 on a CPU, forward and backward through the fused kernel take 4 to 6 times as long as
    products on windows of 64 tokens, 1.2 times on 256. On other devices products would keep every weight for
    the backward pass, which the fused kernel does not."""
    few = q.device.type == "cpu" and k.shape[-2] <= PLAIN_PRODUCT_KEYS
    return _products(q, k, v, bias) if few else _fused(q, k, v, bias)


def _products(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    weights = (scores if bias is None else scores + bias).softmax(dim=-1)
    return torch.matmul(weights, v)


def _fused(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """The framework's kernel; narrower values are padded, or it would fall back to a slow one."""
    return cuda_attention.padded(q.expand(len(k), -1, -1, -1), k, v, bias)


def _in_blocks(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """Head by head, a block of queries at a time against all keys."""
    q = q * q.shape[-1] ** -0.5
    out = v.new_empty((*k.shape[:2], q.shape[-2], v.shape[-1]))
    rows = max(BLOCK_BYTES // (k.shape[-2] * q.element_size()) // 32 * 32, 32)
    for batch in range(len(k)):
        for head in range(k.shape[1]):
            queries, keys = q[min(batch, len(q) - 1), head], k[batch, head].contiguous()
            values = v[batch, head].T.contiguous()  # (E, K): the weight of a linear layer
            for row in range(0, len(queries), rows):
                block = slice(row, row + rows)
                scores = linear(queries[block], keys, None)
                if bias is not None:
                    scores += bias[batch, head, block]
                out[batch, head, block] = linear(scores.softmax(dim=-1), values, None)
    return out
