"""Where the frames of a clip come from: a folder of pictures, or a video file. Both read lazily."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sam2_video.sources import VideoSource, open_source, read_picture
from sam2_video.sources.folder import PICTURE_TYPES, natural_key
from sam2_video.types import DataError, SourceError

VIDEO_TYPES = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"}
_ORIENTATION = 0x0112  # the EXIF entry that says how a picture is to be turned
_SIDEWAYS = (5, 6, 7, 8)
_TAIL = 4096  # bytes in which a file ends: some writers add padding


class Frames(Protocol):
    """The frames of one clip."""

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def size(self) -> tuple[int, int]: ...

    @property
    def files(self) -> tuple[Path, ...]: ...

    def read(self, frame: int) -> NDArray[np.uint8]: ...


@dataclass(frozen=True)
class PictureFrames:
    """Each picture is a frame."""

    files: tuple[Path, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(file.stem for file in self.files)

    @cached_property
    def size(self) -> tuple[int, int]:
        """(H, W) of the first picture. Raises DataError."""
        return picture_size(self.files[0])

    def read(self, frame: int) -> NDArray[np.uint8]:
        """Return (H, W, 3) RGB. Raises DataError for a file that cannot be read, or of another size."""
        try:
            rgb = read_picture(self.files[frame])
        except SourceError as error:
            raise DataError(f"cannot read a frame: {error}") from error
        if rgb.shape[:2] != self.size:
            raise DataError(
                f"{self.files[frame]} is {rgb.shape[1]}x{rgb.shape[0]}, but {self.files[0].name} is "
                f"{self.size[1]}x{self.size[0]}; all frames of a sequence must have one size"
            )
        return rgb


@dataclass(frozen=True)
class VideoFrames:
    """A video file, opened when it is first read."""

    path: Path

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Numbers, as results of a video are named."""
        count = self._source.count or 0
        return tuple(self._source.frame_name(frame) for frame in range(count))

    @cached_property
    def size(self) -> tuple[int, int]:
        """(H, W). Raises DataError."""
        return self._source.size

    def read(self, frame: int) -> NDArray[np.uint8]:
        """Return (H, W, 3) RGB; cheapest in ascending order. Raises DataError."""
        try:
            return self._source.read(frame)
        except SourceError as error:
            raise DataError(f"cannot read a frame: {error}") from error

    @property
    def _source(self) -> VideoSource:
        return _open_video(self.path)


@lru_cache(maxsize=1)  # a clip is read after the other: one decoder is enough, however many clips there are
def _open_video(path: Path) -> VideoSource:
    try:
        return open_source(path)
    except SourceError as error:
        raise DataError(f"cannot open the video: {error}") from error


def close_videos() -> None:
    """Forget decoders that are open; a process that was forked must not use those of its parent."""
    _open_video.cache_clear()


def picture_files(folder: Path) -> list[Path]:
    """Return the pictures of a folder in natural order, none of them hidden."""
    return _files(folder, PICTURE_TYPES)


def video_files(folder: Path) -> list[Path]:
    """Return the videos of a folder in natural order."""
    return _files(folder, VIDEO_TYPES)


def _files(folder: Path, types: set[str]) -> list[Path]:
    if not folder.is_dir():
        return []
    found = [f for f in folder.iterdir() if f.suffix.lower() in types and not f.name.startswith(".")]
    return sorted(found, key=lambda file: natural_key(file.name))


def picture_size(path: Path) -> tuple[int, int]:
    """Return (H, W) of a picture, upright, from its header. Raises DataError."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            width, height = picture.size
            # Of a PNG the entry may come last: Pillow would decode the whole picture to look for it.
            sideways = picture.format != "PNG" and picture.getexif().get(_ORIENTATION) in _SIDEWAYS
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is not a readable picture: {error}") from error
    return (width, height) if sideways else (height, width)


def is_cut_off(path: Path) -> bool:
    """Does the end of a JPEG or PNG file lack? Decoders fill what is missing with grey and say nothing."""
    mark = {".jpg": b"\xff\xd9", ".jpeg": b"\xff\xd9", ".png": b"IEND"}.get(path.suffix.lower())
    if mark is None:
        return False
    with path.open("rb") as file:
        file.seek(-min(_TAIL, path.stat().st_size), os.SEEK_END)
        return mark not in file.read()


def irregular_names(names: Sequence[str]) -> list[str]:
    """Return names after which frames seem to be missing: their step is not that of the others.

    Only numbers at the end of names are looked at: 00000, 00005, 00015 -> ["00005"].
    """
    numbers = [_trailing_number(name) for name in names]
    if len(numbers) < 3 or None in numbers:
        return []
    whole = [number for number in numbers if number is not None]
    steps = [b - a for a, b in pairwise(whole)]
    usual = max(set(steps), key=lambda step: (steps.count(step), -step))
    return [names[k] for k, step in enumerate(steps) if step != usual]


def _trailing_number(name: str) -> int | None:
    digits = name[len(name.rstrip("0123456789")) :]
    return int(digits) if digits and digits.isascii() else None
