"""The tensor arithmetic between a session's state and the model.

`Network` is stateless, but for what can be made again: what changes over a clip lives in `session`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam2_video.fingerprint import weights_fingerprint
from sam2_video.host import HostCopies
from sam2_video.model.sam2 import COARSE_STRIDE, SAM2
from sam2_video.postprocess import fill_holes, non_overlapping
from sam2_video.recalled import RecalledMemories
from sam2_video.state import Size
from sam2_video.steps import Steps
from sam2_video.timeline import Outcome, Row
from sam2_video.tracker import remember, segment_prompt, stack_recalls
from sam2_video.transforms import FrameTransform
from sam2_video.types import (
    ABSENT_LOGIT,
    FrameMemory,
    FrameResult,
    ImageFeatures,
    MaskPrediction,
    Prompt,
    PromptTensors,
    Recall,
)

WORK_BYTES = 2**30  # for what the network works on at once; bounds its memory, not the number of objects
GPU_SHARE = 8  # on a CUDA device: one part in so many of its memory
MAX_BATCH = 64
Leaving = Callable[[], list[Outcome]]
LOW_STRIDE = 4  # mask logits are a quarter of the model frame


@dataclass(frozen=True)
class Network:
    """What a session asks of the model; see `session.Driver`. Stateless, but for what can be made again."""

    model: SAM2
    transform: FrameTransform
    fill_holes: int = 0
    non_overlapping: bool = False
    offload: bool = False  # memories wait on the CPU until they are recalled
    shared_steps: Steps | None = None  # of the predictor; left out: its own, never replayed

    @cached_property
    def _steps(self) -> Steps:
        return self.shared_steps or Steps(self.model, "off")

    @cached_property
    def _recalled(self) -> RecalledMemories:
        """A memo: what it keeps can be made again from what it is given."""
        return RecalledMemories(self.model)

    def look(self, rgb: NDArray[np.uint8]) -> ImageFeatures:
        """Encode one (H, W, 3) uint8 RGB frame.

        On a CUDA device this returns at once, and goes on beside what is asked for next: another frame may be
        looked at before this one is tracked. The other verbs wait for it; see `ImageFeatures.ready`.
        """
        with torch.inference_mode():
            return self._steps.encode(lambda: self.transform.pixels(rgb, self.model.device))

    def segment(
        self, features: ImageFeatures, prompt: Prompt, size: Size, previous: Tensor | None, recall: Recall
    ) -> Outcome:
        """Segment one prompted object and make its memory."""
        with torch.inference_mode():
            self._steps.wait(features)
            tensors = self._tensors(prompt, size, previous)
            recall = self._recalled.ready([recall])[0]
            prediction = segment_prompt(self.model, features, tensors, recall)
            memory = remember(self.model, features, prediction, prompted=True)
            return self._separate(prediction, memory)[0]

    def _tensors(self, prompt: Prompt, size: Size, previous: Tensor | None) -> PromptTensors:
        """A prompt in the model's units, where the model is."""
        made, device = self.transform.prompt_tensors(prompt, size, previous), self.model.device
        return PromptTensors(
            made.points.to(device),
            made.labels.to(device),
            None if made.previous is None else made.previous.to(device),
            None if made.mask is None else made.mask.to(device),
        )

    @property
    def batch_size(self) -> int:
        """How many objects go through the network at once."""
        return min(max(work_bytes(self.model.device) // self.model.object_bytes, 1), MAX_BATCH)

    def follow(self, features: ImageFeatures, recalls: Sequence[Recall]) -> list[Outcome]:
        """Segment objects that are not prompted; those whose recalls are alike share a batch.

        On a CUDA device alike in shape, on a CPU in layout: batches gain less there, and change last digits.
        """
        on_cuda = self.model.device.type == "cuda"
        waiting: list[tuple[list[int], Leaving]] = []
        with torch.inference_mode():
            ready = self._recalled.ready(recalls)
            kinds = [one.shape if on_cuda else one.layout for one in ready]
            for batch in _batches(kinds, self.batch_size):
                recall = stack_recalls([ready[i] for i in batch])
                with self._steps.follow.held():  # until everything was copied out of where graphs write
                    waiting.append((batch, self._leaving(*self._steps.track(features, recall))))
            found = {i: one for batch, leaving in waiting for i, one in zip(batch, leaving(), strict=True)}
        return [found[i] for i in range(len(recalls))]

    def remember(self, features: ImageFeatures, prediction: MaskPrediction, *, prompted: bool) -> FrameMemory:
        """Make the memory of one object on a frame again, from the mask that was found."""
        found = prediction.logits, prediction.iou, prediction.pointer, prediction.presence
        logits, iou, pointer, presence = (part.to(self.model.device) for part in found)
        with torch.inference_mode():
            self._steps.wait(features)
            mask = MaskPrediction(logits, iou, pointer.to(self.model.dtype), presence)
            return self._separate(mask, remember(self.model, features, mask, prompted=prompted))[0][1]

    def settings(self) -> dict[str, Any]:
        """What decides the results of this network, and the shapes of what it makes of one object."""
        return {
            "weights": self._weights,
            "image_size": self.model.image_size,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "resize": self.transform.resize,
            "fill_holes": self.fill_holes,
            "non_overlapping": self.non_overlapping,
            "memory_pool": self.model.memory_attention.pool,
            "shapes": self._shapes(),
        }

    @cached_property
    def _weights(self) -> str:
        return weights_fingerprint(self.model)

    def _shapes(self) -> dict[str, list[int]]:
        low, coarse = self.model.image_size // LOW_STRIDE, self.model.image_size // COARSE_STRIDE
        pointer = [1, self.model.width]
        return {
            "logits": [1, 1, low, low],
            "iou": [1],
            "pointer": pointer,
            "presence": [1],
            "memory.features": [1, self.model.memory_width, coarse, coarse],
            "memory.pointer": pointer,
        }

    def _separate(self, prediction: MaskPrediction, memory: FrameMemory) -> list[Outcome]:
        """Split a batch into its objects; each owns its memory, so that it can be forgotten alone."""
        return self._leaving(prediction, memory)()

    def _leaving(self, prediction: MaskPrediction, memory: FrameMemory) -> Leaving:
        """Begin to copy what comes out of a batch; a call of what is returned waits, and splits it.

        Nothing that the batch was given in is read after this returned: graphs write there again.
        """
        found = prediction.logits, prediction.iou, prediction.pointer, prediction.presence
        host = HostCopies([whole.float() for whole in found])
        stays = not self.offload or self.model.device.type == "cpu"
        waiting = HostCopies([] if stays else [memory.features, memory.pointer])
        ones = [slice(i, i + 1) for i in range(len(prediction.iou))]
        own = [memory.map(lambda whole, one=one: whole[one].clone()) for one in ones if stays]  # type: ignore[misc]
        keyed = None if memory.keys is None else self._keyed(memory)

        def separate() -> list[Outcome]:
            logits, iou, pointer, presence = host.arrived()
            masks = [MaskPrediction(logits[one], iou[one], pointer[one], presence[one]) for one in ones]
            stored = own
            if not stays:
                features, mark = waiting.arrived(pinned=True)
                stored = [FrameMemory(features[one].clone(), mark[one].clone()) for one in ones]
            for kept, made in zip(stored, keyed or (), strict=bool(keyed)):
                self._recalled.put(kept, made)
            return list(zip(masks, stored, strict=True))

        return separate

    def _keyed(self, memory: FrameMemory) -> list[FrameMemory]:
        """A batch of memories whose keys are not yet apart, one by one; copied."""
        assert memory.keys is not None
        keys, features, pointer = memory.keys[0].clone(), memory.features.clone(), memory.pointer.clone()
        ones = [slice(i, i + 1) for i in range(len(pointer))]
        return [FrameMemory(features[one], pointer[one], (keys[i],)) for i, one in enumerate(ones)]

    def show(self, frame: int, size: Size, rows: Sequence[Row]) -> FrameResult:
        """Put objects together; those that are not there yet count as absent."""
        side = self.model.image_size // LOW_STRIDE
        absent = MaskPrediction(
            logits=torch.full((1, 1, side, side), ABSENT_LOGIT),
            iou=torch.zeros(1),
            pointer=torch.zeros(1, 0),
            presence=torch.full((1,), ABSENT_LOGIT),
        )
        shown = [row.prediction or absent for row in rows]
        # Concatenated outside of inference mode: results are ordinary tensors.
        logits = torch.cat([p.logits[:, 0] for p in shown]) if rows else torch.zeros(0, side, side)
        logits = fill_holes(logits, self.fill_holes)
        return FrameResult(
            frame=frame,
            object_ids=tuple(row.object_id for row in rows),
            logits=non_overlapping(logits) if self.non_overlapping else logits,
            iou=torch.cat([p.iou for p in shown]) if rows else torch.zeros(0),
            presence=torch.cat([p.presence for p in shown]) if rows else torch.zeros(0),
            size=size,
            prompted=tuple(row.prompted for row in rows),
            info=tuple(row.info for row in rows),
            device=self.model.device if self.model.device.type == "cuda" else None,
        )


def work_bytes(device: torch.device) -> int:
    """How much memory the network may take at once where it is."""
    if device.type != "cuda":
        return WORK_BYTES
    return max(int(torch.cuda.get_device_properties(device).total_memory) // GPU_SHARE, WORK_BYTES)


def _batches(kinds: Sequence[Hashable], size: int) -> Iterator[list[int]]:
    """Indices of what can go through the network together."""
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for index, kind in enumerate(kinds):
        groups[kind].append(index)
    for group in groups.values():
        for first in range(0, len(group), size):
            yield group[first : first + size]
