"""How well does a model track, next to what needs no network at all?

    python benchmarks/vos_quality.py DAVIS_FOLDER [--model nano] [--prompts mask,box,click1]

Mean J, F and J&F over the sequences of a folder in DAVIS layout, the first and last frame not scored. The
peers are measured in the same run: copying the first mask to every frame, and warping it along by OpenCV's
DIS flow.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

import sam2_video
from sam2_video.evaluation.datasets import open_dataset
from sam2_video.evaluation.in_memory import track_and_score
from sam2_video.evaluation.scores import Means, Summary, score_objects, summarise
from sam2_video.evaluation.sequences import VosSequence

Masks = list[NDArray[np.bool_]]


def copy_first(sequence: VosSequence, mask: NDArray[np.bool_]) -> Masks:
    return [mask] * len(sequence.frame_names)


def warp_by_flow(sequence: VosSequence, mask: NDArray[np.bool_]) -> Masks:
    """Carry the mask from frame to frame along backward DIS flow, as a soft mask so that edges survive."""
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    height, width = mask.shape
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)
    grey = cv2.cvtColor(sequence.image(0), cv2.COLOR_RGB2GRAY)
    soft, masks = mask.astype(np.float32), [mask]
    for frame in range(1, len(sequence.frame_names)):
        following = cv2.cvtColor(sequence.image(frame), cv2.COLOR_RGB2GRAY)
        backward = flow.calc(following, grey, None)
        soft = cv2.remap(soft, grid + backward, None, cv2.INTER_LINEAR)
        masks.append(soft > 0.5)
        grey = following
    return masks


def score_peer(
    sequences: Sequence[VosSequence], track: Callable[[VosSequence, NDArray[np.bool_]], Masks]
) -> Summary:
    scores = []
    for sequence in sequences:
        tracked = {k: track(sequence, first) for k, first in (sequence.masks(0) or {}).items()}
        scores += score_objects(sequence, lambda t, all_=tracked: {k: masks[t] for k, masks in all_.items()})
    return summarise(scores)


def show(name: str, summary: Summary, began: float, *, each: bool = False) -> None:
    took = time.perf_counter() - began
    print(f"{name:24s} {figures(summary.overall)}   {took:6.1f} s")
    for sequence, means in summary.by_sequence.items() if each else ():
        print(f"    {sequence:20s} {figures(means)}")


def figures(means: Means) -> str:
    return f"J {100 * means.j.mean:5.1f}  F {100 * means.f.mean:5.1f}  J&F {100 * means.jandf:5.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--prompts", default="mask,box,click1", help="protocols, see docs/protocols.md")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--max-frames", type=int)
    parser.add_argument("--sequences", action="store_true", help="also print every sequence")
    args = parser.parse_args()
    sequences = open_dataset(args.folder, "davis2017", "all").sequences
    if args.max_frames is None:
        for name, track in (("copy the first mask", copy_first), ("DIS optical flow", warp_by_flow)):
            began = time.perf_counter()
            show(name, score_peer(sequences, track), began)
    predictor = sam2_video.VideoPredictor(sam2_video.load_model(args.model, dtype=args.dtype))
    for prompt in args.prompts.split(","):
        began = time.perf_counter()
        summary = track_and_score(predictor, sequences, prompt, max_frames=args.max_frames)
        show(f"{Path(args.model).stem}, {prompt} given", summary, began, each=args.sequences)


if __name__ == "__main__":
    main()
