"""SAM 1's trunk: relative positions, windows, and pictures of other sizes."""

from __future__ import annotations

import pytest
import torch

from sam2_video.model import vit
from sam2_video.model.vit import RelativeAttention, ViT, relative_positions
from tests.model.conftest import Draw
from tests.toys import toy_sam1


def test_relative_positions_count_from_key_to_query(draw: Draw) -> None:
    table = draw(5, 2)  # distances -2 .. 2
    found = relative_positions(table, 3)
    for query in range(3):
        for key in range(3):
            assert torch.equal(found[query, key], table[query - key + 2])


def test_a_table_for_another_side_is_stretched() -> None:
    """A table that is linear in the distance stays so, and its middle stays the middle."""
    table = torch.arange(-3.0, 4.0)[:, None]  # side 4
    found = relative_positions(table, 7)
    assert found.shape == (7, 7, 1)
    assert found[:, :, 0].diagonal().abs().max() < 1e-5
    assert (found[:, 0, 0].diff() > 0).all() and found[6, 0, 0] == pytest.approx(3, abs=0.3)


def by_hand(layer: RelativeAttention, x: torch.Tensor) -> torch.Tensor:
    """Every pair of cells on its own."""
    (height, width), heads = x.shape[1:3], layer.heads
    q, k, v = layer.qkv(x[0]).chunk(3, dim=-1)  # (H, W, C)
    out = torch.zeros_like(q)
    for part in q.shape[-1] // heads * torch.arange(heads + 1).unfold(0, 2, 1):
        own = slice(*part.tolist())
        for row in range(height):
            for column in range(width):
                query = q[row, column, own]
                score = (k[..., own] @ query) / query.numel() ** 0.5
                for y in range(height):
                    for x_ in range(width):
                        score[y, x_] += query @ layer.rel_pos_h[row - y + height - 1]
                        score[y, x_] += query @ layer.rel_pos_w[column - x_ + width - 1]
                weight = score.flatten().softmax(0).view(height, width, 1)
                out[row, column, own] = (weight * v[..., own]).sum((0, 1))
    return torch.as_tensor(layer.proj(out))[None]


@torch.no_grad()
def test_attention_adds_the_vectors_of_rows_and_columns(draw: Draw) -> None:
    layer = RelativeAttention(8, 2, grid=4)
    layer.rel_pos_h.copy_(draw(7, 4))
    layer.rel_pos_w.copy_(2 * draw(7, 4))
    x = draw(1, 4, 4, 8)
    torch.testing.assert_close(layer(x), by_hand(layer, x), rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("budget", [1, 4 * 2 * 16 * 3], ids=["a row at a time", "three rows at a time"])
def test_rows_at_a_time_change_nothing(budget: int, draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = RelativeAttention(8, 2, grid=4)
    layer.rel_pos_h.copy_(draw(7, 4))
    asked: list[int] = []
    attend = vit.attend
    monkeypatch.setattr(vit, "attend", lambda *args: asked.append(args[0].shape[2]) or attend(*args))
    x = draw(1, 4, 4, 8)
    whole = layer(x)
    monkeypatch.setattr(vit, "BIAS_BUDGET", budget)
    torch.testing.assert_close(layer(x), whole, rtol=1e-5, atol=1e-6)
    assert asked == [16] + ([4] * 4 if budget == 1 else [12, 4])


@torch.no_grad()
def test_windows_see_themselves_alone(draw: Draw) -> None:
    trunk = toy_sam1().image_encoder
    block = trunk.blocks[0]  # windows of 3 cells on a map of 4 x 4
    x = draw(1, 4, 4, 24)
    changed = x.clone()
    changed[0, 3, 3, :5] += 1
    moved = (block(changed) - block(x))[0].abs().sum(-1) > 1e-6
    assert moved.nonzero().tolist() == [[3, 3]]
    changed[0, 0, 0, :5] += 1
    moved = (block(changed) - block(x))[0].abs().sum(-1) > 1e-6
    assert moved[:3, :3].all() and not moved[3, :3].any() and not moved[:3, 3].any()


@torch.no_grad()
@pytest.mark.parametrize("side", [16, 48, 64, 80])
def test_any_multiple_of_a_patch_works(side: int, draw: Draw) -> None:
    model = toy_sam1()
    pictures = draw(2, 3, side, side)
    together = model.image_encoder(pictures)
    assert together.shape == (2, 32, side // 16, side // 16) and torch.isfinite(together).all()
    torch.testing.assert_close(together[1:], model.image_encoder(pictures[1:]), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_positions_are_stretched_with_the_map() -> None:
    trunk = toy_sam1().image_encoder
    assert trunk._position(4, 4) is trunk.pos_embed
    assert trunk._position(8, 8).shape == (1, 8, 8, 24)
    constant = ViT(embed_dim=8, depth=1, num_heads=2, global_att_blocks=[0], window=2, grid=4, width=8)
    constant.pos_embed.fill_(0.5)
    torch.testing.assert_close(constant._position(6, 6), torch.full((1, 6, 6, 8), 0.5))


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [({"num_heads": 5}, "not divisible by 5 heads"), ({"global_att_blocks": [3]}, "exceed the 2 blocks")],
)
def test_settings_that_do_not_fit(settings: dict[str, object], complaint: str) -> None:
    sizes = {"embed_dim": 24, "depth": 2, "num_heads": 2, "window": 3, "grid": 4, "width": 8}
    usual = sizes | {"global_att_blocks": [1]}
    with pytest.raises(ValueError, match=complaint):
        ViT(**(usual | settings))  # type: ignore[arg-type]
