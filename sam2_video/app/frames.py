"""Frames as JPEG pictures, fast enough to be scrubbed through while the network works.

A clip has a decoder of its own for this. In the background each frame is decoded once, in order, and a
preview of it put on disk; until it is there, and where a larger picture is wanted, the frame is decoded when
it is asked for. Both show the same frame: sources are exact.
"""

from __future__ import annotations

import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam2_video.sources import VideoSource
from sam2_video.types import Sam2VideoError

PREVIEW_WIDTH = 960  # pixels; wider pictures are decoded when they are asked for
PREVIEW_BYTES = 2**30  # of a clip, on disk; the frames after that have none
QUALITY = 85
KEPT_BYTES = 32 * 2**20  # of JPEG pictures in memory


class Previews:
    """A file of small pictures, appended to by one thread and read by others; gone with the server."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b", buffering=0)
        with suppress(OSError):  # without a name nothing is left after a crash; not everywhere possible
            path.unlink()
        self._ends = array("q", [0])
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._ends) - 1

    @property
    def is_full(self) -> bool:
        return self._ends[-1] >= PREVIEW_BYTES

    def append(self, data: bytes) -> None:
        """Add the picture of the next frame."""
        with self._lock:
            self._file.seek(self._ends[-1])
            if self._file.write(data) == len(data):
                self._ends.append(self._ends[-1] + len(data))

    def read(self, frame: int) -> bytes | None:
        """The picture of a frame; None where it is not there yet."""
        with self._lock:
            if frame >= len(self):
                return None
            self._file.seek(self._ends[frame])
            return self._file.read(self._ends[frame + 1] - self._ends[frame])

    def close(self) -> None:
        with self._lock:
            self._file.close()


class Frames:
    """The pictures of one clip; any thread may ask."""

    def __init__(self, open_clip: Callable[[], VideoSource], folder: Path) -> None:
        """`open_clip` opens the clip anew: for looking at it, and for making previews. Raises SourceError."""
        self._source = open_clip()
        self._decoding = threading.Lock()
        self._recent: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._bytes = 0
        self._guard = threading.Lock()
        self._ended = threading.Event()
        self._width = min(PREVIEW_WIDTH, self._source.size[1])
        self._previews: Previews | None = None
        with suppress(OSError):  # a full disk: there are no previews then
            self._previews = Previews(folder / "previews")
        self._thread = threading.Thread(target=self._make, args=(open_clip,), name="previews", daemon=True)
        self._thread.start()

    def jpeg(self, frame: int, width: int | None = None) -> bytes:
        """A frame that is `width` pixels wide, or a little wider; never wider than the clip.

        Raises SourceError.
        """
        wanted = self._source.size[1] if width is None else max(16, min(width, self._source.size[1]))
        if wanted <= self._width and self._previews is not None:
            preview = self._previews.read(frame)
            if preview is not None:
                return preview
            wanted = self._width
        key = frame, wanted
        with self._guard:
            if key in self._recent:
                self._recent.move_to_end(key)
                return self._recent[key]
        with self._decoding:
            rgb = self._source.read(frame)
        data = encode_jpeg(rgb, wanted)
        with self._guard:
            self._recent[key] = data
            self._bytes += len(data)
            while self._bytes > KEPT_BYTES and len(self._recent) > 1:
                self._bytes -= len(self._recent.popitem(last=False)[1])
        return data

    @property
    def previews_made(self) -> int:
        """How many frames have a preview by now."""
        return 0 if self._previews is None else len(self._previews)

    def close(self) -> None:
        """End the making of previews and close the clip."""
        self._ended.set()
        self._thread.join()
        with self._decoding:
            self._source.close()
        if self._previews is not None:
            self._previews.close()

    def _make(self, open_clip: Callable[[], VideoSource]) -> None:
        if self._previews is None:
            return
        with suppress(Sam2VideoError, OSError), open_clip() as source:  # who looks at the frame is told why
            for _, rgb in source.frames():
                if self._ended.is_set() or self._previews.is_full:
                    return
                self._previews.append(encode_jpeg(rgb, self._width))


def encode_jpeg(rgb: NDArray[np.uint8], width: int) -> bytes:
    """(H, W, 3) RGB -> a JPEG picture that is `width` pixels wide."""
    import cv2

    if width < rgb.shape[1]:
        height = max(1, round(rgb.shape[0] * width / rgb.shape[1]))
        rgb = np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1])
