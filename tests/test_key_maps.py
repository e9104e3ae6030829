"""The table of names against `transformers` itself, in both directions."""

from __future__ import annotations

import pytest
import torch

from sam2_video import registry
from sam2_video.key_maps import from_hub_layout, is_hub_layout, to_hub_layout
from sam2_video.types import CheckpointError
from tests.paths import SHARED, needs_shared

WIDTH = 32


def released(name: str) -> dict[str, torch.Tensor]:
    """The state dict of a released model, without its numbers."""
    lines = (SHARED / "reference" / "manifests" / f"{name}.txt").read_text().splitlines()
    shapes = {line.split()[0]: [int(n) for n in [*line.split(), "1"][1].split("x")] for line in lines}
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


def sub_configs(width: int = WIDTH) -> dict[str, dict]:
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 16,
        "embed_dim_per_stage": [16, 32, 64, 128],
        "blocks_per_stage": [1, 1, 2, 1],
        "num_attention_heads_per_stage": [1, 2, 4, 8],
        "global_attention_blocks": [3],
    }
    vision = {
        "model_type": "sam2_vision_model",
        "backbone_config": backbone,
        "backbone_channel_list": [128, 64, 32, 16],
        "fpn_hidden_size": width,
    }
    decoder = {"hidden_size": width, "mlp_dim": 48, "num_attention_heads": 4, "iou_head_hidden_dim": width}
    return {
        "vision_config": vision,
        "prompt_encoder_config": {"hidden_size": width},
        "mask_decoder_config": decoder,
    }


def hub_model(width: int = WIDTH, **options) -> torch.nn.Module:
    transformers = pytest.importorskip("transformers")
    config = transformers.Sam2VideoConfig(
        **sub_configs(width),
        memory_attention_hidden_size=width,
        memory_attention_num_layers=2,
        memory_attention_feed_forward_hidden_size=48,
        memory_encoder_hidden_size=width,
        mask_downsampler_embed_dim=width,
        memory_fuser_embed_dim=width,
        memory_fuser_intermediate_dim=4 * width,
        **options,
    )
    return randomise(transformers.Sam2VideoModel(config))


def randomise(model: torch.nn.Module) -> torch.nn.Module:
    """Numbers that differ everywhere: what is zero by default would pass in any order."""
    generator = torch.Generator().manual_seed(0)
    for value in model.state_dict().values():
        value.copy_(torch.randn(value.shape, generator=generator))
    matrix = model.prompt_encoder.shared_embedding.positional_embedding
    model.shared_image_embedding.positional_embedding.copy_(matrix)
    return model


def assert_equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert set(left) == set(right)
    for name in left:
        assert torch.equal(left[name], right[name]), name


@pytest.mark.parity
@pytest.mark.parametrize("second_generation", [True, False], ids=["2.1", "2.0"])
def test_round_trip_through_transformers(second_generation):
    theirs = hub_model(
        enable_occlusion_spatial_embedding=second_generation,
        enable_temporal_pos_encoding_for_object_pointers=second_generation,
    ).state_dict()
    ours = from_hub_layout(theirs)
    assert is_hub_layout(theirs) and not is_hub_layout(ours)
    assert_equal(to_hub_layout(ours), theirs)
    assert_equal(from_hub_layout(to_hub_layout(ours)), ours)
    assert ("no_obj_embed_spatial" in ours) == second_generation


@pytest.mark.parity
@needs_shared
@pytest.mark.parametrize("second_generation", [True, False], ids=["2.1", "2.0"])
def test_names_are_those_of_the_released_models(second_generation):
    """A toy model has no fewer kinds of parameters than a released one: they differ in block numbers only."""
    name = "sam2.1_hiera_tiny" if second_generation else "sam2_hiera_tiny"
    ours = from_hub_layout(
        hub_model(
            enable_occlusion_spatial_embedding=second_generation,
            enable_temporal_pos_encoding_for_object_pointers=second_generation,
        ).state_dict()
    )
    prefixes = ("image_encoder.trunk.blocks.", "memory_attention.layers.")
    steady = {key for key in released(name) if not key.startswith(prefixes)}
    assert steady == {key for key in ours if not key.startswith(prefixes)}

    def without_block(keys):
        return {
            ".".join(part for part in key.split(".") if part != key.split(".")[len(pre.split(".")) - 1])
            for pre in prefixes
            for key in keys
            if key.startswith(pre)
        }

    assert without_block(released(name)) == without_block(ours)


@pytest.mark.parity
@needs_shared
def test_full_size_shapes_are_those_of_transformers():
    transformers = pytest.importorskip("transformers")
    with torch.device("meta"):
        theirs = transformers.Sam2VideoModel(
            transformers.Sam2VideoConfig()
        ).state_dict()  # tiny is its default
    hub = to_hub_layout(released("sam2.1_hiera_tiny"))
    assert {k: v.shape for k, v in hub.items()} == {k: v.shape for k, v in theirs.items()}


@pytest.mark.parity
def test_image_model_of_transformers_is_the_part_without_memory():
    transformers = pytest.importorskip("transformers")
    image = randomise(transformers.Sam2Model(transformers.Sam2Config(**sub_configs())))
    ours = from_hub_layout(image.state_dict())
    assert_equal(to_hub_layout(ours), image.state_dict())
    assert not any(name.startswith(("memory_", "obj_ptr")) for name in ours)
    assert set(ours) < set(from_hub_layout(hub_model().state_dict()))


@needs_shared
@pytest.mark.parametrize("name", [info.name for info in registry.RELEASED])
def test_every_released_name_has_a_counterpart_of_its_own(name):
    ours = released(name)
    theirs = to_hub_layout(ours)
    assert len(theirs) == len(ours) - 3 + 1  # four point embeddings become one, the matrix is there twice
    back = {key: value for key, value in theirs.items() if not key.endswith("positional_embedding")}
    matrix = "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
    assert set(from_hub_layout(back)) == set(ours) - {matrix}


def test_names_of_neither_layout_are_refused():
    with pytest.raises(CheckpointError, match="1 names are not of a released SAM 2 model: extra"):
        to_hub_layout({"extra.weight": torch.zeros(1), "no_obj_ptr": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="not of transformers"):
        from_hub_layout({"vision_encoder.neck.convs.0.bias": torch.zeros(1), "no_obj_ptr": torch.zeros(1)})


def test_one_copy_of_the_matrix_is_enough_and_two_must_agree():
    matrix = torch.randn(2, 4)
    one = {"shared_image_embedding.positional_embedding": matrix}
    assert torch.equal(*from_hub_layout(one).values(), matrix)
    two = one | {"prompt_encoder.shared_embedding.positional_embedding": matrix + 1}
    with pytest.raises(CheckpointError, match="differ"):
        from_hub_layout(two)
    with pytest.raises(CheckpointError, match="5 rows, expected 4"):
        from_hub_layout({"prompt_encoder.point_embed.weight": torch.zeros(5, 4)})


@pytest.mark.parity
@torch.no_grad()
def test_paired_names_play_the_same_part():
    """Where two names of one shape were confused, the sets above would agree and the numbers would not."""
    from sam2_video.checkpoint import load_weights
    from sam2_video.config import build_model
    from sam2_video.model.memory_attention import MemoryTokens

    theirs = hub_model(width=64, image_size=64, memory_attention_rope_feat_sizes=[4, 4]).eval()
    for value in theirs.state_dict().values():
        if value.dim() >= 2:
            value.div_(value[0].numel() ** 0.5)
    ours = build_model(
        "sam2.1_hiera_tiny",
        [
            "image_size=64",
            "width=64",
            "model.trunk.embed_dim=16",
            "model.trunk.stages=[1,1,2,1]",
            "model.trunk.global_att_blocks=[3]",
            "model.neck.backbone_channel_list=[128,64,32,16]",
            "model.memory_attention.num_layers=2",
            "model.memory_attention.hidden=48",
            "model.mask_decoder.transformer.hidden=48",
            "model.mask_decoder.transformer.heads=4",
        ],
    ).eval()
    load_weights(ours, from_hub_layout(theirs.state_dict()), "transformers")

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))

    def grid(tokens: torch.Tensor) -> torch.Tensor:
        return tokens.transpose(1, 2).unflatten(2, (4, 4))

    def close(left: torch.Tensor, right: torch.Tensor) -> None:
        assert left.std() > 0.005  # else it would show nothing
        torch.testing.assert_close(left, right.reshape(left.shape), rtol=1e-4, atol=1e-4)

    frame, mask, vector = draw(1, 3, 64, 64), draw(1, 1, 64, 64), draw(3, 64)
    close(ours.encode_image(frame).coarse, theirs.vision_encoder(frame).fpn_hidden_states[-1])
    close(ours.obj_ptr_proj(vector), theirs.object_pointer_proj(vector))
    decoder, hub_decoder = ours.sam_mask_decoder, theirs.mask_decoder
    close(decoder.pred_obj_score_head(vector), hub_decoder.pred_obj_score_head(vector))
    for mlp, hub_mlp in zip(
        decoder.output_hypernetworks_mlps, hub_decoder.output_hypernetworks_mlps, strict=True
    ):
        close(mlp(vector), hub_mlp(vector))
    pixels = draw(1, 64, 4, 4)
    close(ours.memory_encoder(pixels, mask), theirs.memory_encoder(pixels, mask)[0])
    close(ours.sam_prompt_encoder.mask_downscaling(mask), theirs.prompt_encoder.mask_embed(mask))

    tokens, image, place = draw(2, 5, 64), draw(2, 16, 64), 0.1 * draw(2, 16, 64)
    result = decoder.transformer(tokens, image, place)
    hub_result = hub_decoder.transformer(
        point_embeddings=tokens[:, None],
        image_embeddings=grid(image),
        image_positional_embeddings=grid(place),
        attention_similarity=None,
    )
    close(result[0], hub_result[0])
    close(result[1], hub_result[1])
    memory = draw(2, 24, 64)  # 16 tokens of a map, 8 of pointers, which have no place
    hub_result = theirs.memory_attention(
        current_vision_features=image.transpose(0, 1),
        memory=memory.transpose(0, 1),
        current_vision_position_embeddings=place.transpose(0, 1),
        memory_posision_embeddings=0.1 * memory.transpose(0, 1),
        num_object_pointer_tokens=8,
    )
    attention, keyed = ours.memory_attention, 1.1 * memory
    seen = MemoryTokens(
        values=memory.transpose(1, 2),
        keys=[attention.memory_keys(keyed[:, :16], (4, 4)).unbind()],
        slots=[0],
        codes=torch.zeros(1, 64),
        placeless=keyed[:, 16:],
    )
    close(attention(image, place, seen, (4, 4)), hub_result)
