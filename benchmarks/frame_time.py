"""How long does one tracked frame take, next to `transformers`' model with the same weights?

    python benchmarks/frame_time.py [--models sam2.1_hiera_tiny] [--sizes 1024] [--objects 1] [--threads 2]

In the state that a long clip settles in: 7 memories and 16 pointers to look back at. One frame is encoded,
matched with the memories, decoded and remembered. Frames of ours in float32 and bfloat16 and of theirs in
float32 (in bfloat16, too, with --their-bfloat16) are taken in turn, after one round that does not count.
Weights are random: they do not change the arithmetic. Prints medians with the range, and the ratio to theirs
in float32 of the same rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import torch
from peers import Ours, Theirs, hub_twin, textured_clip

import sam2_video
from sam2_video.model.sam2 import SAM2

START = 17  # the first frame that sees as many memories and pointers as any later one


def stand_in(name: str, size: int, dtype: torch.dtype) -> SAM2:
    torch.manual_seed(0)
    model = sam2_video.build_model(name, overrides=[f"image_size={size}"])
    assert isinstance(model, SAM2)
    with torch.no_grad():  # every object present, or memories are all alike
        model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(10.0)
    return model.to(dtype).eval()


def contestants(name: str, size: int, objects: int, args: argparse.Namespace) -> dict[str, Any]:
    clip = textured_clip(size, START + args.rounds + 1)
    exact = stand_in(name, size, torch.float32)
    found: dict[str, Any] = {"ours, float32": Ours(exact, clip, objects, START)}
    found["ours, bfloat16"] = Ours(stand_in(name, size, torch.bfloat16), clip, objects, START)
    if not args.alone:
        found["theirs, float32"] = Theirs(hub_twin(exact, name, size), clip, objects, START)
        if args.their_bfloat16:
            twin = hub_twin(exact, name, size).to(torch.bfloat16)
            found["theirs, bfloat16"] = Theirs(twin, clip, objects, START)
    return found


def measure(found: dict[str, Any], rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {who: [] for who in found}
    for turn in range(rounds + 1):
        for who, one in found.items():
            began = time.perf_counter()
            one.step(START + turn)
            if turn:
                times[who].append(time.perf_counter() - began)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["sam2.1_hiera_tiny"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[1024])
    parser.add_argument("--objects", nargs="+", type=int, default=[1])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--alone", action="store_true", help="leave transformers out")
    parser.add_argument("--their-bfloat16", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for name in args.models:
        for size in args.sizes:
            for objects in args.objects:
                times = measure(contestants(name, size, objects, args), args.rounds)
                print(f"{name}, {size} px, {objects} objects, {args.threads} threads")
                for who, took in times.items():
                    peers = times.get("theirs, float32", took)
                    ratio = statistics.median([p / t for p, t in zip(peers, took, strict=True)])
                    spread = f"({1e3 * min(took):.0f} to {1e3 * max(took):.0f})"
                    print(f"  {who:18s} {1e3 * statistics.median(took):7.0f} ms {spread:>16s}  x {ratio:.2f}")


if __name__ == "__main__":
    main()
