"""Pictures with instance masks, found in folders and kept decoded in memory.

stills = find_stills([Path("stills")])        # of images/X.jpg + masks/X.png, or of such folders
library = StillLibrary(stills)
picture = library.load(0)                     # decoded once, then from memory
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam2_video.evaluation.labels import read_label_png
from sam2_video.types import DataError

_AT_ONCE = 256  # pictures decoded between two looks at the budget
VOID = 255  # pixels that nobody has labelled: crowds, outlines
_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


@dataclass(frozen=True)
class Still:
    """A picture and its instance map: one id per pixel, 0 for the background, 255 for void."""

    image: Path
    mask: Path

    @property
    def dataset(self) -> str:
        """The name of the folder that holds `images` and `masks`."""
        return self.image.parent.parent.name


@dataclass(frozen=True)
class Instance:
    """One object of a still: its id, its box and how much of the picture it fills."""

    label: int
    box: tuple[int, int, int, int]  # x0, y0, x1, y1, the last two excluded
    share: float  # area as a part of the picture
    truncated: bool  # does it touch the border of the picture


@dataclass(frozen=True)
class Picture:
    """A decoded still."""

    image: NDArray[np.uint8]  # (H, W, 3) RGB
    labels: NDArray[np.uint8]  # (H, W)
    instances: tuple[Instance, ...]  # without those too small to be tracked


def find_stills(folders: Iterable[Path | str]) -> list[Still]:
    """Pair images/X.* with masks/X.png in each folder, or in its sub-folders where it holds none itself.

    Sorted by path, so that an index means the same picture in every run. Raises DataError for a folder
    without pairs and for an image without a mask.
    """
    found: list[Still] = []
    for folder in map(Path, folders):
        roots = (
            [folder] if (folder / "images").is_dir() else sorted(p.parent for p in folder.glob("*/images"))
        )
        pairs = [still for root in roots for still in _pairs(root)]
        if not pairs:
            raise DataError(
                f"no pictures in {folder}: expected images/X.jpg with masks/X.png, there or one level down"
            )
        found += pairs
    return found


def _pairs(root: Path) -> list[Still]:
    images = sorted(p for p in (root / "images").iterdir() if p.suffix.lower() in _SUFFIXES)
    pairs = [Still(image, root / "masks" / f"{image.stem}.png") for image in images]
    masks = {p.name for p in (root / "masks").glob("*.png")}
    for still in pairs:
        if still.mask.name not in masks:
            raise DataError(f"{still.image} has no mask: expected {still.mask}")
    return pairs


class StillLibrary:
    """Stills, decoded on first use and kept while they fit in `budget` bytes.

    Fill it with `preload` before forking workers and they share the memory.
    """

    def __init__(self, stills: Sequence[Still], *, budget: int = 3 << 30, min_share: float = 0.003) -> None:
        self.stills = list(stills)
        self._budget = budget
        self._min_share = min_share
        self._kept: dict[int, Picture] = {}
        self.bytes_kept = 0

    def __len__(self) -> int:
        return len(self.stills)

    def load(self, index: int) -> Picture:
        """Return a decoded still. Raises DataError for a file that cannot be read."""
        kept = self._kept.get(index)
        if kept is not None:
            return kept
        picture = read_still(self.stills[index], min_share=self._min_share)
        size = picture.image.nbytes + picture.labels.nbytes
        if self.bytes_kept + size <= self._budget:
            self._kept[index] = picture
            self.bytes_kept += size
        return picture

    def preload(self) -> None:
        """Decode everything that fits in the budget now."""
        with ThreadPoolExecutor() as pool:  # decoding leaves the interpreter free
            for first in range(0, len(self), _AT_ONCE):
                if self.bytes_kept >= self._budget:
                    break
                list(pool.map(self.load, range(first, min(first + _AT_ONCE, len(self)))))


def read_still(still: Still, *, min_share: float = 0.003) -> Picture:
    """Decode one still and list its instances of at least `min_share` of the picture.

    Raises DataError for a file that cannot be read, or a mask of another size than its image.
    """
    import cv2

    bgr = cv2.imread(str(still.image), cv2.IMREAD_COLOR)
    if bgr is None:
        raise DataError(f"cannot read the image {still.image}")
    labels = read_label_png(still.mask)
    if labels.shape != bgr.shape[:2]:
        raise DataError(f"{still.mask} is {labels.shape[::-1]} but its image is {bgr.shape[1::-1]} pixels")
    image = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)
    return Picture(image, labels, _instances(labels, min_share))


def _instances(labels: NDArray[np.uint8], min_share: float) -> tuple[Instance, ...]:
    counts = np.bincount(labels.ravel(), minlength=256)
    height, width = labels.shape
    out = []
    for label in np.flatnonzero(counts[:VOID]):
        share = counts[label] / labels.size
        if label == 0 or share < min_share:
            continue
        inside = labels == label
        xs, ys = np.flatnonzero(inside.any(axis=0)), np.flatnonzero(inside.any(axis=1))
        box = (int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1)
        if min(box[2] - box[0], box[3] - box[1]) < 8:
            continue
        truncated = box[0] == 0 or box[1] == 0 or box[2] == width or box[3] == height
        out.append(Instance(int(label), box, float(share), truncated))
    return tuple(out)
