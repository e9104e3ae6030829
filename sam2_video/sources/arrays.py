"""Frames that are arrays already, or become arrays one by one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sam2_video.sources.base import Rgb, Source, check_size
from sam2_video.types import SourceError


class FrameArrays(Source):
    """Frames that are in memory already, or that an iterator makes one by one.

    Takes a sequence of (H, W, 3) uint8 RGB arrays, one (T, H, W, 3) array, or any iterable. An iterable is
    read once and in order: its `count` is None until it ends, and only its latest frame can be read again.
    """

    def __init__(self, frames: Iterable[Any], fps: float | None = None, name: str = "frames") -> None:
        """Raises SourceError where there is no first frame or it is not uint8 RGB."""
        self.name, self.fps = name, fps
        if isinstance(frames, np.ndarray) and frames.ndim == 3:
            frames = frames[None]  # one picture
        in_memory = frames if isinstance(frames, (Sequence, np.ndarray)) else None
        self._frames = in_memory
        self._rest = iter(frames if in_memory is None else ())
        self._latest: tuple[int, Rgb] | None = None
        self.count: int | None = None if in_memory is None else len(in_memory)
        if self.count == 0:
            raise SourceError(f"{name} holds no frames; expected at least one (H, W, 3) uint8 array")
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
            return self._checked(self._frames[frame], frame)
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

    def _checked(self, value: Any, frame: int) -> Rgb:
        if isinstance(value, (str, Path)):
            raise SourceError(f"frame {frame} is a path, {str(value)!r}; pass the folder itself, or arrays")
        rgb = np.asarray(value)
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0:
            raise SourceError(
                f"frame {frame} of {self.name} is {rgb.dtype} of shape {rgb.shape}; "
                "expected uint8 RGB of shape (H, W, 3), values 0 to 255"
            )
        if self._shape is not None:
            check_size(rgb, self._shape, f"frame {frame} of {self.name}", "frame 0")
        return rgb
