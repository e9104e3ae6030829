"""Which weights a preset trains, and which parts of the network stand still.

frozen = prepare(model, settings)        # sets requires_grad, puts adapters in, wraps blocks to save memory
frozen.encoder                           # True: a picture looks the same for the whole run
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from sam2_video.finetuning.adapters import add_adapters
from sam2_video.finetuning.settings import Preset
from sam2_video.model.hiera import HieraBlock
from sam2_video.model.mask_decoder import TwoWayBlock
from sam2_video.model.memory_attention import MemoryAttentionLayer
from sam2_video.model.sam2 import SAM2

# These projections have the decoder's name, but are applied when a picture is encoded (SAM2.encode_image):
# they belong to its embedding, which is kept where the encoder stands still.
_ENCODED = ("sam_mask_decoder.conv_s0.", "sam_mask_decoder.conv_s1.")
PART_NAMES: Mapping[str, tuple[str, ...]] = {
    "encoder": ("image_encoder.", *_ENCODED),
    "prompts": ("sam_prompt_encoder.",),
    "decoder": ("sam_mask_decoder.",),
    "memory": (
        *("memory_attention.", "memory_encoder.", "mask_downsample.", "maskmem_tpos_enc", "no_mem_"),
        *("obj_ptr_proj.", "obj_ptr_tpos_proj.", "no_obj_"),
    ),
}


@dataclass(frozen=True)
class Frozen:
    """Which parts need no gradient: what they compute leaves no graph, and so no activations, behind.

    `memory`: nothing that memory reads or is made of is trained, so that no gradient goes through it either.
    """

    encoder: bool
    memory: bool

    def while_encoding(self) -> AbstractContextManager[Any]:
        return torch.no_grad() if self.encoder else nullcontext()


def prepare(model: SAM2, preset: Preset, seed: int) -> Frozen:
    """Make a model ready to be trained by a preset; see the module. Raises ConfigError for bad targets."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(part_of_name(name) in preset.parts)
    if preset.lora is not None:
        add_adapters(model, preset.lora, seed)
    if preset.checkpointing:
        _save_activations(model)
    trained = {part_of_name(name) for name in trained_weights(model)}
    return Frozen(encoder="encoder" not in trained, memory=not trained & {"encoder", "memory"})


def part_of_name(name: str) -> str:
    """Return the part that a weight belongs to. Raises KeyError for a name that is none of ours."""
    if name.startswith(PART_NAMES["encoder"]):
        return "encoder"
    found = (part for part, prefixes in PART_NAMES.items() if name.startswith(prefixes))
    return next(found)


def trained_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights that an optimiser changes, by name."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def _save_activations(model: nn.Module) -> None:
    """Compute blocks again in the backward pass instead of keeping what is inside them."""
    for module in model.modules():
        if isinstance(module, HieraBlock | MemoryAttentionLayer | TwoWayBlock):
            module.forward = partial(_recomputed, module.forward)  # type: ignore[method-assign]


def _recomputed(forward: Any, *inputs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*inputs)
    return checkpoint(forward, *inputs, use_reentrant=False)
