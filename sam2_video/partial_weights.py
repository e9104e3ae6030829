"""Weights of a part of a model, such as a fine-tuned decoder, laid over the rest of a released one.

A file is safetensors with the weights that differ and a header entry, `sam2_video.part`: JSON with the name
of the model that the others belong to ("" where it has none) and a hash of that model's weights. It cannot be
laid over anything else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from sam2_video.registry import list_models
from sam2_video.types import CheckpointError
from sam2_video.weight_files import SHOWN, Weights, save_state

PART_KEY = "sam2_video.part"


@dataclass(frozen=True)
class Base:
    """The model that a part belongs to: its name among the known ones, or "", and its weights."""

    name: str
    weights: str  # `values_fingerprint` of all of them, before anything was trained

    @classmethod
    def of(cls, name_or_path: str | Path, state: Mapping[str, Tensor]) -> Base:
        """Describe a model that was loaded by `name_or_path`."""
        known = any(info.name == str(name_or_path) for info in list_models())
        return cls(str(name_or_path) if known else "", values_fingerprint(state))


def values_fingerprint(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes and values as float32: the same for a file and for a model made from it."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name} {tuple(value.shape)}".encode())
        plain = value.detach().to("cpu", torch.float32).contiguous().reshape(-1)
        digest.update(plain.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_part(
    state: Mapping[str, Tensor],
    path: str | Path,
    base: Base,
    metadata: Mapping[str, str] | None = None,
    dtype: str | None = None,
) -> None:
    """Write some weights of a model; `load_model` lays them over those of `base`. Raises CheckpointError."""
    save_state(state, path, {**(metadata or {}), PART_KEY: json.dumps(asdict(base))}, dtype)


def part_of(weights: Weights, path: Path) -> Base | None:
    """Say what a file is a part of; None for a whole model. Raises CheckpointError for a damaged header."""
    text = weights.metadata.get(PART_KEY)
    if text is None:
        return None
    try:
        base = Base(**json.loads(text))
    except (ValueError, TypeError):
        base = None
    if base is None or not isinstance(base.name, str) or not isinstance(base.weights, str):
        raise CheckpointError(f"{path}: its header entry {PART_KEY} is damaged")
    return base


def check_base(base: Base, path: Path) -> str:
    """Return the name of the model that a part belongs to. Raises CheckpointError where it has none."""
    if any(info.name == base.name for info in list_models()):
        return base.name
    if not base.name:
        raise CheckpointError(
            f"{path} holds a part of a model that has no name of its own; give that model, too: "
            f"load_model(MODEL, checkpoint={str(path)!r})"
        )
    raise CheckpointError(f"{path} holds a part of the model {base.name!r}, which is not known here")


def lay_over(whole: Weights, part: Weights, base: Base, path: Path, source: str) -> dict[str, Tensor]:
    """Return the weights of `whole` with those of `part` in their places.

    Raises CheckpointError where the part was made over other weights, or does not fit. `source` names what
    `whole` was read from.
    """
    if strange := [name for name in part.state if name not in whole.state]:
        more = ", ..." if len(strange) > SHOWN else ""
        raise CheckpointError(
            f"{path} does not belong to {source}: there is no {', '.join(strange[:SHOWN])}{more} in it"
        )
    if values_fingerprint(whole.state) != base.weights:
        made_for = base.name or "a model without a name"
        raise CheckpointError(
            f"{path} was trained over other weights than those of {source}: it belongs to {made_for}, as it "
            "was when it was trained; name those weights, or train again over these"
        )
    return {**whole.state, **part.state}
