"""Processes that run `track` and are killed at a chosen point; see test_survival.

Starting Python and importing everything takes seconds: one server does it once, and forks a process for each
run. This module is loaded by that server.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av  # noqa: F401  (what a run would import later)
import torch

from sam2_video.cli import main
from sam2_video.cli_journal import Journal
from sam2_video.video_predictor import VideoPredictor
from tests.toys import toy_model

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.survival_server"])
torch.set_num_threads(1)
VideoPredictor(toy_model())


def run(arguments: list[str], die_at: int | None = None, *, count: bool = False, save_each: int = 3) -> Ended:
    """Run the command line in a process of its own, killed at its `die_at`-th call of a function.

    Every call counts, of Python functions and of C functions such as `os.replace`: the kill falls before it,
    in the same place each time. The session is saved after every `save_each`-th result.
    """
    marks = processes.Array("q", 3)
    process = processes.Process(target=_run, args=(arguments, die_at, count, save_each, marks))
    process.start()
    process.join()
    return Ended(process.exitcode, *marks[:])


@contextmanager
def running(arguments: list[str]) -> Iterator[Any]:
    """A process that runs the command line and stops for good at its first result."""
    there = processes.Event()
    process = processes.Process(target=_wait, args=(arguments, there))
    process.start()
    try:
        assert there.wait(60), "the run did not come to its first result"
        yield process
    finally:
        process.kill()
        process.join()


def _wait(arguments: list[str], there: Any) -> None:
    def wait(*_: Any) -> None:
        there.set()
        threading.Event().wait()

    Journal.save_sometimes = wait  # type: ignore[method-assign]
    sys.stdout = sys.stderr = Path(os.devnull).open("w")
    main(arguments)


class Ended:
    """How a process ended: its exit code, negative for a signal, and how many calls it had made by then.

    `started`: when the log of results was begun; `tracked`: when the last session was saved; `all`: at the
    end.
    """

    def __init__(self, code: int | None, started: int, tracked: int, all: int) -> None:
        self.code, self.started, self.tracked, self.all = code, started, tracked, all


def _run(arguments: list[str], die_at: int | None, count: bool, save_each: int, marks: Any) -> None:
    calls = 0

    def watch(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        if event in ("call", "c_call"):
            calls += 1
            if calls == die_at:
                os.kill(os.getpid(), signal.SIGKILL)

    def save_sometimes(self: Journal, session: Any) -> None:
        if len(self.results) % save_each == 0:
            self.save(session)

    def note(place: int, method: Any) -> Any:
        def noting(*arguments: Any) -> None:
            method(*arguments)
            marks[place] = calls

        return noting

    Journal.save_sometimes = save_sometimes  # type: ignore[method-assign]
    Journal.start_log = note(0, Journal.start_log)  # type: ignore[method-assign]
    Journal.save = note(1, Journal.save)  # type: ignore[method-assign]
    sys.stdout = sys.stderr = Path(os.devnull).open("w")
    torch.set_num_threads(1)
    if die_at is not None or count:
        sys.setprofile(watch)
    try:
        main(arguments)
    finally:
        sys.setprofile(None)
        marks[2] = calls
