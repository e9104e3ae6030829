"""Embeddings of pictures, kept where the encoder stands still: each picture is encoded once for a run.

Kept by what decides them: the pixels that the encoder sees (so that a mirrored picture has an embedding of
its own) and the weights of the encoder. Changed colours would give every look at a picture another one, so
that nothing is kept then.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from sam2_video.finetuning.presets import part_of_name
from sam2_video.finetuning.samples import Sample
from sam2_video.partial_weights import values_fingerprint
from sam2_video.sinks.base import make_folder
from sam2_video.types import ImageFeatures

Encode = Callable[[Tensor], ImageFeatures]


class Embeddings:
    """Looks embeddings up in memory, then on disk, and encodes what is in neither."""

    def __init__(self, model: nn.Module, encode: Encode, *, folder: Path | None, budget: float) -> None:
        """`folder` None keeps nothing on disk; `budget` is in bytes of memory."""
        self._encode, self._folder, self._budget = encode, folder, budget
        weights = {name: v for name, v in model.named_parameters() if part_of_name(name) == "encoder"}
        self._encoder = values_fingerprint(weights) if folder is not None else ""
        self._kept: dict[tuple[int, bool], ImageFeatures] = {}
        self._bytes = 0
        self.encoded = 0  # pictures, in this process

    def of(self, samples: Sequence[Sample], device: torch.device) -> list[ImageFeatures]:
        """Return the features of single pictures, on the device, each with a batch dimension of 1."""
        return [self._one(sample, device) for sample in samples]

    def _one(self, sample: Sample, device: torch.device) -> ImageFeatures:
        key = (sample.item, sample.mirrored)
        found = self._kept.get(key)
        if found is not None:
            return _to(found, device)
        path = None if self._folder is None else self._folder / f"{self._name(sample)}.safetensors"
        features = None if path is None else _read(path)
        if features is None:
            features = _to(self._encode(sample.pixels.to(device)), torch.device("cpu"))
            self.encoded += 1
            if path is not None:
                make_folder(path.parent)
                aside = path.with_name(f"{path.stem}.{os.getpid()}.part")  # several processes may write it
                aside.write_bytes(save(_tensors(features)))
                aside.replace(path)
        size = sum(value.nbytes for value in _tensors(features).values())
        if self._bytes + size <= self._budget:
            self._kept[key] = features
            self._bytes += size
        return _to(features, device)

    def _name(self, sample: Sample) -> str:
        digest = hashlib.sha256(self._encoder.encode())
        digest.update(str(tuple(sample.pixels.shape)).encode())
        digest.update(sample.pixels.contiguous().numpy().data)
        return digest.hexdigest()


def _tensors(features: ImageFeatures) -> dict[str, Tensor]:
    named = {"coarse": features.coarse, **{f"fine.{k}": part for k, part in enumerate(features.fine)}}
    return {name: value.contiguous() for name, value in named.items()}


def _read(path: Path) -> ImageFeatures | None:
    """Return what a file holds; None where there is none, or it is damaged and is made again."""
    try:
        found = load(path.read_bytes())
        return ImageFeatures(found["coarse"], tuple(found[f"fine.{k}"] for k in range(len(found) - 1)))
    except (OSError, SafetensorError, KeyError):
        return None


def _to(features: ImageFeatures, device: torch.device) -> ImageFeatures:
    return ImageFeatures(features.coarse.to(device), tuple(part.to(device) for part in features.fine))
