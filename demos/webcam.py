"""Follow what is in the middle of the picture of a camera, and save it with a mask.

python demos/webcam.py 0 out.mp4 --seconds 10

SOURCE is the number of a camera, the address of a stream, or a video file that is played like one.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

import sam2_video
from sam2_video.sinks import OverlaySink
from sam2_video.sources import LiveSource, VideoSource, open_source


def frames_of(source: VideoSource, seconds: float) -> Iterator[NDArray[np.uint8]]:
    """Frames until the time is over; a live source gives what is new, a file every frame."""
    ends = time.monotonic() + seconds
    for _, rgb in source.frames():
        if time.monotonic() > ends:
            return
        yield rgb


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source", help="camera, stream or file")
    parser.add_argument("out", help="the video to write, .mp4")
    parser.add_argument("--fallback", help="a file to play where the camera cannot be opened")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--model", default="nano")
    arguments = parser.parse_args()

    predictor = sam2_video.VideoPredictor.from_pretrained(arguments.model)
    try:
        source = open_source(arguments.source)
    except sam2_video.SourceError as error:
        if arguments.fallback is None:
            parser.error(str(error))
        print(f"{error}; playing {arguments.fallback} instead")
        source = open_source(arguments.fallback)

    with source, predictor.stream() as stream, OverlaySink(arguments.out, source.fps) as overlay:
        height, width = source.size
        middle = {"object_id": 1, "points": [(width / 2, height / 2)], "name": "it"}
        frames, seen = 0, False
        for rgb in frames_of(source, arguments.seconds):
            result = stream.step(rgb, [] if seen else [middle])  # pointed at again when it was lost
            overlay.write(rgb, result, source.frame_name(result.frame))
            frames, seen = frames + 1, bool(result.presence[0] > 0)
        dropped = source.dropped if isinstance(source, LiveSource) else 0
    print(f"{frames} frames, {dropped} dropped; {arguments.out} shows them")


if __name__ == "__main__":
    try:
        main()
    except sam2_video.Sam2VideoError as error:
        sys.exit(f"error: {error}")
