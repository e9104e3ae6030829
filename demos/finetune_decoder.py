"""Fine-tune the mask decoder on pictures of your own, and use it.

    python demos/finetune_decoder.py photos runs/mine --try photos/images/1.jpg 120 90

`photos` holds images/X.jpg and masks/X.png (a pixel is the number of an object, 0 nothing, 255 unknown). A
part of the pictures, chosen by name, is kept out of training and scored with one click on each object. The
same command again goes on where it was broken off. Needs `pip install 'sam2_video[train]'`.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import sam2_video
from sam2_video.finetuning import finetune, load_settings


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, help="a folder with images/ and masks/")
    parser.add_argument("out", type=Path, help="the folder of the run")
    parser.add_argument("--model", default="nano", help="a name of `sam2-video models`, or a weights file")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--keep", type=float, default=0.2, help="share of pictures that are kept for scores")
    parser.add_argument("--try", dest="trial", nargs=3, metavar=("PICTURE", "X", "Y"), help="click there")
    words = parser.parse_args()

    overrides = [
        "data=folder",
        "preset=decoder",
        f"data.folder={words.photos}",
        f"data.held_out={words.keep}",
        f"model={words.model}",
        f"schedule.epochs={words.epochs}",
    ]
    best = finetune(load_settings("finetune", overrides), words.out)
    print(f"{best} holds the decoder alone: {best.stat().st_size / 1e6:.1f} MB")

    # Scores of the model as it was, and after each epoch.
    table = words.out / "validation.csv"
    if table.exists():
        with table.open(newline="") as file:
            scores = [float(row["iou_1"]) for row in csv.DictReader(file)]
        told = f"{scores[0]:.3f} before, {scores[-1]:.3f} after, {max(scores):.3f} at best"
        print(f"mean IoU at one click: {told}")
    else:
        print(f"no picture was kept for scores: --keep {words.keep} chose none of these")

    if words.trial:
        picture, x, y = words.trial
        # The file is laid over the model that it was trained with; over another one it is refused.
        tuned = sam2_video.load_model(words.model, checkpoint=best)
        predictor = sam2_video.ImagePredictor(tuned)
        predictor.set_image(picture)
        answer = predictor.predict(points=[(float(x), float(y))], labels=[1], multimask=True)
        mask = answer.masks[answer.iou.argmax()]
        print(f"the object at {x}, {y} covers {int(mask.sum())} pixels of {picture}")


if __name__ == "__main__":
    main()
