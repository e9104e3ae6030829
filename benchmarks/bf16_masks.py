"""Are the masks of bfloat16 those of float32? The gate: a mean IoU of at least 0.99 in every clip.

    python benchmarks/bf16_masks.py DAVIS_FOLDER [--model nano] [--prompt mask] [--max-frames N]

Both types track each sequence from the same prompt; frames that were given do not count. Prints the mean and
lowest IoU of each clip, the worst first, and leaves with 1 where a clip is below the gate. With --truth the J
of both against the annotations, too: where masks differ, which of them is better?
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import sam2_video
from sam2_video.benchmark.agreement import LEAST_IOU, compare_tracking
from sam2_video.evaluation.datasets import open_dataset
from sam2_video.evaluation.in_memory import Beginning, track_and_score


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--prompt", default="mask")
    parser.add_argument("--max-frames", type=int)
    parser.add_argument("--truth", action="store_true")
    args = parser.parse_args()
    sequences = open_dataset(args.folder, "davis2017", "all").sequences
    if args.max_frames is not None:
        sequences = tuple(Beginning(one, args.max_frames) for one in sequences)
    exact, other = (
        sam2_video.VideoPredictor(sam2_video.load_model(args.model, dtype=dtype))
        for dtype in ("float32", args.dtype)
    )
    found = [compare_tracking(exact, other, one, args.prompt) for one in sequences]
    for one in sorted(found, key=lambda agreement: agreement.mean):
        print(f"{one.clip:20s} mean IoU {one.mean:.4f}  lowest {one.lowest:.4f}  masks {len(one.ious)}")
    good = sum(one.is_good for one in found)
    print(f"{good} of {len(found)} clips reach {LEAST_IOU}")
    if args.truth:
        for name, predictor in (("float32", exact), (args.dtype, other)):
            overall = track_and_score(predictor, sequences, args.prompt).overall
            print(f"{name}: J {100 * overall.j.mean:.2f}  J&F {100 * overall.jandf:.2f}")
    sys.exit(good < len(found))


if __name__ == "__main__":
    main()
