"""When the frames of a file are shown, found by going through its packets once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer

# Codecs with exactly one picture in each packet; of others the frames are counted by decoding them.
COUNTABLE = {
    *("h264", "hevc", "vvc", "av1", "vp9", "mpeg1video", "mpeg2video", "mjpeg", "prores", "dnxhd", "ffv1"),
    *("rawvideo", "png", "apng", "qtrle", "huffyuv", "ffvhuff", "utvideo", "jpeg2000", "v210", "cfhd"),
}
EXACT_CONTAINERS = {"mov", "matroska"}  # which say when each frame is shown, and hold it in one piece
REORDERED = 32  # frames: decoding in another order than showing moves none of them farther
NOTHING = np.zeros(0, np.int64)


@dataclass(frozen=True)
class FrameIndex:
    """What going through a file without decoding tells.

    `times`: when each frame is shown, in ticks, in order; None where the file does not say, or says what
    cannot be. `keys`: numbers of the frames at which decoding can begin; `decoded`: the times for it.
    """

    count: int
    times: NDArray[np.int64] | None = None
    keys: NDArray[np.int64] = field(default_factory=NOTHING.copy)
    decoded: NDArray[np.int64] = field(default_factory=NOTHING.copy)

    @classmethod
    def of(cls, shown: NDArray[np.int64], decoded: NDArray[np.int64], keys: NDArray[np.bool_]) -> FrameIndex:
        """Put frames that come in the order of decoding into the order in which they are shown."""
        count = len(shown)
        order = np.argsort(shown, kind="stable")
        if count and np.abs(order - np.arange(count)).max() > REORDERED:
            return cls(count)  # recordings joined end to end, or damaged times: frames come in another order
        ordered, latest = shown[order], np.maximum.accumulate(shown)
        starts = []
        for place in np.flatnonzero(keys):
            time = shown[place]
            number, after = (int(np.searchsorted(ordered, time, side)) for side in ("left", "right"))
            # Before a key frame come all that are decoded before it, and those behind it that need one of
            # them. Two frames of one time cannot be told apart.
            leading = shown[place + 1 : place + 1 + number - place]
            if after == number + 1 and (place == 0 or latest[place - 1] < time) and (leading < time).all():
                starts.append((number, decoded[place]))
        numbers, times = np.array(starts, np.int64).reshape(-1, 2).T
        return cls(count, ordered, numbers, times)


def is_countable(stream: Any) -> bool:
    """Is each packet of this stream of PyAV one frame?"""
    return stream.codec_context.name in COUNTABLE


def failures() -> tuple[type[Exception], ...]:
    """What PyAV raises in files that it cannot read: IndexError where a stream begins in mid-file."""
    from av import FFmpegError

    return FFmpegError, ValueError, IndexError


def index_frames(open_file: Callable[[], tuple[InputContainer, Any]]) -> FrameIndex:
    """Go through a whole file, decoding only where packets do not tell of frames.

    Without frames where the container cannot be read to its end: reading it in order tells more.
    """

    def go_through(way: Callable[[InputContainer, Any], FrameIndex | None]) -> FrameIndex | None:
        container, stream = open_file()
        with container:
            return way(container, stream)

    try:
        return go_through(_by_packets) or go_through(_by_frames) or FrameIndex(0)
    except failures():
        return FrameIndex(0)


def _by_packets(container: InputContainer, stream: Any) -> FrameIndex | None:
    shown: list[int | None] = []
    decoded: list[int | None] = []
    keys: list[bool] = []
    first: int | None = None
    fed = 0  # packets until a frame came out
    if not is_countable(stream):
        return None
    for packet in container.demux(stream):
        if first is None and (frames := _decoded(packet)):
            if frames[0].interlaced_frame and not _is_exact(container):
                return None  # two packets may be the halves of one frame
            first, fed = frames[0].pts, len(shown)
        if packet.size and not packet.is_discard:
            shown.append(packet.pts)
            decoded.append(packet.pts if packet.dts is None else packet.dts)
            keys.append(packet.is_keyframe)
    if None in shown or _is_order_of_decoding(shown, container, stream):
        return FrameIndex(len(shown))
    times = np.array(shown, np.int64)
    kept = np.ones(len(times), bool)
    if first is not None:  # what precedes the first frame that decodes is not part of the clip
        kept[: fed + REORDERED] = times[: fed + REORDERED] >= first
    return FrameIndex.of(times[kept], np.array(decoded, np.int64)[kept], np.array(keys, bool)[kept])


def _is_exact(container: InputContainer) -> bool:
    return bool(EXACT_CONTAINERS & set(container.format.name.split(",")))


def _is_order_of_decoding(shown: Sequence[int | None], container: InputContainer, stream: Any) -> bool:
    """Does the container, as AVI does, say when frames are decoded as if they were shown then?"""
    if not stream.codec_context.has_b_frames or _is_exact(container):
        return False
    return list(shown) == sorted(time for time in shown if time is not None)


def _by_frames(container: InputContainer, stream: Any) -> FrameIndex:
    shown: list[int | None] = []
    decoded: list[int | None] = []
    keys: list[bool] = []
    for packet in container.demux(stream):
        for frame in _decoded(packet):
            shown.append(frame.pts)
            decoded.append(frame.pts if frame.dts is None else frame.dts)
            keys.append(bool(frame.key_frame))
    if None in shown or shown != sorted(time for time in shown if time is not None):
        return FrameIndex(len(shown))
    return FrameIndex.of(np.array(shown, np.int64), np.array(decoded, np.int64), np.array(keys, bool))


def _decoded(packet: Any) -> list[VideoFrame]:
    try:
        frames: list[VideoFrame] = packet.decode()
    except failures():
        return []
    return frames
