"""Does a stream's memory stay flat? Two hours at 25 frames a second, with objects that come, change and go.

    python benchmarks/stream_memory.py [--frames 180000] [--threads 1]

Pushes drawn frames through `predictor.stream()` with a stand-in network of SAM 2's parts, small enough for
the run to end. Objects 1 to 8 are added in pairs, are prompted again every eight seconds, in turns before and
after the frame is tracked, and are dropped in the same order, over and over. Prints resident memory minute by
minute, and whether any sample after the first minute is more than 5 % away from the one at its end.
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import sam2_video
from sam2_video.model.sam2 import SAM2
from sam2_video.stream import VideoStream

FPS = 25
MINUTE = 60 * FPS
SAMPLE = 5 * FPS
LIMIT = 0.05  # of the resident memory at the end of the first minute
OBJECTS = 8
# In frames: a new pair of objects, how long it stays, how often it is prompted again, when all starts over.
ENTER, STAY, AGAIN, CYCLE = 1000, 4250, 200, 8000
SIZE = (48, 64)  # (H, W) of a frame
TINY = (
    *("image_size=32", "width=32", "memory_width=16"),
    *("model.trunk.embed_dim=8", "model.trunk.stages=[1,1,1,1]", "model.trunk.global_att_blocks=[2]"),
    *("model.neck.backbone_channel_list=[64,32,16,8]", "model.prompt_encoder.mask_width=4"),
    *("model.memory_attention.num_layers=1", "model.memory_attention.hidden=32"),
    *("model.mask_decoder.transformer.depth=1", "model.mask_decoder.transformer.hidden=32"),
)


def tiny_model() -> SAM2:
    """All parts of SAM 2, 0.3 million random weights; objects always count as present."""
    torch.manual_seed(0)
    model = sam2_video.build_model("nano", overrides=list(TINY))
    with torch.no_grad():
        model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(20.0)
    return model.eval()


def drawn_frames(count: int = 64) -> list[NDArray[np.uint8]]:
    """Noise with a bright square that moves."""
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 90, (*SIZE, 3), dtype=np.uint8) for _ in range(count)]
    for t, frame in enumerate(frames):
        frame[16:32, t % 48 : t % 48 + 16] = (250, 60, 120)
    return frames


def prompt_for(object_id: int, turn: int) -> dict[str, Any]:
    """What is said of an object: a click, a box or a mask in turns."""
    x = 4 + 6 * object_id
    if turn % 3 == 2:
        mask = np.zeros(SIZE, bool)
        mask[10:30, x : x + 8] = True
        return {"mask": mask}
    return {"points": [(x, 20)]} if turn % 3 == 0 else {"box": (x, 10, x + 8, 40)}


@dataclass
class Script:
    """What happens on each frame, repeated every `CYCLE` frames, and how much of it has."""

    added: int = 0
    dropped: int = 0
    prompted_again: int = 0
    most: int = 0  # objects at a time

    def step(self, stream: VideoStream, frame: int, rgb: NDArray[np.uint8]) -> None:
        """Push one frame and do what the script says of it."""
        now, said, after = frame % CYCLE, [], []
        for object_id in range(1, OBJECTS + 1):
            age = now - (object_id - 1) // 2 * ENTER  # two at a time go through the network together
            if age == STAY:
                stream.remove(object_id)
                self.dropped += 1
            elif age == 0:
                said.append({"object_id": object_id, **prompt_for(object_id, 0)})
                self.added += 1
            elif 0 < age < STAY and age % AGAIN == 0:
                turn = age // AGAIN
                (said if turn % 2 else after).append({"object_id": object_id, **prompt_for(object_id, turn)})
                self.prompted_again += 1
        stream.step(rgb, said)
        for prompt in after:
            stream.prompt(**prompt)
        self.most = max(self.most, len(stream.objects))


def resident_mib() -> float:
    """Resident memory of this process."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        import resource

        return int(statm.read_text().split()[1]) * resource.getpagesize() / 2**20
    import os

    said = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(os.getpid())], capture_output=True, text=True, check=True
    )
    return int(said.stdout) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--frames", type=int, default=2 * 3600 * FPS)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    predictor, frames, script = sam2_video.VideoPredictor(tiny_model()), drawn_frames(), Script()
    after_a_minute, farthest, began = 0.0, 0.0, time.perf_counter()
    print("minute  resident MiB  against minute 1  objects of Python  frames/s", flush=True)
    with predictor.stream() as stream:
        for frame in range(arguments.frames):
            script.step(stream, frame, frames[frame % len(frames)])
            if (frame + 1) % SAMPLE:
                continue
            now, minute = resident_mib(), (frame + 1) / MINUTE
            if minute == 1:
                after_a_minute = now
            if minute > 1:
                farthest = max(farthest, now / after_a_minute - 1, 1 - now / after_a_minute)
            if minute % 1 == 0:
                rate = (frame + 1) / (time.perf_counter() - began)
                change = f"{100 * (now / after_a_minute - 1):+.2f} %"
                print(
                    f"{minute:6.0f}{now:14.1f}{change:>18}{len(gc.get_objects()):19d}{rate:10.0f}", flush=True
                )
    print(
        f"{arguments.frames} frames, {script.added} objects added ({script.most} at a time at most), "
        f"{script.dropped} dropped, {script.prompted_again} prompted again"
    )
    flat = farthest <= LIMIT
    print(f"{'FLAT' if flat else 'NOT FLAT'}: at most {100 * farthest:.2f} % away after the first minute")
    sys.exit(not flat)


if __name__ == "__main__":
    main()
