"""Values that cross module borders, and the error classes.

Maps are (B, C, H, W), tokens (B, N, C). S is the side of the square model frame; h = w = S / 16 is the coarse
grid. C is the model width (256 in the released models), M = 64 the width of a memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

PLAIN_BYTES = 2**28  # of masks; larger ones wait as bits until they are asked for
BATCH_PIXELS = 2**27  # of logits that a device enlarges at once
ABSENT_LOGIT = -1024.0  # what the released models report everywhere for an object that is not in the frame


class Sam2VideoError(Exception):
    """Base of every error this package raises on purpose."""


class ConfigError(Sam2VideoError):
    """A configuration cannot be found, composed or instantiated."""


class CheckpointError(Sam2VideoError):
    """Weights cannot be found, downloaded, verified or loaded into a model."""


class PromptError(Sam2VideoError, ValueError):
    """A prompt does not fit the clip: outside the frame, not a number, the wrong size, an unknown object."""


class SourceError(Sam2VideoError):
    """Frames cannot be read: missing, corrupt, empty or of different sizes."""


class SinkError(Sam2VideoError):
    """Results cannot be written."""


class DataError(Sam2VideoError):
    """Training or evaluation data is missing or malformed."""


@dataclass(frozen=True)
class Prompt:
    """What a user says about one object on one frame, in pixels of the original frame, x then y.

    `labels` holds 1 for a point on the object, 0 for a point off it. A mask excludes points and a box.
    """

    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None  # x0, y0, x1, y1
    mask: NDArray[np.bool_] | None = None  # (H, W)


@dataclass(frozen=True)
class ObjectInfo:
    """What people call an object: a name of its own ("left cup") and the class it belongs to ("cup")."""

    name: str = ""
    category: str = ""


@dataclass(frozen=True)
class PromptTensors:
    """A prompt in the model's units: what `FrameTransform` makes of a `Prompt`.

    Box corners are points with labels 2 and 3, placed before the clicks.
    """

    points: Tensor  # (B, P, 2) float32, pixels of the S x S model frame, x then y
    labels: Tensor  # (B, P) int64: 1 on, 0 off, 2 and 3 box corners, -1 padding
    previous: Tensor | None = None  # (B, 1, S/4, S/4) logits of the mask to be refined
    mask: Tensor | None = None  # (B, 1, S, S) of 0 and 1: the user's own mask, taken as it is


@dataclass(frozen=True)
class ImageFeatures:
    """What one frame looks like to the network, before any memory."""

    coarse: Tensor  # (B, C, S/16, S/16)
    # The decoder's skip connections, (B, C/8, S/4, S/4) and (B, C/4, S/8, S/8); SAM 1 has none.
    fine: tuple[Tensor, ...]
    ready: Any = None  # an event of a CUDA stream that makes them ahead, to be waited for


@dataclass(frozen=True)
class MaskCandidates:
    """The mask decoder's answer: candidate 0 is the single-mask output, candidates 1 to 3 the alternatives.

    Logits are raw: the rule for absent objects is applied when one candidate is chosen.
    """

    logits: Tensor  # (B, 4, S/4, S/4) float32
    iou: Tensor  # (B, 4) predicted IoU
    pointer: Tensor  # (B, 4, C) object pointer that each candidate would leave behind
    presence: Tensor  # (B,) logit: above 0 means that the object is in the frame
    rows: Tensor | None = None  # which of the prompts these are, where others were given up


@dataclass(frozen=True)
class MaskPrediction:
    """The chosen mask of B objects on one frame."""

    logits: Tensor  # (B, 1, S/4, S/4) float32; ABSENT_LOGIT everywhere for an absent object
    iou: Tensor  # (B,)
    pointer: Tensor  # (B, C)
    presence: Tensor  # (B,) logit
    candidates: MaskCandidates | None = None  # all of them, where the decoder was asked, for training

    def item(self, index: int) -> MaskPrediction:
        """Return the prediction of one object of the batch, still with a batch dimension of 1."""
        part = slice(index, index + 1)
        return MaskPrediction(self.logits[part], self.iou[part], self.pointer[part], self.presence[part])


@dataclass(frozen=True)
class FrameMemory:
    """What is remembered of B objects on one frame."""

    features: Tensor  # (B, M, S/16, S/16) bfloat16
    pointer: Tensor  # (B, C)
    # Of each object (layers, S/16 * S/16, C) from `SAM2.memory_keys` or stacked, where they were made.
    keys: tuple[Tensor, ...] | Tensor | None = None

    def map(self, change: Callable[[Tensor], Tensor]) -> FrameMemory:
        """Return the memory with `change` applied to its tensors: moved, part of a batch; without keys."""
        return FrameMemory(change(self.features), change(self.pointer))


@dataclass(frozen=True)
class Recall:
    """The memories that one frame looks back at. Objects with equal `layout` can share a batch."""

    masks: tuple[tuple[int, FrameMemory], ...] = ()  # (slot of the learned time code, memory)
    pointers: tuple[tuple[int, FrameMemory], ...] = ()  # (signed distance in frames, memory)
    pointer_span: int = 15  # distance that the pointer's time code is divided by
    # (P,), or (N, P) where objects differ: distances over the span, where they were made already.
    times: Tensor | None = None

    @property
    def layout(self) -> tuple[tuple[int, ...], tuple[int, ...], int]:
        """The integers of this recall: slots, distances, span."""
        return tuple(s for s, _ in self.masks), tuple(d for d, _ in self.pointers), self.pointer_span

    @property
    def shape(self) -> tuple[tuple[int, ...], int]:
        """What no two objects of a batch may differ in: slots, and the number of pointers."""
        return tuple(s for s, _ in self.masks), len(self.pointers)

    @property
    def is_empty(self) -> bool:
        return not self.masks and not self.pointers


@dataclass(frozen=True)
class FrameResult:
    """The masks of N objects on one frame; everything on the CPU.

    Row k of every array belongs to `object_ids[k]`.
    """

    frame: int
    object_ids: tuple[int, ...]
    logits: Tensor  # (N, h, w) float32, low resolution, after post-processing
    iou: Tensor  # (N,) float32, predicted
    presence: Tensor  # (N,) float32 logit; below 0 means absent
    size: tuple[int, int]  # (H, W) of the original frame
    prompted: tuple[bool, ...] = field(default=())  # per object: was it prompted on this frame
    info: tuple[ObjectInfo, ...] = field(default=())  # per object; empty where nobody named anything
    # A CUDA device that makes the masks from the logits; None: the CPU does.
    device: torch.device | None = field(default=None, repr=False, compare=False)

    def info_of(self, row: int) -> ObjectInfo:
        """What people call the object of a row; empty strings where nobody named it."""
        return self.info[row] if row < len(self.info) else ObjectInfo()

    @cached_property
    def masks(self) -> NDArray[np.bool_]:
        """(N, H, W) masks at original resolution, made on first use; objects may overlap."""
        if self._is_packed and self.object_ids:
            return np.stack(list(self._each()))
        return upsampled_masks(self.logits, self.size)

    @cached_property
    def boxes(self) -> NDArray[np.float32]:
        """(N, 4) x0, y0, x1, y1 of each mask in pixels, last column and row included; zeros if empty."""
        out = np.zeros((len(self.object_ids), 4), dtype=np.float32)
        for row, mask in zip(out, self._each(), strict=True):
            ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            if len(xs):
                row[:] = xs[0], ys[0], xs[-1], ys[-1]
        return out

    def label_map(self) -> NDArray[np.int32]:
        """(H, W) with the object id of each pixel, 0 for none; where objects overlap the larger logit wins.

        Raises ValueError for an object with id 0, which cannot be told from the background.
        """
        if 0 in self.object_ids:
            raise ValueError("object id 0 means background in a label map; use ids from 1")
        labels = np.zeros(self.size, dtype=np.int32)
        for object_id, mask in zip(self.object_ids, self._each(), strict=True):
            labels[mask] = object_id
        contested, rows = self.contested()
        labels[contested] = np.asarray(self.object_ids, dtype=np.int32)[rows]
        return labels

    def contested(self) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
        """Return the pixels (H, W) that two masks or more claim, and which row wins each, in reading order.

        The larger logit wins, the earlier row where two are equal.
        """
        contested = np.zeros(self.size, dtype=np.bool_)
        claimed = np.zeros(self.size, dtype=np.bool_)
        for mask in self._each():
            contested |= claimed & mask
            claimed |= mask
        rows = np.zeros(np.count_nonzero(contested), dtype=np.intp)
        top = np.full(len(rows), -np.inf, dtype=np.float32)
        for row, mask in enumerate(self._each() if len(rows) else ()):
            if not (claims := mask[contested]).any():
                continue
            logits = upsample_logits(self.logits[row : row + 1], self.size)[0].numpy()[contested]
            higher = claims & (logits > top)
            rows[higher], top[higher] = row, logits[higher]
        return contested, rows

    def _each(self) -> Iterator[NDArray[np.bool_]]:
        """The masks one after the other; where all of them would be large, they are never there at once."""
        if "masks" in self.__dict__ or not self._is_packed:
            return iter(self.masks)
        return (unpacked_mask(bits, self.size) for bits in self._packed)

    @property
    def _is_packed(self) -> bool:
        """Are masks kept as bits, because a GPU makes them or because they are many and large?"""
        return self.device is not None or len(self.logits) * self.size[0] * self.size[1] > PLAIN_BYTES

    @cached_property
    def _packed(self) -> NDArray[np.uint8]:
        """(N, bytes): the masks, eight pixels in a byte."""
        return packed_masks(self.logits, self.size, self.device)


def upsample_logits(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, h, w) mask logits -> (N, H, W), bilinear as the released models were evaluated."""
    if logits.shape[0] == 0:
        return logits.new_zeros((0, *size))
    return F.interpolate(logits[:, None].float(), size=size, mode="bilinear", align_corners=False)[:, 0]


def upsampled_masks(logits: Tensor, size: tuple[int, int]) -> NDArray[np.bool_]:
    """(N, h, w) mask logits -> (N, H, W) masks, one by one: full-size logits of all would be large."""
    masks = np.zeros((len(logits), *size), dtype=np.bool_)
    for row in range(len(logits)):
        np.greater(upsample_logits(logits[row : row + 1], size)[0].cpu().numpy(), 0, out=masks[row])
    return masks


def packed_masks(
    logits: Tensor, size: tuple[int, int], device: torch.device | None = None
) -> NDArray[np.uint8]:
    """(N, h, w) mask logits -> (N, bytes) masks of (H, W), eight pixels in a byte as numpy.packbits has them.

    With `device` they are enlarged and packed there: full-size logits never reach the host.
    """
    out = np.zeros((len(logits), -(-size[0] * size[1] // 8)), dtype=np.uint8)
    if device is None:
        for row in range(len(logits)):
            out[row] = np.packbits(upsampled_masks(logits[row : row + 1], size)[0])
        return out
    few = max(BATCH_PIXELS // (size[0] * size[1]), 1)
    for first in range(0, len(logits), few):
        part = logits[first : first + few].to(device, non_blocking=True)
        out[first : first + few] = pack_bits(upsample_logits(part, size) > 0).cpu().numpy()
    return out


def pack_bits(masks: Tensor) -> Tensor:
    """(N, H, W) bool -> (N, bytes) uint8 on the same device; the last byte is filled up with zeros."""
    flat = F.pad(masks.flatten(1), (0, -masks[0].numel() % 8)) if len(masks) else masks.flatten(1)
    eights = torch.unflatten(flat.view(torch.uint8), 1, (-1, 8))  # (N, bytes, 8)
    out = torch.zeros_like(eights[..., 0])
    for place in range(8):
        out |= eights[..., place] << (7 - place)
    return out


def unpacked_mask(bits: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The bits of one mask as (H, W) bool."""
    return np.unpackbits(bits, count=size[0] * size[1]).view(np.bool_).reshape(size)
