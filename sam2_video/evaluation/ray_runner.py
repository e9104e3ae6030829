"""Workers on a Ray cluster: one actor for each GPU, or for each core; sequences are its tasks.

Actors read the data and write predictions themselves, so both must be under the same paths on all machines.
Nothing large goes through Ray: its object store is small, and never spills to disk.
"""

from __future__ import annotations

import os
import socket
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sam2_video.evaluation.workers import TRIES, Job, Progress
from sam2_video.types import ConfigError, Sam2VideoError

SECONDS_TO_ANSWER = 10.0
STORE = 80 * 2**20  # bytes, close to the least that Ray takes
# Of a cluster that is started here. Ray makes workers nicer than anything else on the machine (15), on which
# they then make no progress beside other work.
SETTINGS = {"automatic_object_spilling_enabled": False, "worker_niceness": 0}
J = TypeVar("J", bound=Job)


class RayWorkers:
    """Actors of a cluster. An actor that dies is replaced, and its job begun anew.

    `address`: of a running cluster, "auto" for the one that this machine belongs to; None starts one on this
    machine, which ends with the run. `count`: how many actors; None: as many as there are GPUs, or cores for
    `threads` each. Raises ConfigError without Ray, and where the cluster has no room for an actor.
    """

    def __init__(
        self,
        address: str | None = None,
        count: int | None = None,
        *,
        threads: int = 1,
        device: str | None = None,
    ) -> None:
        self._address, self._count, self._threads = address, count, threads
        self._device = device
        self._actors: list[Any] = []
        self._ours = False  # was the connection made here?

    @property
    def device(self) -> str:
        """The kind of device that actors use. Known once the workers are entered."""
        assert self._device is not None
        return self._device

    @property
    def pids(self) -> list[int]:
        """Process ids of the actors, each on its machine."""
        return [int(pid) for pid in self._ray.get([actor.pid.remote() for actor in self._actors])]

    def __enter__(self) -> RayWorkers:
        self._ray = _import_ray()
        if not self._ray.is_initialized():
            self._connect()
            self._ours = True
        resources = self._ray.cluster_resources()
        gpus, cores = int(resources.get("GPU", 0)), int(resources.get("CPU", 0))
        self._device = self._device or ("cuda" if gpus else "cpu")
        room = gpus if self._device.startswith("cuda") else cores // self._threads
        if room < 1:
            self.__exit__()
            raise ConfigError(
                f"the cluster has {cores} cores and {gpus} GPUs: no room for a worker on {self._device} with "
                f"{self._threads} threads"
            )
        self._count = min(self._count or room, room)
        return self

    def stop(self) -> None:
        """End all actors. What they had begun may stay behind for a moment; the next run removes it."""
        for actor in self._actors:
            self._ray.kill(actor)
        self._actors.clear()

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._ours:
            self._ray.shutdown()
            self._ours = False

    def run(self, jobs: Sequence[J], progress: Progress) -> Iterator[tuple[J, Any]]:
        """Raises what a job raises, and Sam2VideoError where actors cannot begin."""
        waiting, tries = deque(jobs), Counter[str]()
        assert self._count is not None
        while len(self._actors) < min(self._count, len(jobs)):
            self._actors.append(self._start())
        idle, working = list(self._actors), dict[Any, tuple[Any, J]]()
        while waiting or working:
            while waiting and idle:
                actor, job = idle.pop(), waiting.popleft()
                working[actor.run.remote(job)] = actor, job
            ended, _ = self._ray.wait(list(working), num_returns=1)
            actor, job = working.pop(ended[0])
            try:
                kind, value = self._ray.get(ended[0])
            except self._ray.exceptions.RayError as error:  # of the actor, its machine or its memory
                self._actors.remove(actor)
                self._ray.kill(actor)  # it may be out of reach only, and must not go on
                idle.append(self._start())
                self._actors.append(idle[-1])
                tries[job.name] += 1
                why = f"its Ray actor ended: {_first_line(error)}"
                if tries[job.name] < TRIES:
                    progress.say(f"{job.name}: {why}; it is begun anew")
                    waiting.appendleft(job)
                else:
                    progress.advance(job.frames)
                    yield job, job.failed(f"{why}, {TRIES} times")
                continue
            idle.append(actor)
            if kind == "error":
                raise value
            progress.advance(job.frames)
            yield job, value

    def _connect(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a run tells nobody that it ran
        _check_answers(self._address)
        quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
        try:
            if self._address is not None:
                self._ray.init(address=self._address, **quiet)
                return
            self._ray.init(
                num_cpus=None if self._count is None else self._count * self._threads,
                include_dashboard=False,
                object_store_memory=STORE,
                _system_config=SETTINGS,
                **quiet,
            )
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            where = "on this machine" if self._address is None else f"at {self._address}"
            why = _first_line(error)
            raise Sam2VideoError(f"there is no Ray cluster to be had {where}: {why}") from error

    def _start(self) -> Any:
        actor = self._ray.remote(_Actor)
        gpus = 1 if self.device.startswith("cuda") else 0
        # A device as a worker sees it: Ray shows each actor its own GPU only.
        kind = self.device.partition(":")[0]
        return actor.options(num_cpus=self._threads, num_gpus=gpus).remote(kind, str(Path.cwd()))


class _Actor:
    """What runs in an actor."""

    def __init__(self, device: str, folder: str) -> None:
        import cv2

        from sam2_video.evaluation.tracking import Worker

        if Path(folder).is_dir():
            os.chdir(folder)  # paths of the data may be relative
        cv2.setNumThreads(1)
        self._worker = Worker(device)

    def pid(self) -> int:
        return os.getpid()

    def run(self, job: Any) -> tuple[str, Any]:
        """Do a job: "result" and what came of it, or "error" and what ends the whole run."""
        from sam2_video.evaluation.workers import portable

        try:
            return "result", job.run(self._worker, lambda _: None)
        except Exception as error:
            return "error", portable(error)


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            "--ray needs the package ray, which is not installed: pip install 'sam2_video[ray]', or use "
            "--workers N on one machine"
        ) from error
    return ray


def _check_answers(address: str | None) -> None:
    """Raise Sam2VideoError where nothing listens at HOST:PORT: Ray itself tries for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return  # "auto", or a name that Ray knows
    try:
        socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_ANSWER).close()
    except (OSError, OverflowError) as error:
        raise Sam2VideoError(
            f"there is no Ray cluster to be had at {address}: {error}; give the address that `ray status` or "
            "`ray start --head` tells, as HOST:6379"
        ) from error


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
