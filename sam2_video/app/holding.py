"""One server at a time for the work that is kept in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sam2_video.sinks.base import make_folder, reported
from sam2_video.types import SinkError


@contextmanager
def held(state: Path) -> Iterator[None]:
    """Hold a folder of kept work; the hold ends with the process. Raises SinkError where another has it."""
    from filelock import FileLock, Timeout

    make_folder(state)
    lock = FileLock(str(state / "lock"))
    with reported(state):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise SinkError(
                f"another server works on this folder and keeps it in {state}; use that one, or give --state"
            ) from None
    try:
        yield
    finally:
        lock.release()
