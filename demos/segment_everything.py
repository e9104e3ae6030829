"""Find everything in a picture without any prompts, or find everything in a clip and follow it.

python demos/segment_everything.py photo.jpg out
python demos/segment_everything.py clip.mp4 out --every 30

Of a picture: overlay.png, masks.json (COCO run lengths, scores) and pieces/*.png, each mask cut out.
Of a clip: overlay.mp4 and objects.csv; --every looks for what is new on every so many frames.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import sam2_video
from sam2_video.mask_pictures import by_area, paint_masks
from sam2_video.sinks import ObjectsCsvSink, OverlaySink
from sam2_video.sources import open_source
from sam2_video.track_everything import Everything, EverythingRules


def picture(rgb: np.ndarray, generator: sam2_video.MaskGenerator, out: Path) -> None:
    """Write what is found in one (H, W, 3) picture."""
    masks = [mask for mask in by_area(generator.generate(rgb)) if mask.area]  # the largest first
    (out / "pieces").mkdir(parents=True, exist_ok=True)
    Image.fromarray(paint_masks(rgb, masks)).save(out / "overlay.png")
    (out / "masks.json").write_text(json.dumps([mask.record("coco_rle") for mask in masks]))
    for number, mask in enumerate(masks, start=1):
        x0, y0, x1, y1 = mask.box  # the last column and row included
        rgba = np.dstack([rgb, np.where(mask.mask, 255, 0).astype(np.uint8)])
        Image.fromarray(rgba[y0 : y1 + 1, x0 : x1 + 1]).save(out / "pieces" / f"{number:03d}.png")
    # Where nothing is found, these say which filter took it.
    print(f"{len(masks)} masks in {out}; {dict(generator.counts)}")


def clip(path: str, generator: sam2_video.MaskGenerator, rules: EverythingRules, out: Path) -> None:
    """Follow everything that is found, and write what a viewer and a spreadsheet want."""
    predictor = sam2_video.VideoPredictor(generator.predictor.model)
    with predictor.open(path, retain="window") as session:
        everything = Everything(session, generator, rules)
        fps = session.source.fps
        with OverlaySink(out / "overlay.mp4", fps) as overlay, ObjectsCsvSink(out / "objects.csv") as table:
            for result in everything.results():
                rgb, name = session.source.read(result.frame), session.source.frame_name(result.frame)
                overlay.write(rgb, result, name)
                table.write(rgb, result, name)
    for life in everything.lives.values():
        end = "the end" if life.died is None else f"frame {life.died}, {life.reason}"
        print(f"object {life.object_id}: frame {life.born} to {end}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source", help="a picture, a video file or a folder of pictures")
    parser.add_argument("out", type=Path, help="the folder for the results")
    parser.add_argument("--points", type=int, default=16, help="clicks along a side of the grid")
    parser.add_argument("--stability", type=float, help="what a mask must reach, 0 to 1; 0 lets all pass")
    parser.add_argument(
        "--every", type=int, default=0, help="frames from one look for new objects to the next"
    )
    parser.add_argument("--limit", type=int, default=16, help="the most objects at a time in a clip")
    parser.add_argument("--model", default="nano")
    arguments = parser.parse_args()

    chosen = {"points_per_side": arguments.points}
    if arguments.stability is not None:  # else what suits the model
        chosen["stability_score_thresh"] = arguments.stability
    model = sam2_video.load_model(arguments.model)
    generator = sam2_video.MaskGenerator(model, **chosen)
    rules = EverythingRules(every=arguments.every, limit=arguments.limit)
    with open_source(arguments.source) as source:
        alone = source.read(0) if source.count == 1 else None
    if alone is not None:
        picture(alone, generator, arguments.out)
    else:
        clip(arguments.source, generator, rules, arguments.out)


if __name__ == "__main__":
    try:
        main()
    except sam2_video.Sam2VideoError as error:
        sys.exit(f"error: {error}")
