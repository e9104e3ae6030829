"""A network small enough for hundreds of frames a second, and clips to run it on."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

import sam2_video
from sam2_video.model.sam1 import SAM1
from sam2_video.model.sam2 import SAM2

SIDE = 64
TOY_OVERRIDES = [f"image_size={SIDE}", "width=64", "memory_width=16"]
FRAME_SIZE = (48, 80)  # (H, W): not square, so that mixed-up axes show


@lru_cache(maxsize=4)
def toy_model(image_size: int = SIDE) -> SAM2:
    """`nano`'s parts with random weights that keep signals alive; every object counts as present."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = sam2_video.build_model("nano", overrides=[*TOY_OVERRIDES, f"image_size={image_size}"])
    source = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.state_dict().items():
            if parameter.dim() > 1:
                # Memory must matter: with plain weights two objects soon look alike.
                gain = 3.0 if name.startswith(("memory_", "obj_ptr", "maskmem")) else 1.0
                noise = torch.randn(parameter.shape, generator=source)
                parameter.copy_(gain * noise / parameter[0].numel() ** 0.5)
        model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(20.0)
    return model.eval()


SAM1_OVERRIDES = [
    f"image_size={SIDE}",
    "width=32",
    "model.image_encoder.embed_dim=24",
    "model.image_encoder.depth=2",
    "model.image_encoder.num_heads=2",
    "model.image_encoder.global_att_blocks=[1]",
    "model.image_encoder.window=3",
    "model.image_encoder.grid=4",
    "model.mask_decoder.transformer.heads=4",
    "model.mask_decoder.transformer.hidden=48",
]


@lru_cache(maxsize=1)
def toy_sam1() -> SAM1:
    """SAM 1's parts, as small; windows of 3 cells on a map of 4, so that they are padded."""
    model = sam2_video.build_model("sam_vit_b", overrides=SAM1_OVERRIDES)
    assert isinstance(model, SAM1)
    source = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            noise = torch.randn(value.shape, generator=source)
            if value.dim() > 1:
                value.copy_(noise if "pos" in name else noise / value[0].numel() ** 0.5)
            else:
                value.copy_(0.1 * noise + float(name.endswith("weight")))
    return model.eval()


def toy_clip(frames: int, size: tuple[int, int] = FRAME_SIZE, seed: int = 0) -> list[NDArray[np.uint8]]:
    """A bright square that moves over noise; every frame differs from every other."""
    rng = np.random.default_rng(seed)
    height, width = size
    clip = []
    for t in range(frames):
        frame = rng.integers(0, 90, (height, width, 3), dtype=np.uint8)
        x, y = (5 + 3 * t) % (width - 16), (8 + 2 * t) % (height - 16)
        frame[y : y + 16, x : x + 16] = (250, 40 + 5 * t % 200, 120)
        clip.append(frame)
    return clip
