"""Measure on clips of your own how good the masks are, by several ways of prompting, and where they fail.

python demos/evaluate_folder.py mine out --protocol mask,box,click3

mine/frames/CLIP/*.jpg (or mine/videos/CLIP.mp4) with mine/masks/CLIP/*.png, pixel = object, 0 = background;
some frames with masks are enough. Benchmarks such as DAVIS are recognised too. The same command goes on with
a run that was ended.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import sam2_video
from sam2_video.evaluation.check import check_dataset
from sam2_video.evaluation.datasets import open_dataset
from sam2_video.evaluation.plan import ModelSetup, Plan
from sam2_video.evaluation.protocols import PROTOCOLS
from sam2_video.evaluation.runner import evaluate
from sam2_video.evaluation.scores import Summary


def worst_frame(summary: Summary) -> str:
    """Say where the overlap with the truth is least."""
    least = min(
        (j, score.sequence, score.object_id, frame)
        for score in summary.objects
        for frame, j in zip(score.frames, score.j, strict=True)
    )
    return f"worst: J {100 * least[0]:.1f}, {least[1]}, object {least[2]}, frame {least[3]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", help="the folder with frames/ and masks/")
    parser.add_argument("out", type=Path, help="the folder for results; a folder below it for each protocol")
    parser.add_argument("--protocol", default="mask", help=f"some of {', '.join(PROTOCOLS)}")
    parser.add_argument("--max-frames", type=int, help="of each clip: a quicker measure")
    parser.add_argument("--model", default="nano")
    arguments = parser.parse_args()
    protocols = [name.strip() for name in arguments.protocol.split(",")]

    for finding in check_dataset(arguments.data):  # what is wrong with the data, before hours are spent
        print(finding)
    data = open_dataset(arguments.data)

    summaries: dict[str, Summary] = {}
    for protocol in protocols:
        plan = Plan(ModelSetup(arguments.model), protocol=protocol, max_frames=arguments.max_frames)
        outcome = evaluate(data, plan, arguments.out / protocol)
        for name, why in outcome.failed.items():
            print(f"{name} failed: {why}")
        if outcome.evaluation is None or outcome.evaluation.summary is None:
            sys.exit(f"no figures for {protocol}: {outcome.not_scored}")
        summaries[protocol] = outcome.evaluation.summary

    clips = next(iter(summaries.values())).by_sequence
    table = {clip: [summary.by_sequence[clip] for summary in summaries.values()] for clip in clips}
    table["mean over objects"] = [summary.overall for summary in summaries.values()]
    print(f"\n{'J&F in %':24}" + "".join(f"{name:>10}" for name in protocols))
    for name, means in table.items():
        print(f"{name:24}" + "".join(f"{100 * one.jandf:10.1f}" for one in means))
    for protocol, summary in summaries.items():
        print(f"{protocol}: {worst_frame(summary)}; {arguments.out / protocol / 'report.html'} has more")


if __name__ == "__main__":
    try:
        main()
    except sam2_video.Sam2VideoError as error:
        sys.exit(f"error: {error}")
