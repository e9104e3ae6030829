"""Frames that come through a pipe: in a container, by PyAV, or as raw bytes."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from sam2_video.sources.base import Rgb
from sam2_video.sources.capture import Capture, Live, Size, Stopped
from sam2_video.types import SourceError

POLL_SECONDS = 0.1  # between two looks at whether a pipe is still wanted


def open_pipe(live: Live, size: Size | None, pixels: str, stopped: Stopped) -> Capture:
    """Open a pipe: raw frames of a `size`, a container without one. Raises SourceError."""
    data = PipeBytes(live, stopped)
    try:
        return ContainerPipe(data, live.name) if size is None else RawPipe(data, live.name, size, pixels)
    except BaseException:
        data.close()
        raise


class PipeBytes:
    """The bytes that come through a pipe; a read ends early once they are not wanted any more."""

    def __init__(self, live: Live, stopped: Stopped) -> None:
        self.stopped = stopped
        self._owned = live.at != "-"
        self._begun = not self._owned  # a named pipe may be opened before its writer is there
        try:
            # Opening a named pipe would wait for its writer, and so could not be told to stop.
            flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
            self._file = os.open(str(live.at), flags) if self._owned else sys.stdin.fileno()
        except (OSError, ValueError, AttributeError) as error:  # there may be no standard input at all
            raise SourceError(f"cannot read {live.name}: {error}") from error
        if not self._owned and os.isatty(self._file):
            raise SourceError(f"nothing comes through {live.name}; expected ffmpeg ... -f mpegts - | ...")

    def read(self, most: int) -> bytes:
        """Return up to `most` bytes, as soon as there are some; none at the end, and when told to stop."""
        while not self.stopped():
            if os.name == "posix" and not select.select([self._file], [], [], POLL_SECONDS)[0]:
                continue
            data = os.read(self._file, most)
            if data or self._begun:
                self._begun = True
                return data
            time.sleep(POLL_SECONDS)
        return b""

    def close(self) -> None:
        if self._owned:
            os.close(self._file)


@dataclass(frozen=True)
class Layout:
    """How the bytes of a raw frame lie. `code`: OpenCV's conversion to RGB, None where it is RGB."""

    rows: float  # of bytes for each row of pixels
    channels: int
    code: str | None = None

    def shape(self, size: Size) -> tuple[int, ...]:
        height, width = size
        return round(height * self.rows), width, self.channels

    def to_rgb(self, frame: Rgb) -> Rgb:
        import cv2

        if self.code is None:
            return frame
        return np.asarray(cv2.cvtColor(frame, getattr(cv2, self.code)), dtype=np.uint8)


LAYOUTS = {
    "rgb24": Layout(1, 3),
    "bgr24": Layout(1, 3, "COLOR_BGR2RGB"),
    "gray": Layout(1, 1, "COLOR_GRAY2RGB"),
    "yuv420p": Layout(1.5, 1, "COLOR_YUV2RGB_I420"),
}


class RawPipe:
    """Frames of a known size that come as bare bytes, as ffmpeg writes them with `-f rawvideo`."""

    fps: float | None = None
    finite = True

    def __init__(self, data: PipeBytes, name: str, size: Size, pixels: str) -> None:
        self._data, self._name, self._layout = data, name, LAYOUTS[pixels]
        self._meant = f"{size[1]}x{size[0]} {pixels}"
        if min(size) < 1 or (pixels == "yuv420p" and (size[0] % 2 or size[1] % 2)):
            raise SourceError(f"{name}: there are no frames of {self._meant}")
        self._shape = self._layout.shape(size)

    def read(self) -> Rgb | None:
        frame = np.empty(self._shape, np.uint8)
        room, filled = frame.data.cast("B"), 0
        while filled < len(room):
            some = self._data.read(len(room) - filled)
            if not some and filled and not self._data.stopped():
                raise SourceError(
                    f"{self._name} ended inside a frame, after {filled} of its {len(room)} bytes; "
                    f"are the frames really {self._meant}?"
                )
            if not some:
                return None
            room[filled : filled + len(some)] = some
            filled += len(some)
        return self._layout.to_rgb(frame)

    def close(self) -> None:
        self._data.close()


class ContainerPipe:
    """Video in a container that can be read in order (mpegts, mkv, fragmented mp4, MJPEG, y4m), by PyAV."""

    finite = True

    def __init__(self, data: PipeBytes, name: str) -> None:
        try:
            import av
        except (ImportError, OSError) as error:  # a wheel for another system fails with OSError
            raise SourceError(
                f"{name}: reading a container from a pipe needs PyAV (pip install 'sam2_video[video]'), "
                f"raw frames need their size ({error})"
            ) from error
        self._data, self._name, self._av = data, name, av
        try:
            self._container = av.open(data, mode="r", metadata_errors="replace")
        except (av.FFmpegError, ValueError) as error:
            raise SourceError(
                f"{name} holds no container that can be read in order ({error}); "
                "expected mpegts, mkv, fragmented mp4, MJPEG or y4m. Raw frames need their size"
            ) from error
        if not self._container.streams.video:
            self._container.close()
            raise SourceError(f"{name} holds no video")
        stream = self._container.streams.video[0]
        self.fps: float | None = float(stream.average_rate) if stream.average_rate else None
        self._frames: Iterator[Any] = self._container.decode(stream)

    def read(self) -> Rgb | None:
        try:
            frame = next(self._frames, None)
        except self._av.FFmpegError as error:
            raise SourceError(f"{self._name} is damaged: {error}") from error
        return None if frame is None else frame.to_ndarray(format="rgb24")

    def close(self) -> None:
        self._container.close()
        self._data.close()
