"""Memories as they are recalled: on the model's device, with the keys that memory attention needs of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sam2_video.model.sam2 import SAM2
from sam2_video.types import FrameMemory, Recall

KEY_BYTES = 512 * 2**20  # for keys at once; an object of the released models needs 117 MB in float32
GPU_SHARE = 8  # on a CUDA device: one part in so many of its memory


class RecalledMemories:
    """Gets memories ready, and keeps those that were read last: the next frame reads most of them again.

    A memory is known by the identity of its features. Where the keys of all would take more than `budget`
    bytes none are made here; memory attention then makes them in passing.
    """

    def __init__(self, model: SAM2, budget: int | None = None) -> None:
        self._model = model
        self._budget = key_bytes(model.device) if budget is None else budget
        self._known: dict[int, tuple[Tensor, FrameMemory]] = {}  # id of features -> these, what was made
        self._pointers: dict[int, tuple[Tensor, Tensor]] = {}  # id of a pointer -> it, where the model is

    def ready(self, recalls: Sequence[Recall]) -> list[Recall]:
        """Return the recalls of all objects that are tracked on one frame, as the model reads them."""
        wanted = {id(past.features): past for recall in recalls for _, past in recall.masks}
        if not wanted:
            return list(recalls)
        pointers = {id(past.pointer): past.pointer for recall in recalls for _, past in recall.pointers}
        self._pointers = {key: self._brought(pointer) for key, pointer in pointers.items()}
        with_keys = sum(map(self._key_bytes, wanted.values())) <= self._budget
        self._known = {key: self._kept(past, with_keys) for key, past in wanted.items()}
        return [self._moved(recall) for recall in recalls]

    def put(self, kept: FrameMemory, made: FrameMemory) -> None:
        """Take up a memory that is on the device with its keys already; `kept` is what will be recalled."""
        self._known[id(kept.features)] = kept.features, made
        self._pointers[id(kept.pointer)] = kept.pointer, made.pointer

    def _brought(self, pointer: Tensor) -> tuple[Tensor, Tensor]:
        kept = self._pointers.get(id(pointer))
        return kept if kept is not None and kept[0] is pointer else (pointer, pointer.to(self._model.device))

    def _kept(self, past: FrameMemory, with_keys: bool) -> tuple[Tensor, FrameMemory]:
        kept = self._known.get(id(past.features))
        if kept is not None and kept[0] is past.features and (kept[1].keys is not None) == with_keys:
            return kept
        made = past.map(lambda tensor: tensor.to(self._model.device))
        return past.features, replace(made, keys=self._model.memory_keys(made) if with_keys else None)

    def _moved(self, recall: Recall) -> Recall:
        masks = tuple((slot, self._known[id(past.features)][1]) for slot, past in recall.masks)
        pointers = tuple(
            (gap, replace(past, pointer=self._pointers[id(past.pointer)][1])) for gap, past in recall.pointers
        )
        return Recall(masks, pointers, recall.pointer_span)

    def _key_bytes(self, past: FrameMemory) -> int:
        cells = past.features.shape[-2] * past.features.shape[-1]
        layers = len(self._model.memory_attention.layers)
        return len(past.features) * layers * cells * self._model.width * self._model.no_mem_embed.itemsize


def key_bytes(device: torch.device) -> int:
    """How much memory keys may take where the model is."""
    if device.type != "cuda":
        return KEY_BYTES
    return max(int(torch.cuda.get_device_properties(device).total_memory) // GPU_SHARE, KEY_BYTES)
