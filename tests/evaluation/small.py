"""A small data set in DAVIS layout, weights of the toy network, and jobs for workers, all on disk.

In a module of its own: worker processes import it.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sam2_video.evaluation.datasets import open_dataset
from sam2_video.evaluation.plan import ModelSetup, Plan
from sam2_video.evaluation.sequences import DataSet
from sam2_video.evaluation.workers import Advance
from sam2_video.sinks.masks import palette_png
from sam2_video.types import DataError
from sam2_video.weight_files import CONFIG_KEY, OVERRIDES_KEY, save_weights
from tests.toys import TOY_OVERRIDES, toy_clip, toy_model

SIZE = (48, 80)
NAMES = ("ant", "bee", "cat", "dog")


def make_davis(root: Path, names: Sequence[str] = NAMES, frames: int = 6) -> Path:
    """Write sequences of two objects each, in the layout of DAVIS 2017."""
    for number, name in enumerate(names):
        images, masks = root / "JPEGImages/480p" / name, root / "Annotations/480p" / name
        images.mkdir(parents=True)
        masks.mkdir(parents=True)
        for frame, rgb in enumerate(toy_clip(frames, SIZE, seed=number)):
            assert cv2.imwrite(str(images / f"{frame:05d}.jpg"), rgb[..., ::-1])
            labels = np.zeros(SIZE, np.uint8)
            x, y = 5 + 3 * frame, 8 + 2 * frame
            labels[y : y + 16, x : x + 16] = 1
            labels[4:14, 55:75] = 2
            (masks / f"{frame:05d}.png").write_bytes(palette_png(labels))
    return root


def open_davis(root: Path, **options: Any) -> DataSet:
    return open_dataset(root, "davis2017", **options)


def save_toy(path: Path) -> Path:
    """Write the toy network's weights so that they load by path."""
    header = {CONFIG_KEY: "nano", OVERRIDES_KEY: json.dumps(TOY_OVERRIDES)}
    save_weights(toy_model(), path, header)
    return path


def toy_plan(weights: Path, **changes: Any) -> Plan:
    return Plan(ModelSetup(model=str(weights), device="cpu"), **changes)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@dataclass(frozen=True)
class SmallJob:
    """A job of ten frames. `deaths`: how many workers it takes with it; `error`: what it raises."""

    name: str
    notes: Path  # a folder where each try leaves a file
    deaths: int = 0
    error: str = ""

    frames = 10

    def run(self, worker: Any, advance: Advance) -> tuple[str, str]:
        advance(5)
        tries = len(list(self.notes.glob(f"{self.name}.*")))
        (self.notes / f"{self.name}.{tries}").touch()
        if tries < self.deaths:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.error:
            raise DataError(self.error)
        advance(5)
        return "done", self.name

    def failed(self, error: str) -> tuple[str, str]:
        return "failed", error
