"""Track one object through a clip and save what it would look like cut out, on white.

python demos/track_video.py clip.mp4 420 260 cut.mp4
python demos/track_video.py clip.mp4 420 260 cut.mp4 --off 500 300 --model sam2.1_hiera_small
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

import sam2_video
from sam2_video.sinks import VideoWriter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("clip", help="a video file or a folder of pictures")
    parser.add_argument("x", type=float, help="a point on the object in the first frame, in pixels")
    parser.add_argument("y", type=float)
    parser.add_argument("out", help="the video to write, .mp4")
    parser.add_argument("--off", type=float, nargs=2, action="append", default=[], help="a point off it: X Y")
    parser.add_argument("--model", default="nano")
    arguments = parser.parse_args()

    predictor = sam2_video.VideoPredictor.from_pretrained(arguments.model)
    with predictor.open(arguments.clip, retain="window") as session:
        points = [(arguments.x, arguments.y), *arguments.off]
        session.prompt(frame=0, object_id=1, points=points, labels=[1] + [0] * len(arguments.off))
        gone = []
        with VideoWriter(arguments.out, session.source.fps) as writer:
            for result in session.propagate():
                rgb = session.source.read(result.frame)
                writer.write(np.where(result.masks[0][..., None], rgb, np.uint8(255)))
                if result.presence[0] <= 0:  # a logit: below 0 the object is not in the frame
                    gone.append(result.frame)
    print(f"{arguments.out}: out of sight on {len(gone)} frames {gone or ''}")


if __name__ == "__main__":
    try:
        main()
    except sam2_video.Sam2VideoError as error:
        sys.exit(f"error: {error}")
