"""How much sooner do several workers finish an evaluation?

    python benchmarks/evaluate_workers.py DATA [--sequences 4] [--max-frames 30] [--rounds 3] [--model nano]

Tracks the same sequences in one process with one thread, in one with two, in two processes and with two Ray
actors of one thread each, in turns; writing predictions is included, starting workers and loading the model
is not: it is shown apart. Medians over the rounds, and the ratio to one process with one thread. Ends with an
error where ways of one thread do not write the same bytes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from sam2_video.evaluation.datasets import open_dataset
from sam2_video.evaluation.done import read_done
from sam2_video.evaluation.plan import ModelSetup, Plan, shorten
from sam2_video.evaluation.ray_runner import RayWorkers
from sam2_video.evaluation.sequences import DataSet
from sam2_video.evaluation.tracking import TrackJob
from sam2_video.evaluation.workers import LocalWorkers, OneProcess, Progress

ONE = "1 process, 1 thread"


@contextmanager
def all_ways() -> Iterator[dict[str, tuple[Any, int]]]:
    """Name -> workers and their threads."""
    with ExitStack() as stack:
        yield {
            ONE: (stack.enter_context(OneProcess()), 1),
            "1 process, 2 threads": (stack.enter_context(OneProcess()), 2),
            "2 processes, 1 thread each": (stack.enter_context(LocalWorkers(2)), 1),
            "2 Ray actors, 1 thread each": (stack.enter_context(RayWorkers(count=2)), 1),
        }


def track(workers: Any, data: DataSet, plan: Plan) -> tuple[float, list[str]]:
    """Seconds, and the hash of each sequence's predictions."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        jobs = [TrackJob(sequence, plan, out, "benchmark", {}) for sequence in data.sequences]
        began = time.perf_counter()
        errors = [run.error for _, run in workers.run(jobs, Progress()) if run.error]
        seconds = time.perf_counter() - began
        assert not errors, errors
        done = [read_done(out / "sequences", job.name) for job in jobs]
        return seconds, [one.written.sha256 for one in done if one is not None and one.written is not None]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--sequences", type=int, default=4)
    parser.add_argument("--max-frames", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="nano")
    args = parser.parse_args()
    data = open_dataset(args.data.resolve())
    data = shorten(replace(data, sequences=data.sequences[: args.sequences]), args.max_frames)
    frames = sum(len(sequence.frame_names) for sequence in data.sequences)
    print(f"{len(data.sequences)} sequences, {frames} frames, {args.model}, {args.rounds} rounds")
    with all_ways() as ways:
        plans = {name: Plan(ModelSetup(args.model, threads=count)) for name, (_, count) in ways.items()}
        first = {name: track(workers, data, plans[name])[0] for name, (workers, _) in ways.items()}
        taken: dict[str, list[float]] = {name: [] for name in ways}
        hashes: dict[str, list[str]] = {}
        for _ in range(args.rounds):
            for name, (workers, threads) in ways.items():
                seconds, hashes[name] = track(workers, data, plans[name])
                taken[name].append(seconds)
                assert threads != 1 or hashes[name] == hashes[ONE], f"{name}: other predictions than {ONE}"
    for name, found in taken.items():
        middle = median(found)
        start = max(first[name] - middle, 0)
        spread = f"{min(found):.2f} to {max(found):.2f}; start {start:.1f} s"
        ratio = median(taken[ONE]) / middle
        print(f"{name:28s} {middle:7.2f} s  {frames / middle:6.1f} frames/s  x {ratio:4.2f}  ({spread})")
    print("every way of one thread wrote the same bytes")


if __name__ == "__main__":
    main()
