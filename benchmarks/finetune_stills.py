"""What fine-tuning the decoder gives: mIoU at one click on pictures that were not trained on, epoch by epoch.

    python benchmarks/finetune_stills.py STILLS/voc2007-seg docs/finetuning

STILLS is a set of images/X.jpg with masks/X.png; it is copied into VOC's layout and read as such. Of its
pictures in the order of names every second one is trained on, the others are scored. Writes
docs/finetuning.csv and a plot of it, docs/finetuning.png, and prints the figures before and at the end: no
epoch is chosen by them.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import tempfile
from pathlib import Path

from sam2_video.finetuning import finetune, load_settings

PARTS = ("train", "val")


def make_voc(stills: Path, out: Path) -> None:
    """Copy a set into VOC's layout, with every second picture in a list of its own."""
    for part in ("JPEGImages", "SegmentationObject", "ImageSets/Segmentation"):
        (out / part).mkdir(parents=True)
    files = sorted((stills / "images").iterdir())
    for file in files:
        shutil.copy(file, out / "JPEGImages")
        shutil.copy(stills / "masks" / f"{file.stem}.png", out / "SegmentationObject")
    for place, part in enumerate(PARTS):
        names = "".join(f"{file.stem}\n" for file in files[place::2])
        (out / "ImageSets" / "Segmentation" / f"{part}.txt").write_text(names)


def read(path: Path) -> list[dict[str, float]]:
    with path.open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def write(run: Path, out: Path) -> list[dict[str, float]]:
    """Join losses and scores of a run by epoch; returns the scores."""
    losses, scores = read(run / "log.csv"), read(run / "validation.csv")
    with out.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ["epoch", "seconds", "loss", "miou_1_click", "miou_1_click_best_of_3", "miou_3_clicks"]
        )
        for row in scores:
            seen = [one["total"] for one in losses if row["epoch"] - 1 < one["epoch"] <= row["epoch"]]
            loss = f"{sum(seen) / len(seen):.4f}" if seen else ""
            figures = [f"{100 * row[name]:.2f}" for name in ("iou_1", "oracle_1", "iou_3")]
            writer.writerow([int(row["epoch"]), round(row["seconds"]), loss, *figures])
    return scores


def plot(scores: list[dict[str, float]], out: Path) -> None:
    """Draw the scores over epochs, as a small picture."""
    import cv2
    import numpy as np

    width, height, left, bottom = 640, 360, 60, 44
    canvas = np.full((height, width, 3), 255, np.uint8)
    names = {"iou_1": ("1 click", (180, 80, 20)), "iou_3": ("3 clicks", (40, 120, 220))}
    values = [100 * row[name] for row in scores for name in names]
    low, high = 5 * int(min(values) // 5), 5 * int(max(values) // 5 + 1)
    last = max(row["epoch"] for row in scores)

    def spot(epoch: float, value: float) -> tuple[int, int]:
        x = left + (width - left - 20) * epoch / last
        return round(x), round(height - bottom - (height - bottom - 20) * (value - low) / (high - low))

    def write_text(words: str, at: tuple[int, int], colour: tuple[int, int, int] = (60, 60, 60)) -> None:
        cv2.putText(canvas, words, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)

    for value in range(low, high + 1, 5):
        cv2.line(canvas, spot(0, value), spot(last, value), (225, 225, 225), 1)
        write_text(str(value), (left - 30, spot(0, value)[1] + 5))
    for epoch in np.linspace(0, last, 5):
        write_text(f"{epoch:g}", (spot(epoch, low)[0] - 8, height - bottom + 18))
    write_text("epoch", (width // 2, height - 8))
    for name, (label, colour) in names.items():
        line = np.array([spot(row["epoch"], 100 * row[name]) for row in scores], np.int32)
        cv2.polylines(canvas, [line], False, colour, 2, cv2.LINE_AA)
        write_text(f"mIoU, {label}", (line[-1][0] - 120, line[-1][1] + 20), colour)
    cv2.imwrite(str(out.with_suffix(".png")), canvas)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stills", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("overrides", nargs="*", help="as model=nano, schedule.learning_rate=1e-4")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_voc(words.stills, folder / "VOC")
        overrides = [f"data.folder={folder / 'VOC'}", f"schedule.epochs={words.epochs}", "log_every=1"]
        finetune(
            load_settings("finetune", [*overrides, "schedule.validate_every=4", *words.overrides]),
            folder / "run",
        )
        scores = write(folder / "run", words.out)
    plot(scores, words.out)
    first, last = scores[0], scores[-1]
    for name, label in (("iou_1", "1 click"), ("iou_3", "3 clicks")):
        print(f"mIoU at {label}: {100 * first[name]:.1f} before, {100 * last[name]:.1f} after", end="; ")
    print(f"{words.epochs} epochs, {last['seconds']:.0f} s of training")


if __name__ == "__main__":
    main()
