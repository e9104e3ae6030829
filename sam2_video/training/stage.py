"""One pseudo-clip's camera, and the ways in which pictures and cut-outs are put before it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sam2_video.training import layers
from sam2_video.training.appearance import tone_curves
from sam2_video.training.motion import (
    Floats,
    Path,
    Placement,
    Wobble,
    bounced,
    drag,
    draw_path,
    draw_wobble,
    excursion,
    place,
    still_path,
    through,
)
from sam2_video.training.render import Layer

if TYPE_CHECKING:
    from sam2_video.training.clips import ClipConfig

Point = tuple[float, float]
_ROOM = np.full(2, 0.1, np.float32)  # how far out of the frame a target's middle goes by itself
_CAMERA_ROOM = np.full(2, 0.35, np.float32)  # how far a camera turns away from where it began


class Stage:
    """Draws camera and motion once, then places layers. Positions are parts of the frame's side."""

    def __init__(self, rng: np.random.Generator, frames: int, side: int, config: ClipConfig) -> None:
        self.rng, self.frames, self.side, self.config = rng, frames, side, config
        self.aspect = float(np.exp(rng.uniform(np.log(0.5), np.log(1.3))))
        # Three ways of filming: the camera follows the object, stands still, or both move.
        way = rng.random()
        self._follows = way < 0.35
        camera, self._speed = (
            (0.018, 0.005) if way < 0.35 else (0.001, 0.017) if way < 0.65 else (0.007, 0.012)
        )
        path = draw_path(rng, frames, speed=camera * config.motion, jumps=0.02)
        path = replace(path, offset=bounced(path.offset, -_CAMERA_ROOM, _CAMERA_ROOM))
        self._camera = self._lens(path)
        self._tripod = self._lens(still_path(frames))
        self._smear = float(rng.uniform(0.3, 0.9)) if rng.random() < 0.3 else 0.0
        self._focus: Point = (0.5, 0.5)  # where the target is, for distractors and occluders to come near it
        self._size = 0.1  # the target's part of the frame
        self._tones = tone_curves(rng, 1, strength=0.6 * config.colour)[0]

    def backdrop(self, image: NDArray[np.uint8]) -> Layer:
        """Put a picture behind everything."""
        if self.rng.random() < 0.5:
            image = layers.mirror(image)
        scale = self._cover(image) * float(self.rng.uniform(1.0, 1.6))
        image, scale = self._fit(image, scale)
        height, width = image.shape[:2]
        middle = np.array([width / 2, height / 2], np.float32)
        centre = self._clamp(middle + self.rng.uniform(-0.5, 0.5, 2) * middle, (width, height), scale)
        picture = layers.with_alpha(image, np.full((height, width), 255, np.uint8))
        wobble = self._bend(0.012) if self.rng.random() < 0.4 else None
        return self._back(picture, centre, scale, wobble)

    def moving_picture(
        self, image: NDArray[np.uint8], mask: NDArray[np.bool_], void: NDArray[np.uint8] | None
    ) -> Layer:
        """Move a whole picture, its object dragged about in it: no cut edges, and no background uncovered."""
        import cv2

        picture = layers.with_alpha(image, mask.astype(np.uint8) * 255)
        if self.rng.random() < 0.5:
            picture, void = layers.mirror(picture), None if void is None else layers.mirror(void)
        share = float((picture[..., 3] > 0).mean())
        cover = self._cover(picture)
        # Zoom in on small objects, and not so far that a large one fills the frame.
        zoom = float(np.clip(np.sqrt(self.rng.uniform(0.01, 0.35) / share), 1.0, 3.0))
        picture, scale = self._fit(picture, cover * zoom)
        height, width = picture.shape[:2]
        if void is not None and void.shape != (height, width):
            void = np.asarray(cv2.resize(void, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)
        middle, half = _centre(picture[..., 3])
        centre = self._clamp(
            middle + self.rng.uniform(-0.25, 0.25, 2) * self.side / scale, (width, height), scale
        )
        self._focus = self._seen(0.5 + (middle - centre) * scale / self.side)
        self._size = share * (scale / cover) ** 2
        wobble = self._bend(0.02)
        unit = np.array([width, height], np.float32) / 2
        reach = float(np.clip(np.mean(half / unit) * 0.9, 0.1, 0.8))
        dragged = drag(self.rng, self.frames, at=middle / unit - 1, reach=reach, strength=self.config.motion)
        return self._back(picture, centre, scale, wobble.joined(dragged), is_target=True, void=void)

    def target(self, cut: NDArray[np.uint8]) -> Layer:
        """Put the object to be tracked before the backdrop."""
        area = float((cut[..., 3] > 127).sum())
        wanted = float(np.exp(self.rng.uniform(np.log(0.008), np.log(0.35))))
        scale = min(np.sqrt(wanted * self.side**2 / area), 2.5)
        # The frame is not exceeded by far: the object should be seen, not looked into.
        scale = min(scale, 1.15 * self.side / max(cut.shape[1] * self._root, cut.shape[0] / self._root))
        self._size = area * scale**2 / self.side**2
        path = draw_path(self.rng, self.frames, speed=self._speed)
        self._focus = (float(self.rng.uniform(0.22, 0.78)), float(self.rng.uniform(0.25, 0.78)))
        # Pinned in mid-clip, so that a fast object crosses the frame rather than leaving it.
        path = self._pinned(path, self._focus)
        at = np.array(self._focus, np.float32)
        path = replace(path, offset=bounced(path.offset, -_ROOM - at, 1 + _ROOM - at))
        if self.rng.random() < 0.1:
            path = replace(path, offset=path.offset + excursion(self.rng, self.frames))
        return self._front(cut, path, self._focus, float(scale), is_target=True, strength=0.08)

    def distractor(self, cut: NDArray[np.uint8]) -> Layer:
        """Put another object anywhere, of a size like the target's or its own."""
        area = max(float((cut[..., 3] > 127).sum()), 1.0)
        wanted = float(np.clip(self._size * np.exp(self.rng.normal(0, 0.7)), 0.004, 0.2))
        scale = min(np.sqrt(wanted * self.side**2 / area), 2.5)
        near = np.array(self._focus) + self.rng.normal(0, 0.3, 2)
        path = draw_path(self.rng, self.frames, speed=0.014 * self.config.motion)
        return self._front(cut, path, (float(near[0]), float(near[1])), float(scale), strength=0.06)

    def occluder(self, cut: NDArray[np.uint8]) -> Layer:
        """Put something in the way: fixed in the world, or passing."""
        speed = 0.03 if self.rng.random() < 0.4 else 0.0005
        path = draw_path(self.rng, self.frames, speed=speed * self.config.motion)
        tilt = float(self.rng.normal(0, 0.3)) + (np.pi / 2 if self.rng.random() < 0.4 else 0.0)
        path = replace(path, angle=path.angle + np.float32(tilt))
        near = np.array(self._focus) + self.rng.normal(0, 0.25, 2)
        return self._front(cut, path, (float(near[0]), float(near[1])), 1.0, strength=0.0)

    @property
    def _root(self) -> float:
        return float(np.sqrt(self.aspect))

    def _lens(self, path: Path) -> Placement:
        middle = np.array([self.side / 2, self.side / 2], np.float32)
        size = (self.side, self.side)
        return place(
            path, centre=middle, anchor=(0.5, 0.5), scale=1.0, aspect=self.aspect, size=size, side=self.side
        )

    def _cover(self, picture: NDArray[np.uint8]) -> float:
        """Smallest scale at which a picture fills the frame."""
        height, width = picture.shape[:2]
        return float(max(self.side / self._root / width, self.side * self._root / height))

    def _clamp(self, centre: Floats, size: tuple[int, int], scale: float) -> Floats:
        """Move the point shown in mid-frame so that the picture fills the frame."""
        need = np.array([self.side / self._root, self.side * self._root]) / scale / 2
        limit = np.array(size, np.float32)
        return np.asarray(
            np.clip(centre, np.minimum(need, limit / 2), np.maximum(limit - need, limit / 2)), np.float32
        )

    def _seen(self, world: Floats) -> Point:
        """Position before the camera's squash -> position in the frame."""
        return float(0.5 + (world[0] - 0.5) * self._root), float(0.5 + (world[1] - 0.5) / self._root)

    def _world(self, seen: Point) -> Point:
        return 0.5 + (seen[0] - 0.5) / self._root, 0.5 + (seen[1] - 0.5) * self._root

    def _fit(self, picture: NDArray[np.uint8], scale: float) -> tuple[NDArray[np.uint8], float]:
        """Shrink a picture that would be shown much smaller than it is."""
        squash = min(self._root, 1 / self._root)
        if scale * squash > 0.7:
            return picture, scale
        small = layers.shrink(picture, max(scale, 0.05) / 0.85)
        return small, scale * picture.shape[1] / small.shape[1]

    def _bend(self, strength: float) -> Wobble:
        amount = strength * float(self.rng.uniform(0.1, 2.0)) * self.config.bend
        return draw_wobble(self.rng, self.frames, strength=amount)

    def _pinned(self, path: Path, at: Point) -> Path:
        """Shift a path so that one of its frames is at the anchor and the first one well inside the frame."""
        offset = path.offset - path.offset[int(self.rng.integers(self.frames))]
        first = np.array(at) + offset[0]
        return replace(path, offset=(offset + np.clip(first, 0.12, 0.88) - first).astype(np.float32))

    def _back(
        self,
        picture: NDArray[np.uint8],
        centre: Floats,
        scale: float,
        wobble: Wobble | None,
        *,
        is_target: bool = False,
        void: NDArray[np.uint8] | None = None,
    ) -> Layer:
        size = (picture.shape[1], picture.shape[0])
        still = still_path(self.frames)
        spot = place(
            still, centre=centre, anchor=(0.5, 0.5), scale=scale, aspect=1.0, size=size, side=self.side
        )
        return Layer(
            picture,
            through(spot, self._camera),
            wobble,
            side=self.side,
            backdrop=True,
            is_target=is_target,
            void=void,
            smear=self._smear,
        )

    def _front(
        self,
        cut: NDArray[np.uint8],
        path: Path,
        seen: Point,
        scale: float,
        *,
        strength: float,
        is_target: bool = False,
    ) -> Layer:
        import cv2

        if self.rng.random() < 0.5:
            cut = layers.mirror(cut)
        path = replace(path, angle=path.angle + np.float32(self.rng.normal(0, 0.12)))
        cut, scale = self._fit(cut, scale)
        tones = self._tones if is_target else tone_curves(self.rng, 1, strength=0.5 * self.config.colour)[0]
        cut = layers.with_alpha(
            np.asarray(cv2.LUT(cv2.cvtColor(cut, cv2.COLOR_RGBA2RGB), tones)), cut[..., 3]
        )
        size = (cut.shape[1], cut.shape[0])
        middle = np.array(size, np.float32) / 2
        anchor = self._world(seen)
        spot = place(path, centre=middle, anchor=anchor, scale=scale, aspect=1.0, size=size, side=self.side)
        lens = self._tripod if is_target and self._follows else self._camera
        wobble = self._bend(strength) if strength else None
        return Layer(cut, through(spot, lens), wobble, side=self.side, is_target=is_target, smear=self._smear)


def _centre(alpha: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Middle and half size of what is opaque, in pixels."""
    xs, ys = np.flatnonzero((alpha > 127).any(axis=0)), np.flatnonzero((alpha > 127).any(axis=1))
    if not len(xs):
        half = np.array(alpha.shape[::-1], np.float32) / 2
        return half, half
    low, high = np.array([xs[0], ys[0]], np.float32), np.array([xs[-1], ys[-1]], np.float32)
    return (low + high) / 2, (high - low) / 2
