"""What every sink does, and how files become whole: written aside, then renamed."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sam2_video.types import FrameResult, SinkError

_ADVICE = {
    errno.ENOSPC: "the disk is full; make room or choose another output folder",
    errno.EDQUOT: "the quota is used up; make room or choose another output folder",
    errno.EACCES: "no permission to write there; choose another output folder",
    errno.EPERM: "no permission to write there; choose another output folder",
    errno.EROFS: "the file system is read-only; choose another output folder",
    errno.ENOTDIR: "a part of its path is a file, not a folder",
    errno.EISDIR: "a folder of that name is in the way",
    errno.EEXIST: "a file is in the way of a folder",
}


class Sink(Protocol):
    """Takes results frame by frame; a context manager that closes, or discards after an exception."""

    def write(self, frame_rgb: NDArray[np.uint8], result: FrameResult, frame_name: str) -> None:
        """Take one frame, (H, W, 3) uint8 RGB, and its result. Raises SinkError."""

    def close(self) -> None:
        """Make what was written whole and visible. Raises SinkError."""

    def discard(self) -> None:
        """Give up: remove what is not whole."""

    def __enter__(self) -> Sink: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class BaseSink:
    """The context manager of a sink."""

    def write(self, frame_rgb: NDArray[np.uint8], result: FrameResult, frame_name: str) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Make what was written whole and visible."""

    def discard(self) -> None:
        """Give up: remove what is not whole."""

    def __enter__(self) -> Sink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


def part_name(path: Path) -> Path:
    """Return the name that a file has until it is whole: hidden, in the same folder, with the same suffix."""
    return path.with_name(f".{path.stem}.part{path.suffix}")


@contextmanager
def reported(path: Path) -> Iterator[None]:
    """Turn an OSError into a SinkError that says what could not be written, why, and what to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        advice = _ADVICE.get(error.errno or 0, "")
        raise SinkError(f"cannot write {path}: {reason}" + (f" ({advice})" if advice else "")) from error


def make_folder(folder: Path) -> None:
    """Make a folder where there is none and check that files can be made in it. Raises SinkError."""
    with reported(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def finish(part: Path, path: Path) -> None:
    """Give a file that is whole its name. Raises SinkError, and then leaves nothing behind."""
    try:
        with reported(path):
            part.replace(path)
    except SinkError:
        remove(part)
        raise


def remove(path: Path) -> None:
    """Remove a file, if it is there and can be removed."""
    with suppress(OSError):
        path.unlink()


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it exists whole or not at all. Raises SinkError."""
    part = part_name(path)
    try:
        with reported(path):
            part.write_bytes(data)
    except BaseException:
        remove(part)
        raise
    finish(part, path)
