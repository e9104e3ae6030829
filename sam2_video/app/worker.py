"""The one thread that the network runs in: short jobs first, long ones let them pass between two frames."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from sam2_video.types import Sam2VideoError

T = TypeVar("T")
Job = tuple["Future[Any]", Callable[[], Any]]  # what is to be done, and who waits for it


class Worker:
    """Runs jobs one at a time; each is done when its future is."""

    def __init__(self) -> None:
        self._short: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._long: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._waiting = threading.Semaphore(0)
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="network", daemon=True)
        self._thread.start()

    def ask(self, job: Callable[[], T], *, long: bool = False) -> Future[T]:
        """Have a job done: before any long one that waits, and between two frames of one that runs."""
        if self._closing:
            raise Sam2VideoError("the server is being shut down")
        done: Future[T] = Future()
        (self._long if long else self._short).put((done, job))
        self._waiting.release()
        return done

    def do(self, job: Callable[[], T]) -> T:
        """Have a short job done and return what it does; for threads that may wait."""
        return self.ask(job).result()

    def give_way(self) -> None:
        """Called by a long job between two frames: the short jobs that wait are done now.

        Raises Sam2VideoError where the worker is being closed: the long job is to end.
        """
        if self._closing:
            raise Sam2VideoError("the server is being shut down")
        while (job := _next(self._short)) is not None:
            _settle(*job)

    def close(self) -> None:
        """Finish the job that runs, give up the others, and end the thread."""
        self._closing = True
        self._waiting.release()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while not self._closing:
            self._waiting.acquire()  # once for each job, and now and then for one that is done already
            job = None if self._closing else _next(self._short) or _next(self._long)
            if job is not None:
                _settle(*job)
        for waiting in (self._short, self._long):
            while (job := _next(waiting)) is not None:
                job[0].cancel()


def _next(jobs: queue.SimpleQueue[Job]) -> Job | None:
    try:
        return jobs.get_nowait()
    except queue.Empty:
        return None


def _settle(done: Future[Any], job: Callable[[], Any]) -> None:
    if not done.set_running_or_notify_cancel():
        return
    try:
        result = job()
    except BaseException as error:  # it goes to whoever waits for the job
        done.set_exception(error)
    else:
        done.set_result(result)
