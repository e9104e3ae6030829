"""Clicks, boxes and earlier masks as embeddings; candidate masks as predictions."""

from __future__ import annotations

import pytest
import torch

from sam2_video.model.memory_encoder import MemoryEncoder
from sam2_video.model.prompt_encoder import PromptEncoder
from sam2_video.model.sam2 import COARSE_STRIDE
from tests.model.conftest import Draw


@pytest.fixture
def encoder(draw: Draw) -> PromptEncoder:
    made = PromptEncoder(width=8, mask_width=16)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(draw(*parameter.shape))
    return made


def test_a_point_is_its_place_and_its_kind(encoder: PromptEncoder, draw: Draw) -> None:
    points = torch.tensor([[[3.0, 10.0], [0.0, 0.0], [5.0, 6.0], [20.0, 30.0]]])
    tokens = encoder.sparse(points, torch.tensor([[0, 1, 2, 3]]), 64)
    assert tokens.shape == (1, 5, 8)
    for k in range(4):
        place = encoder.pe_layer((points[0, k] + 0.5) / 64)  # the centre of the pixel
        torch.testing.assert_close(tokens[0, k], place + encoder.point_embeddings[k].weight[0])
    assert torch.equal(tokens[0, 4], encoder.not_a_point_embed.weight[0])


def test_padding_has_no_place(encoder: PromptEncoder) -> None:
    points = torch.tensor([[[3.0, 10.0]], [[50.0, 60.0]]])
    tokens = encoder.sparse(points, torch.tensor([[-1], [-1]]), 64)
    assert torch.equal(tokens, encoder.not_a_point_embed.weight.expand(2, 2, 8))


def test_without_points_there_are_no_tokens(encoder: PromptEncoder) -> None:
    """A mask alone is refined: the reference's image predictors then make no tokens, not even padding."""
    tokens = encoder.sparse(torch.zeros(2, 0, 2), torch.zeros(2, 0, dtype=torch.int64), 64)
    assert tokens.shape == (2, 0, 8)


def test_masks_become_maps(encoder: PromptEncoder, draw: Draw) -> None:
    logits = draw(2, 1, 16, 16)
    dense = encoder.dense(logits)
    assert dense.shape == (2, 8, 4, 4)
    assert (dense[0] - dense[1]).abs().max() > 0.1
    assert torch.equal(encoder.dense(None), encoder.no_mask_embed.weight.view(1, 8, 1, 1))


def test_the_memory_encoder_sees_pixels_and_masks(draw: Draw) -> None:
    torch.manual_seed(0)
    encoder = MemoryEncoder(width=16, memory_width=4)
    for layer in encoder.fuser.layers:
        torch.nn.init.ones_(layer.gamma)
    pixels, masks = draw(1, 16, 3, 3), 5 * draw(2, 1, 3 * COARSE_STRIDE, 3 * COARSE_STRIDE)
    out = encoder(pixels, masks)  # one frame, two objects
    assert out.shape == (2, 4, 3, 3)
    assert (out[0] - out[1]).abs().max() > 1e-3
    assert (encoder(2 * pixels, masks) - out).abs().max() > 1e-3
    torch.testing.assert_close(encoder(pixels, masks[1:]), out[1:], rtol=1e-4, atol=1e-5)
