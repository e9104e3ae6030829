"""The work behind `sam2-video demo`: draw a clip, track it, compare with the drawn truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sam2_video.cli_journal import Journal
from sam2_video.cli_prompts import PlacedPrompt
from sam2_video.cli_run import ModelOptions, check_folder, locked
from sam2_video.cli_track import TrackOptions, track
from sam2_video.cli_write import RunSummary
from sam2_video.types import Prompt

if TYPE_CHECKING:
    from sam2_video.demo_clip import DemoClip

FRAMES = 90


@dataclass
class Agreement:
    """How well the masks of one object agree with the truth."""

    overlaps: list[float]  # IoU on each frame that shows the object
    hidden: int = 0  # frames that do not
    left_out: int = 0  # of these, frames where no mask was claimed

    def __str__(self) -> str:
        mean = sum(self.overlaps) / max(1, len(self.overlaps))
        text = f"mean IoU {mean:.2f} over {len(self.overlaps)} frames"
        return text + (f"; hidden on {self.hidden}, found absent on {self.left_out}" if self.hidden else "")


def demo(
    out: Path, model: ModelOptions, overwrite: bool, say: Callable[[str], None], frames: int = FRAMES
) -> RunSummary:
    """Draw, track with one click per object, and say line by line what came of it."""
    from sam2_video.demo_clip import OBJECTS, draw_demo_clip

    with locked(out) as hidden:
        check_folder(out, overwrite)
        Journal(hidden).finish()  # an unfinished run would be one on the clip that is now drawn anew
        clip = draw_demo_clip(out / "clip.mp4", frames)
    say(f"drew {frames} frames: {clip.path}")
    prompts = [
        PlacedPrompt(0, object_id, Prompt(points=((float(x), float(y)),), labels=(1,)))
        for object_id, (x, y) in clip.clicks.items()
    ]
    summary = track(str(clip.path), prompts, out, model, TrackOptions(overwrite=True))
    if summary.stopped_by is not None:
        say(f"interrupted after {summary}; results are in {out}")
        return summary
    say(f"tracked {summary}, from one click on each of {len(prompts)} objects")
    for object_id, agreement in compare(clip, out / "masks").items():
        say(f"  object {object_id}, {OBJECTS[object_id]}: {agreement}")
    say(f"look at {out / 'overlay.mp4'}; masks, objects.csv and run.json are beside it")
    return summary


def compare(clip: DemoClip, folder: Path) -> dict[int, Agreement]:
    """Compare the mask pictures of a folder with the truth; the clicked frame does not count."""
    scores = {object_id: Agreement([]) for object_id in clip.clicks}
    for frame, file in list(enumerate(sorted(folder.glob("*.png"))))[1:]:
        labels = read_labels(file)
        for object_id, truth in clip.masks(frame).items():
            found, score = labels == object_id, scores[object_id]
            if truth.any():
                score.overlaps.append(float((found & truth).sum() / (found | truth).sum()))
            else:
                score.hidden += 1
                score.left_out += not found.any()
    return scores


def read_labels(file: Path) -> NDArray[np.uint8]:
    """Read the object ids of a mask picture, (H, W)."""
    from PIL import Image

    with Image.open(file) as picture:
        return np.asarray(picture, dtype=np.uint8)
