"""A few drawn pictures with masks, in the layout that training reads."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture(scope="session")
def stills_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two drawn data sets: one object each in `discs`, two touching objects and void in `pairs`."""
    root = tmp_path_factory.mktemp("stills")
    rng = np.random.default_rng(0)
    for k in range(4):
        labels = np.zeros((90, 120), np.uint8)
        cv2.circle(labels, (50 + 5 * k, 45), 18 + k, 1, -1)
        _write(root / "discs", f"{k}", labels, rng)
    for k in range(2):
        labels = np.zeros((120, 90), np.uint8)
        labels[40:80, 20:45] = 3
        labels[45:85, 45:70] = 7
        labels[:10, :30] = 255
        labels[100, 80] = 9  # one pixel: too small to be an object
        _write(root / "pairs", f"{k}", labels, rng)
    return root


def _write(folder: Path, name: str, labels: np.ndarray, rng: np.random.Generator) -> None:
    colours = rng.integers(0, 256, (256, 3)).astype(np.uint8)
    image = cv2.add(colours[labels], rng.integers(0, 30, (*labels.shape, 3)).astype(np.uint8))
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / "images" / f"{name}.jpg"), image)
    cv2.imwrite(str(folder / "masks" / f"{name}.png"), labels)
