"""Motion of layers: where each part of a pseudo-clip is on each frame, and how it bends.

A `Path` moves a layer rigidly; a `Wobble` bends it; `control_points` turns both into a coarse grid of source
coordinates per frame, and `spread` makes a dense map for `cv2.remap` of it. All randomness comes from the
generator given.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
SEGMENTS = 5  # of the spline grid along each side of a layer


@dataclass(frozen=True)
class Path:
    """Rigid motion of T frames, relative to where the layer is placed."""

    offset: Floats  # (T, 2) in parts of the frame's side, x then y
    scale: Floats  # (T,) factor
    angle: Floats  # (T,) radians


@dataclass(frozen=True)
class Wobble:
    """Smooth bending: K plane waves and J joints that turn a neighbourhood; units are half layer sizes."""

    frequency: Floats  # (K, 2)
    amplitude: Floats  # (K, 2)
    phase: Floats  # (T, K)
    joint: Floats  # (J, 2) centres
    reach: Floats  # (J,)
    turn: Floats  # (T, J) radians
    shift: Floats  # (T, J, 2)

    def displace(self, at: Floats) -> Floats:
        """Displacement (T, N, 2) of points (T, N, 2)."""
        waves = np.sin(at @ self.frequency.T + self.phase[:, None, :])  # (T, N, K)
        moved = waves @ self.amplitude
        for j in range(len(self.joint)):
            away = at - self.joint[j]
            near = np.exp(-(away**2).sum(axis=-1, keepdims=True) / (2 * self.reach[j] ** 2))
            angle = self.turn[:, j, None] * near[..., 0]
            turned = np.stack(
                [
                    np.cos(angle) * away[..., 0] - np.sin(angle) * away[..., 1],
                    np.sin(angle) * away[..., 0] + np.cos(angle) * away[..., 1],
                ],
                axis=-1,
            )
            moved = moved + turned - away + near * self.shift[:, None, j]
        return np.asarray(moved, dtype=np.float32)

    def joined(self, other: Wobble) -> Wobble:
        """Return this wobble with the joints of another added; the other's waves are left out."""
        return replace(
            self,
            joint=np.concatenate([self.joint, other.joint]),
            reach=np.concatenate([self.reach, other.reach]),
            turn=np.concatenate([self.turn, other.turn], axis=1),
            shift=np.concatenate([self.shift, other.shift], axis=1),
        )


def drift(rng: np.random.Generator, frames: int, channels: int, keep: float) -> Floats:
    """(T, channels) smooth noise of unit variance; `keep` is the correlation of one frame and the next."""
    noise = rng.standard_normal((frames, channels))
    out = np.empty_like(noise)
    out[0] = noise[0]
    fresh = np.sqrt(1 - keep**2)
    for t in range(1, frames):
        out[t] = keep * out[t - 1] + fresh * noise[t]
    return out.astype(np.float32)


def draw_path(rng: np.random.Generator, frames: int, *, speed: float, jumps: float = 0.04) -> Path:
    """Draw a path with a median speed of `speed` frame sides per frame, zero at its first frame.

    `jumps` is the chance per frame of a leap of up to 15 % of the frame.
    """
    pace = np.clip(speed * np.exp(0.9 * rng.standard_normal()), 0.0, 0.09)
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(0.35 * rng.standard_normal(frames))
    if rng.random() < 0.12:  # to and fro, as something that jumps or swings
        heading = heading + np.pi * (np.arange(frames) // rng.integers(1, 4) % 2)
    step = pace * np.exp(0.3 * drift(rng, frames, 1, 0.7)[:, 0])
    velocity = step[:, None] * np.stack([np.cos(heading), np.sin(heading)], axis=1)
    leaps = (rng.random(frames) < jumps)[:, None] * rng.uniform(-0.15, 0.15, (frames, 2))
    velocity += leaps * min(1.0, speed / 0.01)
    velocity[0] = 0
    # Growth and turning go with how lively the layer is, and are mostly small.
    lively = min(1.0, speed / 0.02) * np.exp(0.5 * rng.standard_normal())
    rates = drift(rng, frames, 2, 0.85) * np.array([0.02, 0.03]) * lively
    rates[0] = 0
    growth, turning = np.cumsum(rates, axis=0).T
    return Path(
        np.cumsum(velocity, axis=0).astype(np.float32),
        np.exp(np.clip(growth, -0.7, 0.7)).astype(np.float32),
        np.clip(turning, -1.2, 1.2).astype(np.float32),
    )


def bounced(offset: Floats, low: Floats, high: Floats) -> Floats:
    """Turn a way (T, 2) back wherever it would lead out of the box from `low` to `high` (2,)."""
    width = high - low
    along = np.mod((offset - low) / width, 2)
    return np.asarray(low + width * (1 - np.abs(along - 1)), dtype=np.float32)


def still_path(frames: int) -> Path:
    """Return a path that does not move."""
    return Path(np.zeros((frames, 2), np.float32), np.ones(frames, np.float32), np.zeros(frames, np.float32))


def excursion(rng: np.random.Generator, frames: int) -> Floats:
    """(T, 2) offset that leads out of the frame and back again, in frame sides; zero on the first frame."""
    way = np.zeros((frames, 2), np.float32)
    if frames < 3:
        return way
    out_at = int(rng.integers(1, max(2, frames - 1)))
    length = int(rng.integers(1, max(2, frames // 2)))
    side = rng.integers(4)
    for t in range(1, frames):
        ramp = 1.0 if out_at <= t < out_at + length else 0.4 if t in (out_at - 1, out_at + length) else 0.0
        way[t, side % 2] = ramp * (1.1 if side < 2 else -1.1)
    return way


def draw_wobble(rng: np.random.Generator, frames: int, *, strength: float) -> Wobble:
    """Draw bending with displacements of about `strength` half sizes of the layer."""
    waves, joints = 3, int(rng.integers(0, 3))
    direction = rng.uniform(0, 2 * np.pi, waves)
    pitch = rng.uniform(1.0, 3.5, waves)
    frequency = (pitch * np.stack([np.cos(direction), np.sin(direction)])).T
    # Short waves must stay shallow: a fold would tear the layer.
    amplitude = strength * rng.uniform(-1, 1, (waves, 2)) / np.maximum(1.0, pitch[:, None] * 0.6)
    rate = rng.uniform(-0.7, 0.7, waves)
    phase = rng.uniform(0, 2 * np.pi, waves) + np.arange(frames)[:, None] * rate
    swing = drift(rng, frames, 3 * joints, 0.75).reshape(frames, joints, 3)
    return Wobble(
        frequency.astype(np.float32),
        amplitude.astype(np.float32),
        phase.astype(np.float32),
        rng.uniform(-0.9, 0.9, (joints, 2)).astype(np.float32),
        rng.uniform(0.25, 0.6, joints).astype(np.float32),
        np.clip(swing[..., 0] * strength * 4, -0.8, 0.8),
        np.clip(swing[..., 1:] * strength, -0.15, 0.15),
    )


def drag(rng: np.random.Generator, frames: int, *, at: Floats, reach: float, strength: float) -> Wobble:
    """Move one soft neighbourhood about, stretching its surroundings: an object moving in a whole picture."""
    live = strength * float(rng.uniform(0.0, 0.35))
    swing = drift(rng, frames, 3, 0.8)
    return Wobble(
        np.zeros((0, 2), np.float32),
        np.zeros((0, 2), np.float32),
        np.zeros((frames, 0), np.float32),
        np.asarray(at, np.float32)[None],
        np.array([reach], np.float32),
        np.clip(swing[:, :1] * live, -0.4, 0.4),
        np.clip(swing[:, None, 1:] * live * reach, -0.6 * reach, 0.6 * reach),
    )


@dataclass(frozen=True)
class Placement:
    """Where a source of `size` pixels (w, h) is on each of T frames: the affine map from source to frame."""

    matrix: Floats  # (T, 2, 2)
    shift: Floats  # (T, 2) pixels
    size: tuple[int, int]

    def forward(self, points: Floats) -> Floats:
        """(N, 2) source pixels -> (T, N, 2) frame pixels."""
        return np.asarray(points @ self.matrix.transpose(0, 2, 1) + self.shift[:, None])

    def reach(self, slack: float) -> NDArray[np.int64]:
        """(T, 4) box x0, y0, x1, y1 that the source covers on each frame, `slack` half sizes wider."""
        w, h = self.size
        half = np.array([w / 2, h / 2], np.float32)
        corners = np.array([[-1, -1], [1, -1], [-1, 1], [1, 1]], np.float32) * (1 + slack) * half + half
        spots = self.forward(corners)
        return np.concatenate([np.floor(spots.min(axis=1)), np.ceil(spots.max(axis=1)) + 1], axis=1).astype(
            np.int64
        )


def place(
    path: Path,
    *,
    centre: Floats,
    anchor: tuple[float, float],
    scale: float,
    aspect: float,
    size: tuple[int, int],
    side: int,
) -> Placement:
    """Pin source pixel `centre` to `anchor` (parts of the frame), move it along `path`, squash x by `aspect`.

    `scale` is frame pixels per source pixel. The squash comes last, because it belongs to the camera.
    """
    cos, sin = np.cos(path.angle), np.sin(path.angle)
    squash = np.array([np.sqrt(aspect), 1 / np.sqrt(aspect)], np.float32)
    turn = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], axis=1)  # (T, 2, 2)
    matrix = (squash[:, None] * turn) * (scale * path.scale)[:, None, None]
    target = (np.asarray(anchor, np.float32) + path.offset) * side
    shift = target - matrix @ np.asarray(centre, np.float32)
    return Placement(matrix.astype(np.float32), shift.astype(np.float32), size)


def control_points(placement: Placement, boxes: NDArray[np.int64], wobble: Wobble | None) -> Floats:
    """(T, G, G, 2) source coordinates at the spline's control points over boxes (T, 4) of the frame."""
    knots = (np.arange(SEGMENTS + 3, dtype=np.float32) - 1) / SEGMENTS
    x = boxes[:, :1] + (boxes[:, 2:3] - boxes[:, :1]) * knots
    y = boxes[:, 1:2] + (boxes[:, 3:] - boxes[:, 1:2]) * knots
    count = len(knots)
    frames = len(boxes)
    at = np.empty((frames, count, count, 2), np.float32)
    at[..., 0] = x[:, None, :]
    at[..., 1] = y[:, :, None]
    flat = at.reshape(frames, -1, 2) - placement.shift[:, None]
    source = flat @ np.linalg.inv(placement.matrix).transpose(0, 2, 1)
    if wobble is not None:
        half = np.array(placement.size, np.float32) / 2
        source = source + wobble.displace(np.asarray(source / half - 1, np.float32)) * half.max()
    return np.asarray(source.reshape(frames, count, count, 2), dtype=np.float32)


@lru_cache(maxsize=2048)
def _basis(length: int) -> Floats:
    """(length, SEGMENTS + 3) uniform cubic B-spline weights of each pixel; straight lines stay straight."""
    at = np.arange(length) / length * SEGMENTS
    cell = np.minimum(at.astype(int), SEGMENTS - 1)
    t = at - cell
    weights = (
        np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1) / 6
    )
    out = np.zeros((length, SEGMENTS + 3), np.float32)
    for k in range(4):
        out[np.arange(length), cell + k] = weights[:, k]
    return out


def spread(points: Floats, width: int, height: int) -> tuple[Floats, Floats]:
    """Control points (G, G, 2) -> dense x and y maps (height, width) for `cv2.remap`."""
    rows, columns = _basis(height), _basis(width).T
    return rows @ points[..., 0] @ columns, rows @ points[..., 1] @ columns


def through(inner: Placement, camera: Placement) -> Placement:
    """Return `inner` as seen by `camera`, which maps frame pixels to frame pixels."""
    matrix = camera.matrix @ inner.matrix
    shift = (camera.matrix @ inner.shift[..., None])[..., 0] + camera.shift
    return Placement(np.asarray(matrix), np.asarray(shift), inner.size)
