"""Who does the work: this process, or processes of its own. `ray_runner` has those of a cluster.

with LocalWorkers(2) as workers:
    for job, result in workers.run(jobs, progress):
        ...

Results come in the order in which jobs end; jobs are begun in the order in which they are given.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Protocol, TypeVar

from sam2_video.types import Sam2VideoError

TRIES = 3  # of a job whose worker dies: the second may be luck, the fourth would be none
SECONDS_TO_END = 5.0
Advance = Callable[[int], object]


class Job(Protocol):
    """A piece of work that can be pickled. `frames`: how much it is, for the progress bar."""

    @property
    def name(self) -> str: ...

    @property
    def frames(self) -> int: ...

    def run(self, worker: Any, advance: Advance) -> Any:
        """Do it; what ends only this job is in the result, an exception ends the whole run."""

    def failed(self, error: str) -> Any:
        """Return the result of a job whose workers died."""


J = TypeVar("J", bound=Job)


@dataclass
class Progress:
    """What a run tells on its way: frames as they are done (below 0: of a job that begins anew), and news."""

    advance: Advance = lambda _: None
    say: Callable[[str], object] = lambda _: None
    begin: Callable[[int], object] = lambda _: None  # told how many frames there are to be tracked


class Workers(Protocol):
    """Do jobs. A context manager: leaving it ends every process that was started."""

    def run(self, jobs: Sequence[J], progress: Progress) -> Iterator[tuple[J, Any]]:
        """Yield each job with its result. Raises what a job raises, and then leaves the others undone."""

    def stop(self) -> None:
        """End whatever is being done; another run may follow."""

    def __enter__(self) -> Workers: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class OneProcess:
    """Does jobs one after the other, in this process."""

    def __init__(self) -> None:
        self._worker: Any = None
        self._threads = 0

    def run(self, jobs: Sequence[J], progress: Progress) -> Iterator[tuple[J, Any]]:
        from sam2_video.evaluation.tracking import Worker

        self._worker = self._worker or Worker()
        for job in jobs:
            yield job, job.run(self._worker, progress.advance)

    def stop(self) -> None:
        """Nothing goes on beside the caller."""

    def __enter__(self) -> OneProcess:
        import torch

        self._threads = torch.get_num_threads()
        return self

    def __exit__(self, *_: object) -> None:
        import torch

        torch.set_num_threads(self._threads)  # of the process that this is a part of
        self._worker = None


@dataclass
class _Process:
    """One worker process, and what it is doing."""

    process: Any
    pipe: Connection
    device: str | None
    job: Any = None
    advanced: int = 0  # frames of this job
    is_ready: bool = False


@dataclass
class LocalWorkers:
    """Processes of this machine, each with its model. One that dies is replaced, and its job begun anew."""

    count: int
    devices: Sequence[str | None] = (None,)  # dealt out in turns
    _processes: list[_Process] = field(default_factory=list)
    _stillborn: int = 0  # processes in a row that ended before they began

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [one.process.pid for one in self._processes]

    def run(self, jobs: Sequence[J], progress: Progress) -> Iterator[tuple[J, Any]]:
        """Raises Sam2VideoError where workers end before they begin."""
        waiting, tries = deque(jobs), Counter[str]()
        while len(self._processes) < min(self.count, len(jobs)):
            self._processes.append(self._start(self.devices[len(self._processes) % len(self.devices)]))
        while waiting or any(one.job is not None for one in self._processes):
            for one in self._processes:
                if one.job is None and waiting:
                    self._give(one, waiting.popleft())
            for one in self._heard():
                job = one.job
                for kind, value in _messages(one):
                    if kind == "advance":
                        one.advanced += value
                        progress.advance(value)
                    elif kind == "result":
                        one.job = None
                        yield job, value
                    elif kind == "error":
                        raise value
                    elif kind == "end":
                        self._replace(one)
                        progress.advance(-one.advanced)
                        if job is not None:
                            tries[job.name] += 1
                            error = f"its worker {_how_it_ended(one.process)}"
                            if tries[job.name] < TRIES:
                                progress.say(f"{job.name}: {error}; it is begun anew")
                                waiting.appendleft(job)
                            else:
                                yield job, job.failed(f"{error}, {TRIES} times")

    def _start(self, device: str | None) -> _Process:
        # Spawned, not forked: a fork of a process with threads, of torch or CUDA, may hang.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, device), daemon=True)
        process.start()
        theirs.close()  # so that its end is heard of when the process ends
        return _Process(process, ours, device)

    def _give(self, one: _Process, job: Any) -> None:
        one.job, one.advanced = job, 0
        with suppress(OSError):  # it has ended: that is heard of next
            one.pipe.send(job)

    def _heard(self) -> list[_Process]:
        ready = set(wait([one.pipe for one in self._processes]))
        return [one for one in self._processes if one.pipe in ready]

    def _replace(self, one: _Process) -> None:
        one.process.join()
        one.pipe.close()
        self._stillborn = 0 if one.is_ready else self._stillborn + 1
        by_signal = (one.process.exitcode or 0) < 0  # which may strike one and spare the next
        if self._stillborn >= (TRIES if by_signal else 1):
            raise Sam2VideoError(
                f"a worker process {_how_it_ended(one.process)} before it began. In a script, call this "
                'below `if __name__ == "__main__":`, as workers import the script'
            )
        self._processes[self._processes.index(one)] = self._start(one.device)

    def stop(self) -> None:
        """End all processes, and wait until they have ended."""
        for one in self._processes:
            one.process.terminate()
        for one in self._processes:
            one.process.join(SECONDS_TO_END)
            if one.process.is_alive():
                one.process.kill()
                one.process.join()
            one.pipe.close()
        self._processes.clear()

    def __enter__(self) -> LocalWorkers:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _messages(one: _Process) -> Iterator[tuple[str, Any]]:
    """What a worker has said by now; last of all that it has ended."""
    try:
        while one.pipe.poll():
            kind, value = one.pipe.recv()
            if kind == "ready":
                one.is_ready = True
            else:
                yield kind, value
    except (EOFError, OSError):
        yield "end", None


def _how_it_ended(process: Any) -> str:
    code = process.exitcode
    if code is not None and code < 0:
        with suppress(ValueError):
            name = signal.Signals(-code).name
            memory = "; it may have run out of memory" if name == "SIGKILL" else ""
            return f"was ended by {name}{memory}"
    return f"ended with exit code {code}"


def _serve(pipe: Connection, device: str | None) -> None:
    """The life of a worker process: jobs in, results out, until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes: the first one decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import cv2

    from sam2_video.evaluation.tracking import Worker

    cv2.setNumThreads(1)  # there is a process for every core
    worker = Worker(device)
    pipe.send(("ready", os.getpid()))
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        try:
            result = job.run(worker, lambda frames: pipe.send(("advance", frames)))
        except Exception as error:
            pipe.send(("error", portable(error)))
        else:
            pipe.send(("result", result))


def portable(error: Exception) -> Exception:
    """The error, or one that says the same and can be pickled."""
    return error if isinstance(error, Sam2VideoError) else RuntimeError(f"{type(error).__name__}: {error}")


def _end_with_parent() -> None:
    """End this process when the one that started it is gone: nobody would take its results."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
