"""Pseudo-clips from stills: short clips with a known mask of one moving object, made while training runs.

    maker = ClipMaker(find_stills([Path("stills")]), ClipConfig(seed=1))
    clip = maker.make(17, frames=4, size=192)     # the same clip for the same seed, index, frames and size
    clip.frames                                   # (T, S, S, 3) uint8 RGB
    clip.masks                                    # (T, S, S) uint8 of 0 and 1
    clip.void                                     # (T, S, S) bool, or None

`maker.preload()` decodes all stills (about 1.5 GB for 5,000 pictures); do it before forking loader workers.
`frames=1` makes augmented single pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from sam2_video.training.appearance import Camera
from sam2_video.training.render import Scene, render
from sam2_video.training.scene import SceneMaker
from sam2_video.training.stills import Still, StillLibrary
from sam2_video.types import DataError

# Share of the clips drawn from each data set: varied pictures and good edges often, narrow subjects seldom.
DATASET_WEIGHTS: Mapping[str, float] = MappingProxyType(
    {
        "coco-tiny": 22,
        "coco128": 11,
        "coco-person": 13,
        "ecssd": 26,
        "ccp-person": 7,
        "feral-cats": 9,
        "weizmann-horse": 4,
        "flowers17": 1.5,
        "caltech101-animals": 4,
        "car-parts": 2.5,
        "voc2007-seg": 0,
    }
)
_ATTEMPTS = 40


@dataclass(frozen=True)
class ClipConfig:
    """What pseudo-clips look like."""

    seed: int = 0
    weights: Mapping[str, float] = field(default_factory=lambda: DATASET_WEIGHTS)  # other data sets weigh 5
    min_share: float = 0.003  # of the frame that the target fills on the first frame
    whole: float = 0.3  # share of clips where the whole picture moves and nothing is cut out
    shapes: float = 0.1  # share of clips whose target is a random shape cut out of a picture
    twins: float = 0.2  # share of cut-out targets that have a copy of themselves for a neighbour
    motion: float = 1.0  # factor on all speeds
    bend: float = 1.0  # factor on non-rigid motion
    colour: float = 1.0  # factor on photometric change
    strides: tuple[int, ...] = (1, 1, 2, 3, 4, 6)  # of so many frames one is shown: drawn for each clip


@dataclass(frozen=True)
class TrainingClip:
    """T frames of S x S pixels and the mask of one object."""

    frames: NDArray[np.uint8]  # (T, S, S, 3) RGB
    masks: NDArray[np.uint8]  # (T, S, S) of 0 and 1
    void: NDArray[np.bool_] | None = None  # (T, S, S) pixels whose label is unknown


class ClipMaker:
    """Makes pseudo-clips; `make` is a pure function of the configuration, the stills and its arguments."""

    def __init__(
        self, stills: Sequence[Still], config: ClipConfig | None = None, *, budget: int = 3 << 30
    ) -> None:
        self.config = config or ClipConfig()
        self.library = StillLibrary(stills, budget=budget)
        weights = _still_weights(stills, self.config.weights)
        self._scenes = SceneMaker(self.library, weights, self.config)

    def preload(self) -> None:
        """Decode the stills now, so that workers forked later share them."""
        self.library.preload()

    def make(self, index: int, *, frames: int, size: int) -> TrainingClip:
        """Make clip `index`. Raises DataError when the stills hold no object that is large enough."""
        import cv2

        if cv2.getNumThreads() > 1:
            cv2.setNumThreads(1)  # the cores belong to the training loop
        for attempt in range(_ATTEMPTS):
            rng = np.random.default_rng([self.config.seed, index, attempt])
            stride = int(rng.choice(self.config.strides))
            moments = range(0, (frames - 1) * stride + 1, stride)
            scene = self._scenes.draw(rng, moments.stop, size)
            if scene is None:
                continue
            clip = self._shoot(rng, scene, moments, size)
            if clip is not None:
                return clip
        raise DataError(
            f"no usable object in {len(self.library)} stills after {_ATTEMPTS} attempts for clip {index}"
        )

    def _shoot(
        self, rng: np.random.Generator, scene: Scene, moments: range, size: int
    ) -> TrainingClip | None:
        """Render some moments of the scene; None when the target is too small or too hidden on the first."""
        frames = len(moments)
        camera = Camera(rng, frames, strength=self.config.colour)
        pictures = np.empty((frames, size, size, 3), np.uint8)
        masks = np.empty((frames, size, size), np.uint8)
        voids: list[NDArray[np.bool_] | None] = []
        for t, moment in enumerate(moments):
            shot = render(scene, moment, size)
            if t == 0 and (shot.mask.mean() < self.config.min_share or shot.visible < 0.3):
                return None
            pictures[t] = camera.expose(shot.picture, t)
            masks[t] = shot.mask
            voids.append(shot.void)
        void = None
        if any(v is not None for v in voids):
            void = np.stack([np.zeros((size, size), bool) if v is None else v for v in voids])
        return TrainingClip(pictures, masks, void)


def _still_weights(stills: Sequence[Still], weights: Mapping[str, float]) -> NDArray[np.float64]:
    """Chance of each still: its data set's weight, shared out evenly."""
    names = [still.dataset for still in stills]
    counts = {name: names.count(name) for name in set(names)}
    chance = np.array([weights.get(name, 5.0) / counts[name] for name in names], dtype=np.float64)
    if not chance.size or chance.sum() <= 0:
        raise DataError(
            "no stills to make clips from: none were given, or all belong to data sets of weight 0"
        )
    return np.asarray(chance / chance.sum())
