"""How fast are J and F, next to the straightforward version that dilates whole pictures?

    python benchmarks/metrics_speed.py DAVIS_FOLDER [--objects 1] [--size 854x480]

Takes true masks a few frames apart as prediction and truth, at `--size`, with each picture cut into as many
objects as asked for. Both versions run in turns on one core; medians over the rounds, and the ratio of each
round's pair.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from math import ceil, hypot
from pathlib import Path
from statistics import median

import cv2
import numpy as np
from numpy.typing import NDArray

from sam2_video.evaluation.datasets import open_dataset
from sam2_video.evaluation.metrics import compare

Bools = NDArray[np.bool_]
Pair = tuple[Bools, Bools]
APART = 3  # frames between "prediction" and truth


def edges(mask: Bools) -> Bools:
    out = np.zeros_like(mask)
    out[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    out[:-1] |= mask[:-1] != mask[1:]
    out[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return out


def straightforward(predicted: Bools, truth: Bools) -> tuple[float, float]:
    """J and F as they are defined, by OpenCV's dilation on the whole picture."""
    either = np.logical_or(predicted, truth).sum()
    j = np.logical_and(predicted, truth).sum() / either if either else 1.0
    reach = ceil(0.008 * hypot(*truth.shape))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = (x * x + y * y <= reach * reach).astype(np.uint8)
    a, b = edges(predicted), edges(truth)
    if not a.any() or not b.any():
        return float(j), float(a.any() == b.any())
    near_a, near_b = (cv2.dilate(line.astype(np.uint8), disc) > 0 for line in (a, b))
    precision, recall = (a & near_b).sum() / a.sum(), (b & near_a).sum() / b.sum()
    return float(j), float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def ours(predicted: Bools, truth: Bools) -> tuple[float, float]:
    score = compare(predicted, truth)
    return score.j, score.f


def load_pairs(folder: Path, size: tuple[int, int], objects: int) -> list[Pair]:
    pairs: list[Pair] = []
    for sequence in open_dataset(folder, "davis2016", "all").sequences:
        absent = np.zeros(sequence.size, dtype=np.bool_)
        for frame in range(0, len(sequence.frame_names) - APART, 12):
            masks = [(sequence.masks(at) or {}).get(1, absent) for at in (frame + APART, frame)]
            maps = [split(mask, size, objects) for mask in masks]
            pairs += [(maps[0] == k, maps[1] == k) for k in range(1, objects + 1)]
    return pairs


def split(mask: Bools, size: tuple[int, int], objects: int) -> NDArray[np.uint8]:
    """Resize the only object of a picture and cut it into upright stripes, one for each object."""
    whole = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    stripe = np.arange(size[0]) * objects // size[0] + 1
    return np.asarray(whole * stripe[None].astype(np.uint8))


def timed(
    score: Callable[[Bools, Bools], tuple[float, float]], pairs: list[Pair]
) -> tuple[float, list[float]]:
    """Milliseconds a mask, and all values."""
    began = time.perf_counter()
    values = [value for pair in pairs for value in score(*pair)]
    return 1e3 * (time.perf_counter() - began) / len(pairs), values


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--objects", type=int, default=1)
    parser.add_argument("--size", default="854x480")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    width, height = (int(v) for v in args.size.split("x"))
    pairs = load_pairs(args.folder, (width, height), args.objects)
    slow, fast, ratios, apart = [], [], [], 0.0
    for _ in range(args.rounds + 1):  # the first round warms up
        a, expected = timed(straightforward, pairs)
        b, found = timed(ours, pairs)
        apart = max(apart, float(np.abs(np.subtract(expected, found)).max()))
        slow.append(a), fast.append(b), ratios.append(a / b)
    print(f"{len(pairs)} masks, {args.size}, {args.objects} per picture, {args.rounds} rounds, one core")
    print(f"straightforward dilation  {median(slow[1:]):7.3f} ms a mask")
    print(f"sam2_video                {median(fast[1:]):7.3f} ms a mask")
    low, high = min(ratios[1:]), max(ratios[1:])
    print(f"ratio                     {median(ratios[1:]):7.2f}    ({low:.2f} to {high:.2f})")
    print(f"largest difference        {apart:.1e}")


if __name__ == "__main__":
    main()
