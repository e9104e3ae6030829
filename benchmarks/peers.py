"""The models of `transformers` that benchmarks compare with: the same weights, the same frames, made to wait
in the same state."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam2_video.config import compose_config
from sam2_video.key_maps import to_hub_layout
from sam2_video.model.sam2 import SAM2
from sam2_video.session import VideoSession
from sam2_video.timeline import Way
from sam2_video.video_predictor import VideoPredictor

CLICK = (0.4, 0.5)  # of width and height


def hub_twin(model: SAM2, name: str, size: int) -> Any:
    """`Sam2VideoModel` with the weights of `model`, which was built by packaged name."""
    import transformers

    config = compose_config("model", name, [f"image_size={size}"])
    trunk, width = config.model.trunk, config.width
    widths = [trunk.embed_dim * 2**stage for stage in range(4)]
    decoder, attention = config.model.mask_decoder.transformer, config.model.memory_attention
    grid = size // 16
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
    vision = {
        "model_type": "sam2_vision_model",
        "backbone_config": backbone,
        "backbone_channel_list": widths[::-1],
        "backbone_feature_sizes": [[size // 4] * 2, [size // 8] * 2, [grid] * 2],
        "fpn_hidden_size": width,
    }
    twin = transformers.Sam2VideoModel(
        transformers.Sam2VideoConfig(
            vision_config=vision,
            prompt_encoder_config={"hidden_size": width, "image_size": size},
            mask_decoder_config={
                "hidden_size": width,
                "mlp_dim": decoder.hidden,
                "num_attention_heads": decoder.heads,
                "iou_head_hidden_dim": width,
            },
            image_size=size,
            memory_attention_hidden_size=width,
            memory_attention_num_layers=attention.num_layers,
            memory_attention_feed_forward_hidden_size=attention.hidden,
            memory_attention_rope_feat_sizes=[grid, grid],
            memory_encoder_hidden_size=width,
            memory_encoder_output_channels=config.memory_width,
            mask_downsampler_embed_dim=width,
            memory_fuser_embed_dim=width,
            memory_fuser_intermediate_dim=4 * width,
            enable_occlusion_spatial_embedding=config.version == "2.1",
            enable_temporal_pos_encoding_for_object_pointers=config.version == "2.1",
        )
    )
    missing, unexpected = twin.load_state_dict(to_hub_layout(model.state_dict()), strict=False)
    shared = {"shared_image_embedding.positional_embedding"}
    if set(missing) - shared or unexpected:
        raise SystemExit(f"weights do not fit transformers' model: {missing} {unexpected}")
    twin.shared_image_embedding.positional_embedding.data.copy_(
        twin.prompt_encoder.shared_embedding.positional_embedding
    )
    return twin.eval()


def textured_clip(size: int, frames: int) -> list[NDArray[np.uint8]]:
    """A textured square that moves over noise, of model size."""
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 120, (size, size, 3), dtype=np.uint8)
    side = size // 3
    patch = rng.integers(100, 255, (side, side, 3), dtype=np.uint8)
    clip = []
    for t in range(frames):
        frame = ground.copy()
        x = size // 5 + 2 * t
        frame[size // 3 : size // 3 + side, x : x + side] = patch
        clip.append(frame)
    return clip


class Ours:
    """A session of ours in which `objects` have been tracked up to frame `start`."""

    def __init__(self, model: SAM2, clip: list[NDArray[np.uint8]], objects: int, start: int) -> None:
        self.session: VideoSession = VideoPredictor(model).open(clip)
        size = clip[0].shape[0]
        for k in range(objects):
            spot = (CLICK[0] * size + k, CLICK[1] * size)
            self.session.prompt(frame=0, object_id=k + 1, points=[spot], labels=[1])
        for _ in self.session.propagate(stop=2):
            pass
        for k in range(objects):  # as if every frame had left the memory of the first that was tracked
            track = self.session.track(k + 1)
            for frame in range(2, start):
                memory = track.bank.tracked[1].map(torch.clone)
                track.bank.add(frame, memory, prompted=False)
                track.pass_by(frame, Way(1))

    def step(self, frame: int) -> Tensor:
        """Track one frame; returns low-resolution logits (N, h, w)."""
        (result,) = self.session.propagate(start=frame, stop=frame + 1)
        return result.logits


class Theirs:
    """A session of `transformers` in the same state."""

    def __init__(self, twin: Any, clip: list[NDArray[np.uint8]], objects: int, start: int) -> None:
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

        self.twin, size = twin, clip[0].shape[0]
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        pixels = torch.stack([(torch.from_numpy(f) / 255 - mean) / std for f in clip]).permute(0, 3, 1, 2)
        self.session = Sam2VideoInferenceSession(
            video=pixels.to(twin.dtype), video_height=size, video_width=size, dtype=twin.dtype
        )
        for k in range(objects):
            row = self.session.obj_id_to_idx(k + 1)
            spot = torch.tensor([[[[CLICK[0] * size + k, CLICK[1] * size]]]])
            self.session.add_point_inputs(
                row, 0, {"point_coords": spot, "point_labels": torch.tensor([[[1]]])}
            )
            self.session.obj_with_new_inputs.append(k + 1)
        with torch.inference_mode():
            twin(self.session, frame_idx=0)
            twin(self.session, frame_idx=1)
        for k in range(objects):
            known = self.session.output_dict_per_obj[k]["non_cond_frame_outputs"]
            for frame in range(2, start):
                known[frame] = dict(known[1])

    def step(self, frame: int) -> Tensor:
        """Track one frame; returns low-resolution logits (N, h, w)."""
        with torch.inference_mode():
            found: Tensor = self.twin(self.session, frame_idx=frame).pred_masks
        return found.flatten(0, 1).float()
