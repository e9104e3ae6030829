"""A part of a clip as a clip: from here to there, every so many frames, or so many a second."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

from sam2_video.sources.base import EndOfClip, Rgb, Source, VideoSource
from sam2_video.types import SourceError

LATE = 1e-6  # seconds: of two frames equally near to a tick the earlier is taken, whatever rounding does


class Selection(Source):
    """Some frames of a source, numbered from 0; their names stay those of the source's frames.

    `original(k)` is the source's number of frame k. Closing the selection closes the source.
    """

    def __init__(self, source: VideoSource, numbers: Sequence[int], fps: float | None) -> None:
        """`numbers` are the source's, ascending; they may run on past the end of a source without a count."""
        self.source, self.name, self.fps = source, source.name, fps
        self._numbers = numbers
        self.count: int | None = None if numbers[-1] > sys.maxsize // 2 else len(numbers)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of every frame."""
        return self.source.size

    def original(self, frame: int) -> int:
        """Return the number that a frame of this selection has in the source. Raises EndOfClip."""
        self._check(frame)
        return self._numbers[frame]

    def read(self, frame: int) -> Rgb:
        """Return one frame. Raises SourceError, EndOfClip past the end."""
        number = self.original(frame)
        try:
            return self.source.read(number)
        except EndOfClip:
            if self.source.count is not None:  # an iterator has ended
                self.count = int(np.searchsorted(self._numbers[: frame + 1], self.source.count))
            raise

    def frame_name(self, frame: int) -> str:
        """Return the name of this frame in the source."""
        return self.source.frame_name(self.original(frame))

    def time(self, frame: int) -> float | None:
        """Return when a frame is shown, in seconds after frame 0; None where the source has no clock."""
        time, first = time_of(self.source, self.original(frame)), time_of(self.source, self._numbers[0])
        return None if time is None or first is None else time - first

    def close(self) -> None:
        """Close the source."""
        self.source.close()
        super().close()


def select(
    source: VideoSource, start: int = 0, stop: int | None = None, stride: int = 1, fps: float | None = None
) -> VideoSource:
    """Return a view of a source: its frames from `start` up to before `stop`, every `stride`-th of them.

    `fps` instead of `stride` takes the frames nearest to the ticks of that rate, by the clip's own clock
    where frames last differently long; each at most once, so a higher rate than the clip's gives all its
    frames. Raises SourceError where nothing is left, or for a rate where the source has no clock.
    """
    if (start, stop, stride, fps) == (0, None, 1, None):
        return source
    span = _span(source, start, stop)
    if stride < 1:
        raise SourceError(f"stride is {stride}; expected 1 or more (to go backward, track backward)")
    if fps is None:
        return Selection(source, span[::stride], None if source.fps is None else source.fps / stride)
    if stride != 1:
        raise SourceError("a stride and a frame rate were both given; expected one of them")
    if not 0 < fps < np.inf:
        raise SourceError(f"the wanted frame rate is {fps}; expected frames per second above 0")
    return _at_rate(source, span, fps)


def time_of(source: VideoSource, frame: int) -> float | None:
    """Return when a source shows a frame, in seconds after its first; None where it has no clock."""
    time = getattr(source, "time", None)
    if time is not None:
        value: float | None = time(frame)
        return value
    return None if source.fps is None else frame / source.fps


def _span(source: VideoSource, start: int, stop: int | None) -> range:
    count = source.count
    end = (sys.maxsize if count is None else count) if stop is None else stop
    if start < 0 or end < 0:
        raise SourceError(f"frames {start} to {end} were asked for; frames count from 0")
    if count is not None and end > count:
        raise SourceError(f"stop is {end}, but {source.name} has {count} frames (0..{count - 1})")
    if start >= end:
        raise SourceError(f"no frame of {source.name} lies from {start} up to before {end}")
    return range(start, end)


def _at_rate(source: VideoSource, span: range, fps: float) -> Selection:
    if span[-1] > sys.maxsize // 2 or time_of(source, span[0]) is None:
        raise SourceError(
            f"{source.name} has no clock or no known length, so no frames can be chosen by a rate; "
            "give a stride instead"
        )
    times = np.array([time_of(source, number) for number in span], np.float64)
    ticks = np.arange(times[0], times[-1] + LATE, 1 / fps)
    after = np.clip(np.searchsorted(times, ticks), 1, max(1, len(times) - 1))
    before = after - 1
    if len(times) == 1:
        nearest = np.zeros(1, np.int64)
    else:
        nearest = np.where(ticks - times[before] <= times[after] - ticks + LATE, before, after)
    chosen = np.unique(nearest)
    seconds = times[chosen[-1]] - times[chosen[0]]
    rate = (len(chosen) - 1) / seconds if seconds > 0 else fps
    # Frames were too few for this rate: say what it is in fact.
    return Selection(source, [span[k] for k in chosen], fps if abs(rate / fps - 1) < 0.05 else float(rate))
