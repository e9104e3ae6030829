"""Memory attention against the layers of the paper, written down as they are described there."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sam2_video.model.memory_attention import POSITION_SCALE, MemoryAttention, MemoryTokens
from sam2_video.model.position import axial_rope
from tests.model.conftest import Draw

WIDTH, MEMORY, GRID = 16, 4, (4, 6)
CELLS = GRID[0] * GRID[1]


def attention(draw: Draw, heads: int, layers: int = 2, pool: int = 1) -> MemoryAttention:
    made = MemoryAttention(
        width=WIDTH, memory_width=MEMORY, num_layers=layers, hidden=24, heads=heads, pool=pool
    )
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(draw(*parameter.shape) / max(parameter[0].numel(), 1) ** 0.5)
    return made.eval()


def turned(x: Tensor, heads: int) -> Tensor:
    """(B, N, C) -> (B, heads, N, D), each neighbouring pair of channels turned as one complex number."""
    split = x.unflatten(-1, (heads, -1)).transpose(1, 2)
    number = torch.view_as_complex(split.unflatten(-1, (-1, 2)).contiguous())
    table = axial_rope(*GRID, channels=WIDTH // heads)
    return torch.view_as_real(number * torch.complex(*table)).flatten(-2)


def softmax_attention(q: Tensor, k: Tensor, v: Tensor, counts: Tensor | None = None) -> Tensor:
    """`counts` (K,): how many keys each one stands for."""
    weights = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).exp()
    weights = weights if counts is None else weights * counts
    return (weights @ v / weights.sum(dim=-1, keepdim=True)).transpose(1, 2).flatten(-2)


def means(x: Tensor, grids: int, pool: int) -> Tensor:
    """(B, heads, K, D): cells of each of the first grids, joined by pool x pool; the rest stays."""
    blocks = (GRID[0] // pool, pool, GRID[1] // pool, pool)
    parts = [x[:, :, CELLS * g : CELLS * (g + 1)].unflatten(2, blocks) for g in range(grids)]
    return torch.cat([*(p.mean(dim=(3, 5)).flatten(2, 3) for p in parts), x[:, :, CELLS * grids :]], dim=2)


def as_described(
    made: MemoryAttention,
    x: Tensor,
    position: Tensor,
    memory: Tensor,
    code: Tensor,
    grids: int,
    heads: int,
    pool: int = 1,
) -> Tensor:
    """memory (B, K, M): whole grids, then tokens without a place; `code` (1, K, M) is added to keys alone."""
    few = CELLS * grids // pool**2
    counts = torch.ones(few + memory.shape[1] - CELLS * grids)
    counts[:few] = pool**2
    x = x + POSITION_SCALE * position
    for layer in made.layers:
        own, cross = layer.self_attn, layer.cross_attn_image
        normed = layer.norm1(x)
        value = own.v_proj(normed).unflatten(-1, (heads, -1)).transpose(1, 2)
        mixed = softmax_attention(turned(own.q_proj(normed), heads), turned(own.k_proj(normed), heads), value)
        x = x + own.out_proj(mixed)
        keys = cross.k_proj(memory + code)
        placed = [turned(keys[:, CELLS * g : CELLS * (g + 1)], heads) for g in range(grids)]
        rest = keys[:, CELLS * grids :].unflatten(-1, (heads, -1)).transpose(1, 2)
        value = cross.v_proj(memory).unflatten(-1, (heads, -1)).transpose(1, 2)
        every_key = means(torch.cat((*placed, rest), dim=2), grids, pool)
        queries = turned(cross.q_proj(layer.norm2(x)), heads)
        mixed = softmax_attention(queries, every_key, means(value, grids, pool), counts)
        x = x + cross.out_proj(mixed)
        x = x + layer.linear2(F.relu(layer.linear1(layer.norm3(x))))
    return torch.as_tensor(made.norm(x))


def ours(
    made: MemoryAttention,
    x: Tensor,
    position: Tensor,
    memory: Tensor,
    place: Tensor,
    slots: Sequence[int],
    codes: Tensor,
    pointer_code: Tensor,
) -> Tensor:
    grids = len(slots)
    parts = [memory[:, CELLS * g : CELLS * (g + 1)] for g in range(grids)]
    tokens = MemoryTokens(
        means(memory[:, None], grids, made.pool)[:, 0].transpose(1, 2),
        [made.memory_keys(part + place, GRID).unbind() for part in parts],
        slots,
        codes,
        memory[:, CELLS * grids :] + pointer_code,
    )
    return torch.as_tensor(made(x, position, tokens, GRID))


@pytest.mark.parametrize("gradients", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("pointers", [0, 6])
@pytest.mark.parametrize("heads", [1, 2])
def test_it_is_what_the_paper_describes(heads: int, pointers: int, gradients: bool, draw: Draw) -> None:
    made, slots = attention(draw, heads), [2, 0, 1]
    x, position = draw(2, CELLS, WIDTH), draw(1, CELLS, WIDTH)
    memory, place = draw(2, CELLS * len(slots) + pointers, MEMORY), draw(1, CELLS, MEMORY)
    codes, pointer_code = draw(4, MEMORY), draw(pointers, MEMORY)
    code = torch.cat([*(place + codes[slot] for slot in slots), pointer_code[None]], dim=1)
    with torch.set_grad_enabled(gradients):
        found = ours(made, x, position, memory, place, slots, codes, pointer_code)
        expected = as_described(made, x, position, memory, code, len(slots), heads)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    if gradients:
        weight, parameters = draw(*found.shape), list(made.parameters())
        left, right = (torch.autograd.grad((out * weight).sum(), parameters) for out in (found, expected))
        for one, other in zip(left, right, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("pointers", [0, 6])
@pytest.mark.parametrize("heads", [1, 2])
@torch.no_grad()
def test_pooled_memories_are_means_that_count_four_times(heads: int, pointers: int, draw: Draw) -> None:
    made, slots = attention(draw, heads, pool=2), [2, 0]
    x, position = draw(2, CELLS, WIDTH), draw(1, CELLS, WIDTH)
    memory, place = draw(2, CELLS * len(slots) + pointers, MEMORY), draw(1, CELLS, MEMORY)
    codes, pointer_code = draw(4, MEMORY), draw(pointers, MEMORY)
    code = torch.cat([*(place + codes[slot] for slot in slots), pointer_code[None]], dim=1)
    found = ours(made, x, position, memory, place, slots, codes, pointer_code)
    whole = as_described(made, x, position, memory, code, len(slots), heads)
    expected = as_described(made, x, position, memory, code, len(slots), heads, pool=2)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert (whole - expected).abs().max() > 0.01


def test_only_pools_that_fit_every_grid() -> None:
    with pytest.raises(ValueError, match="1 or 2, got 3"):
        MemoryAttention(width=WIDTH, memory_width=MEMORY, num_layers=1, pool=3)


@torch.no_grad()
def test_objects_share_the_tokens_of_a_frame(draw: Draw) -> None:
    made = attention(draw, heads=1)
    x, position, place = draw(1, CELLS, WIDTH), draw(1, CELLS, WIDTH), draw(1, CELLS, MEMORY)
    memory, codes = draw(3, CELLS, MEMORY), draw(2, MEMORY)
    together = ours(made, x, position, memory, place, [1], codes, draw(0, MEMORY))
    assert together.shape == (3, CELLS, WIDTH)
    for k in range(3):
        alone = ours(made, x, position, memory[k : k + 1], place, [1], codes, draw(0, MEMORY))
        torch.testing.assert_close(together[k : k + 1], alone, rtol=1e-4, atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 0.01


@torch.no_grad()
def test_changed_weights_and_codes_are_seen(draw: Draw) -> None:
    """What is kept between calls is made again."""
    made = attention(draw, heads=1)
    x, position, place = draw(1, CELLS, WIDTH), draw(1, CELLS, WIDTH), draw(1, CELLS, MEMORY)
    memory, codes, nothing = draw(1, CELLS, MEMORY), draw(2, MEMORY), draw(0, MEMORY)

    def both() -> tuple[Tensor, Tensor]:
        found = ours(made, x, position, memory, place, [1], codes, nothing)
        return found, as_described(made, x, position, memory, place + codes[1], 1, 1)

    before, _ = both()
    cross = made.layers[1].cross_attn_image
    for changed in (cross.k_proj.weight, cross.v_proj.bias, cross.out_proj.weight, cross.q_proj.bias, codes):
        changed.mul_(1.5)
        found, expected = both()
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        assert not torch.equal(found, before)
        before = found
