"""Keeps two runs out of one folder, but lets the shards of one run in together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sam2_video.sinks.base import make_folder, reported
from sam2_video.types import ConfigError, SinkError

HIDDEN = ".run"
WHOLE = "whole"  # the name of the lock of a run that is no shard
PATIENCE = 3.0  # seconds: others look for moments whether a lock is free


@dataclass(frozen=True)
class Shard:
    """The `number`-th of `count` parts of a run, from 1."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read "2/4". Raises ConfigError."""
        found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise ConfigError(f"--shard {text!r}: expected NUMBER/COUNT from 1/COUNT to COUNT/COUNT, as 2/4")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


@contextmanager
def run_lock(out: Path, shard: Shard | None) -> Iterator[None]:
    """Hold a folder, which is made if need be. Shards of the same number of parts hold it together.

    Locks end with their process, however that ends. Raises SinkError where another run is at work there, and
    where the folder cannot be written to.
    """
    hidden = _hidden(out)
    own = WHOLE if shard is None else f"shard-{shard.number}-of-{shard.count}"
    with ExitStack() as stack:
        if not stack.enter_context(_try_lock(hidden / own)):
            who = "another run" if shard is None else f"another run of shard {shard}"
            raise SinkError(f"{who} is writing into {out}; wait until it has ended, or choose another --out")
        # First one's own lock, then a look at the others': of two that begin at once, one sees the other.
        for other in _others(hidden, own, shard):
            with _try_lock(other) as is_free:
                if not is_free:
                    raise SinkError(
                        f"{_named(other.name)} is writing into {out}; wait until it has ended, or choose "
                        "another --out"
                    )
        yield


@contextmanager
def short_lock(out: Path, name: str) -> Iterator[None]:
    """Wait for a lock that others hold for moments only."""
    from filelock import FileLock

    path = _hidden(out) / name
    with reported(path), FileLock(str(path)):
        yield


def _hidden(out: Path) -> Path:
    make_folder(out)
    hidden = out / HIDDEN
    make_folder(hidden)
    return hidden


def _others(hidden: Path, own: str, shard: Shard | None) -> list[Path]:
    """The locks that must be free: the whole run's, and those of shards of another number of parts."""
    found = [path for path in sorted(hidden.glob("shard-*-of-*")) if path.name != own]
    if shard is None:
        return found
    return [hidden / WHOLE, *(path for path in found if not path.name.endswith(f"-of-{shard.count}"))]


def _named(lock: str) -> str:
    found = re.fullmatch(r"shard-(\d+)-of-(\d+)", lock)
    return "another run" if found is None else f"shard {found[1]}/{found[2]}"


@contextmanager
def _try_lock(path: Path) -> Iterator[bool]:
    """Hold a lock if it is free; it is left behind as an empty file, so that its name stays the same lock."""
    from filelock import FileLock, Timeout

    lock = FileLock(str(path))
    with reported(path):
        try:
            lock.acquire(timeout=PATIENCE, poll_interval=0.05)
        except Timeout:
            is_free = False
        else:
            is_free = True
    try:
        yield is_free
    finally:
        with suppress(OSError):
            lock.release()
