"""A clip the package draws itself: a ball rolls behind a pillar, a toy cat walks, an ornament swings.

Everything is a function of the frame number, so the true masks are known for every frame and every run
draws the same. Light, shadows, textures and noise are there because a model that learned from
photographs needs them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam2_video.sinks.video import VideoWriter

Image = NDArray[np.float32]  # (H, W, 3) RGB, 0 to 1
Mask = NDArray[np.bool_]
BALL, CAT, ORNAMENT = 1, 2, 3
OBJECTS = {BALL: "ball", CAT: "cat", ORNAMENT: "ornament"}
_FLOOR = 0.66  # where the floor begins, as a share of the height


@dataclass(frozen=True)
class Sprite:
    """A thing to be put into a frame: colours and how much of each pixel it covers."""

    rgb: Image
    alpha: NDArray[np.float32]  # (h, w), 0 to 1


@dataclass(frozen=True)
class Scene:
    """The demo's world. `size` is (H, W) in pixels; `frames` is how many the whole movement takes."""

    size: tuple[int, int] = (270, 480)
    frames: int = 90

    def render(self, frame: int) -> tuple[NDArray[np.uint8], dict[int, Mask]]:
        """Return one frame, (H, W, 3) uint8 RGB, and the visible (H, W) mask of every object."""
        import cv2

        height, width = self.size
        time = frame / max(1, self.frames - 1)
        pan = (
            0.16 * width * (0.5 - 0.5 * np.cos(np.pi * time))
        )  # the camera turns to the right and slows down
        picture = _shifted(self._room, pan, self.size)
        hidden = _shifted(self._pillar.alpha, pan, self.size) > 0.5
        masks: dict[int, Mask] = {}
        for object_id, sprite, matrix, ground in self._things(time, pan):
            alpha = np.asarray(cv2.warpAffine(sprite.alpha, matrix, (width, height)), dtype=np.float32)
            rgb = cv2.warpAffine(sprite.rgb, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
            _cast_shadow(picture, alpha, ground * height)
            if object_id == ORNAMENT:
                ys, xs = (alpha > 0.5).nonzero()
                hook, end = (round(self._hook(pan)), 0), (round(float(xs.mean())), round(float(ys.mean())))
                cv2.line(picture, hook, end, (0.25, 0.22, 0.20), 1, cv2.LINE_AA)
            picture += alpha[..., None] * (rgb - picture)
            covered = alpha > 0.5
            masks = {k: mask & ~covered for k, mask in masks.items()}
            masks[object_id] = covered
            if object_id == BALL:  # the pillar stands between the ball and the cat
                pillar = _shifted(self._pillar.alpha, pan, self.size)[..., None]
                picture += pillar * (_shifted(self._pillar.rgb, pan, self.size) - picture)
                masks = {k: mask & ~hidden for k, mask in masks.items()}
        noise = np.random.default_rng(frame).normal(0, 0.012, (height, width, 1)).astype(np.float32)
        soft = cv2.GaussianBlur(picture, (0, 0), 0.6) + noise  # no lens is perfect, no sensor is quiet
        return (np.clip(soft, 0, 1) * 255 + 0.5).astype(np.uint8), masks

    def click(self, object_id: int, frame: int = 0) -> tuple[int, int]:
        """Return a point (x, y) well inside an object: the visible pixel farthest from its outline."""
        import cv2

        mask = self.render(frame)[1][object_id]
        depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
        return int(x), int(y)

    def _things(self, time: float, pan: float) -> list[tuple[int, Sprite, NDArray[np.float32], float]]:
        """What moves, far to near: id, sprite, 2 x 3 matrix, height of the ground under it (1 = bottom)."""
        height, width = self.size
        radius = 0.13 * height
        x = width * (0.14 + 0.86 * time) - pan
        hop = abs(np.sin(5.5 * np.pi * time)) * (1 - time) * 0.10 * height
        turn = width * 0.86 * time / radius
        ball = self._ball(turn)
        ball_at = _placed(ball, x, 0.80 * height - radius - hop, 2 * radius, 0.0)
        walk = 9 * np.pi * time
        cat_x = width * (0.88 - 0.42 * time) - 0.5 * pan
        cat_y = (0.755 + 0.008 * np.sin(2 * walk)) * height
        cat_at = _placed(self._cat, cat_x, cat_y, 0.46 * height, 0.05 * np.sin(walk))
        swing = 0.30 * np.cos(3.2 * np.pi * time)
        star_x = self._hook(pan) + 0.34 * height * np.sin(swing)
        star_at = _placed(
            self._star, star_x, 0.34 * height * np.cos(swing), 0.22 * height, 2.2 * np.sin(5 * time)
        )
        return [
            (ORNAMENT, self._star, star_at, 0.0),
            (BALL, ball, ball_at, 0.80),
            (CAT, self._cat, cat_at, 0.94),
        ]

    def _hook(self, pan: float) -> float:
        """Return the column at which the ornament's thread leaves the frame."""
        return 0.34 * self.size[1] - 0.6 * pan

    @cached_property
    def _room(self) -> Image:
        """A wall with a picture on it and a wooden floor, a quarter wider than the frame."""
        height, width = self.size[0], round(self.size[1] * 1.25)
        y, x = np.mgrid[0:height, 0:width].astype(np.float32) / height
        wall = _colour(0.72, 0.69, 0.60) * (1.05 - 0.25 * np.hypot(x - 0.5, y - 0.1))[..., None]
        wall = wall + 0.10 * _cloud(height, width, 5, 1)[..., None]
        stripes = 0.03 * np.sign(np.sin(2 * np.pi * x * 9))
        wall = wall + stripes[..., None] * _colour(1.0, 0.7, 0.5)
        frame = (abs(x - 1.22) < 0.21) & (abs(y - 0.27) < 0.16)
        inner = (abs(x - 1.22) < 0.185) & (abs(y - 0.27) < 0.135)
        wall[frame] = _colour(0.30, 0.20, 0.13)
        sky = _colour(0.45, 0.58, 0.66) + 0.25 * _cloud(height, width, 12, 2)[..., None]
        hills = y > 0.29 + 0.05 * np.sin(14 * x)
        wall[inner] = np.where(hills[..., None], _colour(0.28, 0.38, 0.22) + 0.3 * (sky - 0.5), sky)[inner]
        depth = np.maximum(y - 0.45, 0.05)  # planks run away from the eye and get narrower
        plank = np.floor((x - 0.9) / depth * 1.4)
        tone = 0.5 + 0.5 * np.sin(plank * 12.9898)
        grain = _cloud(height, width, 40, 3) * 0.10 + _cloud(height, width, 6, 4) * 0.08
        floor = (
            _colour(0.47, 0.33, 0.21) * (0.85 + 0.25 * tone + grain)[..., None] * (0.75 + 0.45 * y)[..., None]
        )
        gap = abs((x - 0.9) / depth * 1.4 - plank - 0.5) > 0.48
        floor[gap] *= 0.6
        room = np.where((y > _FLOOR)[..., None], floor, wall)
        room[(y > _FLOOR - 0.035) & (y <= _FLOOR)] = _colour(0.80, 0.77, 0.70)
        return np.ascontiguousarray(room, dtype=np.float32)

    @cached_property
    def _pillar(self) -> Sprite:
        height, width = self._room.shape[:2]
        y, x = np.mgrid[0:height, 0:width].astype(np.float32) / height
        across = (x - 0.98) / 0.14  # -1 to 1 from edge to edge
        inside = (abs(across) < 1) & (y < 0.865 + 0.02 * (1 - across**2))
        light = 0.45 + 0.55 * np.sqrt(np.clip(1 - (across + 0.35) ** 2 / 1.9, 0, 1))
        flutes = 0.06 * np.sin(9 * np.arcsin(np.clip(across, -1, 1)))
        stone = _colour(0.62, 0.60, 0.56) * (light + flutes + 0.16 * _cloud(height, width, 30, 5))[..., None]
        return Sprite(stone.astype(np.float32), inside.astype(np.float32))

    def _ball(self, turn: float) -> Sprite:
        """A ball of six coloured panels that has rolled by `turn` radians to the right."""
        side = max(24, round(0.52 * self.size[0]))
        y, x = (np.mgrid[0:side, 0:side].astype(np.float32) + 0.5) * (2 / side) - 1
        x, y = 1.04 * x, 1.04 * y
        away = np.sqrt(np.clip(1 - x * x - y * y, 0, 1))
        u, v = (
            np.cos(turn) * x + np.sin(turn) * y,
            np.cos(turn) * y - np.sin(turn) * x,
        )  # rolled about the view
        tilted = 0.8 * away + 0.6 * v
        panel = np.floor((np.arctan2(u, tilted) / np.pi + 1) * 3).astype(int) % 3
        paints = np.array([[0.74, 0.22, 0.16], [0.86, 0.80, 0.68], [0.17, 0.34, 0.55]], dtype=np.float32)
        rgb = paints[panel] * (1 + 0.12 * _cloud(side, side, 14, 6))[..., None]
        light = 0.30 + 0.75 * np.clip(-0.45 * x - 0.60 * y + 0.66 * away, 0, 1)
        shine = np.clip(-0.36 * x - 0.48 * y + 0.80 * away, 0, 1) ** 40
        edge = np.clip((1 - np.hypot(x, y)) * side / 2, 0, 1)
        return Sprite(
            (rgb * light[..., None] + 0.5 * shine[..., None]).astype(np.float32), edge.astype(np.float32)
        )

    @cached_property
    def _cat(self) -> Sprite:
        """A tabby toy cat from the side, looking to the left."""
        import cv2

        side = max(32, round(0.8 * self.size[0]))
        shape = np.zeros((side, side), np.uint8)

        def oval(x: float, y: float, a: float, b: float, angle: float = 0.0, value: int = 255) -> None:
            centre, axes = (round(x * side), round(y * side)), (round(a * side), round(b * side))
            cv2.ellipse(shape, centre, axes, angle, 0, 360, value, -1, cv2.LINE_AA)

        oval(0.55, 0.56, 0.27, 0.17)
        oval(0.27, 0.38, 0.15, 0.135)
        for foot in (0.36, 0.46, 0.66, 0.76):
            oval(foot, 0.76, 0.045, 0.16)
        for ear in ((0.15, 0.33, 0.17, 0.14, 0.27, 0.28), (0.29, 0.27, 0.37, 0.13, 0.40, 0.34)):
            cv2.fillPoly(shape, [np.round(np.reshape(ear, (3, 2)) * side).astype(np.int32)], 255, cv2.LINE_AA)
        tail = np.array([[0.79, 0.52], [0.88, 0.44], [0.91, 0.32], [0.87, 0.22]]) * side
        cv2.polylines(shape, [np.round(tail).astype(np.int32)], False, 255, max(2, side // 14), cv2.LINE_AA)
        alpha = shape.astype(np.float32) / 255
        y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
        fur = 0.10 * _cloud(side, side, 50, 7) + 0.10 * _cloud(side, side, 9, 8)
        bands = np.clip(np.sin(46 * x + 5 * np.sin(7 * y) + 6 * fur), 0, 1) * (y < 0.66)
        rgb = _colour(0.80, 0.52, 0.27) * (1 + fur - 0.45 * bands)[..., None]
        rgb[y > 0.82] = _colour(0.88, 0.82, 0.74)
        round_light = cv2.GaussianBlur(alpha, (0, 0), side / 22) * (1.15 - 0.55 * y)
        rgb *= (0.35 + 0.85 * round_light)[..., None]
        for eye in (0.19, 0.30):
            cv2.circle(
                rgb,
                (round(eye * side), round(0.36 * side)),
                max(1, side // 45),
                (0.08, 0.12, 0.08),
                -1,
                cv2.LINE_AA,
            )
        cv2.circle(
            rgb,
            (round(0.235 * side), round(0.43 * side)),
            max(1, side // 55),
            (0.45, 0.2, 0.2),
            -1,
            cv2.LINE_AA,
        )
        return Sprite(rgb.astype(np.float32), alpha.astype(np.float32))

    @cached_property
    def _star(self) -> Sprite:
        """A brass star with five points, each with a lit and a shaded side."""
        side = max(24, round(0.44 * self.size[0]))
        y, x = (np.mgrid[0:side, 0:side].astype(np.float32) + 0.5) * (2 / side) - 1
        angle, far = np.arctan2(x, -y), np.hypot(x, y)
        wedge = (angle / (2 * np.pi / 5) + 0.5) % 1 - 0.5  # -0.5 to 0.5 across each point
        reach = 0.95 * 0.42 / (0.42 + 0.58 * np.sin(np.pi * abs(wedge)) * 1.35)
        alpha = np.clip((reach - far) * side / 4, 0, 1)
        light = 0.62 + 0.30 * np.sign(wedge) * np.cos(angle) + 0.15 * _cloud(side, side, 16, 9)
        rgb = _colour(0.80, 0.62, 0.26) * light[..., None] + 0.25 * np.exp(-9 * far)[..., None]
        return Sprite(rgb.astype(np.float32), alpha.astype(np.float32))


@dataclass(frozen=True)
class DemoClip:
    """A demo clip on disk and the scene that it shows."""

    path: Path
    scene: Scene

    def masks(self, frame: int) -> dict[int, Mask]:
        """Return the true visible (H, W) mask of every object on a frame; empty where it is hidden."""
        return self.scene.render(frame)[1]

    @property
    def clicks(self) -> dict[int, tuple[int, int]]:
        """One click (x, y) for each object on frame 0."""
        return {object_id: self.scene.click(object_id) for object_id in OBJECTS}


def draw_demo_clip(
    path: str | Path, frames: int = 90, size: tuple[int, int] = (480, 270), fps: float = 25.0
) -> DemoClip:
    """Draw the demo clip into an mp4 file. `size` is (width, height). Raises SinkError."""
    scene = Scene((size[1], size[0]), frames)
    with VideoWriter(path, fps) as writer:
        for frame in range(frames):
            writer.write(scene.render(frame)[0])
    return DemoClip(Path(path), scene)


def _colour(red: float, green: float, blue: float) -> NDArray[np.float32]:
    return np.array([red, green, blue], dtype=np.float32)


def _cloud(height: int, width: int, cells: int, seed: int) -> NDArray[np.float32]:
    """Return smooth noise of mean 0 and deviation near 0.5 in three octaves, the first `cells` cells high."""
    import cv2

    random = np.random.default_rng(seed)
    out = np.zeros((height, width), np.float32)
    for octave in range(3):
        rows = min(height, cells * 2**octave)
        grid = random.normal(0, 0.6, (rows, max(2, rows * width // height))).astype(np.float32)
        out += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) * 0.6**octave
    return out


def _placed(sprite: Sprite, x: float, y: float, side: float, angle: float) -> NDArray[np.float32]:
    """Return the matrix that puts a sprite's centre at x, y with this side length and turn in radians."""
    rows = sprite.alpha.shape[0]
    c, s = np.cos(angle) * side / rows, np.sin(angle) * side / rows
    half = (rows - 1) / 2
    matrix = [[c, -s, x - half * (c - s)], [s, c, y - half * (s + c)]]
    return np.array(matrix, dtype=np.float32)


def _shifted(image: NDArray[np.float32], pan: float, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return the part of a wide picture that the camera sees, `pan` pixels from its left edge."""
    import cv2

    matrix = np.array([[1, 0, -pan], [0, 1, 0]], dtype=np.float32)
    return np.asarray(cv2.warpAffine(image, matrix, (size[1], size[0])), dtype=np.float32)


def _cast_shadow(picture: Image, alpha: NDArray[np.float32], ground: float) -> None:
    """Darken the floor under a thing that stands or hops on it; nothing for a thing that hangs (ground 0)."""
    import cv2

    columns = alpha.max(axis=0)
    if ground <= 0 or columns.max() < 0.5:
        return
    height = alpha.shape[0]
    y = np.arange(height, dtype=np.float32)[:, None]
    bottom = float((alpha.max(axis=1) > 0.5).nonzero()[0][-1])
    lift = max(0.0, ground - bottom) / height
    profile = np.exp(-(((y - ground) / (0.03 * height)) ** 2)) * cv2.GaussianBlur(
        columns[None], (0, 0), 0.03 * height
    )
    picture *= 1 - (0.55 / (1 + 12 * lift)) * profile[..., None]
