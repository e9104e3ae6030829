"""Blocks that several parts of the network share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def to_tokens(grid: Tensor) -> Tensor:
    return grid.flatten(2).transpose(1, 2)  # (B, C, H, W) -> (B, H*W, C)


def to_grid(tokens: Tensor, height: int, width: int) -> Tensor:
    return torch.unflatten(tokens.transpose(1, 2), 2, (height, width))  # (B, H*W, C) -> (B, C, H, W)


def split_heads(tokens: Tensor, heads: int) -> Tensor:
    return torch.unflatten(tokens, -1, (heads, -1)).transpose(-3, -2)  # (B, N, heads*D) -> (B, heads, N, D)


def merge_heads(heads: Tensor) -> Tensor:
    return heads.transpose(-3, -2).flatten(-2)  # (B, heads, N, D) -> (B, N, heads*D)


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Softmax attention of q (B, heads, N, D) over k and v (B, heads, K, D); the only door to attention here.

    `bias` (B, heads, N, K) adds to the scaled products.
    Calls with gradients and few keys take plain products: in bfloat16 on a CPU, forward and backward through
    the fused kernel take 4 to 6 times as long on windows of 64 tokens, 1.2 times on 256.
    """
    if bias is None and q.requires_grad and k.shape[-2] <= PLAIN_PRODUCT_KEYS:
        weights = ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)).softmax(dim=-1)
        return torch.matmul(weights, v)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


PLAIN_PRODUCT_KEYS = 1024


class LayerNorm2d(nn.Module):
    """Layer norm over the channels of a (B, C, H, W) map."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        normed = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, self.eps)
        return normed.permute(0, 3, 1, 2)


class MLP(nn.Module):
    """Linear layers with an activation between them; the last layer is linear."""

    def __init__(self, widths: Sequence[int], activation: Callable[[Tensor], Tensor] = F.relu) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        *hidden, last = self.layers
        for layer in hidden:
            x = self.activation(layer(x))
        return torch.as_tensor(last(x))


class Attention(nn.Module):
    """Multi-head attention with separate projections; `inner` may be narrower than `width`."""

    def __init__(
        self, width: int, heads: int, *, inner: int | None = None, key_width: int | None = None
    ) -> None:
        super().__init__()
        inner, key_width = inner or width, key_width or width
        if inner % heads:
            raise ValueError(f"attention width {inner} is not divisible by {heads} heads")
        self.heads = heads
        self.q_proj = nn.Linear(width, inner)
        self.k_proj = nn.Linear(key_width, inner)
        self.v_proj = nn.Linear(key_width, inner)
        self.out_proj = nn.Linear(inner, width)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q (B, N, width), k and v (B, K, key_width) -> (B, N, width)."""
        heads = (
            split_heads(p(x), self.heads) for p, x in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v))
        )
        return torch.as_tensor(self.out_proj(merge_heads(attend(*heads))))
