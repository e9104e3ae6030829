"""How fast is `sam2-video track` from mp4 to PNG, and does its memory grow with the clip?

    python benchmarks/track_end_to_end.py [--model nano] [--lengths 200 2000] [--repeat 3] [--save masks]

Runs the command as a user would, each time in a new process, on a drawn 480 x 270 clip. Prints frames per
second with the start-up of the process left out (median and range), the share of the time that the same
frames cost to read and write alone, and the peak resident memory of each length as a ratio to the shortest.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from sam2_video.demo_clip import draw_demo_clip
from sam2_video.sinks import MaskPngSink
from sam2_video.sources import open_source
from sam2_video.types import FrameResult


def track(clip: Path, out: Path, click: str, args: argparse.Namespace, stop: int) -> tuple[float, float]:
    """Return seconds and peak resident MiB of one run over the first `stop` frames."""
    command = [
        sys.executable,
        "-m",
        "sam2_video.cli",
        "track",
        str(clip),
        "--click",
        click,
        "--model",
        args.model,
    ]
    command += [
        "--save",
        args.save,
        "--out",
        str(out),
        "--stop",
        str(stop),
        "--overwrite",
        "--dtype",
        args.dtype,
    ]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    _, status, usage = os.wait4(process.pid, 0)
    took = time.perf_counter() - began
    if status:
        sys.exit(process.stderr.read() if process.stderr else "track failed")
    return took, usage.ru_maxrss / 1024


def read_and_write(clip: Path, out: Path, stop: int) -> float:
    """Seconds that the same frames cost without a network: decoding, and writing a mask for each."""
    with open_source(clip) as source, MaskPngSink(out) as sink:
        logits = torch.full((1, 64, 64), -1.0)
        logits[:, 20:40, 20:40] = 1.0
        began = time.perf_counter()
        for frame in range(stop):
            result = FrameResult(frame, (1,), logits, torch.ones(1), torch.ones(1), source.size, (False,))
            sink.write(source.read(frame), result, source.frame_name(frame))
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="nano")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--lengths", type=int, nargs="+", default=[200, 2000])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--save", default="masks")
    args = parser.parse_args()
    lengths = sorted(args.lengths)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        demo = draw_demo_clip(root / "clip.mp4", frames=lengths[-1])
        ys, xs = np.nonzero(demo.masks(0)[1])
        click = f"0:1:{int(np.median(xs))},{int(np.median(ys))}"
        start_up = statistics.median(
            track(demo.path, root / "one", click, args, 1)[0] for _ in range(args.repeat)
        )
        plain = read_and_write(demo.path, root / "plain", lengths[0]) / lengths[0]
        base = None
        for length in lengths:
            runs = [track(demo.path, root / "out", click, args, length) for _ in range(args.repeat)]
            speeds = sorted((length - 1) / (seconds - start_up) for seconds, _ in runs)
            speed, peak = statistics.median(speeds), max(memory for _, memory in runs)
            base = base or peak
            print(
                f"{length:6d} frames: {speed:6.1f} frames/s ({speeds[0]:.1f} to {speeds[-1]:.1f}), "
                f"reading and writing {100 * plain * speed:.0f} % of it; "
                f"peak {peak:.0f} MiB, {peak / base:.3f} x"
            )
        print(f"start-up {start_up:.1f} s")


if __name__ == "__main__":
    main()
