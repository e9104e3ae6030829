"""Small pictures of all frames of a clip, made in the background and kept on disk while the clip is open.

A video can only be decoded from a key frame on, which may lie hundreds of frames back. So every frame that
is decoded leaves its picture, and a frame that somebody waits for is what is decoded next, with all that lie
between it and its key frame.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from sam2_video.sources import VideoFile, VideoSource
from sam2_video.sources.base import DecodeError
from sam2_video.sources.pyav import PyAvDecoder
from sam2_video.types import Sam2VideoError

WIDTH = 960  # pixels
BYTES = 2**30  # of the pictures of a clip; the frames after that have none
QUALITY = 85
PATIENCE = 20.0  # seconds that somebody waits for a picture before the frame is decoded another way


class Reader(Protocol):
    """Frames of a clip in small, from wherever it stands."""

    at: int  # the frame that comes next

    def go_to(self, frame: int) -> None:
        """Go where reading on leads to a frame; `at` says where that is. Raises DecodeError."""

    def read(self) -> NDArray[np.uint8]:
        """The next frame. Raises DecodeError, SourceError."""

    def close(self) -> None: ...


class _ByTime:
    """A video whose frames are found by their times, as its source finds them."""

    def __init__(self, decoder: PyAvDecoder, width: int) -> None:
        self._decoder, self._width, self.at = decoder, width, 0

    def go_to(self, frame: int) -> None:
        key = self._decoder.start_of(frame)
        if key is None:
            raise DecodeError("it is not known where decoding can begin")
        if not key <= self.at <= frame:
            self._decoder.seek(key)
            self.at = key

    def read(self) -> NDArray[np.uint8]:
        rgb = self._decoder.read_small(self._width)
        self.at += 1
        return rgb

    def close(self) -> None:
        self._decoder.close()


class _Any:
    """Any other source."""

    def __init__(self, source: VideoSource, width: int) -> None:
        self._source, self._width, self.at = source, width, 0

    def go_to(self, frame: int) -> None:
        self.at = frame

    def read(self) -> NDArray[np.uint8]:
        rgb = scaled(self._source.read(self.at), self._width)
        self.at += 1
        return rgb

    def close(self) -> None:
        self._source.close()


def open_reader(open_clip: Callable[[], VideoSource], width: int) -> Reader:
    """Open a clip to read its frames in small. Raises SourceError."""
    source = open_clip()
    if isinstance(source, VideoFile) and source.backend == PyAvDecoder.name:
        with suppress(DecodeError):
            decoder = PyAvDecoder(source.path.absolute())
            if decoder.exact:
                source.close()
                return _ByTime(decoder, width)
            decoder.close()
    return _Any(source, width)


class Previews:
    """The pictures of one clip, `width` pixels wide; any thread may ask."""

    def __init__(self, open_clip: Callable[[], VideoSource], count: int, width: int, folder: Path) -> None:
        """Raises OSError where there is no room on disk."""
        self._open_clip, self._count, self.width = open_clip, count, width
        self._path = folder / "previews"
        self._file = self._path.open("w+b", buffering=0)
        with suppress(OSError):  # without a name nothing is left after a crash; not everywhere possible
            self._path.unlink()
        self._starts, self._lengths = array("q", bytes(8 * count)), array("l", [0]) * count
        self._end = 0
        self._wanted: list[int] = []  # the one that was asked for last at the end
        self._changed = threading.Condition()
        self._over = False
        self._thread = threading.Thread(target=self._make, name="previews", daemon=True)
        self._thread.start()

    def get(self, frame: int) -> bytes | None:
        """The JPEG picture of a frame, waited for if need be; None where there will be none."""
        with self._changed:
            if not self._lengths[frame] and not self._over:
                self._wanted.append(frame)
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._over or self._lengths[frame], PATIENCE)
            if self._file.closed or not self._lengths[frame]:
                return None
            self._file.seek(self._starts[frame])
            return self._file.read(self._lengths[frame])

    def close(self) -> None:
        """End the making of pictures, and remove them."""
        self._stop()
        self._thread.join()
        with self._changed:
            self._file.close()
        self._path.unlink(missing_ok=True)

    def _make(self) -> None:
        try:
            with closing(open_reader(self._open_clip, self.width)) as reader:
                for target in self._targets(reader):
                    reader.go_to(target)
                    while reader.at <= target and not self._over:
                        at = reader.at
                        self._keep(at, reader.read())
        except (Sam2VideoError, DecodeError, OSError):
            pass  # whoever asks for the frame is told why it cannot be had
        finally:
            self._stop()

    def _targets(self, reader: Reader) -> Iterator[int]:
        """What is to be decoded next: what somebody waits for, else the frame after the latest one."""
        missing = 0
        while not self._over and self._end < BYTES:
            with self._changed:
                while self._wanted and self._lengths[self._wanted[-1]]:
                    self._wanted.pop()
                target = self._wanted.pop() if self._wanted else None
            if target is None and reader.at < self._count and not self._lengths[reader.at]:
                target = reader.at
            if target is None:
                while missing < self._count and self._lengths[missing]:
                    missing += 1
                if missing == self._count:
                    return
                target = missing
            yield target

    def _keep(self, frame: int, rgb: NDArray[np.uint8]) -> None:
        if self._lengths[frame]:
            return
        data = encode_jpeg(rgb)
        with self._changed:
            self._file.seek(self._end)
            if self._file.write(data) < len(data):
                raise OSError("the disk is full")
            self._starts[frame], self._lengths[frame] = self._end, len(data)
            self._end += len(data)
            self._changed.notify_all()

    def _stop(self) -> None:
        with self._changed:
            self._over = True
            self._changed.notify_all()


def scaled(rgb: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """(H, W, 3) -> (h, width, 3); a picture that is no wider stays as it is."""
    if width >= rgb.shape[1]:
        return rgb
    height = max(1, round(rgb.shape[0] * width / rgb.shape[1]))
    return np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def encode_jpeg(rgb: NDArray[np.uint8]) -> bytes:
    """(H, W, 3) RGB -> a JPEG picture."""
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1])
