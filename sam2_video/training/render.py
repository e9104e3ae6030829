"""Draws one frame of a scene: layers back to front, and what is left of the target's mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam2_video.training.appearance import line_kernel
from sam2_video.training.motion import Placement, Wobble, control_points, spread


class Layer:
    """A picture that moves. The target layer's alpha is the truth; the backdrop's alpha may be it too."""

    def __init__(
        self,
        picture: NDArray[np.uint8],
        placement: Placement,
        wobble: Wobble | None,
        *,
        side: int,
        is_target: bool = False,
        smear: float = 0.0,
        backdrop: bool = False,
        void: NDArray[np.uint8] | None = None,
    ) -> None:
        self.picture = picture  # (h, w, 4)
        self.is_target = is_target
        self.backdrop = backdrop
        self.void = void  # (h, w) 255 where the label is unknown
        self.smear = smear  # exposure time in frames
        frames = len(placement.shift)
        if backdrop:
            self.boxes = np.tile(np.array([0, 0, side, side]), (frames, 1))
        else:
            self.boxes = np.clip(placement.reach(0.3 if wobble is not None else 0.02), 0, side)
        centre = placement.forward(np.array([[placement.size[0] / 2, placement.size[1] / 2]], np.float32))[
            :, 0
        ]
        self.velocity = np.gradient(centre, axis=0) if frames > 1 else np.zeros((1, 2), np.float32)
        self.points = control_points(placement, self.boxes, wobble)


@dataclass(frozen=True)
class Scene:
    """Layers from back to front; the first is the backdrop."""

    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class Shot:
    """One frame and the truth about it."""

    picture: NDArray[np.uint8]  # (S, S, 3)
    mask: NDArray[np.uint8]  # (S, S) of 0 and 1
    void: NDArray[np.bool_] | None
    visible: float  # part of the target that nothing hides


def render(scene: Scene, t: int, side: int) -> Shot:
    """Draw frame t."""
    import cv2

    back = scene.layers[0]
    canvas, void = _draw_backdrop(back, t, side)
    mask = np.zeros((side, side), np.uint8)
    before = 0
    if back.is_target:
        mask[:] = canvas[..., 3] > 127
        if void is not None:
            mask[void] = 0
        before = int(mask.sum())
    for layer in scene.layers[1:]:
        x0, y0, x1, y1 = (int(v) for v in layer.boxes[t])
        if x1 - x0 < 2 or y1 - y0 < 2:
            continue
        map_x, map_y = spread(layer.points[t], x1 - x0, y1 - y0)
        piece = cv2.remap(layer.picture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        if layer.smear:
            kernel = line_kernel(*(layer.velocity[t] * layer.smear))
            if kernel is not None:
                piece = cv2.filter2D(piece, -1, kernel)
        weight = piece[..., 3].astype(np.float32) * (1 / 255)
        part = canvas[y0:y1, x0:x1]
        canvas[y0:y1, x0:x1] = cv2.blendLinear(piece, part, weight, 1 - weight)
        solid = piece[..., 3] > 127
        if layer.is_target:
            mask[y0:y1, x0:x1] = solid
            before = int(np.count_nonzero(solid))
        else:
            mask[y0:y1, x0:x1][solid] = 0
        if void is not None:
            void[y0:y1, x0:x1][solid] = False
    picture = cv2.cvtColor(canvas, cv2.COLOR_RGBA2RGB)
    visible = np.count_nonzero(mask) / before if before else 0.0
    return Shot(np.asarray(picture), mask, void, visible)


def _draw_backdrop(back: Layer, t: int, side: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
    import cv2

    points = back.points[t]
    map_x, map_y = spread(points, side, side)
    canvas = cv2.remap(back.picture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    if back.smear:
        kernel = line_kernel(*(back.velocity[t] * back.smear))
        if kernel is not None:
            canvas = cv2.filter2D(canvas, -1, kernel)
    void = None
    if back.is_target:
        height, width = back.picture.shape[:2]
        low, high = points.min(axis=(0, 1)), points.max(axis=(0, 1))
        if low.min() < 0 or high[0] > width - 1 or high[1] > height - 1:
            # The picture is mirrored beyond its border: a second copy of the object there is void.
            outside = (map_x < 0) | (map_y < 0) | (map_x > width - 1) | (map_y > height - 1)
            void = outside & (canvas[..., 3] > 127)
        if back.void is not None:
            unknown = (
                cv2.remap(back.void, map_x, map_y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101) > 127
            )
            void = unknown if void is None else void | unknown
    return np.asarray(canvas), void
