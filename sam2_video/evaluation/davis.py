"""Reads data sets in DAVIS layout: JPEGImages/480p/SEQ/*.jpg and Annotations/480p/SEQ/*.png.

for sequence in read_davis(Path("davis2016_dev")):
    first = sequence.labels(0)                # (H, W) uint8, pixel = object id
    for object_id in sequence.object_ids(): ...
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam2_video.evaluation.labels import read_label_png
from sam2_video.types import DataError

_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class DavisSequence:
    """One clip: its frames in order, and a label map for each frame that has one."""

    name: str
    frames: tuple[Path, ...]
    annotations: tuple[Path | None, ...]

    def __len__(self) -> int:
        return len(self.frames)

    def image(self, frame: int) -> NDArray[np.uint8]:
        """Return (H, W, 3) RGB. Raises DataError for a file that cannot be read."""
        import cv2

        bgr = cv2.imread(str(self.frames[frame]), cv2.IMREAD_COLOR)
        if bgr is None:
            raise DataError(f"cannot read the frame {self.frames[frame]}")
        return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)

    def labels(self, frame: int) -> NDArray[np.uint8]:
        """Return (H, W) object ids; a map of 0 and 255 only is one object, id 1. DataError without one."""
        path = self.annotations[frame]
        if path is None:
            raise DataError(f"frame {frame} of {self.name} ({self.frames[frame].name}) has no annotation")
        labels = read_label_png(path)
        is_binary = labels.max() == 255 and np.count_nonzero(labels) == np.count_nonzero(labels == 255)
        return (labels > 0).astype(np.uint8) if is_binary else labels

    def object_ids(self, frame: int = 0) -> tuple[int, ...]:
        """Return the ids on a frame, the first by default; 255 beside other ids is void."""
        return tuple(int(k) for k in np.unique(self.labels(frame)) if 0 < k < 255)


def read_davis(
    folder: Path | str, *, names: Collection[str] | None = None, quality: str = "480p"
) -> list[DavisSequence]:
    """List the sequences of a data set, by name; all of them, or those in `names`.

    Raises DataError for missing folders, a sequence without frames, a name that is not there, and a sequence
    whose first frame has no annotation.
    """
    images, labels = Path(folder) / "JPEGImages" / quality, Path(folder) / "Annotations" / quality
    for part in (images, labels):
        if not part.is_dir():
            raise DataError(f"{folder} is not in DAVIS layout: there is no folder {part}")
    found = sorted(p.name for p in images.iterdir() if p.is_dir())
    missing = sorted(set(names or ()) - set(found))
    if missing:
        raise DataError(f"no sequence {', '.join(missing)} in {images}; there are {', '.join(found)}")
    chosen = [name for name in found if names is None or name in names]
    if not chosen:
        raise DataError(f"no sequences in {images}: expected one folder of frames for each")
    return [_sequence(name, images / name, labels / name) for name in chosen]


def _sequence(name: str, images: Path, labels: Path) -> DavisSequence:
    frames = tuple(sorted(p for p in images.iterdir() if p.suffix.lower() in _SUFFIXES))
    if not frames:
        raise DataError(f"sequence {name} has no frames: {images} holds no .jpg or .png")
    there = {p.stem: p for p in labels.glob("*.png")} if labels.is_dir() else {}
    if frames[0].stem not in there:
        raise DataError(
            f"sequence {name} has no annotation of its first frame: expected {labels / frames[0].stem}.png"
        )
    return DavisSequence(name, frames, tuple(there.get(frame.stem) for frame in frames))
