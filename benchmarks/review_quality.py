"""Do the frames that a person is asked to look at point at wrong masks?

    python benchmarks/review_quality.py DAVIS_FOLDER [--model nano] [--sequences a,b] [--frames 40]

The first mask is given, the rest tracked. A mask is bad below IoU 0.5 with the truth; where it becomes bad
after a few good ones, a bad stretch begins. Printed: stretches that a notice announces within some frames of
their start, notices that have a bad mask near them, and false alarms per 100 good frames.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

import sam2_video
from sam2_video.evaluation.datasets import open_dataset
from sam2_video.evaluation.metrics import region_similarity
from sam2_video.evaluation.sequences import VosSequence
from sam2_video.review import Reviewer

BAD = 0.5
APART = 3  # good frames in a row that end a bad stretch


@dataclass
class Tally:
    """Counts over sequences. A notice is an object's on a frame, whatever its kinds."""

    good: int = 0
    bad: int = 0
    starts: int = 0
    caught: int = 0
    flagged: int = 0
    right: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    right_kinds: Counter[str] = field(default_factory=Counter)

    def add(self, ious: list[float], notices: dict[int, set[str]], near: int) -> None:
        """Count one sequence: IoU with the truth by frame, kinds of notices by frame."""
        bad = [iou < BAD for iou in ious]
        self.bad += sum(bad)
        self.good += len(bad) - sum(bad)
        for start in starts_of(bad):
            self.starts += 1
            self.caught += any(frame in notices for frame in range(start - near, start + near + 1))
        for frame, kinds in notices.items():
            is_right = any(bad[max(0, frame - near) : frame + near + 1])
            self.flagged += 1
            self.right += is_right
            self.kinds.update(kinds)
            self.right_kinds.update(kinds if is_right else ())

    def __str__(self) -> str:
        share = self.right / self.flagged if self.flagged else float("nan")
        kinds = ", ".join(f"{kind} {self.right_kinds[kind]}/{n}" for kind, n in self.kinds.most_common())
        return (
            f"bad frames {self.bad}/{self.bad + self.good}, bad stretches announced "
            f"{self.caught}/{self.starts}, notices near a bad frame {self.right}/{self.flagged} ({share:.0%})"
            f", false alarms per 100 good frames {100 * (self.flagged - self.right) / max(self.good, 1):.1f}"
            f"; by kind, right of all: {kinds}"
        )


def starts_of(bad: list[bool]) -> list[int]:
    """Frames where a bad stretch begins: bad, after at least `APART` good ones (or the clip's beginning)."""
    return [k for k, wrong in enumerate(bad) if wrong and not any(bad[max(0, k - APART) : k])]


def watch(
    predictor: sam2_video.VideoPredictor, sequence: VosSequence, frames: int
) -> tuple[list[float], dict[int, set[str]]]:
    """Track one object of a sequence; return its IoU with the truth and the notices, by frame."""
    count = min(frames, len(sequence.frame_names))
    truth = [(sequence.masks(k) or {}).get(1, np.zeros(sequence.size, bool)) for k in range(count)]
    ious: list[float] = []
    notices: dict[int, set[str]] = {}
    reviewer = Reviewer()
    with predictor.open([sequence.image(k) for k in range(count)], retain="window") as session:
        session.prompt(frame=0, object_id=1, mask=truth[0])
        for result in session.propagate():
            ious.append(region_similarity(result.masks[0], truth[result.frame]))
            found = reviewer.add(session.source.read(result.frame), result)
            if found:
                notices[result.frame] = {notice.kind for notice in found}
    return ious, notices


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--sequences", help="names, separated by commas; all without it")
    parser.add_argument("--frames", type=int, default=40, help="of each sequence, at most")
    parser.add_argument("--near", type=int, default=5, help="how many frames away a notice still counts")
    args = parser.parse_args()
    torch.set_num_threads(1)
    predictor = sam2_video.VideoPredictor(sam2_video.load_model(args.model))
    total = Tally()
    names = args.sequences.split(",") if args.sequences else None
    for sequence in open_dataset(args.folder, "davis2017", "all", sequences=names).sequences:
        seen = watch(predictor, sequence, args.frames)
        alone = Tally()
        for tally in (alone, total):
            tally.add(*seen, args.near)
        print(f"{sequence.name:16s} {alone}", flush=True)
    print(f"{'all':16s} {total}")


if __name__ == "__main__":
    main()
