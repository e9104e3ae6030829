"""A source that several threads read: one at a time, with the last few frames at hand."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import RLock
from typing import Any

from sam2_video.sources.base import Rgb, Source, VideoSource
from sam2_video.sources.folder import PictureFiles
from sam2_video.sources.selection import Selection, time_of
from sam2_video.sources.video import VideoFile


class SharedSource(Source):
    """Another source, read by one thread at a time; frames that were read lately are not decoded again.

    Somebody who reads ahead and somebody who asks for the frame that was just tracked so do not send a
    decoder back and forth. `keep`: how many frames are at hand. What else the source has, such as its
    `files`, it has too.
    """

    def __init__(self, source: VideoSource, keep: int) -> None:
        self.inner = source
        self.name = source.name
        self._keep = keep
        self._lock = RLock()
        self._latest: OrderedDict[int, Rgb] = OrderedDict()
        self._closed = False

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of every frame."""
        return self.inner.size

    @property
    def fps(self) -> float | None:  # type: ignore[override]
        """Frames per second, None where the source has no clock."""
        return self.inner.fps

    @property
    def count(self) -> int | None:  # type: ignore[override]
        """Number of frames."""
        return self.inner.count

    def __getattr__(self, name: str) -> Any:
        if name == "inner":  # before there is one
            raise AttributeError(name)
        return getattr(self.inner, name)

    def read(self, frame: int) -> Rgb:
        """Return one frame, not to be written to. Raises SourceError, EndOfClip past the end."""
        with self._lock:
            if frame not in self._latest:
                rgb = self.inner.read(frame)
                if self._closed:
                    return rgb
                self._latest[frame] = rgb
                while len(self._latest) > self._keep:  # in the order of reading: the reader may be ahead
                    self._latest.popitem(last=False)
            return self._latest[frame]

    def frame_name(self, frame: int) -> str:
        """Return the name that results of this frame are filed under."""
        return self.inner.frame_name(frame)

    def time(self, frame: int) -> float | None:
        """Return when a frame is shown, in seconds after frame 0; None where the source has no clock."""
        with self._lock:
            return time_of(self.inner, frame)

    def after_close(self, action: Callable[[], object]) -> None:
        """Have something done when reading is over."""
        with self._lock:
            super().after_close(action)

    def close(self) -> None:
        """Close the source, once nobody reads any more."""
        with self._lock:
            self._closed = True
            self._latest.clear()
            self.inner.close()
            super().close()


def shared(source: VideoSource, keep: int) -> VideoSource:
    """Return a source that several threads may read, where it is one of files, which can be read ahead.

    Others stay as they are: frames of a camera or a pipe are not there yet, arrays cost nothing.
    """
    inner = source
    while isinstance(inner, Selection):
        inner = inner.source
    return SharedSource(source, keep) if isinstance(inner, VideoFile | PictureFiles) else source
