"""A job that takes a while, as pages see it."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Literal

Kind = Literal["track", "export", "everything"]
State = Literal["running", "paused", "done", "cancelled", "failed"]
RECENT = 5.0  # seconds that the rate is taken over


class Task:
    """How far a job is; written by the worker's thread, and what is wanted of it by others."""

    def __init__(self, kind: Kind, total: int | None, done: int = 0, state: State = "running") -> None:
        self.kind, self.total, self.done = kind, total, done
        self.state: State = state
        self.has_begun = False  # else it waits behind other jobs
        self.frame: int | None = None
        self.message = ""
        self.wanted: State = state  # "paused" or "cancelled", once somebody asked for it
        self._marks: deque[tuple[float, int]] = deque([(time.monotonic(), done)])

    @property
    def is_over(self) -> bool:
        return self.state in ("done", "cancelled", "failed")

    def step(self, frame: int | None = None, by: int = 1) -> None:
        """Count a frame."""
        now = time.monotonic()
        self.done += by
        self.frame = self.frame if frame is None else frame
        self._marks.append((now, self.done))
        while len(self._marks) > 2 and now - self._marks[0][0] > RECENT:
            self._marks.popleft()

    def end(self, state: State, message: str = "") -> None:
        self.state, self.message = state, message

    def as_json(self) -> dict[str, Any]:
        (began, first), (now, last) = self._marks[0], self._marks[-1]
        rate = (last - first) / (now - began) if now > began else None
        left = None if not rate or self.total is None else max(0, self.total - self.done) / rate
        running = self.state == "running"
        return {
            "kind": self.kind,
            "state": self.state,
            "done": self.done,
            "total": self.total,
            "fps": round(rate, 2) if rate and running else None,
            "seconds_left": round(left, 1) if left is not None and running else None,
            "frame": self.frame,
            "message": self.message,
        }
