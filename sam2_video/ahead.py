"""Looking ahead: the next frames of a walk are read, and encoded, while the present one is tracked.

Threads are started by the first announcement of a walk and end with the walk. What waits is bounded by what
is announced, and what goes wrong with a frame is raised when that frame is asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Condition, Event, Lock, Thread
from typing import Any, Generic, TypeVar

import torch

T = TypeVar("T")


@dataclass(frozen=True)
class Lookahead:
    """How far a session looks ahead.

    `frames` are read ahead at most; none means that all is done when it is asked for. `encoders`: threads
    that also encode these frames; none means that one thread reads and the caller encodes. `early`: the
    caller encodes the next frame before it tracks this one, for devices that go on by themselves.
    """

    frames: int = 0
    encoders: int = 0
    early: bool = False

    @classmethod
    def of(cls, encoders: int, device: str = "cpu") -> Lookahead:
        """As many frames as there are encoders; two at least, which is enough for reading."""
        return cls(max(2, encoders), encoders, early=device == "cuda")


class Ahead(Generic[T]):
    """Makes what will be asked for next in threads of its own; used by one thread."""

    def __init__(self, read: Callable[[int], Any], make: Callable[[Any], T], threads: int) -> None:
        """`read` is called for one frame at a time, in the order of announcement; `make` in parallel."""
        self._read, self._make, self._count = read, make, threads
        self._threads: list[Thread] = []
        self._turn = Lock()  # to read: held from the choice of a frame until it is read
        self._changed = Condition()
        self._wanted: deque[int] = deque()  # announced, not begun
        self._begun: dict[int, Future[T]] = {}
        self._over = Event()  # of the threads that run now

    @property
    def waiting(self) -> int:
        """How many frames are announced, in the making or made, and not taken yet."""
        with self._changed:
            return len(self._wanted) + len(self._begun)

    def has(self, frame: int) -> bool:
        """Can this frame be taken without waiting, and without an error?"""
        with self._changed:
            made = self._begun.get(frame)
        return made is not None and made.done() and made.exception() is None

    def expect(self, frames: Sequence[int]) -> None:
        """Announce what will be taken next, in this order; whatever else was announced is given up."""
        with self._changed:
            self._begun = {frame: self._begun[frame] for frame in frames if frame in self._begun}
            self._wanted = deque(frame for frame in frames if frame not in self._begun)
            self._changed.notify_all()
        if self._wanted and not self._threads:
            self._start()

    def take(self, frame: int) -> T:
        """Return what was made of a frame, now where it was not announced. Raises what making it raised."""
        with self._changed:
            while frame in self._wanted:  # somebody will turn to it: frames are read in order
                self._changed.wait()
            made = self._begun.pop(frame, None)
        return self._make(self._read(frame)) if made is None else made.result()

    def rest(self) -> None:
        """Give up what was announced and end the threads; `expect` starts others."""
        with self._changed:
            # Before anything is waited for: who is interrupted while waiting leaves nothing half-ended.
            threads, self._threads = self._threads, []
            self._over.set()
            self._over = Event()
            self._wanted.clear()
            self._begun.clear()
            self._changed.notify_all()
        for thread in threads:
            thread.join()

    def _start(self) -> None:
        number = torch.get_num_threads()  # of operators; a new thread would begin with one per core
        self._threads = [
            Thread(target=self._work, args=(number, self._over), name=f"ahead-{k}", daemon=True)
            for k in range(self._count)
        ]
        for thread in self._threads:
            thread.start()

    def _work(self, operator_threads: int, over: Event) -> None:
        torch.set_num_threads(operator_threads)
        while (begun := self._begin(over)) is not None:
            future, rgb = begun
            if not future.done():
                try:
                    future.set_result(self._make(rgb))
                except BaseException as error:
                    future.set_exception(error)

    def _begin(self, over: Event) -> tuple[Future[T], Any] | None:
        """Wait for the next frame and read it; None when all is over. A failure is in the future."""
        with self._turn:
            with self._changed:
                while not self._wanted or over.is_set():
                    if over.is_set():
                        return None
                    self._changed.wait()
                frame = self._wanted.popleft()
                future = self._begun[frame] = Future()
                self._changed.notify_all()
            try:
                return future, self._read(frame)
            except BaseException as error:
                future.set_exception(error)
                return future, None
