"""What the tests of importers share: clips of a few frames, masks, and messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sam2_video.prompts import PlacedPrompt, PromptSet, read_prompts
from sam2_video.sources import FrameArrays
from sam2_video.types import PromptError

SIZE = (40, 60)  # (H, W)


def folder_clip(path: Path, names: tuple[str, ...] = ("00000", "00005", "00010", "00015")) -> Path:
    """A folder of frames, 60x40, whose names are not their numbers."""
    path.mkdir(parents=True)
    for k, name in enumerate(names):
        Image.new("RGB", SIZE[::-1], (k, 2 * k, 50)).save(path / f"{name}.png")
    return path


def numbered_clip(count: int = 20, size: tuple[int, int] = SIZE) -> FrameArrays:
    """A clip whose frames have no names, as a video."""
    return FrameArrays([np.zeros((*size, 3), np.uint8)] * count)


def write(path: Path, text: str | bytes) -> Path:
    """Write a file and the folders it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def write_json(path: Path, data: Any, indent: int | None = 1) -> Path:
    return write(path, json.dumps(data, indent=indent))


def write_labels(path: Path, labels: NDArray[Any]) -> Path:
    """Write a palette PNG of ids."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(labels.astype(np.uint8))
    picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0] * 64)
    picture.save(path)
    return path


def rectangle(x0: int, y0: int, x1: int, y1: int, size: tuple[int, int] = SIZE) -> NDArray[np.bool_]:
    """A mask of the pixels from (x0, y0) up to but not including (x1, y1)."""
    mask = np.zeros(size, dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def by_place(found: PromptSet) -> dict[tuple[int, int], PlacedPrompt]:
    """Prompts by (frame, object)."""
    return {(placed.frame, placed.object_id): placed for placed in found}


def mask_of(placed: PlacedPrompt) -> NDArray[np.bool_]:
    assert placed.prompt.mask is not None, f"{placed} has no mask"
    return placed.prompt.mask


def complaint(path: Path, **options: Any) -> str:
    """What is said of a file that cannot be read."""
    with pytest.raises(PromptError) as caught:
        read_prompts(path, **options)
    return str(caught.value)
