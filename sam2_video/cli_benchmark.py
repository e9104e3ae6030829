"""`sam2-video benchmark`: how long one frame of a long clip takes here, and where the time goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sam2_video.types import ConfigError

if TYPE_CHECKING:
    from sam2_video.benchmark.contestants import Contestant
    from sam2_video.benchmark.timing import Timing

Peer = Literal["none", "transformers"]
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class BenchmarkOptions:
    """What is timed, and next to what."""

    model: str = "nano"
    size: int | None = None
    objects: tuple[int, ...] = (1,)
    dtypes: tuple[str, ...] = ("float32", "bfloat16")
    against: Peer = "none"
    rounds: int = 5
    device: str | None = None
    threads: int | None = None


def parse_options(
    model: str,
    size: int | None,
    objects: str,
    dtypes: str,
    against: Peer,
    rounds: int,
    device: str | None,
    threads: int | None,
) -> BenchmarkOptions:
    """Check what was typed. Raises ConfigError."""
    counts = objects.split(",")
    if not all(count.isdecimal() and int(count) for count in counts):
        raise ConfigError(f"--objects is {objects!r}; give whole numbers from 1 on, as 1,4,16")
    kinds = tuple(dtypes.split(","))
    if unknown := [kind for kind in kinds if kind not in DTYPES]:
        raise ConfigError(f"--dtypes has {', '.join(unknown)}; known: {', '.join(DTYPES)}")
    return BenchmarkOptions(model, size, tuple(map(int, counts)), kinds, against, rounds, device, threads)


def benchmark(options: BenchmarkOptions) -> Iterator[str]:
    """Time one setting after the other, and yield lines of a report. Raises ConfigError."""
    import torch

    from sam2_video.benchmark.timing import take_turns
    from sam2_video.checkpoint import resolve_device
    from sam2_video.cli_run import ModelOptions, device_of
    from sam2_video.evaluation.machine import processor

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    device = resolve_device(device_of(ModelOptions(device=options.device)))
    where = processor(device)
    threads = "" if device.type != "cpu" else f", {torch.get_num_threads()} threads"
    yield f"{where}{threads}, torch {torch.__version__}"
    for objects in options.objects:
        contestants, size = _contestants(options, objects, str(device))
        yield f"{options.model}, {size} px, objects: {objects}, 7 memories and 16 pointers each"
        yield from _table(take_turns(contestants, options.rounds))


def _contestants(options: BenchmarkOptions, objects: int, device: str) -> tuple[dict[str, Contestant], int]:
    import torch

    from sam2_video.benchmark.contestants import Ours, Theirs, stand_in
    from sam2_video.benchmark.hub import hub_twin

    found: dict[str, Contestant] = {}
    size = 0
    for dtype in options.dtypes:
        model = stand_in(options.model, options.size, getattr(torch, dtype), device)
        size = model.image_size
        found[dtype] = Ours(model, options.rounds + 1, objects)
    if options.against == "transformers":
        exact = stand_in(options.model, options.size, torch.float32, device)
        found["transformers float32"] = Theirs(hub_twin(exact, options.model), options.rounds + 1, objects)
    return found, size


def _table(timings: Sequence[Timing]) -> Iterator[str]:
    peer = timings[-1]
    for timing in timings:
        low, high = 1e3 * min(timing.seconds), 1e3 * max(timing.seconds)
        line = f"  {timing.who:22s}{1e3 * timing.median:9.1f} ms  ({low:.1f} to {high:.1f})"
        line += f"{1 / timing.median:8.2f} frames/s"
        if timing is not peer:
            line += f"   {timing.times_as_fast_as(peer):.2f} times as fast as {peer.who}"
        yield line
        if timing.parts:
            shares = (f"{part} {_percent(spent, timing)}" for part, spent in timing.parts.items())
            yield f"      {', '.join(shares)}"


def _percent(spent: Sequence[float], timing: Timing) -> str:
    import statistics

    share = statistics.median([part / whole for part, whole in zip(spent, timing.seconds, strict=True)])
    return f"{100 * share:.0f} %"
