"""Low-rank adapters through `peft`: put into linear layers, and merged into their weights for the file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from sam2_video.finetuning.settings import LoraSettings
from sam2_video.model.layers import MLP, Linear
from sam2_video.types import ConfigError

TARGETS = {
    "encoder": r"image_encoder\.trunk\.blocks\.\d+\.attn\.(qkv|proj)",
    "decoder": r"sam_mask_decoder\.transformer\..+\.(q_proj|k_proj|v_proj|out_proj)",
}
BASE = ".base_layer."  # what peft puts between the name of a layer and its weights


def add_adapters(model: nn.Module, settings: LoraSettings, seed: int) -> None:
    """Put adapters into the layers that are meant; all else stands still, the layers' own weights too.

    Raises ConfigError where nothing is meant, or a layer that no adapter fits.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ConfigError("preset=lora needs peft: pip install 'sam2_video[train]'") from error
    names = find_targets(model, settings)
    config = LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, lora_dropout=settings.dropout, target_modules=names
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".lora_" in name)


def find_targets(model: nn.Module, settings: LoraSettings) -> list[str]:
    """Return the names of the layers that get adapters. Raises ConfigError."""
    layers = {name for name, module in model.named_modules() if isinstance(module, Linear)}
    patterns = {target: re.compile(TARGETS.get(target, target)) for target in settings.targets}
    for target, pattern in patterns.items():
        if not any(pattern.fullmatch(name) for name in layers):
            raise ConfigError(
                f"preset.lora.targets: {target!r} means no linear layer; see docs/finetuning.md"
            )
    found = sorted(name for name in layers if any(p.fullmatch(name) for p in patterns.values()))
    unfit = set(_without_a_call(model))
    if wrong := [name for name in found if name in unfit]:
        raise ConfigError(
            f"preset.lora.targets: {wrong[0]} can have no adapter: its weights are read by others, or an "
            "activation follows inside the layer; attention in the encoder and the decoder can"
        )
    return found


def merged_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights under their released names, adapters added to those of their layers."""
    from peft.tuners.lora import LoraLayer

    state = {
        name.replace(BASE, "."): value.detach()
        for name, value in model.state_dict().items()
        if ".lora_" not in name
    }
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            adapted: Any = module  # `get_delta_weight` comes with the classes of single kinds of layers
            for adapter in module.active_adapters:
                delta = adapted.get_delta_weight(adapter).detach()
                state[f"{name}.weight"] = state[f"{name}.weight"] + delta
    return state


def _without_a_call(model: nn.Module) -> Iterator[str]:
    """Linear layers that an adapter would not reach, or not exactly.

    Memory attention multiplies the weights of its layers with each other instead of calling them; hidden
    layers of an MLP are one kernel with their activation, and an adapter would be added after it.
    """
    for name, module in model.named_modules():
        if name.startswith("memory_attention.") and isinstance(module, Linear):
            yield name
        if isinstance(module, MLP):
            yield from (f"{name}.layers.{k}" for k in range(len(module.layers) - 1))
