"""What a tracked frame asks of the network, in two steps whose shapes settle: look, and follow.

On a CUDA device each is replayed as a graph once its layout comes again, with the very functions of `tracker`
in it. Frames are looked at on a stream of their own, so that the next may be looked at while one is tracked.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from sam2_video.model.derived import Derived
from sam2_video.model.graphs import CudaRecorder, Record, Replayed, Tensors, weights_state
from sam2_video.model.sam2 import SAM2, pointer_times
from sam2_video.tracker import remember, segment_next
from sam2_video.types import FrameMemory, ImageFeatures, MaskPrediction, Recall

Graphs = Literal["auto", "off"]


class Steps:
    """The two steps of one model; sessions of a predictor share them.

    `graphs`: "auto" replays them on CUDA devices, "off" never. `record`: for tests, who records.
    """

    def __init__(self, model: SAM2, graphs: Graphs = "auto", record: Record | None = None) -> None:
        if graphs not in ("auto", "off"):
            raise ValueError(f'graphs is {graphs!r}; choose "auto" or "off"')
        self._model = model
        self._graphs: Graphs = graphs
        on_cuda = model.device.type == "cuda"
        recorders = [record or (CudaRecorder() if graphs == "auto" and on_cuda else None) for _ in range(2)]
        parameters = list(model.parameters())
        derived = [part for part in model.modules() if isinstance(part, Derived)]

        def weights() -> Hashable:
            return weights_state(model, parameters, derived)

        self.look = Replayed(self._look, record=recorders[0], weights=weights)
        self.follow = Replayed(self._follow, record=recorders[1], weights=weights)
        self._stream: Any = torch.cuda.Stream(model.device) if on_cuda else None  # type: ignore[no-untyped-call]

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies record for themselves: graphs and streams cannot be copied."""
        return Steps, (self._model, self._graphs)

    def encode(self, pixels: Any) -> ImageFeatures:
        """Encode what `pixels()` returns, (1, 3, S, S); on a CUDA device it is waited for by `wait`."""
        if self._stream is None:
            with self.look.held():
                return _owned(self.look((), (pixels(),)), self.look.records)
        # Weights may still be on their way, by whoever wrote them.
        self._stream.wait_stream(torch.cuda.current_stream(self._model.device))
        with torch.cuda.stream(self._stream), self.look.held():
            features = _owned(self.look((), (pixels(),)), self.look.records)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
            return replace(features, ready=event)

    def wait(self, features: ImageFeatures) -> None:
        """Let what is asked for next come after the features are there."""
        if features.ready is not None:
            here = torch.cuda.current_stream(self._model.device)
            here.wait_event(features.ready)
            for tensor in (features.coarse, *features.fine):
                tensor.record_stream(here)

    def track(self, features: ImageFeatures, recall: Recall) -> tuple[MaskPrediction, FrameMemory]:
        """Segment and remember N objects from what is recalled of them.

        What comes back holds until the next call. On a CUDA device, where keys were recalled, the memory has
        its own (one tensor (N, layers, cells, C), not yet apart).
        """
        self.wait(features)
        if recall.pointers and recall.times is None:
            recall = replace(recall, times=pointer_times(recall, self._model.device))
        kind, tensors = _flattened(features, recall)
        logits, iou, pointer, presence, remembered, own, *keys = self.follow(kind, tensors)
        memory = FrameMemory(remembered, own, tuple(keys) or None)
        return MaskPrediction(logits, iou, pointer, presence), memory

    def _look(self, kind: Hashable, tensors: Tensors) -> Tensors:
        features = self._model.encode_image(tensors[0])
        return features.coarse, *features.fine

    def _follow(self, kind: Any, tensors: Tensors) -> Tensors:
        features, recall = _put_together(kind, tensors)
        prediction = segment_next(self._model, features, recall)
        memory = remember(self._model, features, prediction, prompted=False)
        found = prediction.logits, prediction.iou, prediction.pointer, prediction.presence
        keys: Tensors = ()
        if self._stream is not None and recall.masks and recall.masks[0][1].keys is not None:
            keys = (self._model.batch_keys(memory),)
        return *found, memory.features, memory.pointer, *keys


def _owned(found: Tensors, copy: bool) -> ImageFeatures:
    coarse, *fine = (tensor.clone() for tensor in found) if copy else found
    return ImageFeatures(coarse, tuple(fine))


def _flattened(features: ImageFeatures, recall: Recall) -> tuple[Hashable, Tensors]:
    """Everything that a step reads, as plain values and tensors."""
    memories, pasts = [m for _, m in recall.masks], [p for _, p in recall.pointers]
    keys = [key for memory in memories for key in memory.keys or ()]
    times: list[Tensor] = [] if recall.times is None else [recall.times]
    # Of two that look alike: in a clip without keys every memory has none.
    kind = (tuple(slot for slot, _ in recall.masks), len(pasts), len(features.fine), len(keys))
    tensors = (
        features.coarse,
        *features.fine,
        *times,
        *(memory.features for memory in memories),
        *(past.pointer for past in pasts),
        *keys,
    )
    return kind, tensors


def _put_together(kind: Any, tensors: Tensors) -> tuple[ImageFeatures, Recall]:
    """The inverse of `_flattened`."""
    slots, pointers, fine, keys = kind
    rest = iter(tensors)

    def take(count: int) -> list[Tensor]:
        return [next(rest) for _ in range(count)]

    features = ImageFeatures(take(1)[0], tuple(take(fine)))
    times = take(1 if pointers else 0)
    remembered, pasts, known = take(len(slots)), take(pointers), take(keys)
    each = keys // max(len(slots), 1)
    masks = tuple(
        (slot, FrameMemory(map_, map_.flatten(1), tuple(known[i * each : (i + 1) * each]) or None))
        for i, (slot, map_) in enumerate(zip(slots, remembered, strict=True))
    )
    # Of a memory that is recalled as a pointer nothing else is read; distances are in `times`.
    older = tuple((0, FrameMemory(past, past)) for past in pasts)
    return features, Recall(masks, older, times=times[0] if times else None)
