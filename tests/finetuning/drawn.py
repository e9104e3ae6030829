"""Drawn pictures with two objects each, and void around one of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.evaluation.datasets.builders import write_labels

SIZE = (60, 80)  # H, W
Array = NDArray[np.uint8]


def pictures(count: int) -> Iterator[tuple[str, Array, Array]]:
    """Names, pictures and label maps: a disc is 1, a box is 2, void is 255."""
    rng = np.random.default_rng(5)
    for k in range(count):
        labels = np.zeros(SIZE, np.uint8)
        cv2.circle(labels, (20 + 2 * k, 25), 11 + k % 3, 255, -1)
        cv2.circle(labels, (20 + 2 * k, 25), 10 + k % 3, 1, -1)
        labels[35 : 50 + k % 4, 45 : 65 + k] = 2
        colours = np.full((256, 3), 60, np.uint8)
        colours[1], colours[2], colours[255] = (220, 60, 40), (40, 90, 230), (200, 60, 50)
        noise = rng.integers(0, 30, (*SIZE, 3)).astype(np.uint8)
        yield f"p{k}", cv2.add(colours[labels], noise), labels


def write_rgb(path: Path, rgb: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), rgb[..., ::-1])


def write_clips(root: Path, clips: int = 3, frames: int = 5) -> None:
    """DAVIS's layout: two objects that move; all clips but the last are for training."""
    rng = np.random.default_rng(6)
    names = [f"clip{k}" for k in range(clips)]
    for k, name in enumerate(names):
        for t in range(frames):
            labels = np.zeros(SIZE, np.uint8)
            cv2.circle(labels, (18 + 4 * t, 22 + 2 * k), 11, 1, -1)
            labels[38:54, 60 - 5 * t : 76 - 5 * t] = 2
            colours = np.array([(60, 60, 60), (220, 60, 40), (40, 90, 230)], np.uint8)
            noise = rng.integers(0, 30, (*SIZE, 3)).astype(np.uint8)
            write_rgb(root / f"JPEGImages/480p/{name}/{t:05d}.png", cv2.add(colours[labels], noise))
            write_labels(root / f"Annotations/480p/{name}/{t:05d}.png", labels)
    lists = root / "ImageSets" / "2017"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("\n".join(names[:-1]) + "\n")
    (lists / "val.txt").write_text(names[-1] + "\n")
