"""Files of several pictures: animated GIF, WebP and PNG, and TIFF with many pages, read as videos are."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sam2_video.sources.base import DecodeError, Rgb
from sam2_video.sources.pictures import (
    PILLOW_ERRORS,
    TIFF_MARKS,
    Levels,
    Raw,
    as_rgb,
    has_alpha,
    pillow_pixels,
)
from sam2_video.types import SourceError

PAGED_TYPES = {".gif", ".webp", ".png", ".apng", ".tif", ".tiff", ".avif"}
LEAST_DELAY, USUAL_DELAY = 20.0, 100.0  # milliseconds: browsers show frames that last less as if ten a second


def count_pages(path: Path) -> int:
    """Return how many pictures a file holds, from its headers; 1 also where only reading it can tell.

    Raises SourceError for a file whose first picture is there, but whose list of pictures is cut off.
    """
    from PIL import Image

    if path.suffix.lower() not in PAGED_TYPES:
        return 1
    try:
        picture = Image.open(path)
    except PILLOW_ERRORS:
        return 1
    with picture:
        try:
            count = int(getattr(picture, "n_frames", 1))
        except PILLOW_ERRORS as error:
            raise SourceError(f"{path} is damaged: its pictures cannot be counted ({error})") from error
        return count - int(bool(picture.info.get("default_image")) and count > 1)


def open_pages(path: Path) -> AnimationDecoder | TiffDecoder | None:
    """Open a file of one of these types, told by its first bytes; None for any other and for damaged ones."""
    try:
        with path.open("rb") as file:
            head = file.read(16)
        if head[:4] in TIFF_MARKS:
            return TiffDecoder(path)
        animated = head.startswith((b"GIF8", b"\x89PNG")) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        return AnimationDecoder(path) if animated or head[4:12] == b"ftypavis" else None
    except (DecodeError, OSError):
        return None


class AnimationDecoder:
    """Animated GIF, WebP, PNG and AVIF by Pillow: whole frames, as disposal and blending compose them.

    Pixels of a GIF that no frame has drawn are white; else alpha is ignored and the colours are as stored.
    """

    name = "pillow"
    exact = True

    def __init__(self, path: Path) -> None:
        from PIL import Image

        try:
            self._path = path
            self._picture: Any = Image.open(path)
            count = int(getattr(self._picture, "n_frames", 1))
            self._poster = int(bool(self._picture.info.get("default_image")) and count > 1)
            self._delays = {0: self._show(0)}
        except PILLOW_ERRORS as error:
            raise DecodeError(f"{type(error).__name__}: {error}") from error
        self.promised = count - self._poster  # a PNG's poster is shown where animation is not known
        self.fps: float | None = 1000 / self._delays[0] if self.promised > 1 else None
        self._at = 0

    def read(self) -> Rgb:
        if self._at >= self.promised:
            raise DecodeError("the animation has ended")
        try:
            self._show(self._at)
            rgb = self._pixels()
        except PILLOW_ERRORS as error:
            raise DecodeError(f"{type(error).__name__}: {error}") from error
        self._at += 1
        return rgb

    def seek(self, frame: int) -> None:
        self._at = frame

    def rewind(self) -> None:
        self._at = 0

    def start_of(self, frame: int) -> int | None:
        return self._at if frame >= self._at else 0  # each frame is painted over the one before

    def time(self, frame: int) -> float | None:
        return float(self._times[frame]) if frame < len(self._times) else None

    def close(self) -> None:
        self._picture.close()

    @cached_property
    def _times(self) -> list[float]:
        """Seconds at which each frame begins, found by going through the whole animation."""
        delays = [self._show(frame) for frame in range(self.promised)]
        return list(np.cumsum([0.0, *delays[:-1]]) / 1000)

    def _show(self, frame: int) -> float:
        """Go to a frame and return its delay in milliseconds."""
        from PIL import Image

        if frame + self._poster < self._picture.tell():
            self._picture.close()
            self._picture = Image.open(self._path)  # going back in an APNG, Pillow loses its way
        self._picture.seek(frame + self._poster)
        self._picture.load()  # WebP tells a frame's duration once it is decoded
        delay = float(self._picture.info.get("duration") or 0)
        return delay if delay >= LEAST_DELAY else USUAL_DELAY

    def _pixels(self) -> Rgb:
        from PIL import Image

        if self._picture.format != "GIF":
            return as_rgb(pillow_pixels(self._picture))
        rgba = self._picture.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return np.array(Image.alpha_composite(white, rgba).convert("RGB"))


class TiffDecoder:
    """Pages of a TIFF by OpenCV, in any depth; all of them are brought to 8 bits in the same way."""

    name = "tiff"
    exact = True
    fps: float | None = None

    def __init__(self, path: Path) -> None:
        import cv2

        self._cv2, self._path, self._at = cv2, str(path), 0
        self.promised = int(cv2.imcount(self._path))
        if self.promised < 1:
            raise DecodeError("OpenCV finds no picture in it")
        self._alpha = self._any_alpha()

    def read(self) -> Rgb:
        if self._at >= self.promised:
            raise DecodeError("there is no further page")
        page = self._page(self._at)
        self._at += 1
        return as_rgb(page, None if page.dtype == np.uint8 else self._levels)

    def seek(self, frame: int) -> None:
        self._at = frame

    def rewind(self) -> None:
        self._at = 0

    def start_of(self, frame: int) -> int | None:
        return frame

    def time(self, frame: int) -> float | None:
        return None

    def close(self) -> None: ...

    @cached_property
    def _levels(self) -> Levels:
        return Levels.of_clip(self.promised, self._page)

    def _page(self, page: int) -> Raw:
        cv2 = self._cv2
        if self._alpha:  # OpenCV multiplies the colours with it
            return self._page_by_pillow(page)
        try:
            flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR
            found, pictures = cv2.imreadmulti(self._path, page, 1, flags=flags)
        except cv2.error as error:
            raise DecodeError(f"page {page}: {error}") from error
        if not found or not pictures:
            raise DecodeError(f"page {page} cannot be read")
        raw: Raw = pictures[0]
        return raw if raw.ndim == 2 else cv2.cvtColor(raw, cv2.COLOR_BGR2RGB)

    def _any_alpha(self) -> bool:
        from PIL import Image

        try:
            with Image.open(self._path) as picture:
                return has_alpha(picture.mode)
        except PILLOW_ERRORS:
            return False  # Pillow knows fewer kinds of TIFF

    def _page_by_pillow(self, page: int) -> Raw:
        from PIL import Image

        try:
            with Image.open(self._path) as picture:
                picture.seek(page)
                return pillow_pixels(picture)
        except PILLOW_ERRORS as error:
            raise DecodeError(f"page {page}: {error}") from error
