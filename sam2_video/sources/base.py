"""What every source of frames can do, and what they share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import count as count_up
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sam2_video.types import SourceError

Rgb: TypeAlias = NDArray[np.uint8]  # (H, W, 3)


class EndOfClip(SourceError):
    """A frame past the last one was asked for."""


class DecodeError(Exception):
    """A decoder cannot open a file or go on in it; never leaves this package."""


@runtime_checkable
class VideoSource(Protocol):
    """A clip whose frames count from 0; a context manager."""

    name: str

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of every frame."""

    @property
    def fps(self) -> float | None:
        """Frames per second, None where the source has no clock."""

    @property
    def count(self) -> int | None:
        """Number of frames, None while an iterator has not ended."""

    def read(self, frame: int) -> Rgb:
        """Return one frame, (H, W, 3) RGB. Raises SourceError, EndOfClip past the end."""

    def frames(self, start: int = 0, stop: int | None = None, step: int = 1) -> Iterator[tuple[int, Rgb]]:
        """Iterate over (number, frame) as `range` would; a negative step goes down to `stop`, excluded."""

    def frame_name(self, frame: int) -> str:
        """Return the name that results of this frame are filed under, without a suffix."""

    def close(self) -> None: ...

    def __enter__(self) -> VideoSource: ...

    def __exit__(self, *exception: object) -> None: ...


class Source:
    """What all sources share; they add `read`, `size`, `fps` and `count`."""

    name: str = ""
    fps: float | None = None
    count: int | None = None
    _afterwards: tuple[Callable[[], object], ...] = ()

    def read(self, frame: int) -> Rgb:
        raise NotImplementedError

    def frames(self, start: int = 0, stop: int | None = None, step: int = 1) -> Iterator[tuple[int, Rgb]]:
        """Iterate over (number, frame) as `range` would; a negative step goes down to `stop`, excluded."""
        if step == 0:
            raise SourceError("step is 0; expected a positive step, or a negative one to go backward")
        end = self.count if stop is None else stop
        numbers: Iterable[int]
        if step < 0:
            numbers = range(start, -1 if stop is None else stop, step)
        else:
            numbers = count_up(start, step) if end is None else range(start, end, step)
        for frame in numbers:
            try:
                rgb = self.read(frame)
            except EndOfClip:
                if stop is None and self.count is not None and frame >= self.count:
                    return
                raise
            yield frame, rgb

    def frame_name(self, frame: int) -> str:
        """Return the name that results of this frame are filed under: the zero-padded number."""
        return f"{frame:06d}"

    def time(self, frame: int) -> float | None:
        """Return when a frame is shown, in seconds after frame 0; None where the source has no clock."""
        return None if self.fps is None else frame / self.fps

    def close(self) -> None:
        """Let go of files; reading is over."""
        actions, self._afterwards = self._afterwards, ()
        for action in actions:
            action()

    def after_close(self, action: Callable[[], object]) -> None:
        """Have something done when reading is over, such as removing a file that was fetched for it."""
        self._afterwards = (*self._afterwards, action)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _check(self, frame: int) -> None:
        if frame < 0 or (self.count is not None and frame >= self.count):
            last = "" if self.count is None else f" (0..{self.count - 1})"
            raise EndOfClip(f"frame {frame} is outside {self.name}{last}; frames count from 0")


def check_size(rgb: Rgb, size: tuple[int, int], what: str, first: str) -> None:
    """Raise SourceError for a frame that is not (H, W) = `size` large as the first one is."""
    if rgb.shape[:2] != size:
        raise SourceError(
            f"{what} is {rgb.shape[1]}x{rgb.shape[0]}, but {first} is {size[1]}x{size[0]}; "
            "all frames of a clip must have one size"
        )
