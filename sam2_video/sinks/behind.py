"""Writing behind: sinks work in a thread of their own while the next frames are tracked."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from threading import Condition, Thread

import numpy as np
from numpy.typing import NDArray

from sam2_video.sinks.base import Sink
from sam2_video.types import FrameResult

LARGE = 64 * 2**20  # bytes of masks; of results this large none waits while another is written
Piece = tuple[Sequence[Sink], NDArray[np.uint8], FrameResult, str]


class WriteBehind:
    """Hands results to sinks, one result after the other, each to the sinks in their order.

    One is written and one waits at most, then `write` does. The first error, of whichever sink, ends the
    work: that sink is discarded, nothing that came later is written, and `write` and `settle` raise it.
    """

    def __init__(self) -> None:
        self.written = 0  # results that all of their sinks have
        self._changed = Condition()
        self._pieces: deque[Piece] = deque()  # the first of them is being written
        self.error: KeyboardInterrupt | Exception | None = None  # what ended the work
        self._thread: Thread | None = None
        self._over = False

    def write(self, sinks: Sequence[Sink], rgb: NDArray[np.uint8], result: FrameResult, name: str) -> None:
        """Take one result; `rgb` must not be changed any more. Raises what an earlier one met with."""
        if self._thread is None:
            self._thread = Thread(target=self._work, name="write-behind", daemon=True)
            self._thread.start()
        most = 0 if len(result.object_ids) * result.size[0] * result.size[1] > LARGE else 1
        with self._changed:
            self._changed.wait_for(lambda: len(self._pieces) <= most)
            self._raise()
            self._pieces.append((sinks, rgb, result, name))
            self._changed.notify_all()

    def wait(self) -> None:
        """Wait until everything is written, or given up."""
        with self._changed:
            self._changed.wait_for(lambda: not self._pieces)

    def settle(self) -> None:
        """Wait until everything is written. Raises what went wrong."""
        self.wait()
        with self._changed:
            self._raise()

    def close(self) -> None:
        """Write what waits and end the thread; sinks may be closed afterwards. Raises nothing."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._over = False

    def _raise(self) -> None:
        if self.error is not None:
            raise self.error

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._over or self._pieces)
                if not self._pieces:
                    return
                sinks, rgb, result, name = self._pieces[0]
            error = _written(sinks, rgb, result, name)
            del rgb, result  # gone when the next one comes
            with self._changed:
                if error is None:
                    self.written += 1
                    self._pieces.popleft()
                else:
                    self.error = error
                    self._pieces.clear()
                self._changed.notify_all()


def _written(
    sinks: Sequence[Sink], rgb: NDArray[np.uint8], result: FrameResult, name: str
) -> KeyboardInterrupt | Exception | None:
    """Write one result; what went wrong, with the sink that it went wrong in discarded."""
    for sink in sinks:
        try:
            sink.write(rgb, result, name)
        except (KeyboardInterrupt, Exception) as reason:
            with suppress(Exception):  # the first reason counts, and whoever waits must hear it
                sink.discard()
            return reason
    return None
