"""`sam2-video benchmark`: how long one frame of a long clip takes here, and where the time goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sam2_video.types import ConfigError

if TYPE_CHECKING:
    from sam2_video.benchmark.contestants import Contestant
    from sam2_video.benchmark.timing import Timing

DTYPES = ("float32", "bfloat16", "float16")
PEERS = ("transformers", "reference")


@dataclass(frozen=True)
class BenchmarkOptions:
    """What is timed, and next to what. `peers`: of PEERS, with the same weights in float32."""

    model: str = "nano"
    size: int | None = None
    objects: tuple[int, ...] = (1,)
    dtypes: tuple[str, ...] = ("float32", "bfloat16")
    peers: tuple[str, ...] = ()
    rounds: int = 5
    device: str | None = None
    threads: int | None = None
    overrides: tuple[str, ...] = ()


def parse_options(
    model: str,
    size: int | None,
    objects: str,
    dtypes: str,
    against: str,
    rounds: int,
    device: str | None,
    threads: int | None,
    overrides: Sequence[str] = (),
) -> BenchmarkOptions:
    """Check what was typed. Raises ConfigError."""
    counts = objects.split(",")
    if not all(count.isdecimal() and int(count) for count in counts):
        raise ConfigError(f"--objects is {objects!r}; give whole numbers from 1 on, as 1,4,16")
    kinds = _known(dtypes, DTYPES, "--dtypes")
    peers = () if against == "none" else _known(against, PEERS, "--against")
    return BenchmarkOptions(
        model, size, tuple(map(int, counts)), kinds, peers, rounds, device, threads, tuple(overrides)
    )


def _known(text: str, names: Sequence[str], option: str) -> tuple[str, ...]:
    given = tuple(text.split(","))
    if unknown := [name for name in given if name not in names]:
        raise ConfigError(f"{option} has {', '.join(unknown)}; known: {', '.join(names)}")
    return given


def benchmark(options: BenchmarkOptions) -> Iterator[str]:
    """Let all settings track frames in turns, and yield lines of a report. Raises ConfigError."""
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
    contestants, size = _contestants(options, str(device))
    more = "".join(f", {override}" for override in options.overrides)
    yield f"{where}{threads}, torch {torch.__version__}"
    yield f"{options.model}, {size} px, 7 memories and 16 pointers of each object{more}"
    yield from _table(options, {timing.who: timing for timing in take_turns(contestants, options.rounds)})


def _contestants(options: BenchmarkOptions, device: str) -> tuple[dict[str, Contestant], int]:
    import torch

    from sam2_video.benchmark.contestants import Ours, stand_in

    found: dict[str, Contestant] = {}
    frames = options.rounds + 1
    size = 0
    for dtype in options.dtypes:
        model = stand_in(options.model, options.size, getattr(torch, dtype), device, options.overrides)
        size = model.image_size
        found |= {_name(dtype, count): Ours(model, frames, count) for count in options.objects}
    for peer in options.peers:
        found |= _peers(peer, options, size, device)
    return found, size


def _peers(peer: str, options: BenchmarkOptions, size: int, device: str) -> dict[str, Contestant]:
    import torch

    from sam2_video.benchmark.contestants import Theirs, stand_in
    from sam2_video.benchmark.hub import hub_twin
    from sam2_video.benchmark.reference import Reference, reference_predictor

    exact, frames = stand_in(options.model, size, torch.float32, device), options.rounds + 1
    if peer == "transformers":
        twin = hub_twin(exact, options.model)
        return {_name(peer, count): Theirs(twin, frames, count) for count in options.objects}
    theirs = reference_predictor(exact, options.model)
    return {_name(peer, count): Reference(theirs, size, frames, count) for count in options.objects}


def _name(who: str, objects: int) -> str:
    return f"{who}, objects: {objects}"


def _table(options: BenchmarkOptions, timings: dict[str, Timing]) -> Iterator[str]:
    """Each setting with its ratios: to peers with as many objects, and to fewest objects of its own kind."""
    fewest = min(options.objects)
    for count in options.objects:
        for who in (*options.dtypes, *options.peers):
            timing = timings[_name(who, count)]
            low, high = 1e3 * min(timing.seconds), 1e3 * max(timing.seconds)
            line = f"  {timing.who:26s}{1e3 * timing.median:9.1f} ms  ({low:.1f} to {high:.1f})"
            line += f"{1 / timing.median:8.2f} frames/s"
            rivals = options.peers or options.dtypes[:1]
            if who not in rivals:
                ratios = (_ratio(timing, timings[_name(rival, count)], rival) for rival in rivals)
                line += f"   as fast as {', '.join(ratios)}"
            if count != fewest:
                times = 1 / timing.times_as_fast_as(timings[_name(who, fewest)])
                line += f"   {times:.2f} times the time of {fewest}"
            yield line
            if timing.parts:
                shares = (f"{part} {_percent(spent, timing)}" for part, spent in timing.parts.items())
                yield f"      {', '.join(shares)}"


def _ratio(timing: Timing, rival: Timing, name: str) -> str:
    return f"{name} x {timing.times_as_fast_as(rival):.2f}"


def _percent(spent: Sequence[float], timing: Timing) -> str:
    import statistics

    share = statistics.median([part / whole for part, whole in zip(spent, timing.seconds, strict=True)])
    return f"{100 * share:.0f} %"
