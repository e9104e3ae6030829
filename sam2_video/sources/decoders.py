"""Decoders of video files, all with one small interface: frames in order, and a jump that may be wrong.

Containers lie about how many frames they hold and decoders lie about where a jump lands (decord is wrong in
files with open groups of pictures, OpenCV in files with a variable frame rate), so `VideoFile` counts what it
gets and checks what a jump brought. A decoder that finds frames by their timestamps says so: `exact`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sam2_video.sources.base import DecodeError
from sam2_video.sources.mp4 import believable_count
from sam2_video.sources.pages import open_pages
from sam2_video.sources.pyav import PyAvDecoder
from sam2_video.types import SourceError

BACKENDS = ("pyav", "opencv", "decord")  # in the order in which "auto" tries them
TS_MARK, TS_SIZES = b"G", (188, 192, 204)  # what each packet of a transport stream begins with; its bytes
TS_PACKETS = 12  # that are looked at
_log = logging.getLogger(__name__)


class Decoder(Protocol):
    """Frames of one file in order, from wherever the last jump landed."""

    name: str

    @property
    def fps(self) -> float | None:
        """Frames per second on average, None where the file does not say."""

    @property
    def exact(self) -> bool:
        """Does a jump land where it should, or fail, also among frames that were never decoded?"""

    @property
    def promised(self) -> int:
        """Number of frames, according to the file."""

    def read(self) -> NDArray[np.uint8]:
        """Return the next frame, (H, W, 3) RGB. Raises DecodeError where there is none."""

    def seek(self, frame: int) -> None:
        """Jump, so that `read` gives this frame next if all goes well. Raises DecodeError."""

    def rewind(self) -> None:
        """Begin anew, so that `read` gives frame 0 next, certainly. Raises DecodeError."""

    def start_of(self, frame: int) -> int | None:
        """Return the frame at which decoding begins to reach this one by a jump; None where not known."""

    def time(self, frame: int) -> float | None:
        """Return when a frame is shown, in seconds after the first; None where the decoder cannot tell."""

    def close(self) -> None: ...


class _Inexact:
    """What decoders share that know of no timestamps."""

    exact = False

    def start_of(self, frame: int) -> int | None:
        return None

    def time(self, frame: int) -> float | None:
        return None


class DecordDecoder(_Inexact):
    """Decoding by decord.

    It decodes ahead of a slow reader without limit, so that memory grows with the clip's length.
    """

    name = "decord"

    def __init__(self, path: Path) -> None:
        try:
            import decord
        except (ImportError, OSError) as error:  # a wheel for another system fails with OSError
            raise DecodeError(f"decord is not installed or does not start ({error})") from error
        self._ends: tuple[type[BaseException], ...] = (StopIteration, RuntimeError, decord.DECORDError)
        if _rotation(path):  # some it turns, into broken arrays, some not
            raise DecodeError("decord does not turn rotated clips upright; backend='auto' tries others")
        if _is_transport_stream(path):  # it begins with others than the first, and says nothing
            raise DecodeError(
                "decord numbers frames of transport streams wrongly; backend='auto' tries others"
            )
        try:
            self._open: Callable[[], Any] = lambda: decord.VideoReader(
                str(path), ctx=decord.cpu(0), num_threads=1
            )
            self._reader = self._open()
            self.promised = len(self._reader)
            self.fps = _plausible_fps(self._reader.get_avg_fps())
        except (RuntimeError, decord.DECORDError, IndexError) as error:
            raise DecodeError(_first_line(error)) from error

    def read(self) -> NDArray[np.uint8]:
        try:
            rgb: NDArray[np.uint8] = self._reader.next().asnumpy()
        except self._ends as error:
            raise DecodeError(_first_line(error)) from error
        return rgb

    def seek(self, frame: int) -> None:
        try:
            self._reader.seek_accurate(frame)
        except self._ends as error:
            raise DecodeError(_first_line(error)) from error

    def rewind(self) -> None:
        self._reader = self._open()

    def close(self) -> None:
        self._reader = None


class OpenCvDecoder(_Inexact):
    """Decoding by OpenCV's FFmpeg; it turns rotated clips upright."""

    name = "opencv"

    def __init__(self, path: Path) -> None:
        import cv2

        self._cv2 = cv2
        self._path = path
        self._capture = self._open()
        if not self._capture.isOpened():
            raise DecodeError("OpenCV cannot open it as a video")
        self.fps = _plausible_fps(self._capture.get(cv2.CAP_PROP_FPS))

    def _open(self) -> Any:
        return self._cv2.VideoCapture(str(self._path), self._cv2.CAP_FFMPEG)

    @cached_property
    def promised(self) -> int:
        """Frames by the header where it can be believed, else counted by decoding the file once."""
        promised = int(self._capture.get(self._cv2.CAP_PROP_FRAME_COUNT))
        return believable_count(self._path, promised, self.fps) or self._count_by_decoding()

    def _count_by_decoding(self) -> int:
        other = self._open()  # going back can miss the start
        count = 0
        while other.grab():
            count += 1
        other.release()
        return count

    def read(self) -> NDArray[np.uint8]:
        ok, bgr = self._capture.read()
        if not ok or bgr is None:
            raise DecodeError("OpenCV finds no further frame")
        return np.asarray(self._cv2.cvtColor(bgr, self._cv2.COLOR_BGR2RGB), dtype=np.uint8)

    def seek(self, frame: int) -> None:
        if not self._capture.set(self._cv2.CAP_PROP_POS_FRAMES, float(frame)):
            raise DecodeError(f"OpenCV cannot jump to frame {frame}")

    def rewind(self) -> None:
        self._capture.release()
        self._capture = self._open()

    def close(self) -> None:
        self._capture.release()


def open_decoder(path: Path, backends: Sequence[str] = BACKENDS) -> Decoder:
    """Open a video with the first of these decoders that can.

    Raises SourceError for an unknown backend and for a file that none of them opens as a video.
    """
    if unknown := [name for name in backends if name not in BACKENDS]:
        raise SourceError(
            f"unknown video backend {unknown[0]!r}; expected one of auto, {', '.join(BACKENDS)}"
        )
    if tuple(backends) == BACKENDS and (pages := open_pages(path)) is not None:
        return pages
    reasons = []
    absolute = path.absolute()  # of "12:30.mp4" FFmpeg takes the first part for a protocol
    for decoder in (PyAvDecoder, OpenCvDecoder, DecordDecoder):
        if decoder.name not in backends:
            continue
        try:
            opened = decoder(absolute)
            if opened.promised == 0:
                opened.close()
                raise DecodeError("it is a video without frames")
            return opened
        except DecodeError as error:
            reasons.append(f"{decoder.name}: {error}")
            _log.debug("%s does not open %s: %s", decoder.name, path, error)
    raise SourceError(
        f"{path} cannot be read as a video: damaged, incomplete or of another kind ({'; '.join(reasons)})"
    )


def _rotation(path: Path) -> int:
    """Return the angle in degrees by which players turn a clip, as far as OpenCV knows."""
    import cv2

    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    angle = capture.get(cv2.CAP_PROP_ORIENTATION_META) if capture.isOpened() else 0
    capture.release()
    return int(angle)


def _is_transport_stream(path: Path) -> bool:
    """Are these packets of MPEG-TS: of 188 bytes, or with a time code (192) or a check sum (204)?"""
    with path.open("rb") as file:
        data = file.read(TS_PACKETS * max(TS_SIZES))
    return any(
        data[start::size][: TS_PACKETS - 1] == TS_MARK * (TS_PACKETS - 1)
        for size in TS_SIZES
        for start in range(size)
    )


def _plausible_fps(fps: float) -> float | None:
    return float(fps) if np.isfinite(fps) and 0 < fps < 10_000 else None


def _first_line(error: BaseException) -> str:
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return re.sub(r"\[[\d:]+\] \S+\.cc:\d+: ", "", line)[:200]  # without the decoder's clock and source lines
