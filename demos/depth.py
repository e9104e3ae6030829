"""Click an object and see how far away it is: its mask, a depth map beside it, and its depth over time.

python demos/depth.py photo.jpg 420 260 out
python demos/depth.py clip.mp4 420 260 out --depth depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf

Depth is estimated by a model of `transformers` (pip install 'sam2_video[demos]'), which is fetched from the
Hugging Face hub the first time (Depth Anything V2 small: 0.1 GB) or read from a folder. Metric models give
metres. Others, DPT too, give larger numbers for what is nearer, on a scale that changes from frame to frame;
the depth of the object is then its place in the frame: the share of other pixels that are farther away.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

import sam2_video
from sam2_video.sinks import VideoWriter, paint

DEPTH = "depth-anything/Depth-Anything-V2-Small-hf"  # or Intel/dpt-large
METRIC = ("zoedepth", "depth_pro", "glpn")  # these always are; Depth Anything says it in its configuration
Row = tuple[int, float, float, float]  # frame, median of the object, what 10 % and 90 % of it are below


class Depth:
    """Depth of pictures and of objects in them."""

    def __init__(self, name: str) -> None:
        try:
            import matplotlib  # noqa: F401  # needed at the end, and missed at once
            from transformers import pipeline
        except ImportError as error:
            sys.exit(f"{error}; this demo needs it: pip install 'sam2_video[demos]'")
        try:  # nothing that comes with the weights is executed
            settings = {"trust_remote_code": False, "model_kwargs": {"use_safetensors": True}}
            self.model = pipeline("depth-estimation", model=name, **settings)
        except (OSError, ValueError) as error:  # not there, no network, not a depth model
            sys.exit(f"the depth model {name} cannot be loaded: {error}")
        config = self.model.model.config
        told = getattr(config, "depth_estimation_type", "relative")
        self.is_metric = told == "metric" or config.model_type in METRIC
        self.unit = "metres" if self.is_metric else "share of other pixels that are farther away"

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """Return (H, W): metres from the camera, or else larger numbers where it is nearer."""
        return np.asarray(self.model(Image.fromarray(rgb))["predicted_depth"], dtype=np.float32)

    def of_object(self, depth: np.ndarray, mask: np.ndarray) -> tuple[float, float, float]:
        """Return median, 10 % and 90 % of an object in `unit`; NaN where it is absent."""
        if not mask.any() or mask.all():
            return np.nan, np.nan, np.nan
        values = np.quantile(depth[mask], (0.5, 0.1, 0.9))
        if not self.is_metric:
            values = np.searchsorted(np.sort(depth[~mask]), values) / np.count_nonzero(~mask)
        return float(values[0]), float(values[1]), float(values[2])

    def picture(self, depth: np.ndarray) -> np.ndarray:
        """Return (H, W, 3) colours; what is bright is near."""
        low, high = np.quantile(depth, (0.01, 0.99))
        shade = np.clip((depth - low) / max(high - low, 1e-6), 0, 1)
        shade = (255 * (1 - shade if self.is_metric else shade)).astype(np.uint8)
        return cv2.cvtColor(cv2.applyColorMap(shade, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)


def plot(rows: list[Row], unit: str, path: Path) -> None:
    """Draw depth over time, with a gap where the object is absent."""
    from matplotlib.figure import Figure  # without pyplot, which would look for a window

    frames, median, low, high = np.array(rows).T
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.fill_between(frames, low, high, alpha=0.25, label="80 % of its pixels")
    axes.plot(frames, median, label="median of the object")
    axes.set(xlabel="frame", ylabel=unit)
    axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source", help="a picture, a video file or a folder of pictures")
    parser.add_argument("x", type=float, help="a point on the object in the first frame, in pixels")
    parser.add_argument("y", type=float)
    parser.add_argument("out", type=Path, help="the folder: depth.mp4 and plot.png, or depth.png; depth.csv")
    parser.add_argument("--depth", default=DEPTH, help="on the hub, or a folder: Depth Anything, DPT")
    parser.add_argument("--model", default="nano")
    arguments = parser.parse_args()

    estimate, rows, out = Depth(arguments.depth), list[Row](), arguments.out
    predictor = sam2_video.VideoPredictor.from_pretrained(arguments.model)
    with predictor.open(arguments.source, retain="window") as session:
        session.prompt(frame=0, object_id=1, points=[(arguments.x, arguments.y)], labels=[1])
        with VideoWriter(out / "depth.mp4", session.source.fps) as video:  # no file without a frame
            for result in session.propagate():
                rgb = session.source.read(result.frame)
                depth = estimate(rgb)
                rows.append((result.frame, *estimate.of_object(depth, result.masks[0])))
                both = np.hstack([paint(rgb, result), estimate.picture(depth)])
                if session.frame_count == 1:
                    Image.fromarray(both).save(out / "depth.png")
                else:
                    video.write(both)
    with (out / "depth.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("frame", estimate.unit, "10 %", "90 %"), *rows])
    if len(rows) > 1:
        plot(rows, estimate.unit, out / "plot.png")


if __name__ == "__main__":
    try:
        main()
    except sam2_video.Sam2VideoError as error:
        sys.exit(f"error: {error}")
