"""Text files that grow frame by frame and get their name when they are whole."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from sam2_video.sinks.base import BaseSink, finish, make_folder, part_name, remove, reported
from sam2_video.types import SinkError


class TextSink(BaseSink):
    """A text file with a `header`, what `append` adds for each frame, and an `ending` that closes it.

    Every frame is flushed: after a crash the hidden `.part` file holds all frames that were finished.
    """

    header = ""

    def __init__(self, path: str | Path) -> None:
        """Raises SinkError where the file cannot be made."""
        self._path = Path(path)
        self._part = part_name(self._path)
        self._last: int | None = None
        self._size = (0, 0)  # of the frames, where the format has one for all of them
        make_folder(self._path.parent)
        with reported(self._path):
            if self._path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "is a folder")
            # Names of files may hold bytes that are no text in any encoding: they come out as \udcff.
            self._file: IO[str] | None = self._part.open(
                "w", encoding="utf-8", newline="", errors="backslashreplace"
            )
        try:
            self.append(self.header)
        except BaseException:
            self.discard()
            raise

    def append(self, text: str) -> None:
        """Write text and flush it. Raises SinkError."""
        self.check_open()
        assert self._file is not None
        with reported(self._path):
            self._file.write(text)
            self._file.flush()

    def check_open(self) -> None:
        """Raises SinkError for a file that is closed."""
        if self._file is None:
            raise SinkError(f"{self._path} is closed; nothing more can be written")

    def check_order(self, frame: int) -> None:
        """Raises SinkError for a closed file, and for a frame that does not come after the last one."""
        self.check_open()
        if self._last is not None and frame <= self._last:
            raise SinkError(
                f"{self._path} holds frames in ascending order: {frame} cannot follow {self._last}; "
                "write the results of a backward pass in order, from a ResultLog or a sorted list"
            )
        self._last = frame

    def check_size(self, size: tuple[int, int]) -> None:
        """Raises SinkError for a closed file, and for a frame of another size, (H, W), than the first."""
        self.check_open()
        if self._size == (0, 0):
            self._size = size
        if size != self._size:
            (height, width), (first_height, first_width) = size, self._size
            raise SinkError(
                f"{self._path} has one size for all frames: one of {width}x{height} cannot follow those of "
                f"{first_width}x{first_height}; begin another file"
            )

    def ending(self) -> Iterator[str]:
        """Yield what completes the file; nothing in a file of lines."""
        return iter(())

    def release(self) -> None:
        """Let go of what else is open; called once the file is closed or given up."""

    def close(self) -> None:
        """Complete the file and give it its name; closing again does nothing. Raises SinkError."""
        if self._file is None:
            return
        try:
            with reported(self._path):
                for text in self.ending():
                    self._file.write(text)
                self._file.close()
        except BaseException:
            self.discard()
            raise
        self._file = None
        self.release()
        finish(self._part, self._path)

    def discard(self) -> None:
        """Remove the file."""
        if self._file is not None:
            file, self._file = self._file, None
            with suppress(OSError):  # a full disk: what could not be written is not wanted either
                file.close()
            remove(self._part)
            self.release()


def json_list(items: Iterable[str]) -> Iterator[str]:
    """JSON texts -> a JSON list in pieces, one item a line."""
    before = "[\n"
    for item in items:
        yield before + item
        before = ",\n"
    yield "[]" if before == "[\n" else "\n]"
