"""The same network in `transformers`, with the same weights."""

from __future__ import annotations

from typing import Any

from sam2_video.config import compose_config
from sam2_video.key_maps import to_hub_layout
from sam2_video.model.sam2 import COARSE_STRIDE, SAM2
from sam2_video.types import ConfigError

SHARED = "shared_image_embedding.positional_embedding"  # a second name of a weight that both hold once


def hub_twin(model: SAM2, name: str) -> Any:
    """`Sam2VideoModel` with the weights of `model`, a packaged one by `name`. Raises ConfigError.

    `transformers` cannot build every network that we can: its blocks that pool never see the whole map.
    """
    try:
        import transformers
    except ImportError as error:
        raise ConfigError("a comparison with transformers needs it: pip install transformers") from error
    config = compose_config("model", name, [f"image_size={model.image_size}"])
    pooling = {sum(config.model.trunk.stages[:stage]) for stage in (1, 2, 3)}
    if pooling & set(config.model.trunk.global_att_blocks):
        raise ConfigError(f"transformers cannot build {name}: a block that pools sees the whole map there")
    twin: Any = transformers.Sam2VideoModel(_hub_config(config, model.image_size))
    missing, unexpected = twin.load_state_dict(to_hub_layout(model.state_dict()), strict=False)
    if set(missing) - {SHARED} or unexpected:
        raise ConfigError(f"these weights are not those of transformers' model: {missing} {unexpected}")
    place = twin.prompt_encoder.shared_embedding.positional_embedding
    twin.shared_image_embedding.positional_embedding.data.copy_(place)
    return twin.to(model.device, model.dtype).eval()


def _hub_config(config: Any, size: int) -> Any:
    from transformers import Sam2VideoConfig, Sam2VideoMaskDecoderConfig

    width, decoder = config.width, config.model.mask_decoder.transformer
    attention = config.model.memory_attention
    return Sam2VideoConfig(
        vision_config=_vision(config.model.trunk, width, size),
        prompt_encoder_config={"hidden_size": width, "image_size": size},
        # Some releases take a dictionary here for the prompt encoder's.
        mask_decoder_config=Sam2VideoMaskDecoderConfig(
            hidden_size=width,
            mlp_dim=decoder.hidden,
            num_attention_heads=decoder.heads,
            iou_head_hidden_dim=width,
        ),
        image_size=size,
        memory_attention_hidden_size=width,
        memory_attention_num_layers=attention.num_layers,
        memory_attention_feed_forward_hidden_size=attention.hidden,
        memory_attention_rope_feat_sizes=[size // COARSE_STRIDE] * 2,
        memory_encoder_hidden_size=width,
        memory_encoder_output_channels=config.memory_width,
        mask_downsampler_embed_dim=width,
        memory_fuser_embed_dim=width,
        memory_fuser_intermediate_dim=4 * width,
        enable_occlusion_spatial_embedding=config.version == "2.1",
        enable_temporal_pos_encoding_for_object_pointers=config.version == "2.1",
    )


def _vision(trunk: Any, width: int, size: int) -> dict[str, Any]:
    widths = [trunk.embed_dim * 2**stage for stage in range(4)]
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "image_size": [size, size],
        "hidden_size": trunk.embed_dim,
        "num_attention_heads": trunk.num_heads,
        "embed_dim_per_stage": widths,
        "blocks_per_stage": list(trunk.stages),
        "num_attention_heads_per_stage": [trunk.num_heads * 2**stage for stage in range(4)],
        "global_attention_blocks": list(trunk.global_att_blocks),
        "window_size_per_stage": list(trunk.window_spec),
        "window_positional_embedding_background_size": list(trunk.window_pos_embed_bkg_spatial_size),
    }
    return {
        "model_type": "sam2_vision_model",
        "backbone_config": backbone,
        "backbone_channel_list": widths[::-1],
        "backbone_feature_sizes": [[size // stride] * 2 for stride in (4, 8, COARSE_STRIDE)],
        "fpn_hidden_size": width,
    }
