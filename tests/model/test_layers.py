"""Building blocks against plain formulas."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sam2_video.model import layers
from sam2_video.model.layers import (
    MLP,
    PLAIN_PRODUCT_KEYS,
    Attention,
    LayerNorm2d,
    attend,
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


@pytest.mark.parametrize("keys", [3, 70])
def test_plain_products_equal_the_fused_kernel(
    keys: int, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    q, k, v = draw(2, 3, 5, 8), draw(2, 3, keys, 8), draw(2, 3, keys, 8)
    weight = draw(2, 3, 5, 8)

    def run() -> list[torch.Tensor]:
        leaves = [t.clone().requires_grad_() for t in (q, k, v)]
        out = attend(*leaves)
        (out * weight).sum().backward()
        return [out.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]

    def no_kernel(*args: object, **options: object) -> torch.Tensor:
        raise AssertionError("the fused kernel was asked")

    monkeypatch.setattr(F, "scaled_dot_product_attention", no_kernel)
    plain = run()
    monkeypatch.undo()
    monkeypatch.setattr(layers, "PLAIN_PRODUCT_KEYS", 0)
    fused = run()
    assert len(plain) == 4
    for left, right in zip(plain, fused, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-5)
    by_hand = torch.softmax(torch.einsum("bhqd,bhkd->bhqk", q, k) / 8**0.5, dim=-1) @ v
    torch.testing.assert_close(plain[0], by_hand, rtol=1e-5, atol=1e-5)


def test_many_keys_and_inference_take_the_fused_kernel(draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain products of many keys would need memory with the square of their number."""
    asked = []
    kernel = "scaled_dot_product_attention"
    monkeypatch.setattr(F, kernel, lambda q, k, v, **_: asked.append(k.shape[-2]) or q)
    q, few, many = draw(1, 1, 2, 4), draw(1, 1, 3, 4), draw(1, 1, PLAIN_PRODUCT_KEYS + 1, 4)
    attend(q, few, few)
    attend(q.requires_grad_(), many, many)
    assert asked == [3, PLAIN_PRODUCT_KEYS + 1]


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
    mlp = MLP((3, 5, 4), activation=torch.tanh)
    x = draw(7, 3)
    expected = F.linear(
        torch.tanh(F.linear(x, mlp.layers[0].weight, mlp.layers[0].bias)), mlp.layers[1].weight
    )
    torch.testing.assert_close(mlp(x), expected + mlp.layers[1].bias)
    assert MLP((3, 5, 4)).activation is F.relu


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
