"""Real clips in DAVIS layout as training data, with the same `make` as `ClipMaker`.

clips = DavisClips(Path("my_clips"), seed=1)
clip = clips.make(17, frames=4, size=192)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sam2_video.evaluation.datasets import Clip, open_dataset
from sam2_video.training.appearance import Camera
from sam2_video.training.clips import TrainingClip
from sam2_video.types import DataError

_ATTEMPTS = 40


class DavisClips:
    """Draws windows of real clips; `make` is a pure function of the files, the seed and its arguments."""

    def __init__(
        self,
        folder: Path | str,
        *,
        seed: int = 0,
        max_stride: int = 3,
        colour: float = 0.6,
        min_share: float = 0.001,
    ) -> None:
        data = open_dataset(folder, "davis2017", "all")  # 255 alone is an object, too
        self._sequences = [clip for clip in data.sequences if isinstance(clip, Clip)]
        self._seed, self._max_stride, self._colour, self._min_share = seed, max_stride, colour, min_share

    def __len__(self) -> int:
        return len(self._sequences)

    def make(self, index: int, *, frames: int, size: int) -> TrainingClip:
        """Cut clip `index` out of a random sequence: one object, stride 1 to 3, either direction of time.

        Raises DataError when no sequence has that many annotated frames.
        """
        for attempt in range(_ATTEMPTS):
            rng = np.random.default_rng([self._seed, index, attempt])
            sequence = self._sequences[int(rng.integers(len(self._sequences)))]
            clip = self._cut(rng, sequence, frames, size)
            if clip is not None:
                return clip
        raise DataError(f"no window of {frames} annotated frames with an object in {len(self)} sequences")

    def _cut(self, rng: np.random.Generator, sequence: Clip, frames: int, size: int) -> TrainingClip | None:
        import cv2

        labelled = sequence.annotated
        longest = (len(labelled) - 1) // (frames - 1) if frames > 1 else 1
        if len(labelled) < frames or longest < 1:
            return None
        stride = int(rng.integers(1, min(self._max_stride, longest) + 1))
        start = int(rng.integers(len(labelled) - stride * (frames - 1)))
        window = labelled[start : start + stride * (frames - 1) + 1 : stride]
        if rng.random() < 0.5:
            window = window[::-1]
        ids = sorted(sequence.masks(window[0]) or {})
        if not ids:
            return None
        label = ids[int(rng.integers(len(ids)))]
        flipped = rng.random() < 0.5
        camera = Camera(rng, frames, strength=self._colour)
        pictures = np.empty((frames, size, size, 3), np.uint8)
        masks = np.empty((frames, size, size), np.uint8)
        for k, t in enumerate(window):
            mask = (sequence.masks(t) or {}).get(label, np.zeros(sequence.size, np.bool_))
            cover = cv2.resize(mask.astype(np.uint8) * 255, (size, size), interpolation=cv2.INTER_AREA)
            if k == 0 and (cover > 127).mean() < self._min_share:
                return None
            picture = cv2.resize(sequence.image(t), (size, size), interpolation=cv2.INTER_AREA)
            way = slice(None, None, -1) if flipped else slice(None)
            pictures[k] = camera.expose(np.ascontiguousarray(picture[:, way]), k)
            masks[k] = cover[:, way] > 127
        return TrainingClip(pictures, masks)
