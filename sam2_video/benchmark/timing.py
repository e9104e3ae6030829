"""Times of contestants who take turns, so that whatever else the machine does meets all of them alike."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from sam2_video.benchmark.contestants import START, Contestant
from sam2_video.model.sam2 import SAM2

PARTS = {
    "encode_image": "encode",
    "memory_keys": "keys",
    "attend_memory": "attend",
    "decode": "decode",
    "encode_memory": "remember",
}


@dataclass(frozen=True)
class Timing:
    """Seconds of each counted round, in order. `parts`: of ours, what each verb of the network took."""

    who: str
    seconds: tuple[float, ...]
    parts: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def times_as_fast_as(self, other: Timing) -> float:
        """The median over rounds of how many times as fast this was."""
        return statistics.median([b / a for a, b in zip(self.seconds, other.seconds, strict=True)])


def take_turns(contestants: Mapping[str, Contestant], rounds: int) -> list[Timing]:
    """Let each track one frame a round; the first round warms up and does not count."""
    seconds: dict[str, list[float]] = {who: [] for who in contestants}
    parts: dict[str, dict[str, list[float]]] = {who: defaultdict(list) for who in contestants}
    for turn in range(rounds + 1):
        for who, one in contestants.items():
            with part_times(getattr(one, "model", None)) as spent:
                began = time.perf_counter()
                one.step(START + turn)
                took = time.perf_counter() - began
            if turn:
                seconds[who].append(took)
                for part, found in spent.items():
                    parts[who][part].append(found)
    return [
        Timing(who, tuple(found), {part: tuple(t) for part, t in parts[who].items()})
        for who, found in seconds.items()
    ]


@contextmanager
def part_times(model: SAM2 | None) -> Iterator[dict[str, float]]:
    """Within the block, add up the seconds that each verb of a model takes."""
    spent: dict[str, float] = {}
    verbs = PARTS if model is not None else {}
    for verb, part in verbs.items():
        setattr(model, verb, _timed(getattr(model, verb), part, spent))
    try:
        yield spent
    finally:
        for verb in verbs:
            delattr(model, verb)


def _timed(verb: Callable[..., Any], part: str, spent: dict[str, float]) -> Callable[..., Any]:
    def timed(*args: Any, **options: Any) -> Any:
        began = time.perf_counter()
        found = verb(*args, **options)
        if torch.cuda.is_available():  # what was asked of a GPU may still be under way
            torch.cuda.synchronize()
        spent[part] = spent.get(part, 0.0) + time.perf_counter() - began
        return found

    return timed
