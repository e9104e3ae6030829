"""One picture from a file as 8-bit RGB, and how deeper pictures become 8-bit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2_video.sources.base import Rgb
from sam2_video.types import SourceError

DEPTHS = (8, 10, 12, 14, 16, 24, 32)  # bits of the sensors and formats there are
SAMPLES = 16  # frames that are looked at to choose how a deep clip becomes 8-bit
PILLOW_ERRORS = (Exception,)  # of damaged files: OSError, SyntaxError, KeyError, TypeError, struct.error, ...
TIFF_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
AVIF_MARKS = (b"ftypavif", b"ftypavis")
ORIENTATION = 274  # entry of EXIF
Raw = NDArray[Any]  # (H, W) or (H, W, 3) RGB, of whatever type the file has


@dataclass(frozen=True)
class Levels:
    """Which values become 0 and 255. One choice holds for all frames of a clip, so that none flickers."""

    low: float
    high: float

    @classmethod
    def of(cls, samples: Iterable[Raw]) -> Levels:
        """Choose for a clip by some of its frames.

        Integers: the bit depth that holds the brightest, so that 12-bit pictures in 16-bit files are not
        black. Real numbers within 0..1: that range. Others, and negative ones: from the least to the largest.
        """
        low, high, whole = np.inf, -np.inf, True
        for picture in samples:
            whole = whole and picture.dtype.kind in "ui"
            numbers = picture if whole else picture[np.isfinite(picture)]
            if numbers.size:
                low, high = min(low, float(numbers.min())), max(high, float(numbers.max()))
        if low < 0 or (not whole and high > 1):
            return cls(low, high)
        return cls(0, next(2**bits - 1 for bits in DEPTHS if high < 2**bits) if whole else 1)

    @classmethod
    def of_clip(cls, count: int, load: Callable[[int], Raw]) -> Levels:
        """Choose by up to 16 frames spread over a clip."""
        chosen = {round(k) for k in np.linspace(0, count - 1, min(SAMPLES, count))}
        return cls.of(load(k) for k in sorted(chosen))

    def apply(self, picture: Raw) -> NDArray[np.uint8]:
        """Return the picture as uint8; what lies outside the levels becomes 0 or 255."""
        if picture.dtype == np.uint8:
            return picture
        bits = int(self.high).bit_length()
        if picture.dtype.kind in "ui" and self.low == 0 and bits >= 8:
            # The high bits, as image libraries do it: 257 * v gives v.
            return (np.clip(picture.astype(np.int64), 0, int(self.high)) >> (bits - 8)).astype(np.uint8)
        share = (np.nan_to_num(picture.astype(np.float64), nan=self.low) - self.low) / (
            self.high - self.low or 1
        )
        return (np.clip(share, 0, 1) * 255 + 0.5).astype(np.uint8)


def read_picture(path: str | Path, levels: Levels | None = None) -> Rgb:
    """Read a picture as (H, W, 3) 8-bit RGB, turned upright as its EXIF entry says.

    Grey becomes RGB, CMYK is converted, alpha is ignored (the colours as stored). More than 8 bits become 8
    by `levels`; without them they are chosen for this picture alone. Raises SourceError.
    """
    return as_rgb(load_picture(Path(path)), levels)


def as_rgb(picture: Raw, levels: Levels | None = None) -> Rgb:
    """Return a raw picture as (H, W, 3) uint8."""
    if picture.dtype != np.uint8:
        picture = (levels or Levels.of([picture])).apply(picture)
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, axis=2)
    return picture


def load_picture(path: Path) -> Raw:
    """Read a picture upright in the depth it has: (H, W) or (H, W, 3) RGB. Raises SourceError."""
    try:
        data = np.fromfile(path, dtype=np.uint8)  # unlike cv2.imread this takes any path on any system
    except OSError as error:
        raise SourceError(f"cannot read the picture {path}: {error.strerror or error}") from error
    picture = _by_opencv(data)
    if picture is None:
        picture = _by_pillow(data)
    if picture is None:
        raise SourceError(f"{path} is not a readable picture: it is damaged, empty or of an unknown type")
    return picture


def _by_opencv(data: NDArray[np.uint8]) -> Raw | None:
    import cv2

    if data.size == 0 or (data[:4].tobytes() in TIFF_MARKS and _has_alpha(data)):
        return None  # OpenCV multiplies the colours of a TIFF with its alpha
    if data[4:12].tobytes() in AVIF_MARKS and _is_turned(data):
        return None  # OpenCV leaves them as stored
    try:
        picture = cv2.imdecode(data, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR)
    except cv2.error:
        return None
    if picture is None or picture.ndim == 2:
        return picture
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def _has_alpha(data: NDArray[np.uint8]) -> bool:
    from PIL import Image

    try:
        with Image.open(BytesIO(data.tobytes())) as picture:
            return has_alpha(picture.mode)
    except PILLOW_ERRORS:
        return False  # Pillow knows fewer kinds of TIFF


def _is_turned(data: NDArray[np.uint8]) -> bool:
    from PIL import Image

    try:
        with Image.open(BytesIO(data.tobytes())) as picture:
            return int(picture.getexif().get(ORIENTATION, 1)) != 1
    except PILLOW_ERRORS:
        return False  # Pillow before 11.3 knows no AVIF


def has_alpha(mode: str) -> bool:
    """Does this mode of Pillow carry transparency?"""
    return mode in ("RGBA", "LA", "PA", "RGBa", "La")


def _by_pillow(data: NDArray[np.uint8]) -> Raw | None:
    from PIL import Image

    try:
        with Image.open(BytesIO(data.tobytes())) as picture:
            return pillow_pixels(picture)
    except PILLOW_ERRORS:
        return None


def pillow_pixels(picture: Any) -> Raw:
    """Return the pixels of a Pillow picture, upright, in the depth it has."""
    from PIL import ImageOps

    picture = ImageOps.exif_transpose(picture)
    deep = picture.mode in ("I", "F") or picture.mode.startswith("I;16")
    return np.array(picture if deep else picture.convert("RGB"))
