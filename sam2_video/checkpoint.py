"""A name, a path or a hub id -> a network with weights, ready to run.

What exists is in `registry`, fetching in `download`, file formats and error reports in `weight_files`, the
Hugging Face names in `key_maps`; this module joins them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sam2_video.config import build_model, compose_config, model_names
from sam2_video.download import cache_folder, cached_file, download_model, hash_file, is_offline
from sam2_video.key_maps import from_hub_layout, to_hub_layout
from sam2_video.model.sam1 import AnyModel
from sam2_video.partial_weights import check_base, lay_over, part_of
from sam2_video.registry import ModelInfo, closest_released, find_hub_model, find_model, list_models
from sam2_video.types import CheckpointError
from sam2_video.weight_files import (
    CONFIG_KEY,
    OVERRIDES_KEY,
    Weights,
    load_weights,
    read_weights,
    resolve_dtype,
    save_weights,
    weights_file,
)

__all__ = [
    "ModelInfo",
    "download_model",
    "find_architecture",
    "from_hub_layout",
    "identify_weights",
    "list_models",
    "load_model",
    "load_weights",
    "model_config",
    "read_weights",
    "resolve_device",
    "save_weights",
    "to_hub_layout",
]

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_ADVICE = "if you trust the file, give the configuration by name, with checkpoint= and overrides="
# What a file may say about its own architecture: values, not what is built, and nothing of Hydra's own
# settings.
_PLAIN_OVERRIDE = re.compile(r"\+{0,2}(?!hydra\b)[a-z]\w*(\.\w+)*=.*", re.DOTALL)


def load_model(
    name_or_path: str | Path,
    *,
    checkpoint: str | Path | None = None,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype = "float32",
    overrides: Sequence[str] = (),
    offline: bool = False,
    cache_dir: str | Path | None = None,
    progress: bool = True,
) -> AnyModel:
    """Build a model and fill it with weights; it comes in eval mode.

    `name_or_path` is one of: a name of `list_models()`; a weights file or a folder in the Hugging Face
    layout, whose architecture is read off the file; a hub id such as "facebook/sam2.1-hiera-tiny"; or, with
    `checkpoint`, the name or path of any model configuration. `checkpoint` takes the place of the weights
    that belong to a name; a file with a part of a model (a fine-tuned decoder) is laid over them.
    `overrides` are those of `build_model`. Raises CheckpointError for the weights, ConfigError for the
    architecture.
    """
    place, kind = resolve_device(device), resolve_dtype(dtype)
    found = _find(name_or_path, checkpoint, offline, cache_dir, progress)
    model = _build_uninitialised(found.config, (*found.overrides, *overrides))
    load_weights(model, found.state, found.source, assign=True)
    return model.to(device=place, dtype=kind).eval()


@dataclass(frozen=True)
class _Found:
    """The weights that were asked for, and the architecture that they are for."""

    config: str | Path
    overrides: tuple[str, ...]
    state: dict[str, Tensor]
    source: str  # for messages


def _find(
    name_or_path: str | Path,
    checkpoint: str | Path | None,
    offline: bool = False,
    cache_dir: str | Path | None = None,
    progress: bool = True,
) -> _Found:
    config, path = _locate(name_or_path, checkpoint, offline, cache_dir, progress)
    weights = read_weights(path)
    more: tuple[str, ...] = ()
    if (base := part_of(weights, path)) is not None:
        under = name_or_path if checkpoint is not None else check_base(base, path)
        config, place = _locate(under, None, offline, cache_dir, progress)
        whole, more = read_weights(place), _plain_overrides(weights, path)
        weights, path = replace(whole, state=lay_over(whole, weights, base, path, str(place))), place
    built, found = _architecture(weights, path, config)
    source = str(path) if config is not None else f"{path} (taken for {built})"
    return _Found(built, (*found, *more), weights.state, source)


def _locate(
    name_or_path: str | Path,
    checkpoint: str | Path | None,
    offline: bool,
    cache_dir: str | Path | None,
    progress: bool,
) -> tuple[str | Path | None, Path]:
    """Return the configuration, None where the weights must tell, and the file or folder of the weights."""
    name = str(name_or_path)
    if checkpoint is not None:
        return name_or_path, Path(checkpoint).expanduser()
    if any(name == info.name for info in list_models()):
        path = download_model(name, cache_dir=cache_dir, offline=offline, progress=progress)
        return (
            None if find_model(name).bundled else name
        ), path  # our own files say how they were configured
    path = Path(name).expanduser()
    if path.exists() and path.suffix not in (".yaml", ".yml"):
        return None, path
    if name in model_names() or path.suffix in (".yaml", ".yml"):
        raise CheckpointError(
            f"{name} is a configuration without weights of its own; name them with checkpoint="
        )
    if path.suffix not in (".pt", ".pth", ".safetensors") and _HUB_ID.fullmatch(name):
        info = find_hub_model(name)
        path = _from_hub(name, info, offline, cache_dir)
        return (None, path) if info is None else (info.name, _verified(path, info))
    known = ", ".join(info.name for info in list_models())
    raise CheckpointError(f"{name!r} is no file, no hub id and no known model; known are {known}")


def identify_weights(name_or_path: str | Path) -> tuple[Path, str]:
    """Return the file that `load_model` has just taken its weights from, and its SHA-256.

    Nothing is downloaded. A released file was checked when it was loaded and is not hashed again. Raises
    CheckpointError for weights that are not here.
    """
    name, path = str(name_or_path), Path(name_or_path).expanduser()
    info = next((info for info in list_models() if info.name == name), None)
    if info is not None:
        file = info.path or cached_file(info)
    elif path.exists():
        file = path
    else:
        info = find_hub_model(name)
        file = _from_hub(name, info, offline=True, cache_dir=None)
    file = weights_file(file)
    return file, (None if info is None else info.sha256) or hash_file(file)


def find_architecture(
    name_or_path: str | Path, checkpoint: str | Path | None = None
) -> tuple[str | Path, tuple[str, ...]]:
    """Return the configuration that `load_model` builds with these arguments, and the overrides on it.

    Raises CheckpointError as `load_model` does.
    """
    found = _find(name_or_path, checkpoint)
    return found.config, found.overrides


def model_config(
    name_or_path: str | Path, *, checkpoint: str | Path | None = None, overrides: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the whole configuration that `load_model` builds with these arguments, as plain values.

    Fetches weights that are not here. Raises CheckpointError and ConfigError as `load_model` does.
    """
    from omegaconf import OmegaConf

    built, found = find_architecture(name_or_path, checkpoint)
    plain = OmegaConf.to_container(compose_config("model", built, (*found, *overrides)), resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _architecture(
    weights: Weights, path: Path, config: str | Path | None
) -> tuple[str | Path, tuple[str, ...]]:
    """Return configuration and overrides: as asked for, else from the file's header, else from its shapes."""
    recorded = weights.metadata.get(CONFIG_KEY)
    if recorded is not None and config in (None, recorded):
        return _recorded_architecture(weights, path)
    if config is not None:
        return config, weights.overrides
    name = closest_released(weights.shapes)
    if name is None:
        known = ", ".join(info.name for info in list_models())
        raise CheckpointError(
            f"cannot tell the architecture from {path}: its {len(weights.state)} weights have no blocks of "
            "an image_encoder (only part of a model, or another kind). If you know it, give a name and "
            f"checkpoint=; known are {known}"
        )
    return name, weights.overrides


def _recorded_architecture(weights: Weights, path: Path) -> tuple[str, tuple[str, ...]]:
    name, overrides = weights.metadata[CONFIG_KEY], _plain_overrides(weights, path)
    if name not in model_names():
        raise CheckpointError(
            f"{path} wants the configuration {name!r}; known are {', '.join(model_names())}; {_ADVICE}"
        )
    return name, overrides


def _plain_overrides(weights: Weights, path: Path) -> tuple[str, ...]:
    """What a file says about its architecture. A file from a stranger sets sizes; it chooses no code, files
    or environment variables."""
    try:
        overrides = json.loads(weights.metadata.get(OVERRIDES_KEY, "[]"))
    except ValueError:
        overrides = None
    if not isinstance(overrides, list) or not all(isinstance(item, str) for item in overrides):
        raise CheckpointError(f"{path}: its header entry {OVERRIDES_KEY} is not a JSON list of texts")
    for item in overrides:
        if not _PLAIN_OVERRIDE.fullmatch(item) or "_target_" in item or "${" in item:
            raise CheckpointError(
                f"{path} wants the override {item!r}, which does more than set a value; {_ADVICE}"
            )
    return tuple(overrides)


def _build_uninitialised(config: str | Path, overrides: Sequence[str]) -> AnyModel:
    """Build the network without drawing random numbers for weights that will be replaced.

    Not on the meta device: tables that are in no checkpoint would be lost there.
    """
    with torch.random.fork_rng(devices=[]), _NoRandomFill():
        return build_model(config, tuple(overrides))


class _NoRandomFill(TorchFunctionMode):
    """Skips the initialisers that layers fill themselves with, in this thread only.

    Whole initialisers, not the random fills inside them: one that redraws bad samples would never end.
    """

    skipped = (nn.init.kaiming_uniform_, nn.init.uniform_, nn.init.normal_)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in self.skipped:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the device that is meant; CheckpointError for one that is unknown or not there."""
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise CheckpointError(f"unknown device {device!r}; expected cpu, cuda, cuda:1, mps, ...") from error
    if place.type == "cuda" and not torch.cuda.is_available():
        raise CheckpointError(
            f"device {device!r} is not available: this PyTorch sees no CUDA GPU; use device='cpu'"
        )
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise CheckpointError(
            f"device {device!r} is not available: there are {torch.cuda.device_count()} GPUs"
        )
    if place.type == "mps" and not torch.backends.mps.is_available():
        raise CheckpointError(
            f"device {device!r} is not available: Apple's MPS is missing here; use device='cpu'"
        )
    return place


def _from_hub(hub_id: str, info: ModelInfo | None, offline: bool, cache_dir: str | Path | None) -> Path:
    """Return weights of a repository: the original file of a released model, else a folder in the layout."""
    import huggingface_hub

    offline = is_offline(offline)
    folder = None if cache_dir is None else cache_folder(cache_dir)

    def fetch(filename: str) -> Path:
        return Path(
            huggingface_hub.hf_hub_download(hub_id, filename, cache_dir=folder, local_files_only=offline)
        )

    try:
        if info is not None and info.hub_filename is not None:
            return fetch(info.hub_filename)
        fetch("config.json")
        return fetch("model.safetensors").parent
    except Exception as error:  # the hub's own errors and those of whatever transport it uses
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        hint = " (downloads are off: offline=True or SAM2_VIDEO_OFFLINE)" if offline else ""
        raise CheckpointError(f"cannot get {hub_id} from the Hugging Face hub{hint}: {reason}") from error


def _verified(path: Path, info: ModelInfo) -> Path:
    if (digest := hash_file(path)) != info.sha256:
        raise CheckpointError(
            f"{path} is not the released {info.name}: its SHA-256 is {digest}, expected {info.sha256}"
        )
    return path
