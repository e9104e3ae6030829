"""Blocks that several parts of the network share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam2_video.model import triton_norm
from sam2_video.model.kernels import Activation, attend, linear


def to_tokens(grid: Tensor) -> Tensor:
    return grid.flatten(2).transpose(1, 2)  # (B, C, H, W) -> (B, H*W, C)


def to_grid(tokens: Tensor, height: int, width: int) -> Tensor:
    return torch.unflatten(tokens.transpose(1, 2), 2, (height, width))  # (B, H*W, C) -> (B, C, H, W)


def split_heads(tokens: Tensor, heads: int) -> Tensor:
    return torch.unflatten(tokens, -1, (heads, -1)).transpose(-3, -2)  # (B, N, heads*D) -> (B, heads, N, D)


def merge_heads(heads: Tensor) -> Tensor:
    return heads.transpose(-3, -2).flatten(-2)  # (B, heads, N, D) -> (B, N, heads*D)


class Linear(nn.Linear):
    """A linear layer by the fastest way that the device has."""

    def forward(self, x: Tensor, activation: Activation = "none") -> Tensor:
        """(..., C) -> (..., C'), with the activation after it."""
        return linear(x, self.weight, self.bias, activation)


class LayerNorm2d(nn.Module):
    """Layer norm over the channels of a (B, C, H, W) map."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        if triton_norm.takes(x):
            return triton_norm.normed(x, self.weight, self.bias, self.eps)
        normed = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, self.eps)
        return normed.permute(0, 3, 1, 2)


class MLP(nn.Module):
    """Linear layers with an activation between them; the last layer is linear."""

    def __init__(self, widths: Sequence[int], activation: Activation = "relu") -> None:
        super().__init__()
        self.layers = nn.ModuleList(Linear(a, b) for a, b in pairwise(widths))
        self.activation: Activation = activation

    def forward(self, x: Tensor) -> Tensor:
        *hidden, last = self.layers
        for layer in hidden:
            x = layer(x, self.activation)
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
        self.q_proj = Linear(width, inner)
        self.k_proj = Linear(key_width, inner)
        self.v_proj = Linear(key_width, inner)
        self.out_proj = Linear(inner, width)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q (B, N, width), k and v (B, K, key_width) -> (B, N, width)."""
        heads = (
            split_heads(p(x), self.heads) for p, x in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v))
        )
        return torch.as_tensor(self.out_proj(merge_heads(attend(*heads))))
