"""Numbers and a network for the tests of the parts."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import lru_cache

import pytest
import torch
from torch import Tensor

from sam2_video.config import build_model
from sam2_video.model.sam2 import SAM2

Draw = Callable[..., Tensor]

# Windows 8, 4, 14 and 7 and positions of 7 x 7, as in the smaller released models: few divide the grids.
TINY = [
    "width=32", "memory_width=8", "model.trunk.embed_dim=8", "model.trunk.stages=[1,2,2,1]",
    "model.trunk.global_att_blocks=[4]", "model.neck.backbone_channel_list=[64,32,16,8]",
    "model.memory_attention.num_layers=1", "model.memory_attention.hidden=16",
    "model.mask_decoder.transformer.hidden=16", "model.mask_decoder.transformer.heads=4",
]  # fmt: skip


@pytest.fixture
def draw() -> Draw:
    """Normal numbers of a shape; the next call gives others."""
    source = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=source)

    return normal


def tiny_model(version: str = "2.1") -> SAM2:
    """A small network whose every part matters to the result; objects are present."""
    return deepcopy(_template(version))


@lru_cache
def _template(version: str) -> SAM2:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model("sam2.1_hiera_tiny", [*TINY, "image_size=64", f"version='{version}'"])
    source = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            gain = 1.0 if name.startswith("memory_attention") else 1.5  # no attention on one key alone
            noise = torch.randn(value.shape, generator=source)
            value.copy_(gain * noise / value[0].numel() ** 0.5 if value.dim() > 1 else value + 0.1 * noise)
        for layer in model.memory_encoder.fuser.layers:
            layer.gamma.fill_(0.5)
        model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(20.0)
    return model.eval()


@pytest.fixture(scope="module")
def tiny() -> SAM2:
    return tiny_model()
