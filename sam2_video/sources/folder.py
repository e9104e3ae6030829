"""Pictures as frames: a folder of them, a list of files, or one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sam2_video.sources.base import Rgb, Source, check_size
from sam2_video.sources.pages import count_pages
from sam2_video.sources.pictures import Levels, Raw, as_rgb, load_picture
from sam2_video.types import SourceError

PICTURE_TYPES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".jp2", ".gif", ".avif"),
}
SAME_TYPE = {
    ".jpeg": ".jpg",
    ".jpe": ".jpg",
    ".jfif": ".jpg",
    ".tiff": ".tif",
    ".pgm": ".ppm",
    ".pbm": ".ppm",
}


class PictureFiles(Source):
    """Pictures in the order given: each file one frame.

    Where they have more than 8 bits, one choice for all, made by up to 16 of them, brings them to 8.
    """

    def __init__(self, files: Sequence[str | Path], name: str = "pictures") -> None:
        """Raises SourceError where there are none or the first cannot be read."""
        self.name = name
        self._files = [Path(file) for file in files]
        if not self._files:
            raise SourceError(f"{name} holds no frames; expected at least one picture")
        self._latest: tuple[int, Rgb] | None = None  # what was just segmented is asked for again to be shown
        self._stems_differ = len({file.stem for file in self._files}) == len(self._files)
        self.count: int = len(self._files)
        first = self._load(0)
        self.size: tuple[int, int] = first.shape[:2]
        self._levels: Levels | None = None
        if first.dtype != np.uint8:
            self._levels = Levels.of_clip(self.count, self._load)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that frames come from."""
        return tuple(self._files)

    def read(self, frame: int) -> Rgb:
        """Return one frame. Raises SourceError for an unreadable picture and for one of another size."""
        self._check(frame)
        if self._latest is None or self._latest[0] != frame:
            file = self._files[frame]
            if self.count > 1 and file.suffix.lower() != ".png" and (pages := count_pages(file)) > 1:
                raise SourceError(
                    f"{file} holds {pages} frames of its own, among {self.count} pictures; open it by itself"
                )
            rgb = as_rgb(self._load(frame), self._levels)
            check_size(rgb, self.size, str(file), self._files[0].name)
            self._latest = frame, rgb
        return self._latest[1]

    def _load(self, frame: int) -> Raw:
        """Read a picture as the file has it. Raises SourceError."""
        file = self._files[frame]
        try:
            return load_picture(file)
        except SourceError as error:
            if file.suffix.lower() in PICTURE_TYPES or not file.is_file():
                raise
            raise SourceError(
                f"{error}; a list holds pictures or arrays, and a video is opened by its path alone"
            ) from error

    def frame_name(self, frame: int) -> str:
        """Return the picture's file name without its suffix; the number where two files share a name."""
        self._check(frame)
        return self._files[frame].stem if self._stems_differ else super().frame_name(frame)


class FrameFolder(PictureFiles):
    """Pictures of a folder in natural order (frame2 before frame10), or one picture: a clip of one frame."""

    def __init__(self, path: str | Path) -> None:
        """Raises SourceError for a folder that is missing, empty or ambiguous, or a damaged first picture."""
        path = Path(path)
        super().__init__([path] if path.is_file() else _pictures(path), path.name)


def natural_key(text: str) -> tuple[Any, ...]:
    """Return a sort key under which frame2 comes before frame10."""
    parts = re.split(r"(\d+)", text)  # text and digits alternate, so keys compare like with like
    return (*(int(part) if k % 2 else part.lower() for k, part in enumerate(parts)), text)


def _pictures(folder: Path) -> list[Path]:
    try:
        visible = [file for file in folder.iterdir() if file.is_file() and not file.name.startswith(".")]
    except OSError as error:
        raise SourceError(f"cannot list the folder {folder}: {error.strerror or error}") from error
    found = [file for file in visible if file.suffix.lower() in PICTURE_TYPES]
    if not found:
        raise SourceError(f"{folder} holds no pictures; expected files such as 00000.jpg ({_known_types()})")
    found.sort(key=lambda file: natural_key(file.name))
    by_stem: dict[str, Path] = {}
    for file in found:
        if file.stem in by_stem:  # their results would have the same name
            pair = f"{by_stem[file.stem].name} and {file.name}"
            raise SourceError(f"{folder} holds both {pair}; keep one picture per frame")
        by_stem[file.stem] = file
    _check_types(folder, found)
    return found


def _check_types(folder: Path, files: Sequence[Path]) -> None:
    suffixes = (file.suffix.lower() for file in files)
    types = Counter(SAME_TYPE.get(suffix, suffix)[1:] for suffix in suffixes)
    if len(types) > 1:  # frames of one clip are alike: the others are masks, thumbnails, somebody's notes
        held = ", ".join(f"{count} {kind}" for kind, count in types.most_common())
        raise SourceError(f"{folder} holds pictures of several types ({held}); keep those of one clip in it")


def _known_types() -> str:
    return ", ".join(sorted(suffix[1:] for suffix in PICTURE_TYPES))
