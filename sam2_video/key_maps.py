"""Weights by other names: the layout in which the Hugging Face hub stores the same models.

One table for each family, read in both directions, pairs our (the released) names with those of
`transformers`' `Sam2VideoModel` and `SamModel`. Only two things are more than a renaming: the four point
embeddings, which are rows of one matrix in `Sam2VideoModel`, and the random matrix of the positional
encoding, which is stored twice in both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sam2_video.types import CheckpointError

_Rows = tuple[tuple[str, str], ...]


def _below(ours: str, theirs: str, rows: _Rows) -> _Rows:
    return tuple((f"{ours}.{left}", f"{theirs}.{right}") for left, right in rows)


def _same(*names: str) -> _Rows:
    return tuple((name, name) for name in names)


def _numbered_norms(count: int) -> _Rows:
    return tuple((f"norm{i}", f"layer_norm{i}") for i in range(1, count + 1))


_ATTENTION: _Rows = (*_same("q_proj", "k_proj", "v_proj"), ("out_proj", "o_proj"))
_MLP2: _Rows = (("layers.0", "proj_in"), ("layers.1", "proj_out"))
_MLP3: _Rows = (("layers.0", "proj_in"), ("layers.1", "layers.0"), ("layers.2", "proj_out"))

_TRUNK: _Rows = (
    *_same("pos_embed", "pos_embed_window"),
    ("patch_embed.proj", "patch_embed.projection"),
    *_below("blocks.#", "blocks.#", (*_numbered_norms(2), *_same("attn.qkv", "attn.proj", "proj"))),
    *_below("blocks.#.mlp", "blocks.#.mlp", _MLP2),
)
_MEMORY_ATTENTION: _Rows = (
    *_below("layers.#", "layers.#", (*_numbered_norms(3), *_same("linear1", "linear2"))),
    *_below("layers.#.self_attn", "layers.#.self_attn", _ATTENTION),
    *_below("layers.#.cross_attn_image", "layers.#.cross_attn_image", _ATTENTION),
    ("norm", "layer_norm"),
)
_FUSER_LAYER: _Rows = (
    ("gamma", "scale"),
    ("dwconv", "depthwise_conv"),
    ("norm", "layer_norm"),
    ("pwconv1", "pointwise_conv1"),
    ("pwconv2", "pointwise_conv2"),
)
_MEMORY_ENCODER: _Rows = (
    # convolution, norm, activation, four times over, then a convolution: a flat list in the released models
    *((f"mask_downsampler.encoder.{3 * i}", f"mask_downsampler.layers.{i}.conv") for i in range(4)),
    *((f"mask_downsampler.encoder.{3 * i + 1}", f"mask_downsampler.layers.{i}.layer_norm") for i in range(4)),
    ("mask_downsampler.encoder.12", "mask_downsampler.final_conv"),
    ("pix_feat_proj", "feature_projection"),
    *_below("fuser.layers.#", "memory_fuser.layers.#", _FUSER_LAYER),
    ("out_proj", "projection"),
)
_PROMPT_ENCODER: _Rows = (
    *_same("not_a_point_embed", "no_mask_embed"),
    ("mask_downscaling.0", "mask_embed.conv1"),
    ("mask_downscaling.1", "mask_embed.layer_norm1"),
    ("mask_downscaling.3", "mask_embed.conv2"),
    ("mask_downscaling.4", "mask_embed.layer_norm2"),
    ("mask_downscaling.6", "mask_embed.conv3"),
)


def _mask_decoder(attention: _Rows, mlp: _Rows) -> _Rows:
    """What the decoders of both families have, around the names inside their attention and MLPs."""
    layers = ("self_attn", "cross_attn_token_to_image", "cross_attn_image_to_token")
    return (
        *_same("iou_token", "mask_tokens"),
        *_below("transformer.layers.#", "transformer.layers.#", _numbered_norms(4)),
        *_below("transformer.layers.#.mlp", "transformer.layers.#.mlp", mlp),
        *(
            row
            for part in layers
            for row in _below(f"transformer.layers.#.{part}", f"transformer.layers.#.{part}", attention)
        ),
        *_below("transformer.final_attn_token_to_image", "transformer.final_attn_token_to_image", attention),
        ("transformer.norm_final_attn", "transformer.layer_norm_final_attn"),
        ("output_upscaling.0", "upscale_conv1"),
        ("output_upscaling.1", "upscale_layer_norm"),
        ("output_upscaling.3", "upscale_conv2"),
        *_below("output_hypernetworks_mlps.#", "output_hypernetworks_mlps.#", _MLP3),
        *_below("iou_prediction_head", "iou_prediction_head", _MLP3),
    )


_MASK_DECODER: _Rows = (
    *_mask_decoder(_ATTENTION, _MLP2),
    *_same("obj_score_token", "conv_s0", "conv_s1"),
    *_below("pred_obj_score_head", "pred_obj_score_head", _MLP3),
)
_MASK_DECODER_1 = _mask_decoder(_same("q_proj", "k_proj", "v_proj", "out_proj"), _same("lin1", "lin2"))
_VIT: _Rows = (
    *_same("pos_embed"),
    ("patch_embed.proj", "patch_embed.projection"),
    *_below("blocks.#", "layers.#", (*_numbered_norms(2), *_same("mlp.lin1", "mlp.lin2"))),
    *_below("blocks.#.attn", "layers.#.attn", _same("qkv", "proj", "rel_pos_h", "rel_pos_w")),
    ("neck.0", "neck.conv1"),
    ("neck.1", "neck.layer_norm1"),
    ("neck.2", "neck.conv2"),
    ("neck.3", "neck.layer_norm2"),
)

# Names without their last ".weight" or ".bias". "#" stands for any number, and is always the first one in a
# name.
_SAM2: _Rows = (
    ("maskmem_tpos_enc", "memory_temporal_positional_encoding"),
    ("no_mem_embed", "no_memory_embedding"),
    ("no_mem_pos_enc", "no_memory_positional_encoding"),
    ("no_obj_ptr", "no_object_pointer"),
    ("no_obj_embed_spatial", "occlusion_spatial_embedding_parameter"),
    ("mask_downsample", "mask_downsample"),
    ("obj_ptr_tpos_proj", "temporal_positional_encoding_projection_layer"),
    *_below("obj_ptr_proj", "object_pointer_proj", _MLP3),
    *_below("image_encoder.trunk", "vision_encoder.backbone", _TRUNK),
    ("image_encoder.neck.convs.#.conv", "vision_encoder.neck.convs.#"),
    *_below("memory_attention", "memory_attention", _MEMORY_ATTENTION),
    *_below("memory_encoder", "memory_encoder", _MEMORY_ENCODER),
    *_below("sam_prompt_encoder", "prompt_encoder", _PROMPT_ENCODER),
    *_below("sam_mask_decoder", "mask_decoder", _MASK_DECODER),
)
_SAM1: _Rows = (
    *_below("image_encoder", "vision_encoder", _VIT),
    *_below("prompt_encoder", "prompt_encoder", (*_PROMPT_ENCODER, ("point_embeddings.#", "point_embed.#"))),
    *_below("mask_decoder", "mask_decoder", _MASK_DECODER_1),
)
_HUB_MATRICES = (
    "shared_image_embedding.positional_embedding",
    "prompt_encoder.shared_embedding.positional_embedding",
)
_HUB_POINTS = "prompt_encoder.point_embed.weight"  # of SAM 2: all four in one


@dataclass(frozen=True)
class _Family:
    """Two layouts of one kind of model."""

    rows: _Rows
    matrix: str  # the random matrix of the positional encoding
    points: tuple[str, ...]  # of ours, where theirs are one matrix
    ours: str  # what people call our layout
    theirs: str


_FAMILIES = {
    2: _Family(
        _SAM2,
        "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
        tuple(f"sam_prompt_encoder.point_embeddings.{i}.weight" for i in range(4)),
        "a released SAM 2 model",
        "transformers' Sam2VideoModel",
    ),
    1: _Family(
        _SAM1,
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
        (),
        "a released SAM 1 model",
        "transformers' SamModel",
    ),
}


def is_hub_layout(names: Iterable[str]) -> bool:
    """Tell whether these are names of `transformers`' layout."""
    return any(name.startswith("vision_encoder.") for name in names)


def to_hub_layout(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename released weights to the names of `transformers`' `Sam2VideoModel` or `SamModel`.

    Raises CheckpointError for unknown names.
    """
    family = _FAMILIES[
        1 if any(name.startswith(("image_encoder.blocks.", "mask_dec")) for name in state) else 2
    ]
    rest = dict(state)
    out: dict[str, Tensor] = {}
    points = [rest.pop(name) for name in family.points if name in rest]
    if points:
        out[_HUB_POINTS] = torch.cat(points)  # 4 x (1, C) -> (4, C)
    if family.matrix in rest:
        matrix = rest.pop(family.matrix)
        out.update({name: matrix.clone() for name in _HUB_MATRICES})
    return out | _rename(rest, dict(family.rows), family.ours)


def from_hub_layout(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename weights of `Sam2VideoModel`, `Sam2Model` or `SamModel` to the released names.

    Raises CheckpointError for unknown names, and where the two copies of the positional matrix differ.
    """
    family = _FAMILIES[1 if any(name.startswith("vision_encoder.layers.") for name in state) else 2]
    rest = dict(state)
    out: dict[str, Tensor] = {}
    if family.points and _HUB_POINTS in rest:
        rows = rest.pop(_HUB_POINTS)
        if rows.shape[0] != len(family.points):
            raise CheckpointError(f"{_HUB_POINTS} has {rows.shape[0]} rows, expected {len(family.points)}")
        parts = zip(family.points, torch.split(rows, 1), strict=True)
        out.update({name: row.clone() for name, row in parts})
    matrices = [rest.pop(name) for name in _HUB_MATRICES if name in rest]  # one, in files that tie the two
    if matrices:
        if not all(torch.equal(matrices[0], other) for other in matrices[1:]):
            raise CheckpointError(
                f"{' and '.join(_HUB_MATRICES)} differ; released models have one such matrix"
            )
        out[family.matrix] = matrices[0]
    back = {theirs: ours for ours, theirs in family.rows}
    return out | _rename(rest, back, family.theirs)


def _rename(state: Mapping[str, Tensor], table: Mapping[str, str], layout: str) -> dict[str, Tensor]:
    renamed = {name: _translate(name, table) for name in state}
    unknown = [name for name, new in renamed.items() if new is None]
    if unknown:
        raise CheckpointError(f"{len(unknown)} names are not of {layout}: {', '.join(unknown[:5])}")
    return {new: state[name] for name, new in renamed.items() if new is not None}


def _translate(name: str, table: Mapping[str, str]) -> str | None:
    stem, dot, leaf = name.rpartition(".")
    if leaf not in ("weight", "bias"):
        stem, dot, leaf = name, "", ""
    if stem in table:
        return table[stem] + dot + leaf
    number = re.search(r"(?<=\.)\d+(?=\.|$)", stem)
    if number is None:
        return None
    general = stem[: number.start()] + "#" + stem[number.end() :]
    return table[general].replace("#", number[0]) + dot + leaf if general in table else None
