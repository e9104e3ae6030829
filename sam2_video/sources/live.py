"""Frames that happen now, of cameras, network streams and pipes: decoded on a thread, handed over by a queue.

with open_live("rtsp://camera/stream") as source:  # or a camera's number, or "-" for a pipe
    for frame, rgb in source.frames():
        source.decoded, source.dropped
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlsplit

from sam2_video.sources.base import EndOfClip, Rgb, Source, check_size
from sam2_video.sources.capture import WEB, Capture, OpenCvCapture, Stopped, find_live
from sam2_video.sources.folder import PICTURE_TYPES
from sam2_video.sources.pipes import LAYOUTS, open_pipe
from sam2_video.sources.remote import is_file_address
from sam2_video.types import SourceError

Drop = Literal["block", "drop-oldest"]
RETRY_SECONDS = 0.5  # between attempts to get a lost stream back
# A decoder that hangs in a network read gives up after `capture.READ_SECONDS`; one more to come home.
JOIN_SECONDS = 7.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LiveOptions:
    """How a live source is read.

    `drop`: what happens to frames that come faster than they are taken: "block" makes the decoder wait, so
    that none is lost, "drop-oldest" forgets the oldest that waits, so that the next one is fresh. `queue`:
    frames that may wait. `patience`: seconds without a frame after which a reader gives up. `reconnect`: a
    stream that is lost is opened again until a frame comes or the patience ends.
    """

    drop: Drop = "drop-oldest"
    queue: int = 2
    patience: float = 10.0
    reconnect: bool = False

    def __post_init__(self) -> None:
        if self.drop not in get_args(Drop):
            raise SourceError(f"drop is {self.drop!r}; choose 'block' or 'drop-oldest'")
        if self.queue < 1 or self.patience <= 0:
            raise SourceError(f"queue must be at least 1 and patience more than 0 seconds, got {self}")


@dataclass(frozen=True)
class LiveFrame:
    """A decoded frame, and when that was, on the clock of `time.monotonic`."""

    rgb: Rgb
    time: float


class LiveSource(Source):
    """Frames of a camera, a network stream or a pipe, in the order they come; each can be read once or twice.

    Frames count from 0 as they are taken: a dropped one has no number. Only the latest can be read again.
    `count` is None until the stream has ended. What ends the decoder's thread reaches the reader: EndOfClip
    after the last frame, SourceError with the reason for everything else. The thread does not keep the source
    alive: where nobody holds it any more, decoding ends as if it were closed.
    """

    def __init__(
        self, name: str, capture: Callable[[Stopped], Capture], options: LiveOptions | None = None
    ) -> None:
        """Waits for the first frame. Raises SourceError where none comes."""
        self.name = name
        self.options = options or LiveOptions()
        self._decoding = _Decoding(name, capture, self.options)
        self._taken = 0
        self._latest: LiveFrame | None = None
        self._began: float = 0.0
        self._end = weakref.finalize(self, self._decoding.stop)
        self._thread = threading.Thread(target=self._decoding.run, name=f"decode {name}", daemon=True)
        self._thread.start()
        try:
            with self._decoding.changed:
                first = self._await_frame()
        except BaseException:
            self.close()
            raise
        self.size: tuple[int, int] = first.rgb.shape[:2]
        self.fps = self._decoding.fps
        self._began = first.time

    @property
    def decoded(self) -> int:
        """Frames so far, the dropped ones included."""
        return self._decoding.decoded

    @property
    def dropped(self) -> int:
        """Frames that came too fast and were forgotten."""
        return self._decoding.dropped

    @property
    def reconnects(self) -> int:
        """Times that a lost stream came back."""
        return self._decoding.reconnects

    def read(self, frame: int) -> Rgb:
        """Return one frame, waiting for it if need be; frames before it are skipped.

        Raises EndOfClip past the end, SourceError for a frame that has passed and where none comes.
        """
        self._check(frame)
        while self._taken <= frame:
            self._take()
        if frame != self._taken - 1 or self._latest is None:
            raise SourceError(
                f"frame {frame} of {self.name} has passed (now at {self._taken - 1}); "
                "a live source cannot go back"
            )
        return self._latest.rgb

    @property
    def arrived(self) -> float:
        """When the frame last read was decoded, on the clock of `time.monotonic`."""
        return self._began if self._latest is None else self._latest.time

    def time(self, frame: int) -> float | None:
        """Return when the frame last read was decoded, in seconds after the first one; None for any other."""
        return self.arrived - self._began if frame == self._taken - 1 else None

    def close(self) -> None:
        """Stop decoding, end the thread and close the stream; a second call does nothing."""
        self._end()
        self._thread.join(JOIN_SECONDS)
        if self._thread.is_alive():
            _log.warning("%s: the decoder does not come back from a read; it is left behind", self.name)
        self._latest = None
        super().close()

    def _take(self) -> None:
        with self._decoding.changed:
            try:
                self._await_frame()
            except EndOfClip:
                self.count = self._taken
                raise
            self._latest = self._decoding.queue.popleft()
            self._taken += 1
            self._decoding.changed.notify_all()
        self.fps = self._decoding.fps

    def _await_frame(self) -> LiveFrame:
        """The next frame, left in the queue; the lock is held."""
        decoding = self._decoding
        if decoding.stopped.is_set():
            raise SourceError(f"{self.name} is closed; open it again")
        decoding.changed.wait_for(lambda: decoding.queue or decoding.over, timeout=self.options.patience)
        if decoding.queue:
            return decoding.queue[0]
        over = decoding.over
        if isinstance(over, EndOfClip) and self.decoded:
            raise EndOfClip(f"{self.name} has ended after {self._taken} frames")
        if isinstance(over, EndOfClip):
            raise SourceError(f"{self.name} ended before its first frame")
        if isinstance(over, SourceError):
            raise SourceError(str(over)) from over
        if over is not None:
            raise SourceError(f"decoding {self.name} failed: {over!r}") from over
        after = f"after frame {self._taken - 1} " if self._taken else ""
        trouble = f" ({decoding.trouble})" if decoding.trouble else ""
        raise SourceError(f"{self.name}: no frame came {after}for {self.options.patience:g} s{trouble}")


class _Decoding:
    """What the decoder's thread and the reader share; it does not know the source, which can be dropped."""

    def __init__(self, name: str, capture: Callable[[Stopped], Capture], options: LiveOptions) -> None:
        self.decoded = self.dropped = self.reconnects = 0
        self.fps: float | None = None
        self.queue: deque[LiveFrame] = deque()
        self.changed = threading.Condition()
        self.stopped = threading.Event()
        self.over: BaseException | None = None  # what ended the thread
        self.trouble = ""  # why the stream is lost at the moment
        self._name = name
        self._capture = capture
        self._options = options
        self._shape = (0, 0)  # of the first frame

    def stop(self) -> None:
        """Have the thread end soon, without waiting for it."""
        self.stopped.set()
        with self.changed:
            self.queue.clear()
            self.changed.notify_all()

    def run(self) -> None:
        """Decode until something ends it."""
        over: BaseException = EndOfClip(self._name)
        try:
            while self._decode() and not self.stopped.wait(RETRY_SECONDS):
                pass
        except BaseException as error:
            over = error
        with self.changed:
            self.over = over
            self.changed.notify_all()

    def _decode(self) -> bool:
        """Open the stream and decode until it ends; should it be opened again?"""
        try:
            with closing(self._capture(self.stopped.is_set)) as capture:
                self._decode_all(capture)
                self.trouble = "the stream ended"
                return self._options.reconnect and not capture.finite
        except SourceError as error:
            if not (self._options.reconnect and self.decoded) or isinstance(error, _Changed):
                raise
            self.trouble = str(error)
            return True

    def _decode_all(self, capture: Capture) -> None:
        self.fps = capture.fps or self.fps
        while not self.stopped.is_set():
            rgb = capture.read()
            if rgb is None:
                return
            self._put(rgb)

    def _put(self, rgb: Rgb) -> None:
        live = LiveFrame(rgb, time.monotonic())
        with self.changed:
            if not self.decoded:
                self._shape = rgb.shape[:2]
            try:
                check_size(rgb, self._shape, f"frame {self.decoded} of {self._name}", "the first one")
            except SourceError as error:
                raise _Changed(str(error)) from None
            if self.trouble:
                self.reconnects, self.trouble = self.reconnects + 1, ""
            self.decoded += 1
            if self._options.drop == "block":
                self.changed.wait_for(lambda: len(self.queue) < self._options.queue)  # `stop` empties it
            elif len(self.queue) >= self._options.queue:
                self.queue.popleft()
                self.dropped += 1
            self.queue.append(live)
            self.changed.notify_all()


class _Changed(SourceError):
    """A stream changed the size of its frames: opening it again would not help."""


def is_live(source: object) -> bool:
    """Is this the number of a camera, the address of a stream, a camera's device file or a pipe?

    "0" is a camera; a file or folder of that name is "./0". Of a web address that does not end like a file's
    the server is asked, and SourceError raised where it does not answer.
    """
    live = find_live(source)
    if live is None or live.kind != "address" or urlsplit(str(live.at)).scheme.lower() not in WEB:
        return live is not None
    return not is_file_address(str(live.at), PICTURE_TYPES)


def open_live(
    source: str | int | Path,
    *,
    size: tuple[int, int] | None = None,
    pixels: str = "rgb24",
    drop: Drop | None = None,
    queue: int = 2,
    patience: float = 10.0,
) -> LiveSource:
    """Open a camera by its number or device file, a stream by its address, a pipe by its path or "-".

    `size` (H, W): of a camera, what it is asked for; of a pipe, that raw frames come through it, of `pixels`
    rgb24, bgr24, gray or yuv420p. `drop`: see `LiveOptions`; left out, a pipe blocks and all others drop the
    oldest. Cameras and streams that are lost are opened again, for as long as the patience lasts; a pipe
    cannot be. Raises SourceError for what is no live source, and where no frame comes.
    """
    live = find_live(source)
    if live is None:
        raise SourceError(
            f"{source!r} is no live source; expected the number of a camera, the address of a stream "
            "(rtsp://..., http://...), a named pipe, or - for what is piped in"
        )
    if pixels not in LAYOUTS:
        raise SourceError(f"pixels are {pixels!r}; expected one of {', '.join(LAYOUTS)}")
    if live.kind == "pipe":
        options = LiveOptions(drop or "block", queue, patience)
        return LiveSource(live.name, partial(open_pipe, live, size, pixels), options)
    options = LiveOptions(drop or "drop-oldest", queue, patience, reconnect=True)
    return LiveSource(live.name, lambda _: OpenCvCapture(live, size), options)
