"""Ctrl-C in runs that only Ctrl-C ends: it waits until nothing is half written."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Interrupts:
    """Ctrl-C, raised as KeyboardInterrupt where it is welcome; a second one is raised wherever it comes."""

    def __init__(self) -> None:
        self._asked = False
        self._is_welcome = False

    def hear(self, *_: Any) -> None:
        """The signal handler."""
        if self._asked or self._is_welcome:
            raise KeyboardInterrupt
        self._asked = True

    @contextmanager
    def welcome(self) -> Iterator[None]:
        """Where an interrupt does no harm; one that came before is raised here."""
        self._is_welcome = True
        try:
            if self._asked:
                raise KeyboardInterrupt
            yield
        finally:
            self._is_welcome = False


@contextmanager
def gentle_interrupts() -> Iterator[Interrupts]:
    """Hear Ctrl-C gently; outside of the main thread, which alone hears signals, this changes nothing."""
    interrupts = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    before = signal.signal(signal.SIGINT, interrupts.hear)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)
