"""Decoding by PyAV (FFmpeg), which tells the time of each frame: jumps find frames by it and not by luck."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import cached_property
from heapq import heappop, heappush
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sam2_video.sources.base import DecodeError
from sam2_video.sources.frame_index import FrameIndex, failures, index_frames, is_countable
from sam2_video.sources.mp4 import believable_count

if TYPE_CHECKING:
    from av import Packet, VideoFrame, VideoStream
    from av.container import InputContainer

THREADS = 4  # decoded frames wait in each thread, so more of them cost memory
ATTEMPTS = 3  # key frames from which a jump is tried, each one earlier, because containers miss too
BT601 = (0, 2, 5, 6)  # numbers of its matrix in FFmpeg, which it takes also for those without (0 and 2)
COVER = 0x400  # disposition of a picture that is the cover of a file of sound


class PyAvDecoder:
    """Decoding by PyAV: the pixels of OpenCV, upright, each frame known by its time."""

    name = "pyav"

    def __init__(self, path: Path) -> None:
        try:
            import av
            from av.video.reformatter import VideoReformatter
        except (ImportError, OSError) as error:  # a wheel for another system fails with OSError
            raise DecodeError(f"PyAV is not installed (pip install 'sam2_video[video]'; {error})") from error
        self._av, self._path, self._failures = av, path, failures()
        # One for all frames of a size: making it costs more than using it.
        self._reformatter, self._small = VideoReformatter(), VideoReformatter()
        self._version = int(av.__version__.split(".")[0])
        self._failed = False  # a packet could not be decoded
        self._suspect = False  # a frame was left out, or the times are not those of frames
        self._at: int = 0  # the frame that is read next
        self._container, self._stream = self._open()
        self._countable = is_countable(self._stream)
        self._frames = self._decode(self._container.demux(self._stream))
        self._turn: tuple[int, ...] | None = None  # how the clip is shown, known from its first frame

    @cached_property
    def promised(self) -> int:
        """Frames by the header of an MP4 where it can be believed, else counted."""
        header = int(self._stream.frames) if self._countable else 0
        return believable_count(self._path, header, self._rate) or self._index.count

    @property
    def fps(self) -> float | None:
        """By the container; by the times of the frames where those are known by now and tell otherwise."""
        times = self._index.times if "_index" in self.__dict__ else None
        if times is None or len(times) < 2 or times[0] == times[-1]:
            return self._rate
        mean = (len(times) - 1) / float((times[-1] - times[0]) * self._stream.time_base)
        return self._rate if self._rate and abs(mean / self._rate - 1) < 0.02 else mean

    @property
    def exact(self) -> bool:
        return self._index.times is not None

    def read(self) -> NDArray[np.uint8]:
        try:
            rgb = self._rgb(self._next())
        except self._failures as error:
            raise DecodeError(_reason(error)) from error
        self._at += 1
        return rgb

    def read_small(self, width: int) -> NDArray[np.uint8]:
        """Return the next frame scaled to this width, (h, width, 3) RGB: to be looked at, in less time.

        Raises DecodeError.
        """
        try:
            frame = self._next()
            if self._turn is None:
                self._turn = _display_matrix(frame)
            share = width / (frame.height if self._turn[0] == 0 else frame.width)
            sides = {name: max(1, round(share * getattr(frame, name))) for name in ("width", "height")}
            options: dict[str, Any] = {"format": "rgb24", "interpolation": "AREA", **sides}
            if self._version >= 17:
                options["threads"] = 1
            rgb = self._small.reformat(frame, **options).to_ndarray()
        except self._failures as error:
            raise DecodeError(_reason(error)) from error
        self._at += 1
        return np.ascontiguousarray(_turned(rgb, self._turn), dtype=np.uint8)

    def seek(self, frame: int) -> None:
        index = self._index
        if index.times is None:
            raise DecodeError("the file does not say when its frames are shown")
        last = int(np.searchsorted(index.keys, frame, "right"))
        for key in range(last - 1, max(-1, last - 1 - ATTEMPTS), -1):
            start = int(index.keys[key])
            # Some containers are searched by the times of presentation, MPEG transport streams by the others.
            if any(self._land(int(time), start, frame) for time in (index.times[start], index.decoded[key])):
                return
        raise DecodeError(f"no key frame leads to frame {frame}")

    def start_of(self, frame: int) -> int | None:
        if self._index.times is None:
            return None
        before = np.searchsorted(self._index.keys, frame, "right")
        return int(self._index.keys[before - 1]) if before else None

    def time(self, frame: int) -> float | None:
        times = self._index.times
        if times is None or frame >= len(times) or self._stream.time_base is None:
            return None
        return float((int(times[frame]) - int(times[0])) * self._stream.time_base)

    def rewind(self) -> None:
        self._container.close()
        self._container, self._stream = self._open()
        self._frames, self._failed, self._at = self._decode(self._container.demux(self._stream)), False, 0

    def close(self) -> None:
        self._frames = iter(())
        self._container.close()

    # --- the file ---

    @cached_property
    def _rate(self) -> float | None:
        for rate in (self._stream.average_rate, self._stream.guessed_rate):
            if isinstance(rate, Fraction) and 0 < rate < 10_000:
                return float(rate)
        return None

    def _open(self) -> tuple[InputContainer, Any]:
        try:
            container = self._av.open(str(self._path), metadata_errors="replace")
        except self._failures as error:
            raise DecodeError(_reason(error)) from error
        videos = [stream for stream in container.streams.video if not _is_cover(stream)]
        if not videos or videos[0].codec_context is None:
            container.close()
            raise DecodeError("it holds no video that can be decoded")
        stream = videos[0]
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = min(THREADS, os.cpu_count() or 1)
        return container, stream

    @cached_property
    def _index(self) -> FrameIndex:
        return index_frames(self._open)

    # --- frames ---

    def _decode(self, packets: Iterable[Packet[VideoStream]]) -> Iterator[VideoFrame]:
        begun = False
        waiting: list[int] = []  # times of what went in and did not come out yet
        for packet in packets:
            if packet.size and packet.pts is not None and not packet.is_discard:
                heappush(waiting, packet.pts)
            try:
                frames = packet.decode()
            except self._failures:
                self._failed = self._failed or begun  # before: pictures that need one before where we began
                continue
            for frame in frames:
                while waiting and frame.pts is not None and waiting[0] <= frame.pts:
                    self._suspect |= heappop(waiting) < frame.pts and begun and self._countable
                begun = True
                yield frame

    def _next(self) -> VideoFrame:
        frame = next(self._frames, None)
        if frame is None:
            raise DecodeError("there is no further frame")
        if self._failed or (self._suspect and self.exact):
            if not self._is_time_of(self._at, frame):
                raise DecodeError("its data is damaged")
        return frame

    def _is_time_of(self, number: int, frame: VideoFrame) -> bool:
        times = self._index.times
        return times is not None and number < len(times) and frame.pts == times[number]

    def _land(self, time: int, start: int, target: int) -> bool:
        """Jump to a key frame, number `start`, and decode up to before `target`; False where that fails."""
        times = self._index.times
        assert times is not None
        number = start - 1
        try:
            self._container.seek(time, stream=self._stream)
            packets = self._container.demux(self._stream)
            first = next(packets)
            if not first.is_keyframe or first.pts is None or first.pts > times[start]:
                return False
            self._frames, self._failed = self._decode(chain([first], packets)), False
            for frame in self._frames:
                if number < start and frame.pts is not None and frame.pts < times[start]:
                    continue  # it landed earlier, or these are pictures that need one before the key frame
                number += 1
                if not self._is_time_of(number, frame) or self._failed:
                    return False
                if number == target:
                    self._frames, self._at = chain([frame], self._frames), target
                    return True
        except self._failures:
            pass
        return False

    def _rgb(self, frame: VideoFrame) -> NDArray[np.uint8]:
        import cv2

        # The way of OpenCV, to BGR and bicubic in colour, gives the pixels of OpenCV.
        options: dict[str, Any] = {"format": "bgr24", "interpolation": "BICUBIC"}
        if self._version >= 17:
            options["threads"] = 1  # it would start some, which is slower
        elif frame.colorspace not in BT601:  # older versions heed the matrix only if another one is wanted
            options.update(dst_colorspace="ITU601", src_color_range=2 if frame.color_range == 2 else 0)
        bgr = self._reformatter.reformat(frame, **options).to_ndarray()
        if self._turn is None:
            self._turn = _display_matrix(frame)
        return np.ascontiguousarray(_turned(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), self._turn), dtype=np.uint8)


def _is_cover(stream: Any) -> bool:
    disposition = getattr(stream, "disposition", 0)  # an int, a flag, or missing, by the version of PyAV
    return bool(int(getattr(disposition, "value", disposition) or 0) & COVER)


def _display_matrix(frame: VideoFrame) -> tuple[int, ...]:
    """Return (a, b, c, d) with x' = a x + c y, y' = b x + d y from stored to shown, each of -1, 0 and 1."""
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is not None:
        values = np.frombuffer(data, np.int32)[[0, 1, 3, 4]] / 65536
        a, b, c, d = (int(value) for value in values.round())
        if np.allclose(values, (a, b, c, d), atol=1e-3) and abs(a * d - b * c) == 1:
            return a, b, c, d
    return 1, 0, 0, 1  # turned by other angles: as stored


def _turned(rgb: NDArray[Any], matrix: tuple[int, ...]) -> NDArray[Any]:
    a, b, c, d = matrix
    if a == 0:
        rgb, a, d = rgb.transpose(1, 0, 2), c, b
    return rgb[:: d or 1, :: a or 1]


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
