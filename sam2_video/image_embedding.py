"""What a picture looks like to a model, as a value and as a file, so that each picture is encoded once.

A file is safetensors: the maps that masks are decoded from, exactly as they were, and header entries that say
which model they are good for. Reading it runs no code. It holds no picture.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from sam2_video.fingerprint import weights_fingerprint
from sam2_video.model.sam1 import AnyModel
from sam2_video.sinks.base import make_folder, write_whole
from sam2_video.types import CheckpointError, DataError

FORMAT, VERSION = "sam2_video.image_embedding", 1
HEADER = "sam2_video.image_embedding"  # one entry: JSON text
LARGEST_SIDE = 2**20  # of a picture, in pixels: beyond that, a file does not say what it means
Size = tuple[int, int]  # (H, W)


@dataclass(frozen=True)
class ImageEmbedding:
    """What masks of one (H, W) picture are decoded from, on the model's device."""

    coarse: Tensor  # (1, C, S/16, S/16)
    fine: tuple[Tensor, ...]  # SAM 2: (1, C/8, S/4, S/4), (1, C/4, S/8, S/8); SAM 1: none
    size: Size

    def tensors(self) -> dict[str, Tensor]:
        """The maps by the names that they have in a file."""
        return {"coarse": self.coarse, **{f"fine.{k}": part for k, part in enumerate(self.fine)}}


class Identity:
    """What tells one model from another; hashing all weights is done once, and again when they change."""

    def __init__(self, model: AnyModel) -> None:
        self._model = model
        self._seen: tuple[object, ...] | None = None
        self._hash = ""

    def record(self) -> dict[str, Any]:
        """Kind, size and hash of the model, as it is written into files."""
        model = self._model
        return {
            "model": type(model).__name__,
            "parameters": sum(value.numel() for value in model.parameters()),
            "image_size": model.image_size,
            "dtype": str(model.dtype).removeprefix("torch."),
            "weights": self.weights(),
        }

    def weights(self) -> str:
        """SHA-256 over the names, types and values of all weights."""
        values = self._model.state_dict().values()
        seen = tuple((value.data_ptr(), 0 if value.is_inference() else value._version) for value in values)
        if seen != self._seen:
            self._hash, self._seen = weights_fingerprint(self._model), seen
        return self._hash


def save_embedding(embedding: ImageEmbedding, path: str | Path, identity: Identity) -> None:
    """Write a picture's embedding into a file, which is there whole or not at all. Raises SinkError."""
    from safetensors.torch import save

    path = Path(path)
    header = {"format": FORMAT, "version": VERSION, "size": list(embedding.size), **identity.record()}
    # Copies: safetensors takes no tensors that share their memory.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in embedding.tensors().items()}
    make_folder(path.parent)
    write_whole(path, save(tensors, metadata={HEADER: json.dumps(header)}))


def load_embedding(path: str | Path, model: AnyModel, identity: Identity) -> ImageEmbedding:
    """Read a file of `save_embedding` onto the model's device.

    Raises DataError for what is missing, damaged or no such file, CheckpointError for a file that belongs to
    another model or to other weights.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise DataError(f"there is no saved embedding at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            header = _header(path, dict(file.metadata() or {}))
            _check_model(path, header, identity.record())
            _check_maps(path, {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}, model)
            maps = {name: file.get_tensor(name).clone() for name in file.keys()}
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"{path} is no saved embedding, or a damaged one: {error}") from error
    height, width = header["size"]
    ready = {name: value.to(model.device, model.dtype) for name, value in maps.items()}
    fine = tuple(ready[f"fine.{k}"] for k in range(len(ready) - 1))
    return ImageEmbedding(ready["coarse"], fine, (height, width))


def _header(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Take the header apart. Raises DataError."""
    try:
        header = json.loads(metadata.get(HEADER, ""))
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise DataError(f"{path} is no saved embedding: its header has no entry {HEADER}")
    if header.get("version") != VERSION:
        raise DataError(
            f"{path} is a saved embedding of version {header.get('version')!r}; this program reads {VERSION}"
        )
    size = header.get("size")
    if not (
        isinstance(size, list)
        and len(size) == 2
        and all(type(side) is int and 0 < side <= LARGEST_SIDE for side in size)
    ):
        raise DataError(f"{path} is damaged: the size of its picture is {size!r}")
    return header


def _check_model(path: Path, header: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    differing = [key for key in expected if header.get(key) != expected[key]]
    if not differing:
        return
    if differing == ["weights"]:
        problem = "by other weights of the same architecture"
    else:
        found = (
            f"{key} {header.get(key)!r} (here {expected[key]!r})" for key in differing if key != "weights"
        )
        problem = f"by another model: {', '.join(found)}"
    raise CheckpointError(
        f"{path} was made {problem}; load the model that it was made with, or encode the picture again"
    )


def _check_maps(path: Path, shapes: Mapping[str, tuple[int, ...]], model: AnyModel) -> None:
    coarse, *fine = model.feature_shapes(model.image_size)
    expected = {"coarse": coarse, **{f"fine.{k}": shape for k, shape in enumerate(fine)}}
    if dict(shapes) != expected:
        raise DataError(f"{path} is damaged: it holds {dict(shapes)}, expected {expected}")
