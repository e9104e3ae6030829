"""What does each approximate setting cost in J&F, and what does it save?

    python benchmarks/approximations.py DAVIS_FOLDER [--model nano] [--prompt mask] [--max-frames N]
    python benchmarks/approximations.py --speed [--model sam2.1_hiera_tiny] [--dtype bfloat16]

The first line tracks all sequences of a folder in DAVIS layout with each setting and prints J&F, J and F; a
stride leaves frames out, whose masks are then those of the nearest tracked frame (held), or made of both
neighbours' logits by distance (mixed). The second line times a frame of a long clip, all settings in
turns, next to the exact one; strides of memories change no shape and so no time, a stride of n frames a
clip's time by n. Settings are overrides: `sam2-video track CLIP ... memory.pool=2`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import torch

import sam2_video
from sam2_video.benchmark.contestants import Ours, stand_in
from sam2_video.benchmark.timing import take_turns
from sam2_video.evaluation.datasets import open_dataset
from sam2_video.evaluation.in_memory import Beginning, track_and_score
from sam2_video.evaluation.protocols.base import SequenceFrames
from sam2_video.evaluation.scores import Summary, score_objects, summarise
from sam2_video.evaluation.sequences import Bools, VosSequence
from sam2_video.types import upsample_logits
from sam2_video.video_predictor import VideoPredictor

POOLED, FEWER, FEWEST = "memory.pool=2", "memory.recent=3", "memory.recent=1"
SAME_SPEED = {"memory.stride=2": ("memory.stride=2",), "memory.stride=4": ("memory.stride=4",)}
STRIDES = {2: "every second frame", 3: "every third frame"}
FAR = 20.0  # logits of absent objects lie far below all others: they must not decide alone


def settings(size: int) -> dict[str, tuple[str, ...]]:
    """Name -> overrides; `size` is the model's own."""
    smaller = [f"image_size={size * part // 128 * 32}" for part in (3, 2)]
    return {
        "exact": (),
        POOLED: (POOLED,),
        FEWER: (FEWER,),
        FEWEST: (FEWEST,),
        "memory.pointers=4": ("memory.pointers=4",),
        f"{POOLED} {FEWER}": (POOLED, FEWER),
        **{override: (override,) for override in smaller},
    }


def own_size(name: str) -> int:
    with torch.device("meta"):
        return sam2_video.build_model(name).image_size


def speed(args: argparse.Namespace) -> None:
    dtype = getattr(torch, args.dtype)
    models = {
        name: stand_in(args.model, None, dtype, overrides=asked)
        for name, asked in settings(own_size(args.model)).items()
    }
    timings = take_turns({k: Ours(model, args.rounds + 1) for k, model in models.items()}, args.rounds)
    print(f"{args.model}, {args.dtype}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for timing in timings:
        low, high = 1e3 * min(timing.seconds), 1e3 * max(timing.seconds)
        ratio = timing.times_as_fast_as(timings[0])
        print(f"{timing.who:34s}{1e3 * timing.median:8.1f} ms ({low:.1f} to {high:.1f})   x {ratio:.2f}")


class Skipping:
    """Masks of all frames, where only every `stride`-th is tracked. For ascending frames."""

    def __init__(self, predictor: VideoPredictor, sequence: VosSequence, stride: int, *, mixed: bool) -> None:
        self._stride, self._mixed, self._size = stride, mixed, sequence.size
        self._results = self._tracked(predictor, sequence)
        self._now = next(self._results)
        self._then: tuple[int, dict[int, torch.Tensor]] | None = next(self._results, None)

    def _tracked(
        self, predictor: VideoPredictor, sequence: VosSequence
    ) -> Iterator[tuple[int, dict[int, torch.Tensor]]]:
        with predictor.open(SequenceFrames(sequence), retain="window") as session:
            for one in sequence.objects:
                truth = sequence.masks(one.first) or {}
                session.prompt(frame=one.first, object_id=one.object_id, mask=truth[one.object_id])
            for result in session.propagate(stride=self._stride):
                yield result.frame, dict(zip(result.object_ids, result.logits, strict=True))

    def __call__(self, frame: int) -> Mapping[int, Bools]:
        while self._then is not None and self._then[0] <= frame:
            self._now, self._then = self._then, next(self._results, None)
        (before, logits), then = self._now, self._then
        found = logits
        if then is not None and frame > before:
            share = (frame - before) / (then[0] - before)
            found = then[1] if share > 0.5 else logits
            if self._mixed:
                found = {
                    k: one.clamp(-FAR, FAR) * (1 - share) + then[1][k].clamp(-FAR, FAR) * share
                    for k, one in logits.items()
                }
        return {k: (upsample_logits(one[None], self._size)[0] > 0).numpy() for k, one in found.items()}


def skipped(
    predictor: VideoPredictor, sequences: tuple[VosSequence, ...], stride: int, *, mixed: bool
) -> Summary:
    scores = []
    for sequence in sequences:
        scores += score_objects(sequence, Skipping(predictor, sequence, stride, mixed=mixed))
    return summarise(scores)


def quality(args: argparse.Namespace) -> None:
    sequences = tuple(open_dataset(args.folder, "davis2017", "all").sequences)
    if args.max_frames is not None:
        sequences = tuple(Beginning(one, args.max_frames) for one in sequences)
    print(f"{args.model}, {args.dtype}, {args.prompt} given, {len(sequences)} sequences")
    exact = None
    load = partial(sam2_video.load_model, args.model, dtype=args.dtype)
    runs = {
        name: partial(track_and_score, VideoPredictor(load(overrides=asked)), sequences, args.prompt)
        for name, asked in (settings(own_size(args.model)) | SAME_SPEED).items()
        if args.only in name or name == "exact"
    }
    if args.prompt == "mask":
        plain = VideoPredictor(load())
        runs |= {
            f"{what}, {how}": partial(skipped, plain, sequences, n, mixed=how == "mixed")
            for n, what in STRIDES.items()
            for how in ("held", "mixed")
            if args.only in f"{what}, {how}"
        }
    for name, run in runs.items():
        began = time.perf_counter()
        means = run().overall
        exact = means.jandf if exact is None else exact
        took = time.perf_counter() - began
        print(
            f"{name:34s}J&F {100 * means.jandf:5.1f} ({100 * (means.jandf - exact):+5.1f})  "
            f"J {100 * means.j.mean:5.1f}  F {100 * means.f.mean:5.1f}   {took:5.0f} s",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--prompt", default="mask")
    parser.add_argument("--max-frames", type=int)
    parser.add_argument("--only", default="", help="settings whose name contains this")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    if args.speed:
        speed(args)
    elif args.folder is None:
        parser.error("give a folder in DAVIS layout, or --speed")
    else:
        quality(args)


if __name__ == "__main__":
    main()
