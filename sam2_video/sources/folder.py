"""Pictures as frames: a folder of them, or one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from sam2_video.sources.base import Rgb, Source, check_size
from sam2_video.types import SourceError

PICTURE_TYPES = {".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2"}


class FrameFolder(Source):
    """Pictures of a folder in natural order (frame2 before frame10), or one picture: a clip of one frame."""

    def __init__(self, path: str | Path) -> None:
        """Raises SourceError for a folder that is missing, empty or ambiguous, or a damaged first picture."""
        path = Path(path)
        self.name = path.name
        self._files = [path] if path.is_file() else _pictures(path)
        self._latest: tuple[int, Rgb] | None = None  # what was just segmented is asked for again to be shown
        self.count: int = len(self._files)
        self.size: tuple[int, int] = read_picture(self._files[0]).shape[:2]

    def read(self, frame: int) -> Rgb:
        """Return one frame. Raises SourceError for an unreadable picture and for one of another size."""
        self._check(frame)
        if self._latest is None or self._latest[0] != frame:
            rgb = read_picture(self._files[frame])
            check_size(rgb, self.size, str(self._files[frame]), str(self._files[0].name))
            self._latest = frame, rgb
        return self._latest[1]

    def frame_name(self, frame: int) -> str:
        """Return the picture's file name without its suffix."""
        self._check(frame)
        return self._files[frame].stem


def read_picture(path: Path) -> Rgb:
    """Read a picture as (H, W, 3) 8-bit RGB, upright; grey, 16-bit and transparent ones are converted.

    Raises SourceError.
    """
    import cv2

    try:
        data = np.fromfile(path, dtype=np.uint8)  # unlike cv2.imread this takes any path on any system
    except OSError as error:
        raise SourceError(f"cannot read the picture {path}: {error.strerror or error}") from error
    try:
        bgr = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except cv2.error as error:
        raise SourceError(f"{path} is damaged: {error}") from error
    if bgr is None:
        raise SourceError(f"{path} is not a readable picture: it is damaged, empty or of an unknown type")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


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
    return found


def _known_types() -> str:
    return ", ".join(sorted(suffix[1:] for suffix in PICTURE_TYPES))
