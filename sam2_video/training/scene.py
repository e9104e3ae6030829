"""Draws the plan of a pseudo-clip: which objects, over what, moving how."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sam2_video.training import layers
from sam2_video.training.render import Layer, Scene
from sam2_video.training.stage import Stage
from sam2_video.training.stills import VOID, Instance, Picture, StillLibrary

if TYPE_CHECKING:
    from sam2_video.training.clips import ClipConfig

Cut = NDArray[np.uint8]
_CUT_SHARE = 0.008  # smaller objects are too coarse to be cut out


class SceneMaker:
    """Plans scenes from a library of stills."""

    def __init__(self, library: StillLibrary, chances: NDArray[np.float64], config: ClipConfig) -> None:
        self._library = library
        self._edges = np.cumsum(chances)
        self._config = config

    def draw(self, rng: np.random.Generator, frames: int, side: int) -> Scene | None:
        """Plan one clip; None when the still drawn holds no usable object."""
        picture = self._pick(rng)
        if not picture.instances:
            return None
        instance = _pick_instance(rng, picture)
        mask = picture.labels == instance.label
        if len(picture.instances) > 1 and rng.random() < 0.25:
            mask = _with_neighbour(rng, picture, mask)
        whole = self._config.whole + (0.45 if instance.truncated else 0.0)
        stage = Stage(rng, frames, side, self._config)
        if rng.random() < self._config.shapes:
            shape = layers.shape(rng, picture.image)
            return self._before(stage.backdrop(self._pick(rng).image), shape, stage, picture, instance)
        if instance.share < _CUT_SHARE or rng.random() < whole:
            void = np.where(picture.labels == VOID, np.uint8(255), np.uint8(0))
            back = stage.moving_picture(picture.image, mask, void if void.any() else None)
            return Scene((back, *self._others(stage, picture, instance, 0.35)))
        if rng.random() < 0.3:
            scenery = layers.fill_hole(picture.image, mask)
        else:
            scenery = self._pick(rng).image
        cut = layers.cut_out(picture.image, mask, softness=3 if rng.random() < 0.6 else 5)
        return self._before(stage.backdrop(scenery), cut, stage, picture, instance)

    def _before(self, back: Layer, cut: Cut, stage: Stage, picture: Picture, instance: Instance) -> Scene:
        """Put a target before the backdrop, and other things before and behind it."""
        target = stage.target(cut)
        others = self._others(stage, picture, instance, 1.0)
        if stage.rng.random() < self._config.twins:
            others.append(stage.distractor(layers.mirror(cut)))
        depth = int(stage.rng.integers(0, len(others) + 1))
        return Scene((back, *others[:depth], target, *others[depth:]))

    def _others(self, stage: Stage, picture: Picture, instance: Instance, plenty: float) -> list[Layer]:
        """Things beside the target; `plenty` scales how often there are any."""
        rng = stage.rng
        out: list[Layer] = []
        for chance in (0.5, 0.3, 0.3):
            if rng.random() < chance * plenty:
                cut = self._distractor(rng, picture, instance)
                if cut is not None:
                    out.append(stage.distractor(cut))
        if rng.random() < 0.35 * max(plenty, 0.7):
            bar = layers.occluder(rng, self._pick(rng).image, stage.side)
            out.append(stage.occluder(bar))
        return out

    def _pick(self, rng: np.random.Generator) -> Picture:
        at = int(np.searchsorted(self._edges, rng.random(), side="right"))
        return self._library.load(min(at, len(self._library) - 1))

    def _distractor(
        self, rng: np.random.Generator, picture: Picture, instance: Instance
    ) -> NDArray[np.uint8] | None:
        """Cut out something to be mistaken for the target: often a look-alike, else any other object."""
        if rng.random() < 0.4:
            kin = [i for i in picture.instances if i.share >= _CUT_SHARE and i is not instance]
            chosen = kin[rng.integers(len(kin))] if kin and rng.random() < 0.7 else instance
        else:
            picture = self._pick(rng)
            usable = [i for i in picture.instances if i.share >= _CUT_SHARE]
            if not usable:
                return None
            chosen = usable[rng.integers(len(usable))]
        cut = layers.cut_out(picture.image, picture.labels == chosen.label)
        return layers.mirror(cut)


def _pick_instance(rng: np.random.Generator, picture: Picture) -> Instance:
    """Choose an object, larger ones more often."""
    chance = np.sqrt([instance.share for instance in picture.instances])
    return picture.instances[int(rng.choice(len(chance), p=chance / chance.sum()))]


def _with_neighbour(rng: np.random.Generator, picture: Picture, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Join the object with one that touches it: a rider and the horse are one to whoever clicks on them."""
    import cv2

    near = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    touching = np.bincount(picture.labels[near & ~mask], minlength=256)
    candidates = [i.label for i in picture.instances if touching[i.label] > 12]
    if not candidates:
        return mask
    return np.asarray(mask | (picture.labels == candidates[int(rng.integers(len(candidates)))]))
