"""Track one object through a clip once, and save it in as many formats as you like.

python demos/export_masks.py clip.mp4 420 260 out --save masks,rle,overlay --name "left cup" --category cup
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path

import sam2_video
from sam2_video.sinks.registry import FALLBACK_FPS, SINKS, SinkOrder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("clip", type=Path, help="a video file or a folder of pictures")
    parser.add_argument("x", type=float, help="a point on the object in the first frame, in pixels")
    parser.add_argument("y", type=float)
    parser.add_argument("out", type=Path, help="the folder for the results")
    parser.add_argument("--save", default="masks,objects", help=f"some of {', '.join(SINKS)}")
    parser.add_argument("--name", help="what this object is called")
    parser.add_argument("--category", help="what kind of object it is")
    parser.add_argument("--model", default="nano")
    arguments = parser.parse_args()
    names = [name.strip() for name in arguments.save.split(",")]
    if unknown := [name for name in names if name not in SINKS]:
        parser.error(f"--save does not know {', '.join(unknown)}; choose from {', '.join(SINKS)}")

    predictor = sam2_video.VideoPredictor.from_pretrained(arguments.model)
    with ExitStack() as stack:  # sinks are closed in turn, or discard what is not whole after an error
        session = stack.enter_context(predictor.open(arguments.clip, retain="window"))
        source = session.source
        order = SinkOrder(
            out=arguments.out,
            clip=arguments.clip.stem,
            source=str(arguments.clip) if arguments.clip.is_file() else "",
            fps=source.fps or FALLBACK_FPS,
            frames=source.count,
            file=arguments.clip if arguments.clip.is_file() else None,  # its sound goes with the videos
        )
        session.prompt(
            frame=0,
            object_id=1,
            points=[(arguments.x, arguments.y)],
            name=arguments.name,
            category=arguments.category,
        )
        sinks = [stack.enter_context(SINKS[name].make(order)) for name in names]
        for result in session.propagate():
            rgb = source.read(result.frame)
            for sink in sinks:
                sink.write(rgb, result, source.frame_name(result.frame))
    for pattern in (pattern for name in names for pattern in SINKS[name].files):
        print(f"{len(list(arguments.out.glob(pattern)))} x {arguments.out / pattern}")


if __name__ == "__main__":
    try:
        main()
    except sam2_video.Sam2VideoError as error:
        sys.exit(f"error: {error}")
