"""Find things by words, segment them, and follow them.

python demos/text_prompt.py photo.jpg out --words "dog, red ball"
python demos/text_prompt.py clip.mp4 out --words person --every 30 --model sam2.1_hiera_small

The boxes come from a zero-shot detector of `transformers` (pip install 'sam2_video[demos]'), fetched from the
Hugging Face hub the first time (Grounding DINO tiny: 0.7 GB) or read from a folder.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

import sam2_video
from sam2_video.mask_filters import box_iou, nms
from sam2_video.session import VideoSession
from sam2_video.sinks import CocoSink, MaskPngSink, VideoWriter, paint

DETECTOR = "IDEA-Research/grounding-dino-tiny"
SIDES = ("xmin", "ymin", "xmax", "ymax")


class WordDetector:
    """Boxes for words. `threshold`: least score; `overlap`: IoU above which two boxes are one thing."""

    def __init__(self, name: str, words: list[str], threshold: float, overlap: float) -> None:
        try:
            from transformers import pipeline
        except ImportError:
            sys.exit("this demo needs transformers: pip install 'sam2_video[demos]'")
        try:  # nothing that comes with the weights is executed
            settings = {"trust_remote_code": False, "model_kwargs": {"use_safetensors": True}}
            self.model = pipeline("zero-shot-object-detection", model=name, **settings)
        except (OSError, ValueError) as error:  # not there, no network, not a detector
            sys.exit(f"the detector {name} cannot be loaded: {error}")
        self.words, self.threshold, self.overlap = words, threshold, overlap

    def __call__(self, rgb: np.ndarray) -> list[tuple[str, float, np.ndarray]]:
        """Return what is in an (H, W, 3) picture, the best first: word, score, box (x0, y0, x1, y1)."""
        # Grounding DINO reads sentences: small letters, a full stop. The pipeline asks for one word after the
        # other; asked for all at once it answers with mixtures of them.
        stop = "." if "grounding" in self.model.model.config.model_type else ""
        asked = {word.lower() + stop: word for word in self.words}
        answers = self.model(Image.fromarray(rgb), candidate_labels=list(asked), threshold=self.threshold)
        sides = np.array([[answer["box"][side] for side in SIDES] for answer in answers], dtype=np.float32)
        boxes = np.clip(sides.reshape(-1, 4), 0, np.array(rgb.shape[1::-1] * 2, dtype=np.float32) - 1)
        scores = np.array([answer["score"] for answer in answers], dtype=np.float32)
        # Over all words together: a thing is what it is called with the highest score.
        kept = [row for row in nms(boxes, scores, self.overlap) if (boxes[row, :2] < boxes[row, 2:]).all()]
        return [(asked[answers[row]["label"]], answers[row]["score"], boxes[row]) for row in kept]


def follow(session: VideoSession, detect: WordDetector, every: int) -> Iterator[sam2_video.FrameResult]:
    """Look for the words on the first frame, and on every so many, and follow all that was found."""
    count, seen = session.frame_count or 1, Counter[str]()
    for start in range(0, count, every or count):
        known = np.zeros((0, 4), dtype=np.float32)
        if session.objects:
            known = next(session.propagate(start=start, stop=start + 1)).boxes
        for word, score, box in detect(session.source.read(start)):
            if not (box_iou(box[None], known) > detect.overlap).any():  # else it is followed already
                seen[word] += 1
                names = {"name": f"{word} {seen[word]}", "category": word}
                session.prompt(frame=start, object_id=sum(seen.values()), box=box, **names)
                print(f"frame {start}: {word} {seen[word]}, score {score:.2f}")
        if missing := [word for word in detect.words if not seen[word]]:
            print(f"frame {start}: no {', '.join(missing)}; a lower --threshold finds more, wrong things too")
        if session.objects:
            yield from session.propagate(start=start, stop=min(start + (every or count), count))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source", help="a picture, a video file or a folder of pictures")
    parser.add_argument("out", type=Path, help="the folder for masks/, coco.json and an overlay")
    parser.add_argument("--words", required=True, help="what to look for, with commas between")
    parser.add_argument("--every", type=int, default=0, help="frames from one look to the next; 0: one look")
    parser.add_argument("--threshold", type=float, default=0.3, help="least score of a box; OWLv2: try 0.15")
    parser.add_argument("--overlap", type=float, default=0.5, help="IoU above which two boxes are one thing")
    parser.add_argument("--detector", default=DETECTOR, help="on the hub, or a folder: Grounding DINO, OWLv2")
    parser.add_argument("--model", default="nano")
    arguments = parser.parse_args()
    words, out = [word.strip() for word in arguments.words.split(",") if word.strip()], arguments.out
    if not words:
        parser.error("--words names nothing to look for")

    detect = WordDetector(arguments.detector, words, arguments.threshold, arguments.overlap)
    predictor = sam2_video.VideoPredictor.from_pretrained(arguments.model)
    with predictor.open(arguments.source, retain="window") as session:
        source, results = session.source, follow(session, detect, arguments.every)
        if (first := next(results, None)) is None:  # before anything is written
            raise sam2_video.DataError(f"none of the words was found: {', '.join(words)}")
        with (
            MaskPngSink(out / "masks") as masks,
            CocoSink(out / "coco.json", Path(arguments.source).stem) as coco,
            VideoWriter(out / "overlay.mp4", source.fps) as video,  # no file without a frame
        ):
            for result in chain([first], results):
                rgb, name = source.read(result.frame), source.frame_name(result.frame)
                masks.write(rgb, result, name)
                coco.write(rgb, result, name)
                if session.frame_count == 1:
                    Image.fromarray(paint(rgb, result)).save(out / "overlay.png")
                else:
                    video.write(paint(rgb, result))


if __name__ == "__main__":
    try:
        main()
    except sam2_video.Sam2VideoError as error:
        sys.exit(f"error: {error}")
