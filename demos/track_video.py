"""Track one object through a clip and save what it would look like cut out, on white.

python demos/track_video.py clip.mp4 420 260 cut.mp4
"""

from __future__ import annotations

import argparse

import numpy as np

import sam2_video
from sam2_video.sinks import VideoWriter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("clip", help="a video file or a folder of pictures")
    parser.add_argument("x", type=float, help="a point on the object in the first frame, in pixels")
    parser.add_argument("y", type=float)
    parser.add_argument("out", help="the video to write, .mp4")
    parser.add_argument("--model", default="nano")
    arguments = parser.parse_args()

    predictor = sam2_video.VideoPredictor.from_pretrained(arguments.model)
    with predictor.open(arguments.clip, retain="window") as session:
        session.prompt(frame=0, object_id=1, points=[(arguments.x, arguments.y)], labels=[1])
        with VideoWriter(arguments.out, session.source.fps) as writer:
            for result in session.propagate():
                rgb = session.source.read(result.frame)
                writer.write(np.where(result.masks[0][..., None], rgb, np.uint8(255)))


if __name__ == "__main__":
    main()
