"""Label pictures: each pixel's value is an object id, 0 is background."""

from __future__ import annotations

import io
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2_video.prompts.documents import read_bytes
from sam2_video.types import PromptError

LABEL_TYPES = {".png", ".bmp", ".tif", ".tiff", ".gif"}  # those that keep every value as it is


def read_masks(path: Path) -> dict[int, NDArray[np.bool_]]:
    """Read a label picture: object id -> (H, W) mask. Raises PromptError if it is unreadable or empty."""
    labels = read_labels(path)
    ids = label_values(labels)
    if not ids:
        raise PromptError(f"the mask {path} is empty: every pixel is 0")
    if ids == [255]:
        return {1: labels > 0}
    return {k: labels == k for k in ids}


def label_values(labels: NDArray[np.int64]) -> list[int]:
    """Return the values of a label picture, ascending, without 0."""
    return [int(v) for v in np.unique(labels) if v]


def read_labels(path: Path) -> NDArray[np.int64]:
    """Read a palette or grey picture: (H, W) values, 255 for the white of a black and white one.

    A palette's indices, not its colours. Raises PromptError.
    """
    try:
        changed = path.stat().st_mtime_ns
    except (OSError, ValueError):
        changed = 0  # who reads it says why it cannot be read
    return _read_labels(path, changed)


@lru_cache(maxsize=2)  # the objects of a picture are asked for one after the other
def _read_labels(path: Path, changed: int) -> NDArray[np.int64]:
    values = decode_picture(read_bytes(path), f"the mask {path}")
    if values.ndim == 3 and (values[..., :3] == values[..., :1]).all():
        values = values[..., 0]  # grey saved as RGB
    if values.ndim != 2:
        raise PromptError(f"the mask {path} is a colour picture; expected palette or grey, pixel = object id")
    if values.dtype.kind not in "bui":
        raise PromptError(f"the mask {path} holds {values.dtype} values; expected whole numbers")
    labels = values.astype(np.int64) * (255 if values.dtype == np.bool_ else 1)
    if labels.min() < 0:
        raise PromptError(f"the mask {path} holds the value {labels.min()}; object ids are not negative")
    labels.flags.writeable = False  # the cache hands it to everybody
    return labels


def decode_picture(data: bytes, what: str) -> NDArray[Any]:
    """Decode a picture, palette pictures to their indices. Raises PromptError."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as picture:
                if picture.format == "JPEG":
                    raise PromptError(f"{what} is a JPEG, which does not keep values; save masks as PNG")
                return np.asarray(picture)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PromptError(f"{what} is too large: {error}") from error
    except (OSError, SyntaxError, ValueError) as error:  # what damaged files make PIL raise
        if isinstance(error, PromptError):
            raise
        raise PromptError(f"cannot read {what}: {error}") from error
