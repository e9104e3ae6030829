"""How long does one tracked frame take, next to others with the same weights, frames and threads?

    python benchmarks/frame_time.py models|objects|pixels [--rounds 5] [--threads 2] [--dtypes float32]

models: one object, each released size at 1024 pixels. objects: 1 to 16 of them with `nano`, 1 and 8 with
base+ at 1024 pixels. pixels: tiny at 256, 512 and 1024. Each in float32 and bfloat16, with the shares of a
frame's parts. This is `sam2-video benchmark` for many settings: the state that a long clip settles in, frames
of all contestants in turns, medians with the range, ratios of the same rounds. The peers are `transformers`'
model, and the reference implementation where it is installed; `nano` is a network that neither can build.
"""

from __future__ import annotations

import argparse

import torch

from sam2_video.benchmark.reference import is_installed
from sam2_video.cli_benchmark import BenchmarkOptions, benchmark

RELEASED = tuple(f"sam2.1_hiera_{size}" for size in ("tiny", "small", "base_plus", "large"))
QUESTIONS: dict[str, list[tuple[str, int | None, tuple[int, ...]]]] = {
    "models": [(name, 1024, (1,)) for name in RELEASED],
    "objects": [("nano", None, (1, 2, 4, 8, 16)), ("sam2.1_hiera_base_plus", 1024, (1, 8))],
    "pixels": [("sam2.1_hiera_tiny", size, (1,)) for size in (256, 512, 1024)],
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("question", choices=QUESTIONS)
    parser.add_argument("--only", default="", help="settings whose model and size contain this")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--alone", action="store_true", help="no peers")
    args = parser.parse_args()
    peers = () if args.alone else ("transformers", *(("reference",) if is_installed() else ()))
    for name, size, objects in QUESTIONS[args.question]:
        if args.only not in f"{name} {size}":
            continue
        options = BenchmarkOptions(
            name,
            size,
            objects,
            tuple(args.dtypes.split(",")),
            peers if name in RELEASED else (),
            args.rounds,
            threads=args.threads,
        )
        for line in benchmark(options):
            print(line, flush=True)


if __name__ == "__main__":
    main()
