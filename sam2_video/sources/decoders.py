"""Decoders of video files, all with one small interface: frames in order, and a jump that may be wrong.

Containers lie about how many frames they hold and decoders lie about where a jump lands (decord is wrong in
files with open groups of pictures, OpenCV in files with a variable frame rate), so nothing here is trusted by
`VideoFile`: it counts what it gets and checks what a jump brought.
"""

from __future__ import annotations

import logging
import re
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sam2_video.sources.mp4 import Mp4Info, inspect_mp4
from sam2_video.types import SourceError

BACKENDS = ("auto", "decord", "opencv")
_log = logging.getLogger(__name__)


class DecodeError(Exception):
    """A decoder cannot open a file or go on in it; never leaves this package."""


class Decoder(Protocol):
    """Frames of one file in order, from wherever the last jump landed."""

    name: str
    fps: float | None

    @property
    def promised(self) -> int:
        """Number of frames, according to the file."""

    def read(self) -> NDArray[np.uint8]:
        """Return the next frame, (H, W, 3) RGB. Raises DecodeError where there is none."""

    def seek(self, frame: int) -> None:
        """Jump, so that `read` gives this frame next if all goes well. Raises DecodeError."""

    def close(self) -> None: ...


class DecordDecoder:
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
        try:
            self._reader: Any = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
            self.promised = len(self._reader)
            self.fps = _plausible_fps(self._reader.get_avg_fps())
        except (RuntimeError, decord.DECORDError, IndexError) as error:
            raise DecodeError(_first_line(error)) from error

    def read(self) -> NDArray[np.uint8]:
        try:
            rgb: NDArray[np.uint8] = self._reader.next().asnumpy()
        except self._ends as error:
            raise DecodeError(_first_line(error)) from error
        if rgb.ndim != 3 or rgb.shape[2] != 3:  # rotated clips come out with a fourth, meaningless channel
            raise DecodeError(f"decord returned an array of shape {rgb.shape}")
        return rgb

    def seek(self, frame: int) -> None:
        try:
            self._reader.seek_accurate(frame)
        except self._ends as error:
            raise DecodeError(_first_line(error)) from error

    def close(self) -> None:
        self._reader = None


class OpenCvDecoder:
    """Decoding by OpenCV's FFmpeg; it turns rotated clips upright."""

    name = "opencv"

    def __init__(self, path: Path) -> None:
        import cv2

        self._cv2 = cv2
        self._path = path
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise DecodeError("OpenCV cannot open it as a video")
        self.fps = _plausible_fps(self._capture.get(cv2.CAP_PROP_FPS))

    @cached_property
    def promised(self) -> int:
        """Frames by the header where it can be believed, else counted by decoding the file once."""
        promised = int(self._capture.get(self._cv2.CAP_PROP_FRAME_COUNT))
        return promised if self._holds(promised, inspect_mp4(self._path)) else self._count_by_decoding()

    def _holds(self, promised: int, mp4: Mp4Info | None) -> bool:
        """Can the header's count be believed, or is it at least what a broken file should have had?"""
        if mp4 is None or promised <= 0:
            return False  # outside MP4 the number is duration times rate, wrong wherever the rate varies
        if not mp4.whole or mp4.seconds is None or self.fps is None:
            return True
        return abs(mp4.seconds * self.fps - promised) < 1.5  # more: trimmed, and some frames are hidden

    def _count_by_decoding(self) -> int:
        other = self._cv2.VideoCapture(str(self._path), self._cv2.CAP_FFMPEG)  # going back can miss the start
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

    def close(self) -> None:
        self._capture.release()


def open_decoder(path: Path, backend: str = "auto") -> Decoder:
    """Open a video with OpenCV, whose memory stays flat, and with decord where OpenCV fails.

    Raises SourceError for an unknown backend and for a file that no permitted backend opens as a video.
    """
    if backend not in BACKENDS:
        raise SourceError(f"unknown video backend {backend!r}; expected one of {', '.join(BACKENDS)}")
    reasons = []
    for decoder in (OpenCvDecoder, DecordDecoder):
        if backend not in ("auto", decoder.name):
            continue
        try:
            return decoder(path)
        except DecodeError as error:
            reasons.append(f"{decoder.name}: {error}")
            _log.debug("%s does not open %s: %s", decoder.name, path, error)
    raise SourceError(
        f"{path} cannot be read as a video: damaged, incomplete or of another kind ({'; '.join(reasons)})"
    )


def _plausible_fps(fps: float) -> float | None:
    return float(fps) if np.isfinite(fps) and 0 < fps < 10_000 else None


def _first_line(error: BaseException) -> str:
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return re.sub(r"\[[\d:]+\] \S+\.cc:\d+: ", "", line)[:200]  # without the decoder's clock and source lines
