"""Every way of multiplying and attending against the framework's own, and which way is taken."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sam2_video.model import kernels
from sam2_video.model.kernels import FEW_KEYS, PLAIN_PRODUCT_KEYS, SHORT_ATTENTION, attend, linear
from tests.model.conftest import Draw

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2}
TYPES = [torch.float32, torch.bfloat16]


def reference(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    q, k, v = q.double(), k.double(), v.double()
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    return torch.softmax(scores if bias is None else scores + bias.double(), dim=-1) @ v


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    ("queries", "keys", "width", "values", "heads"),
    [
        (10, 3, 8, 8, 2),  # few keys
        (64, 64, 16, 16, 3),  # a window
        (600, 512, 16, 16, 2),  # long: in blocks
        (513, 700, 32, 8, 1),  # long, narrow values, blocks that do not come out even
        (70, 80, 32, 8, 1),  # short, narrow values
    ],
)
@torch.no_grad()
def test_attention(
    queries: int, keys: int, width: int, values: int, heads: int, dtype: torch.dtype, draw: Draw,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(kernels, "BLOCK_BYTES", 2**18)  # several blocks even here
    for batch_of_queries in (3, 1):
        q = draw(batch_of_queries, heads, queries, width).to(dtype)
        k, v = draw(3, heads, keys, width).to(dtype), draw(3, heads, keys, values).to(dtype)
        found = attend(q, k, v)
        assert found.shape == (3, heads, queries, values) and found.dtype == dtype
        limit = TOLERANCE[dtype]
        torch.testing.assert_close(found.double(), reference(q, k, v), rtol=limit, atol=limit)
        bias = draw(3, heads, queries, keys).to(dtype)
        torch.testing.assert_close(
            attend(q, k, v, bias).double(), reference(q, k, v, bias), rtol=limit, atol=limit
        )


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("values", [8, 5])
@pytest.mark.parametrize("keys", [3, 70])
def test_gradients_of_every_way(
    keys: int, values: int, biased: bool, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    q, k, v = draw(2, 3, 5, 8), draw(2, 3, keys, 8), draw(2, 3, keys, values)
    weight, bias = draw(2, 3, 5, values), draw(2, 3, 5, keys) if biased else None

    def run() -> list[Tensor]:
        leaves = [t.clone().requires_grad_() for t in (q, k, v)]
        out = attend(*leaves, bias)
        (out * weight).sum().backward()
        return [out.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]

    plain = run()
    monkeypatch.setattr(kernels, "PLAIN_PRODUCT_KEYS", 0)
    fused = run()
    assert len(plain) == 4
    for left, right in zip(plain, fused, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(plain[0].double(), reference(q, k, v, bias), rtol=1e-5, atol=1e-5)


def test_which_way_is_taken(draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain products of many keys would need memory with the square of their number."""
    taken: list[str] = []
    for name in ("_fused", "_products", "_in_blocks"):
        monkeypatch.setattr(kernels, name, lambda *args, name=name: taken.append(name))
    q, few, some = draw(1, 1, 2, 4), draw(1, 1, FEW_KEYS, 4), draw(1, 1, FEW_KEYS + 1, 4)
    many, long = draw(1, 1, PLAIN_PRODUCT_KEYS + 1, 4), draw(1, 1, SHORT_ATTENTION // 2 + 1, 4)
    attend(q, few, few)
    attend(q.bfloat16(), few.bfloat16(), few.bfloat16())
    attend(q, some, some)
    attend(q, long, long)
    assert taken == ["_fused", "_products", "_products", "_in_blocks"]
    taken.clear()
    q.requires_grad_()
    attend(q, some, some)
    attend(q, many, many)
    with torch.no_grad():
        attend(q, long, long)
    assert taken == ["_products", "_fused", "_in_blocks"]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("activation", ["none", "relu", "gelu"])
@pytest.mark.parametrize("rows", [1, 700])
def test_linear(
    rows: int, activation: kernels.Activation, dtype: torch.dtype, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, weight, bias = draw(2, rows, 48).to(dtype), draw(64, 48).to(dtype), draw(64).to(dtype)
    after = {"none": lambda t: t, "relu": F.relu, "gelu": F.gelu}[activation]
    asked: list[int] = []
    if kernels._ONEDNN is not None:
        known = kernels._ONEDNN
        monkeypatch.setattr(kernels, "_ONEDNN", lambda *args: asked.append(1) or known(*args))
    with torch.no_grad():
        for given in (bias, None):
            found = linear(x, weight, given, activation)
            wide = None if given is None else given.double()
            expected = after(F.linear(x.double(), weight.double(), wide))
            limit = TOLERANCE[dtype]
            torch.testing.assert_close(found.double(), expected, rtol=limit, atol=limit)
            assert found.dtype == dtype and found.shape == (2, rows, 64)
    if torch.backends.mkldnn.is_available():
        assert bool(asked) is (rows == 700)  # the way that this machine's speed rests on is there
    asked.clear()
    weight.requires_grad_()
    linear(x, weight, bias, activation).float().sum().backward()
    assert weight.grad is not None and not asked


@torch.no_grad()
def test_linear_without_onednn(draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = draw(2000, 48), draw(64, 48)
    with_it = linear(x, weight, None, "relu")
    monkeypatch.setattr(kernels, "_ONEDNN", None)
    torch.testing.assert_close(linear(x, weight, None, "relu"), with_it, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "error", [NotImplementedError("no kernel"), RuntimeError("off"), TypeError("arguments")]
)
def test_a_build_that_cannot_run_it_goes_without(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> Tensor:
        raise error

    assert (kernels._find_onednn() is not None) is torch.backends.mkldnn.is_available()
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", fail)
    assert kernels._find_onednn() is None
    monkeypatch.setattr(torch.ops, "mkldnn", object())
    assert kernels._find_onednn() is None
