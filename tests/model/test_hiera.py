"""The trunk and the pyramid: windows, padding, sizes, and what the neck makes of the maps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam2_video.model.hiera import Hiera, WindowAttention, partition, pool, unpartition
from sam2_video.model.image_encoder import FpnNeck, ImageEncoder, _product
from tests.model.conftest import Draw

SIDES = [64, 96, 128, 256]


def trunk(**changed: Any) -> Hiera:
    options: dict[str, Any] = {
        "embed_dim": 8,
        "num_heads": 1,
        "stages": [1, 2, 2, 1],
        "global_att_blocks": [4],
        "window_spec": [8, 4, 14, 7],
        "window_pos_embed_bkg_spatial_size": [7, 7],
    }
    torch.manual_seed(0)
    return Hiera(**options | changed).eval()


@pytest.mark.parametrize(
    ("height", "width", "size"), [(8, 8, 4), (9, 7, 4), (3, 5, 8), (6, 6, 6), (5, 5, 1), (1, 13, 7)]
)
def test_windows_there_and_back(height: int, width: int, size: int, draw: Draw) -> None:
    x = draw(2, height, width, 3)
    windows = partition(x, size)
    rows, columns = -(-height // size), -(-width // size)
    assert windows.shape == (2 * rows * columns, size, size, 3)
    assert torch.equal(unpartition(windows, size, height, width), x)
    padded = F.pad(x, (0, 0, 0, columns * size - width, 0, rows * size - height))
    last = padded[1, -size:, -size:]
    assert torch.equal(windows[-1], last)  # picture by picture, row by row
    torch.testing.assert_close(windows.sum(), padded.sum())


def test_pooling_takes_the_largest_of_four(draw: Draw) -> None:
    x = draw(1, 4, 6, 2)
    assert torch.equal(pool(x)[0, 1, 2], x[0, 2:4, 4:6].flatten(0, 1).amax(dim=0))


def test_pooled_queries_make_a_smaller_map(draw: Draw) -> None:
    attention = WindowAttention(4, 8, 2, pool_queries=True)
    x = draw(3, 6, 6, 4)
    assert attention(x).shape == (3, 3, 3, 8)
    kept = WindowAttention(4, 8, 2, pool_queries=False)
    kept.load_state_dict(attention.state_dict())
    assert kept(x).shape == (3, 6, 6, 8)


@pytest.mark.parametrize("side", SIDES)
@torch.no_grad()
def test_maps_of_every_size(side: int, draw: Draw) -> None:
    maps = trunk()(draw(1, 3, side, side))
    expected = [(1, 8 * 2**k, side // (4 * 2**k), side // (4 * 2**k)) for k in range(4)]
    assert [tuple(m.shape) for m in maps] == expected
    assert all(m.isfinite().all() for m in maps)


@torch.no_grad()
def test_pad_cells_are_live_keys(draw: Draw) -> None:
    """A grid of 5 in windows of 7: without the padding the same cells would get other values."""
    block = trunk(stages=[1, 1, 1, 1], global_att_blocks=[]).blocks[3]
    block.attn.qkv.bias.normal_()  # what a padding cell holds
    normed = draw(1, 5, 5, 32)
    block.window, block.pool_queries, block.attn.pool_queries = 7, False, False
    padded = block._attend_in_windows(normed, 5, 5)
    masked = block.attn(normed)
    assert padded.shape == masked.shape
    assert (padded - masked).abs().max() > 1e-2

    # by hand: 24 more keys, each holding the bias
    q, k, v = block.attn.qkv(F.pad(normed, (0, 0, 0, 2, 0, 2))).flatten(1, 2).chunk(3, dim=-1)
    heads = [t.unflatten(-1, (block.attn.heads, -1)).transpose(1, 2) for t in (q, k, v)]
    weights = (heads[0] @ heads[1].mT / heads[0].shape[-1] ** 0.5).softmax(dim=-1)
    mixed = block.attn.proj((weights @ heads[2]).transpose(1, 2).flatten(2)).unflatten(1, (7, 7))
    torch.testing.assert_close(padded, mixed[:, :5, :5], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_windows_are_blind_to_each_other_and_global_blocks_are_not(draw: Draw) -> None:
    first, second = draw(1, 16, 16, 8), draw(1, 16, 16, 8)
    second[:, :8, :8] = first[:, :8, :8]
    for blocks, blind in (([], True), ([0], False)):
        block = trunk(global_att_blocks=blocks).blocks[0]
        same = torch.equal(block(first)[:, :8, :8], block(second)[:, :8, :8])
        assert same is blind


def test_windows_heads_and_widths_of_blocks() -> None:
    model = trunk(num_heads=2)
    assert [block.window for block in model.blocks] == [
        8,
        8,
        4,
        4,
        0,
        14,
    ]  # entering: that of the stage before
    assert [block.pool_queries for block in model.blocks] == [False, True, False, True, False, True]
    assert [block.attn.heads for block in model.blocks] == [2, 4, 4, 8, 8, 16]
    assert model.widths == (8, 16, 32, 64)


@torch.no_grad()
def test_positions_repeat_in_windows_over_a_coarse_map() -> None:
    model = trunk()
    model.pos_embed.fill_(2.0)
    model.pos_embed_window.copy_(torch.arange(8 * 8 * 8.0).view(1, 8, 8, 8))
    position = model._position(model.pos_embed, model.pos_embed_window, of=(20, 12))
    assert position.shape == (1, 20, 12, 8)
    assert torch.equal(position[0, 17, 11], model.pos_embed_window[0, :, 1, 3] + 2)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"stages": [1, 1]}, r"four stages; got stages \[1, 1\]"),
        ({"window_spec": [8]}, r"window_spec \[8\]"),
        ({"global_att_blocks": [6]}, r"\[6\] exceed the 6 blocks"),
        ({"global_att_blocks": [-1]}, "exceed the 6 blocks"),
    ],
)
def test_impossible_trunks(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trunk(**changed)


# The neck


def neck_and_heads(draw: Draw) -> tuple[FpnNeck, tuple[nn.Conv2d, nn.Conv2d]]:
    neck = FpnNeck(width=16, backbone_channel_list=[64, 32, 16, 8])
    return neck, (nn.Conv2d(16, 2, 1), nn.Conv2d(16, 4, 1))


def maps_of(draw: Draw, side: int = 16) -> list[Tensor]:
    return [draw(2, 8 * 2**k, side // 2**k, side // 2**k) for k in range(4)]


def test_two_projections_in_one(draw: Draw) -> None:
    first, second = nn.Conv2d(5, 16, 1), nn.Conv2d(16, 3, 1)
    x = draw(2, 5, 4, 4)
    together = F.conv2d(x, *_product(first.weight, first.bias, second.weight, second.bias))
    torch.testing.assert_close(together, second(first(x)), rtol=1e-5, atol=1e-5)
    grads = []
    for out in (together, second(first(x))):
        grads.append(torch.autograd.grad(out.square().sum(), [*first.parameters(), *second.parameters()]))
    for left, right in zip(*grads, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-4)


def test_the_neck_level_by_level(draw: Draw) -> None:
    neck, heads = neck_and_heads(draw)
    maps = maps_of(draw)
    quarter, half, coarse = neck(maps, heads)
    torch.testing.assert_close(quarter, heads[0](neck.convs[3](maps[0])), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(half, heads[1](neck.convs[2](maps[1])), rtol=1e-5, atol=1e-5)
    above = neck.convs[0](maps[3]).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(coarse, neck.convs[1](maps[2]) + above)
    assert [t.shape[1] for t in (quarter, half, coarse)] == [2, 4, 16]


def test_trunk_and_neck_must_fit() -> None:
    with pytest.raises(
        ValueError, match=r"expects widths \[99, 32, 16, 8\], the trunk gives \[64, 32, 16, 8\]"
    ):
        ImageEncoder(trunk(), FpnNeck(width=16, backbone_channel_list=[99, 32, 16, 8]))
