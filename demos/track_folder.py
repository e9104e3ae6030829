"""Continue an annotation: from the mask of the first picture of a folder, make masks for all the others.

python demos/track_folder.py frames/ first_mask.png masks/

Every value of the mask besides 0 is an object; a palette picture as DAVIS has them is right.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from PIL import Image

import sam2_video
from sam2_video.sinks import MaskPngSink


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("frames", help="a folder of pictures, or a video file")
    parser.add_argument("mask", help="the mask of the first one: pixel = object, 0 = background")
    parser.add_argument("out", help="the folder for the masks")
    parser.add_argument("--model", default="nano")
    arguments = parser.parse_args()

    try:
        with Image.open(arguments.mask) as picture:
            labels = np.asarray(picture)
    except OSError as error:
        parser.error(f"{arguments.mask} is no picture that can be read: {error}")
    if labels.ndim != 2 or not labels.any():
        parser.error(f"{arguments.mask} must be a grey or palette picture with at least one object")

    predictor = sam2_video.VideoPredictor.from_pretrained(arguments.model)
    bits = 8 if labels.max() < 256 else 16  # a palette has 256 colours
    with (
        predictor.open(arguments.frames, retain="window") as session,
        MaskPngSink(arguments.out, bits=bits) as masks,
    ):
        for object_id in np.unique(labels[labels > 0]).tolist():
            session.prompt(frame=0, object_id=object_id, mask=labels == object_id)
        for result in session.propagate():
            rgb = session.source.read(result.frame)
            masks.write(rgb, result, session.source.frame_name(result.frame))


if __name__ == "__main__":
    try:
        main()
    except sam2_video.Sam2VideoError as error:
        sys.exit(f"error: {error}")
