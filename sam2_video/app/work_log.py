"""A file that work is appended to: tensors as they are found, and what became of it, step by step.

After a head come records: a kind (`T` for tensors, `C` for a commit), the length of the content and its
CRC-32, the content. A commit is JSON and says where the tensors lie that it speaks of. So a step counts with
its commit or not at all, and what a killed process left half-written at the end is cut off. What follows a
step that was damaged later is cut off, too, and kept beside the log as `work.damaged`.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from sam2_video.app.errors import RequestError
from sam2_video.sinks.base import reported
from sam2_video.types import DataError

MAGIC = b"SAM2WORK1\n"
_RECORD = struct.Struct("<cII")  # kind, length and CRC-32 of what follows
TENSORS, COMMIT = b"T", b"C"


class Place(NamedTuple):
    """Where tensors lie in the file, in bytes."""

    start: int
    length: int


class WorkLog:
    """The file; one thread writes, any thread reads."""

    def __init__(self, path: Path) -> None:
        """Begin a log, or go on with one. Raises SinkError, and DataError for a file that is none."""
        self.path = path
        self._lock = threading.Lock()
        with reported(path):
            self._file: IO[bytes] = path.open("r+b" if path.exists() else "w+b", buffering=0)
            self._end = self._file.seek(0, os.SEEK_END)
        if self._end < len(MAGIC):
            self._append(MAGIC, at=0)
        elif self._read(0, len(MAGIC)) != MAGIC:
            self.close()
            raise DataError(f"{path} holds no kept work: it does not begin with {MAGIC!r}")

    @property
    def length(self) -> int:
        """Bytes of the file."""
        return self._end

    def add(self, data: bytes) -> Place:
        """Append tensors, packed. Raises SinkError."""
        start = self._add(TENSORS, data)
        return Place(start, len(data))

    def commit(self, step: dict[str, Any]) -> None:
        """Append a step: from now on it has happened, whatever becomes of this process. Raises SinkError."""
        self._add(COMMIT, json.dumps(step, separators=(",", ":")).encode())

    def sync(self) -> None:
        """Have everything reach the disk, so that it also survives a power cut. Raises SinkError."""
        with reported(self.path):
            os.fsync(self._file.fileno())

    def read(self, place: Place) -> bytes:
        """Return tensors that were added. Raises DataError where the file is damaged."""
        head = self._read(place.start - _RECORD.size, _RECORD.size)
        data = self._read(place.start, place.length)
        if len(head) < _RECORD.size or _RECORD.unpack(head) != (TENSORS, len(data), zlib.crc32(data)):
            raise DataError(f"{self.path} is damaged at byte {place.start}")
        return data

    def commits(self) -> Iterator[dict[str, Any]]:
        """Yield all steps in order; in the end, cut off what follows the last of them.

        The content of tensors is looked at when it is asked for, so that this takes little time.
        """
        place = whole = len(MAGIC)
        is_damaged = False
        while len(head := self._read(place, _RECORD.size)) == _RECORD.size:
            kind, length, checksum = _RECORD.unpack(head)
            place += _RECORD.size
            if kind not in (TENSORS, COMMIT):
                is_damaged = True
                break
            if kind == COMMIT:
                content = self._read(place, length)
                if zlib.crc32(content) != checksum:
                    is_damaged = bool(self._read(place + length, 1))  # else it was being written
                    break
                whole = place + length
                yield json.loads(content)
            place += length
        if is_damaged:
            self._set_aside(whole)
        with reported(self.path):
            self._file.truncate(whole)  # tensors without a commit are of a step that did not happen
        self._end = whole

    def _set_aside(self, start: int) -> None:
        """Keep what follows a damaged step beside the log: it may be all that is left of much work."""
        with self._lock, reported(self.path), self.path.with_suffix(".damaged").open("wb") as aside:
            self._file.seek(start)
            shutil.copyfileobj(self._file, aside)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()

    def _add(self, kind: bytes, data: bytes) -> int:
        start = self._end
        self._append(_RECORD.pack(kind, len(data), zlib.crc32(data)) + data, at=start)
        return start + _RECORD.size

    def _append(self, data: bytes, at: int) -> None:
        try:
            with self._lock, reported(self.path):
                self._file.seek(at)
                view = memoryview(data)
                while view:
                    view = view[self._file.write(view) :]
        except BaseException:
            with suppress(OSError):  # what a full disk let through is no record
                self._file.truncate(at)
            raise
        self._end = at + len(data)

    def _read(self, start: int, length: int) -> bytes:
        parts = []
        with self._lock, reported(self.path):
            if self._file.closed:
                raise RequestError("this clip was closed meanwhile; ask again", 409)
            self._file.seek(start)
            while length and (part := self._file.read(length)):
                parts.append(part)
                length -= len(part)
        return b"".join(parts)
