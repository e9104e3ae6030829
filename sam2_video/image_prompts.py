"""Checks of what is said about objects in pictures: every mistake is a PromptError that says what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sam2_video.model.sam2 import MASK_BIAS, MASK_SCALE
from sam2_video.transforms import FrameTransform, Size, make_prompt
from sam2_video.types import Prompt, PromptError

PLURAL = {"box": "boxes", "mask": "masks"}  # what the arguments for one object are called for several
LABELS = (-1, 0, 1)  # padding, off the object, on it
Said = tuple[Prompt, Tensor | None]  # points and box; (1, 1, S/4, S/4) logits


def picture_prompt(
    transform: FrameTransform,
    size: Size,
    *,
    points: Any = None,
    labels: Any = None,
    box: Any = None,
    mask: Any = None,
    mask_logits: Any = None,
) -> Said:
    """Check what is said about one object in an (H, W) picture. Raises PromptError."""
    if mask is not None and mask_logits is not None:
        raise PromptError(
            "mask and mask_logits were both given: give a mask of the picture, or logits of an earlier result"
        )
    prompt, previous = Prompt(), None
    if any(part is not None for part in (points, labels, box)) or (mask is None and mask_logits is None):
        prompt = make_prompt(size, points=points, labels=labels, box=box, where="the picture")
    if mask_logits is not None:
        previous = _checked_logits(mask_logits, transform.size // 4)
    elif mask is not None:
        chosen = make_prompt(size, mask=mask, where="the picture").mask
        assert chosen is not None
        previous = MASK_SCALE * transform.small_mask(chosen) + MASK_BIAS
    return prompt, previous


def _checked_logits(mask_logits: Any, side: int) -> Tensor:
    logits = as_tensor(mask_logits, "mask_logits", torch.device("cpu"))
    if tuple(logits.shape) not in ((side, side), (1, side, side)):
        raise PromptError(
            f"mask_logits must be one mask of shape {(side, side)}, such as result.logits[0]; got "
            f"{tuple(logits.shape)}. A mask of the picture's own size is given as mask="
        )
    if not torch.isfinite(logits).all():
        raise PromptError("mask_logits hold numbers that are not finite")
    return logits.reshape(1, 1, side, side)


def per_object(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Arguments of `predict` with an entry for each object, or None -> those of each. Raises PromptError."""
    for name, entries in given.items():
        if entries is not None and not _is_list(entries):
            raise PromptError(
                f"{PLURAL.get(name, name)} must be a list (or an array) with an entry for each object; got "
                f"{_shown(entries)}. For a single object there is predict"
            )
    parts = {name: entries for name, entries in given.items() if entries is not None}
    counts = {PLURAL.get(name, name): len(entries) for name, entries in parts.items()}
    if len(set(counts.values())) != 1:
        raise PromptError(f"prompts of several objects come in equal numbers; got {counts or 'nothing'}")
    count = next(iter(counts.values()))
    return [{name: entries[k] for name, entries in parts.items()} for k in range(count)]


def _is_list(entries: Any) -> bool:
    if isinstance(entries, np.ndarray | Tensor):
        return entries.ndim > 0
    return isinstance(entries, Sequence) and not isinstance(entries, str | bytes)


def _shown(value: Any) -> str:
    if isinstance(value, int | float | str):
        return repr(value)
    return f"a {type(value).__name__}"


def as_tensor(values: Any, name: str, device: torch.device) -> Tensor:
    """Numbers as a float32 tensor; PromptError for what is none."""
    if isinstance(values, Tensor):
        return values.to(device, torch.float32)
    try:
        return torch.as_tensor(values, dtype=torch.float32, device=device)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        said = str(error).splitlines()[0]
        raise PromptError(f"{name} must be an array of numbers; got {_shown(values)} ({said})") from error


def batch_tensor(values: Any, shape: Sequence[int], name: str, device: torch.device) -> Tensor | None:
    """Values as a float32 tensor of this shape, -1 for any number; PromptError for another one."""
    if values is None:
        return None
    tensor = as_tensor(values, name, device)
    fits = tensor.dim() == len(shape) and all(
        e in (-1, side) for e, side in zip(shape, tensor.shape, strict=True)
    )
    if not fits:
        expected = ", ".join("any" if side < 0 else str(side) for side in shape)
        raise PromptError(f"{name} of a batch must have shape ({expected}); got {tuple(tensor.shape)}")
    return tensor


def batch_labels(labels: Any, shape: Sequence[int], device: torch.device) -> Tensor:
    """(B, P) labels; all are on the object where none are given."""
    flags = batch_tensor(labels, shape, "labels", device)
    if flags is None:
        return torch.ones(tuple(shape), device=device)
    if not torch.isin(flags, flags.new_tensor(LABELS)).all():
        others = sorted(set(flags.flatten().tolist()) - set(LABELS))
        raise PromptError(
            f"labels are 1 (on the object), 0 (not on it) or -1 (padding); got {others[:5]}. Corners of "
            "boxes are given as boxes="
        )
    return flags
