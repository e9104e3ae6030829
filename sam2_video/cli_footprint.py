"""What a run of `track` will take of the memory, said before its first frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sam2_video.cli_run import ModelOptions, device_of

if TYPE_CHECKING:
    from sam2_video.ahead import Lookahead
    from sam2_video.cli_prompts import PlacedPrompt
    from sam2_video.cli_track import TrackOptions
    from sam2_video.footprint import Footprint
    from sam2_video.sources import VideoSource
    from sam2_video.video_predictor import VideoPredictor

VIDEOS = {"overlay", "cutout-prores", "cutout-vp9", "green", "blur"}  # kinds of --save with an encoder


def foreseen(
    predictor: VideoPredictor,
    clip: VideoSource,
    prompts: Sequence[PlacedPrompt],
    options: TrackOptions,
    ahead: Lookahead,
) -> Footprint:
    """Estimate what a run will take."""
    from sam2_video.footprint import Clip, footprint

    prompted = Counter(object_id for object_id, _ in {(p.object_id, p.frame) for p in prompts})
    about = Clip(
        size=clip.size,
        count=clip.count,
        objects=len(prompted),
        prompted=max(prompted.values(), default=1),
        videos=len(VIDEOS.intersection(options.save)),
        backward=options.direction != "forward",
    )
    return footprint(
        predictor.model, about, horizon=predictor.memory.horizon, batch=predictor.batch_size, ahead=ahead
    )


def tell_memory(memory: Footprint, model: ModelOptions, say: Callable[[str], None]) -> None:
    """Say what a run will take, and warn where this machine does not have it."""
    from sam2_video.footprint import MIB, available

    say(f"memory: {memory}")
    left = available()
    if device_of(model) == "cpu" and left is not None and memory.to_come > left:
        say(
            f"warning: that is about {round(memory.to_come / MIB)} MiB more than now and this machine has "
            f"{round(left / MIB)} MiB left; track fewer objects at a time, or with a smaller image_size=..."
        )
