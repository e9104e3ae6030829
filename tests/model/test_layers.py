"""Building blocks against plain formulas."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sam2_video.model.layers import (
    MLP,
    Attention,
    LayerNorm2d,
    merge_heads,
    split_heads,
    to_grid,
    to_tokens,
)
from tests.model.conftest import Draw


def test_tokens_and_grids(draw: Draw) -> None:
    grid = draw(2, 3, 4, 5)
    tokens = to_tokens(grid)
    assert tokens.shape == (2, 20, 3)
    assert torch.equal(tokens[1, 5 * 2 + 3], grid[1, :, 2, 3])  # row by row
    assert torch.equal(to_grid(tokens, 4, 5), grid)


def test_heads(draw: Draw) -> None:
    tokens = draw(2, 5, 12)
    heads = split_heads(tokens, 3)
    assert heads.shape == (2, 3, 5, 4)
    assert torch.equal(heads[1, 2, 3], tokens[1, 3, 8:])
    assert torch.equal(merge_heads(heads), tokens)


def test_layer_norm_of_maps(draw: Draw) -> None:
    norm = LayerNorm2d(6)
    with torch.no_grad():
        norm.weight.copy_(draw(6))
        norm.bias.copy_(draw(6))
    x = 3 * draw(2, 6, 4, 5) + 2
    mean, variance = x.mean(dim=1, keepdim=True), x.var(dim=1, keepdim=True, unbiased=False)
    expected = (x - mean) / (variance + 1e-6).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(norm(x), expected, rtol=1e-5, atol=1e-5)


def test_the_last_layer_of_an_mlp_is_linear(draw: Draw) -> None:
    x = draw(7, 3)
    for mlp, activation in ((MLP((3, 5, 4)), F.relu), (MLP((3, 5, 4), activation="gelu"), F.gelu)):
        hidden = activation(F.linear(x, mlp.layers[0].weight, mlp.layers[0].bias))
        torch.testing.assert_close(mlp(x), F.linear(hidden, mlp.layers[1].weight, mlp.layers[1].bias))


def test_attention_with_narrow_keys(draw: Draw) -> None:
    attention = Attention(12, 2, inner=8, key_width=5)
    q, k, v = draw(2, 3, 12), draw(2, 4, 5), draw(2, 4, 5)
    out = attention(q, k, v)
    assert out.shape == (2, 3, 12)
    assert torch.allclose(attention(q, k.flip(1), v.flip(1)), out, atol=1e-6)  # keys have no order
    assert not torch.allclose(attention(q, k, v.flip(1)), out, atol=1e-3)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="width 10 is not divisible by 4 heads"):
        Attention(10, 4)
