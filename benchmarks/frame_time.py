"""How long does one tracked frame take, next to `transformers`' model with the same weights?

    python benchmarks/frame_time.py [--models sam2.1_hiera_tiny] [--sizes 1024] [--objects 1] [--threads 2]

Runs `sam2-video benchmark --against transformers` for each model and size: the state that a long clip
settles in, frames of all contestants in turn, medians with the range, ratios of the same rounds.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import torch

from sam2_video.cli_benchmark import BenchmarkOptions, benchmark


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["sam2.1_hiera_tiny"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[1024])
    parser.add_argument("--objects", nargs="+", type=int, default=[1])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    for name in args.models:
        for size in args.sizes:
            options = BenchmarkOptions(name, size, tuple(args.objects), against="transformers")
            options = replace(options, rounds=args.rounds, threads=args.threads)
            for line in benchmark(options):
                print(line, flush=True)


if __name__ == "__main__":
    main()
