"""What commands with many workers share: who does the work, a bar of progress, and an orderly end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sam2_video.types import ConfigError

if TYPE_CHECKING:
    from sam2_video.evaluation.plan import ModelSetup
    from sam2_video.evaluation.workers import Progress

Say = Callable[[str], None]


def workers_for(count: int | None, ray: str | None, setup: ModelSetup) -> Any:
    """Who does the work, to be entered. `ray`: address of a cluster, "local" for one on this machine.

    Raises ConfigError.
    """
    if count is not None and count < 1:
        raise ConfigError(f"--workers {count}: at least 1")
    if ray is not None:
        from sam2_video.evaluation.ray_runner import RayWorkers

        address = None if ray == "local" else ray
        return RayWorkers(address, count, threads=setup.threads, device=setup.device)
    return local_workers(count or 1, setup)


def local_workers(count: int, setup: ModelSetup | None = None) -> Any:
    """This process, or processes of its own."""
    from sam2_video.evaluation.workers import LocalWorkers, OneProcess

    if count == 1:
        return OneProcess()
    return LocalWorkers(count, _devices(setup))


def _devices(setup: ModelSetup | None) -> list[str | None]:
    """The devices that processes are dealt: all GPUs, unless one is asked for by number."""
    from sam2_video.evaluation.plan import device_of

    if setup is None or device_of(setup) != "cuda":
        return [None]
    import torch

    return [f"cuda:{k}" for k in range(torch.cuda.device_count())] or [None]


@contextmanager
def progress_bar(say: Say, unit: str) -> Iterator[Progress]:
    """A progress bar with the time that is left, on a terminal; news come above it."""
    from tqdm import tqdm

    from sam2_video.evaluation.workers import Progress

    bars: list[Any] = []

    def begin(frames: int) -> None:
        close()
        bars.append(tqdm(total=frames, unit=f" {unit}", dynamic_ncols=True, disable=None if frames else True))

    def close() -> None:
        for bar in bars:
            bar.close()
        bars.clear()

    def tell(text: str) -> None:
        with tqdm.external_write_mode():
            say(text)

    def advance(frames: int) -> None:
        for bar in bars:
            bar.update(frames)

    try:
        yield Progress(advance, tell, begin)
    finally:
        close()


class Terminated(KeyboardInterrupt):
    """SIGTERM, as batch systems send it some seconds before they kill."""


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """End as by Ctrl-C, with everything whole; outside of the main thread this changes nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
