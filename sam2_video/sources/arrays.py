"""Frames that are arrays already, or become arrays one by one: numpy, torch, Pillow, paths to pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2_video.sources.base import Rgb, Source, check_size
from sam2_video.sources.pictures import Levels, Raw, as_rgb, load_picture, pillow_pixels
from sam2_video.types import SourceError

EXPECTED = "expected RGB (H, W, 3) or grey (H, W), uint8 0 to 255 or float 0 to 1"


class FrameArrays(Source):
    """Frames that are in memory already, or that an iterator makes one by one.

    Takes one array or tensor, (T, H, W, 3), (T, 3, H, W) or grey (T, H, W), or any iterable of frames:
    arrays, tensors, Pillow pictures, paths. A frame is RGB (an array cannot tell that it is BGR) or grey,
    uint8 or floating point within 0..1. An iterable is read once and in order: its `count` is None until it
    ends, and only its latest frame can be read again.
    """

    def __init__(self, frames: Any, fps: float | None = None, name: str = "frames") -> None:
        """Raises SourceError where there is no first frame or it is not of these kinds."""
        self.name, self.fps = name, fps
        if _is_array(frames):
            frames = _clip(frames, name)
        elif not isinstance(frames, Iterable):
            frames = [frames]  # a Pillow picture
        in_memory = frames if isinstance(frames, Sequence) or _is_array(frames) else None
        self._frames = in_memory
        self._rest = iter(frames if in_memory is None else ())
        self._latest: tuple[int, Rgb] | None = None
        self.count: int | None = None if in_memory is None else len(in_memory)
        if self.count == 0:
            raise SourceError(f"{name} holds no frames; expected at least one (H, W, 3) uint8 array")
        self._levels: Levels | None = None  # of the first frame with more than 8 bits, for all of them
        self._shape: tuple[int, int] | None = None
        self._shape = self.read(0).shape[:2]

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of every frame."""
        assert self._shape is not None
        return self._shape

    def read(self, frame: int) -> Rgb:
        """Return one frame. Raises SourceError for a wrong array, and for a frame an iterator has passed."""
        self._check(frame)
        if self._frames is not None:
            if self._latest is None or self._latest[0] != frame:
                self._latest = frame, self._checked(self._frames[frame], frame)
            return self._latest[1]
        while self._latest is None or self._latest[0] < frame:
            at = 0 if self._latest is None else self._latest[0] + 1
            try:
                self._latest = at, self._checked(next(self._rest), at)
            except StopIteration:
                self.count = at
                if at == 0:
                    raise SourceError(f"{self.name} ended before its first frame") from None
                self._check(frame)
        if self._latest[0] != frame:
            raise SourceError(
                f"frame {frame} of {self.name} has passed (now at {self._latest[0]}) and an iterator cannot "
                "go back; pass a list of frames, or a file, to go backward or correct earlier frames"
            )
        return self._latest[1]

    def close(self) -> None:
        """Forget the frames."""
        self._frames, self._rest, self._latest = [], iter(()), None
        super().close()

    def _checked(self, value: Any, frame: int) -> Rgb:
        what = f"frame {frame} of {self.name}"
        if isinstance(value, (str, Path)):
            rgb = self._from_picture(load_picture(Path(value)))
        elif is_pillow(value):
            rgb = self._from_picture(pillow_pixels(value))
        else:
            rgb = _from_array(value, what)
        if self._shape is not None:
            check_size(rgb, self._shape, what, "frame 0")
        return rgb

    def _from_picture(self, raw: Raw) -> Rgb:
        if raw.dtype != np.uint8 and self._levels is None:
            self._levels = Levels.of([raw])
        return as_rgb(raw, self._levels)


def is_pillow(value: Any) -> bool:
    """Is this a picture of Pillow, told without importing it?"""
    return hasattr(value, "convert") and hasattr(value, "getbands")


def _from_array(value: Any, what: str) -> Rgb:
    array = _as_numpy(value)
    if array.ndim == 3 and array.shape[2] != 3 and array.shape[0] == 3:
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        advice = (
            "; drop the alpha channel: frame[..., :3]" if array.ndim == 3 and array.shape[-1] == 4 else ""
        )
        raise SourceError(f"{what} is {array.dtype} of shape {array.shape}; {EXPECTED}{advice}")
    return np.ascontiguousarray(as_rgb(_eight_bit(array, what)))


def _eight_bit(array: NDArray[Any], what: str) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind != "f":
        advice = "; scale it to 0..255 by the range that your clip uses" if array.dtype.kind in "ui" else ""
        raise SourceError(f"{what} is {array.dtype} of shape {array.shape}; {EXPECTED}{advice}")
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):  # so written, NaN fails too
        raise SourceError(
            f"{what} is {array.dtype} with values from {low:g} to {high:g}; {EXPECTED}: undo a "
            "normalisation, or divide 0..255 by 255"
        )
    return np.asarray(array * 255 + 0.5, dtype=np.uint8)


def _clip(array: Any, name: str) -> Any:
    """Return what is one array as frames along its first axis."""
    shape = tuple(array.shape)
    picture = len(shape) == 2 or (len(shape) == 3 and (shape[2] in (1, 3, 4) or shape[0] == 3 != shape[2]))
    if picture:
        return array[None]
    if len(shape) not in (3, 4):
        raise SourceError(
            f"{name} is an array of shape {shape}; expected frames (T, H, W, 3), (T, 3, H, W) or grey "
            "(T, H, W)"
        )
    return array


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or hasattr(value, "detach")


def _as_numpy(value: Any) -> NDArray[Any]:
    if not hasattr(value, "detach"):
        return np.asarray(value)
    tensor = value.detach().cpu()
    return np.asarray((tensor.float() if tensor.is_floating_point() else tensor).numpy())
