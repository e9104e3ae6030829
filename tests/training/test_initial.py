"""A network that starts from scratch knows where things are before it knows what they are."""

from __future__ import annotations

import torch

from sam2_video.config import build_model
from sam2_video.model.layers import split_heads
from sam2_video.model.position import axial_rope
from sam2_video.model.sam2 import SAM2
from sam2_video.training.initial import give_sense_of_place

from .test_loop import TOY


def started(place: bool) -> SAM2:
    torch.manual_seed(0)
    model = build_model("nano", [*TOY, "width=64"])
    if place:
        give_sense_of_place(model)
    return model


@torch.no_grad()
def test_memory_attention_looks_at_the_same_place_first() -> None:
    def near(model: SAM2) -> float:
        layer = model.memory_attention.layers[0].cross_attn_image
        table = axial_rope(8, 8, 64)
        queries = layer.queries(torch.randn(1, 64, 64), table)
        keys = split_heads(layer.keys(torch.randn(1, 64, 16), table), 1)
        weights = (queries @ keys.transpose(-2, -1) / 8).softmax(dim=-1)[0, 0]
        return float(weights.diagonal().mean())

    assert near(started(place=False)) < 2 / 64
    assert near(started(place=True)) > 8 / 64


@torch.no_grad()
def test_a_click_attends_to_its_own_pixels_first() -> None:
    def nearest_first(model: SAM2) -> float:
        attention = model.sam_mask_decoder.transformer.layers[0].cross_attn_token_to_image
        codes = model.sam_prompt_encoder.pe_layer.grid(8, 8).flatten(2).transpose(1, 2)
        scores = attention.q_proj(codes)[0] @ attention.k_proj(codes)[0].T
        return float((scores.argmax(dim=1) == torch.arange(64)).float().mean())

    assert nearest_first(started(place=False)) < 0.3
    assert nearest_first(started(place=True)) > 0.7


@torch.no_grad()
def test_half_of_the_position_code_varies_slowly_over_the_picture() -> None:
    plain, placed = (started(p).sam_prompt_encoder.pe_layer for p in (False, True))
    half = plain.positional_encoding_gaussian_matrix.shape[1] // 2
    ratio = placed.positional_encoding_gaussian_matrix / plain.positional_encoding_gaussian_matrix
    assert torch.allclose(ratio[:, :half], torch.tensor(0.25)) and torch.allclose(
        ratio[:, half:], torch.tensor(1.0)
    )
