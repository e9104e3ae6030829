"""Weight files: reading them without running code, writing them whole, and saying why they do not fit.

A file is one of: safetensors; a PyTorch file with a bare state dict or with one under "model" (training
files: what else they hold is ignored); a folder in the Hugging Face layout. Files of our own are safetensors
with three header entries (and one more for a part of a model, see `partial_weights`):

* `sam2_video.config`: packaged configuration that the architecture comes from, for example "nano"
* `sam2_video.overrides`: JSON list of Hydra overrides on top of it, for example ["image_size=256"]
* `sam2_video.card`: what a reader should know: data, licences, how it was trained; free text
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import re
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sam2_video.key_maps import from_hub_layout, is_hub_layout
from sam2_video.registry import ONLY_IN_2_1, PARAMETERS_KEY, closest_released
from sam2_video.types import CheckpointError

CONFIG_KEY = "sam2_video.config"
OVERRIDES_KEY = "sam2_video.overrides"
CARD_KEY = "sam2_video.card"
SHOWN = 4  # names of each kind that an error message lists
_WRAPPERS = ("module.", "_orig_mod.")  # what DistributedDataParallel and torch.compile put before every name

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Weights:
    """A state dict under the released names, and what its file says about it."""

    state: dict[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)
    overrides: tuple[
        str, ...
    ] = ()  # settings found beside the weights, as overrides of a model configuration

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(value.shape) for name, value in self.state.items()}


def read_weights(path: str | Path) -> Weights:
    """Read a weights file, or a folder with config.json and model.safetensors, onto the CPU.

    Runs no code from the file. Raises CheckpointError for what is missing, damaged or no state dict.
    """
    file = weights_file(path)
    state, metadata = _read_file(file)
    while state and (
        wrapper := next((w for w in _WRAPPERS if all(name.startswith(w) for name in state)), None)
    ):
        state = {name.removeprefix(wrapper): value for name, value in state.items()}
    if not is_hub_layout(state):
        return Weights(state, metadata)
    return Weights(from_hub_layout(state), metadata, _hub_overrides(file.parent / "config.json"))


def weights_file(path: str | Path) -> Path:
    """Return the file that holds the weights: `path`, or the one in that folder. Raises CheckpointError."""
    path = Path(path)
    file = path / "model.safetensors" if path.is_dir() else path
    if not file.is_file():
        hint = f"; expected a file {file.name} in the folder {path}" if path.is_dir() else ""
        raise CheckpointError(f"no weights at {file}{hint}")
    return file


def save_weights(
    model: nn.Module, path: str | Path, metadata: Mapping[str, str] | None = None, dtype: str | None = None
) -> None:
    """Write the weights of `model` as safetensors, in one piece: the file is there whole or not at all.

    `dtype` ("float32", "bfloat16", "float16") converts them, None keeps them as they are. See the module for
    the header entries of `metadata` that `load_model` reads. Raises CheckpointError where the file cannot be
    written.
    """
    header = {PARAMETERS_KEY: str(sum(p.numel() for p in model.parameters())), **(metadata or {})}
    save_state(model.state_dict(), path, header, dtype)


def save_state(
    state: Mapping[str, Tensor], path: str | Path, metadata: Mapping[str, str], dtype: str | None = None
) -> None:
    """Write a state dict as `save_weights` does."""
    from safetensors.torch import save_file

    path = Path(path)
    kind = None if dtype is None else resolve_dtype(dtype)
    state = {
        name: value.detach().to("cpu", kind if value.is_floating_point() else None).contiguous().clone()
        for name, value in state.items()
    }
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        aside.touch()
        mode = aside.stat().st_mode  # as umask has it; safetensors would leave it to the owner alone
        save_file(state, aside, metadata=dict(metadata))
        aside.chmod(mode)
        aside.replace(path)
    except Exception as error:  # safetensors has errors of its own beside OSError
        raise CheckpointError(f"cannot write weights to {path}: {error}") from error
    finally:
        with contextlib.suppress(OSError):  # gone already when all went well
            aside.unlink()


def load_weights(
    model: nn.Module, state_dict: Mapping[str, Tensor], source: str, *, assign: bool = False
) -> None:
    """Put weights into `model`, all of them or none; they take on its data type and device.

    With `assign` the tensors become the model's own instead of being copied: for a model that nothing refers
    to yet. Raises CheckpointError with what is missing, unexpected or misshapen, and the likely cause;
    `source` names the file.
    """
    expected = model.state_dict()
    problem = describe_mismatch(
        {name: tuple(value.shape) for name, value in expected.items()},
        {name: tuple(value.shape) for name, value in state_dict.items()},
    )
    if problem:
        raise CheckpointError(f"the weights in {source} do not fit the model: {problem}")

    def fitted(name: str, value: Tensor) -> Tensor:
        like = expected[name]
        return value.detach().to(device=None if like.is_meta else like.device, dtype=like.dtype)

    model.load_state_dict({name: fitted(name, value) for name, value in state_dict.items()}, assign=assign)


def describe_mismatch(expected: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]]) -> str:
    """Say how weights of the shapes `given` differ from what a model expects, and why; "" if they fit."""
    missing = [name for name in expected if name not in given]
    unexpected = [name for name in given if name not in expected]
    misshapen = [name for name in expected if name in given and expected[name] != given[name]]
    if not missing and not unexpected and not misshapen:
        return ""
    shown = [f"{name} ({_size(given[name])}, expected {_size(expected[name])})" for name in misshapen[:SHOWN]]
    parts = (
        _some("missing", missing, missing[:SHOWN]),
        _some("unexpected", unexpected, unexpected[:SHOWN]),
        _some("misshapen", misshapen, shown),
    )
    return f"{'; '.join(part for part in parts if part)}. {_likely_cause(expected, given)}"


def _some(kind: str, names: Collection[str], shown: Collection[str]) -> str:
    more = ", ..." if len(names) > len(shown) else ""
    return f"{len(names)} {kind}: {', '.join(shown)}{more}" if names else ""


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _likely_cause(expected: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]]) -> str:
    missing = [name for name in expected if name not in given]
    unexpected = [name for name in given if name not in expected]
    misshapen = any(expected[name] != given[name] for name in expected if name in given)
    closest = closest_released(given)
    if is_hub_layout(given):
        return "These names are of the Hugging Face layout: convert them with from_hub_layout first."
    if _is_sam1(given) and not _is_sam1(expected):
        return (
            f"These look like SAM 1 weights: load them as {closest}. They have no memory: for videos take "
            "one of the SAM 2 models."
        )
    if _is_sam1(expected) and closest is not None and not _is_sam1(given):
        return f"These look like SAM 2 weights in a SAM 1 model: load them as {closest}."
    if missing and not unexpected and not misshapen:
        if all(name.startswith(ONLY_IN_2_1) for name in missing):
            return f"These look like SAM 2.0 weights in a 2.1 model: load them as {closest}."
        parts = ", ".join(sorted({name.split(".")[0] for name in missing}))
        return f"The file holds only part of a model: nothing, or not everything, for {parts}."
    if unexpected and not missing and not misshapen:
        if all(name.startswith(ONLY_IN_2_1) for name in unexpected):
            return f"These look like SAM 2.1 weights in a 2.0 model: load them as {closest}."
        return "The file holds everything the model has and more: the weights of a larger or changed model."
    if closest is None:
        return "These are no weights of SAM 1 or SAM 2: there are no blocks of an image_encoder among them."
    return (
        f"These look like weights of another size or configuration; the closest released is {closest}. "
        "For a model of your own, give its configuration too: load_model(CONFIG, checkpoint=FILE)."
    )


def _is_sam1(names: Mapping[str, tuple[int, ...]]) -> bool:
    return any(name.startswith(("image_encoder.blocks.", "image_encoder.patch_embed.")) for name in names)


# --- files ---


def resolve_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """Return the data type of this name; raises CheckpointError for any but float32, bfloat16, float16."""
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise CheckpointError(f"unknown dtype {name!r}; expected one of {', '.join(DTYPES)}")
    return DTYPES[name]


def _read_file(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with file.open("rb") as opened:
            head = opened.read(64)
    except OSError as error:
        raise CheckpointError(f"cannot read {file}: {error}") from error
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError(
            f"{file} is a git-lfs pointer, not the weights; run `git lfs pull` in that repository"
        )
    if head.lstrip().startswith(b"<"):
        raise CheckpointError(
            f"{file} is a web page, not weights; download it again, signed in if the site asks for it"
        )
    if head[4:9] == b"\0\0\0\0{":  # the length of a JSON header in 8 bytes, little end first, then the header
        return _read_safetensors(file)
    return _state_dict(_read_torch(file), file), {}


def _read_safetensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            # Copies: what safetensors gives is a view of the file, and changes when the file is written over.
            state = {name: opened.get_tensor(name).clone() for name in opened.keys()}
            return state, dict(opened.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{file} is a damaged or incomplete safetensors file: {error}") from error


def _read_torch(file: Path) -> Any:
    try:
        with file.open("rb") as opened, warnings.catch_warnings():  # opened: torch goes by the name otherwise
            warnings.simplefilter("ignore")  # about unusual pickle protocols: what cannot be read raises
            return torch.load(opened, map_location="cpu", weights_only=True)
    except (
        Exception
    ) as error:  # torch raises all kinds: UnpicklingError, RuntimeError, EOFError, KeyError, ...
        if isinstance(error, pickle.UnpicklingError) and re.search("GLOBAL|unrecognized", str(error)):
            raise CheckpointError(
                f"{file} holds more than tensors and plain values, and opening that could run code: "
                "refused. If you "
                "trust it, save its weights alone: torch.save({'model': model.state_dict()}, path)"
            ) from error
        raise CheckpointError(
            f"{file} is not a readable PyTorch or safetensors file ({type(error).__name__}); it may be "
            "incomplete: "
            "compare its size with the original, or download it again"
        ) from error


def _state_dict(content: Any, file: Path) -> dict[str, Tensor]:
    if isinstance(content, dict):
        content = next(
            (content[key] for key in ("model", "state_dict") if isinstance(content.get(key), dict)), content
        )
    if not isinstance(content, dict) or not content:
        raise CheckpointError(
            f"{file} holds a {type(content).__name__}, expected a state dict, bare or under 'model'"
        )
    other = [
        key for key, value in content.items() if not (isinstance(key, str) and isinstance(value, Tensor))
    ]
    if other:
        raise CheckpointError(
            f"{file} holds no state dict, bare or under 'model': {', '.join(map(str, other[:SHOWN]))} are "
            "no tensors"
        )
    return content


def _hub_overrides(config: Path) -> tuple[str, ...]:
    """Read from a config.json what shapes do not show: the side of the model frame."""
    if not config.is_file():
        return ()
    try:
        settings = json.loads(config.read_text())
        size = settings.get("image_size") or (settings.get("prompt_encoder_config") or {}).get("image_size")
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"cannot read {config}: {error}") from error
    if isinstance(size, list):
        size = size[0]
    return () if size is None or size == 1024 else (f"image_size={int(size)}",)
