"""Frames as JPEG pictures, fast enough to be scrubbed through while the network works.

A clip has decoders of its own for this. What is not wider than a preview is answered by that; larger pictures
are decoded when they are asked for. Both show the same frame: sources are exact.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sam2_video.app.errors import RequestError
from sam2_video.app.previews import WIDTH, Previews, encode_jpeg, scaled
from sam2_video.sources import VideoSource

KEPT_BYTES = 32 * 2**20  # of JPEG pictures in memory


class Frames:
    """The pictures of one clip; any thread may ask."""

    def __init__(self, open_clip: Callable[[], VideoSource], count: int, folder: Path) -> None:
        """`open_clip` opens the clip anew: for looking at it, and for making previews. Raises SourceError."""
        self._source = open_clip()
        self._decoding, self._closed = threading.Lock(), False
        self._recent: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._bytes = 0
        self._guard = threading.Lock()
        self.previews: Previews | None = None
        with suppress(OSError):  # a full disk: there are no previews then
            self.previews = Previews(open_clip, count, min(WIDTH, self._source.size[1]), folder)

    def jpeg(self, frame: int, width: int | None = None) -> bytes:
        """A frame that is `width` pixels wide, or a little wider; never wider than the clip.

        Raises SourceError.
        """
        whole = self._source.size[1]
        wanted = whole if width is None else max(16, min(width, whole))
        if self.previews is not None and wanted <= self.previews.width:
            preview = self.previews.get(frame)
            if preview is not None:
                return preview
        key = frame, wanted
        with self._guard:
            if key in self._recent:
                self._recent.move_to_end(key)
                return self._recent[key]
        with self._decoding:
            if self._closed:
                raise RequestError("this clip was closed meanwhile; ask again", 409)
            rgb = self._source.read(frame)
        data = encode_jpeg(scaled(rgb, wanted))
        with self._guard:
            self._bytes += len(data) - len(self._recent.get(key, b""))
            self._recent[key] = data
            while self._bytes > KEPT_BYTES and len(self._recent) > 1:
                self._bytes -= len(self._recent.popitem(last=False)[1])
        return data

    def close(self) -> None:
        """End the making of previews and close the clip."""
        if self.previews is not None:
            self.previews.close()
        with self._decoding:
            self._closed = True
            self._source.close()
