"""Texts set aside by object: files that list objects one after the other are made of frames that mix them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from sam2_video.sinks.base import reported

_HEAD = struct.Struct("<QI")  # place of the next text of the same key, 0 for none; length of this one
_PLACE = struct.Struct("<Q")


class Chains:
    """Texts by key in a temporary file, read back key by key in the order of writing.

    Memory: two numbers for each key, however many texts it has, because each text in the file points to the
    next of its key. The file has no name (where the system allows that) and is gone after a crash.
    """

    def __init__(self, folder: str | Path) -> None:
        """The file is made in `folder` when it is needed."""
        self._folder = Path(folder)
        self._file: IO[bytes] | None = None
        self._ends: dict[int, tuple[int, int]] = {}  # places of the first and the last text of a key
        self._size = 0

    def append(self, key: int, text: str) -> None:
        """Add a text to a key. Raises SinkError."""
        data = text.encode("utf-8")
        with reported(self._folder):
            if self._file is None:
                self._file = TemporaryFile(dir=self._folder, prefix=".chains.")
                self._size = self._file.write(b"\0")  # no text is at place 0, which means none
            place = self._size
            if key in self._ends:
                self._file.seek(self._ends[key][1])
                self._file.write(_PLACE.pack(place))
            self._file.seek(place)
            self._size += self._file.write(_HEAD.pack(0, len(data)))
            self._size += self._file.write(data)
        self._ends[key] = self._ends.get(key, (place, place))[0], place

    def read(self, key: int) -> Iterator[str]:
        """Yield the texts of a key. Raises SinkError."""
        place, _ = self._ends.get(key, (0, 0))
        while place and self._file is not None:
            with reported(self._folder):
                self._file.seek(place)
                place, length = _HEAD.unpack(self._file.read(_HEAD.size))
                text = self._file.read(length).decode("utf-8")
            yield text

    def close(self) -> None:
        """Remove the file."""
        if self._file is not None:
            with suppress(OSError):  # what a full disk did not take is not wanted any more
                self._file.close()
            self._file = None
