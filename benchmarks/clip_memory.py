"""Does `sam2-video track` take more memory for a longer clip, and as much as it says beforehand?

    python benchmarks/clip_memory.py [--model nano] [--size 1920x1080] [--lengths 50 100 200 1000]
        [--objects 1] [--dtype float32] [--save masks] [--threads 2] [overrides ...]

Makes an mp4 of moving squares over noise of the given size, runs the command as a user would, each length in
a process of its own, and prints its peak resident memory, as a ratio to the first length and to what the
command had foreseen. A packaged model without weights of its own gets random ones, in bfloat16: they change
no shape.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np
import torch

import sam2_video
from sam2_video.checkpoint import save_weights


def make_clip(path: Path, frames: int, width: int, height: int, objects: int) -> list[str]:
    """Draw the clip; returns the clicks that ask for its squares, as options."""
    side, rng = height // 12, np.random.default_rng(0)
    ground = np.kron(rng.integers(0, 90, (height // 8, width // 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    columns = int(np.ceil(objects**0.5))
    spots = [
        (width * (k % columns) // columns + side, height * (k // columns) // columns + side // 2)
        for k in range(objects)
    ]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for t in range(frames):
            frame = ground.copy()
            for k, (x, y) in enumerate(spots):
                shift = int(side / 2 * np.sin(t / 10 + k))
                frame[y : y + side, x + shift : x + shift + side] = (250, 40 + 3 * k, 120)
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame[:height, :width], format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    clicks = [f"0:{k + 1}:{x + side // 2},{y + side // 2}" for k, (x, y) in enumerate(spots)]
    return [word for click in clicks for word in ("--click", click)]


def weights_for(name: str, overrides: list[str], folder: Path) -> str:
    """The model to be asked for: `name`, or a file of random weights where it has to be downloaded."""
    if name == "nano" or Path(name).exists():
        return name
    torch.manual_seed(0)
    model = sam2_video.build_model(name, overrides=overrides)
    with torch.no_grad():  # every object present
        model.get_parameter("sam_mask_decoder.pred_obj_score_head.layers.2.bias").fill_(10.0)
    file = folder / f"{name}.safetensors"
    metadata = {"sam2_video.config": name, "sam2_video.overrides": json.dumps(overrides)}
    save_weights(model.to(torch.bfloat16), file, metadata)
    return str(file)


def track(words: list[str], out: Path) -> tuple[float, float]:
    """Return seconds and peak resident MiB of one run in a process of its own."""
    command = [sys.executable, "-m", "sam2_video.cli", "track", *words, "--out", str(out), "--overwrite"]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(process.stderr.read() if process.stderr else "track failed")
    return time.perf_counter() - began, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="nano")
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--lengths", type=int, nargs="+", default=[50, 100, 200, 1000])
    parser.add_argument("--objects", type=int, default=1)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--save", default="masks")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("overrides", nargs="*")
    args = parser.parse_args()
    width, height = map(int, args.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        clip, out = Path(folder) / "clip.mp4", Path(folder) / "out"
        clicks = make_clip(clip, max(args.lengths), width, height, args.objects)
        model = weights_for(args.model, args.overrides, Path(folder))
        own = args.overrides if model == args.model else []
        words = [str(clip), *own, *clicks, "--model", model, "--dtype", args.dtype, "--save", args.save]
        words += ["--threads", str(args.threads)]
        first = None
        for length in args.lengths:
            seconds, peak = track([*words, "--stop", str(length)], out)
            foreseen = json.loads((out / "run.json").read_text())["memory_mib"]["total"]
            first = first or peak
            print(
                f"{length:6d} frames: peak {peak:.0f} MiB, {peak / first:.3f} x; {foreseen} MiB foreseen, "
                f"{peak / foreseen:.2f} x; {seconds:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
