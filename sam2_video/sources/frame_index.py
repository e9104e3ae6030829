"""When the frames of a file are shown, found by going through its packets once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
EXACT_CONTAINERS = {"mov", "matroska"}  # which always say when a frame is shown


@dataclass(frozen=True)
class FrameIndex:
    """What going through a file without decoding tells.

    `times`: when each frame is shown, in ticks, in order; None where the file does not say.
    `keys`: numbers of the frames at which decoding can begin; `decoded`: the times at which it begins.
    """

    count: int
    times: NDArray[np.int64] | None
    keys: NDArray[np.int64]
    decoded: NDArray[np.int64]

    @classmethod
    def of(
        cls, times: Sequence[int | None], keys: Sequence[tuple[int | None, int | None]], count: int
    ) -> FrameIndex:
        """Put in order what was found; `keys` are times of presentation and of decoding.

        Where a time is missing there is nothing to find frames by.
        """
        nothing = np.zeros(0, np.int64)
        if None in times:
            return cls(count, None, nothing, nothing)
        ordered = np.sort(np.array(times, np.int64))
        # A key frame that shares its time with another frame cannot be told from it.
        known = sorted((shown, when) for shown, when in keys if shown is not None and when is not None)
        starts = np.array(known, np.int64).reshape(-1, 2)
        first = np.searchsorted(ordered, starts[:, 0])
        alone = np.searchsorted(ordered, starts[:, 0], "right") - first == 1
        return cls(count, ordered, first[alone], starts[alone, 1])


def is_countable(stream: Any) -> bool:
    """Is each packet of this stream of PyAV one frame?"""
    return stream.codec_context.name in COUNTABLE


def index_frames(container: InputContainer, stream: Any) -> FrameIndex:
    """Go through a whole file, decoding only where packets do not tell of frames.

    Without frames where the container cannot be read to its end: reading it in order tells more.
    """
    from av import FFmpegError

    try:
        return (_by_packets if is_countable(stream) else _by_frames)(container, stream)
    except FFmpegError:
        return FrameIndex.of([None], [], 0)


def _by_packets(container: InputContainer, stream: Any) -> FrameIndex:
    times: list[int | None] = []
    keys: list[tuple[int | None, int | None]] = []
    first: int | None = None
    for packet in container.demux(stream):
        if first is None:  # what precedes the first frame that decodes is not part of the clip
            frames = _decoded(packet)
            first = frames[0].pts if frames else None
        if packet.size and not packet.is_discard:
            times.append(packet.pts)
            if packet.is_keyframe:
                keys.append((packet.pts, packet.dts))
    if stream.codec_context.has_b_frames and not EXACT_CONTAINERS & set(container.format.name.split(",")):
        if times == sorted(time for time in times if time is not None):
            times = [None] * len(times)  # AVI: when they are decoded, as if shown then
    index = FrameIndex.of(times, keys, len(times))
    if index.times is None or first is None:
        return index
    early = int(np.searchsorted(index.times, first))
    whole = index.keys >= early
    keys_left = index.keys[whole] - early
    return FrameIndex(len(times) - early, index.times[early:], keys_left, index.decoded[whole])


def _by_frames(container: InputContainer, stream: Any) -> FrameIndex:
    times: list[int | None] = []
    keys: list[tuple[int | None, int | None]] = []
    for packet in container.demux(stream):
        for frame in _decoded(packet):
            times.append(frame.pts)
            if frame.key_frame:
                keys.append((frame.pts, frame.dts))
    return FrameIndex.of(times, keys, len(times))


def _decoded(packet: Any) -> list[VideoFrame]:
    from av import FFmpegError

    try:
        frames: list[VideoFrame] = packet.decode()
    except FFmpegError:
        return []
    return frames
