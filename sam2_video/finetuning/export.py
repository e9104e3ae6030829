"""Files of a fine-tuned model: the trained part alone where it stands by itself, else the whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sam2_video.checkpoint import find_architecture
from sam2_video.config import model_names
from sam2_video.finetuning.adapters import merged_state
from sam2_video.finetuning.presets import trained_weights
from sam2_video.finetuning.settings import FinetuneSettings
from sam2_video.model.sam2 import SAM2
from sam2_video.partial_weights import Base, save_part
from sam2_video.registry import PARAMETERS_KEY
from sam2_video.weight_files import CARD_KEY, CONFIG_KEY, OVERRIDES_KEY, save_state

WHOLE = "full"  # the preset that leaves nothing of the base


def export(model: SAM2, path: Path, settings: FinetuneSettings, base: Base, card: Mapping[str, Any]) -> None:
    """Write weights that `load_model` reads, in one piece. Raises CheckpointError.

    Adapters are merged into a whole model; a trained part is written alone and laid over its base again.
    """
    metadata = {
        OVERRIDES_KEY: json.dumps(list(settings.overrides)),
        CARD_KEY: json.dumps({**card, "base": base.name or settings.model}, default=str),
    }
    if settings.preset.lora is None and settings.preset.name != WHOLE:
        save_part(trained_weights(model), path, base, metadata, settings.export_dtype)
        return
    state = merged_state(model) if settings.preset.lora is not None else model.state_dict()
    count = sum(value.numel() for name, value in model.named_parameters() if ".lora_" not in name)
    config, overrides = find_architecture(settings.model, settings.init)
    metadata[OVERRIDES_KEY] = json.dumps([*overrides, *settings.overrides])
    if config in model_names():  # else the file is of a configuration that only its owner has
        metadata[CONFIG_KEY] = str(config)
    header = {**metadata, PARAMETERS_KEY: str(count)}
    save_state(state, path, header, settings.export_dtype)
