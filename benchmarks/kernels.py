"""How much faster are our products and attention than the framework's, operator by operator?

    python benchmarks/kernels.py [--threads 2] [--rounds 7] [--dtypes float32 bfloat16]

The shapes are those of SAM 2.1 tiny at 1024 pixels with 7 memories and 16 pointers, and of `nano`. Both ways
are taken in turn, after one round that does not count. Prints medians in milliseconds with the range, and the
median ratio. Decision 0014 rests on this.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from sam2_video.model.kernels import attend, linear

# batch, heads, queries, keys, channels of queries and keys, of values
ATTENTION = {
    "memory, 7 maps": (1, 1, 4096, 28_736, 256, 64),
    "frame": (1, 1, 4096, 4096, 256, 256),
    "trunk, whole map": (1, 4, 4096, 4096, 96, 96),
    "trunk, windows of 14": (25, 4, 196, 196, 96, 96),
    "trunk, windows of 8": (1024, 1, 64, 64, 96, 96),
    "nano, memory": (1, 1, 256, 1824, 128, 64),
    "nano, whole map": (1, 4, 256, 256, 48, 48),
    "decoder, tokens to pixels": (1, 8, 8, 4096, 16, 16),
    "decoder, pixels to tokens": (1, 8, 4096, 8, 16, 16),
}
LINEAR = {  # rows, channels in, channels out
    "memory, hidden": (4096, 256, 2048),
    "memory, projection": (4096, 256, 256),
    "trunk, hidden": (4096, 384, 1536),
    "nano, qkv": (4096, 48, 144),
    "nano, hidden": (256, 192, 768),
}


def in_turns(ways: dict[str, Callable[[], Tensor]], rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            if turn:
                times[name].append(1e3 * (time.perf_counter() - began))
    return times


def show(what: str, times: dict[str, list[float]]) -> None:
    theirs, ours = times["framework"], times["ours"]
    ratio = statistics.median([a / b for a, b in zip(theirs, ours, strict=True)])
    figures = "  ".join(
        f"{name} {statistics.median(t):8.2f} ms ({min(t):.2f} to {max(t):.2f})" for name, t in times.items()
    )
    print(f"  {what:28s}{figures}   x {ratio:.2f}", flush=True)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for dtype in (getattr(torch, name) for name in args.dtypes):
        print(f"attention, {dtype}, {args.threads} threads")
        for what, (batch, heads, queries, keys, width, values) in ATTENTION.items():
            q = torch.randn(batch, heads, queries, width, dtype=dtype)
            k = torch.randn(batch, heads, keys, width, dtype=dtype)
            v = torch.randn(batch, heads, keys, values, dtype=dtype)
            wide = torch.randn(batch, heads, keys, width, dtype=dtype)  # it takes no narrower ones
            show(what, in_turns({
                "framework": lambda q=q, k=k, wide=wide: F.scaled_dot_product_attention(q, k, wide),
                "ours": lambda q=q, k=k, v=v: attend(q, k, v),
            }, args.rounds))  # fmt: skip
        print(f"linear layers with a bias, {dtype}, {args.threads} threads")
        for what, (rows, width, out) in LINEAR.items():
            x, w = torch.randn(rows, width, dtype=dtype), torch.randn(out, width, dtype=dtype)
            bias = torch.randn(out, dtype=dtype)
            show(what, in_turns({
                "framework": lambda x=x, w=w, bias=bias: F.linear(x, w, bias),
                "ours": lambda x=x, w=w, bias=bias: linear(x, w, bias),
            }, args.rounds))  # fmt: skip


if __name__ == "__main__":
    main()
