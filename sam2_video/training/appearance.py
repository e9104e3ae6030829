"""Photometric change: what cameras, light and codecs do to the frames of a clip."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2_video.training.motion import drift

Frame = NDArray[np.uint8]


def tone_curves(
    rng: np.random.Generator, frames: int, *, strength: float, pace: float = 0.15
) -> NDArray[np.uint8]:
    """(T, 256, 1, 3) look-up tables: gamma, contrast, brightness, colour cast; drifting slowly."""
    base = np.clip(rng.standard_normal(6), -1.8, 1.8) * strength
    way = base + drift(rng, frames, 6, 0.9) * strength * pace
    x = np.linspace(0, 1, 256)[None, :, None]
    gamma = np.exp(0.25 * way[:, 0])[:, None, None]
    contrast = np.exp(0.16 * way[:, 1])[:, None, None]
    gain = np.exp(0.08 * way[:, 3:6])[:, None, :]
    y = (x**gamma - 0.5) * contrast * gain + 0.5 + 0.07 * way[:, 2][:, None, None]
    return np.asarray(np.clip(y * 255, 0, 255).astype(np.uint8)[:, :, None, :])


def colour_matrix(rng: np.random.Generator, *, strength: float) -> NDArray[np.float32]:
    """(3, 3) change of saturation and a small turn of the hue; at times no colour at all."""
    grey = np.full((3, 3), 1 / 3) if rng.random() < 0.5 else np.tile([0.299, 0.587, 0.114], (3, 1))
    saturation = 0.0 if rng.random() < 0.1 else float(np.exp(0.3 * strength * rng.standard_normal()))
    angle = 0.25 * strength * rng.standard_normal()
    axis = np.full(3, 1 / np.sqrt(3))
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    turn = np.cos(angle) * np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * np.outer(axis, axis)
    return np.asarray(turn @ (saturation * np.eye(3) + (1 - saturation) * grey), dtype=np.float32)


def line_kernel(dx: float, dy: float) -> NDArray[np.float32] | None:
    """Return a kernel that smears along (dx, dy) pixels, or None for less than a pixel and a half."""
    import cv2

    length = float(np.hypot(dx, dy))
    if length < 1.5:
        return None
    reach = int(np.ceil(min(length, 12.0) / 2))
    ux, uy = dx / length * reach, dy / length * reach
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.uint8)
    tips = [(round(reach - ux), round(reach - uy)), (round(reach + ux), round(reach + uy))]
    cv2.line(kernel, tips[0], tips[1], 255, 1, cv2.LINE_AA)
    return np.asarray(kernel / kernel.sum(), dtype=np.float32)


@lru_cache(maxsize=4)
def _grain(side: int) -> NDArray[np.int16]:
    """Return fixed noise of standard deviation 64, a little larger than a frame, to be shifted about."""
    noise = np.random.default_rng(0).standard_normal((side + 64, side + 64, 3)) * 64
    return noise.astype(np.int16)


class Camera:
    """The look of one clip: colours, sensor noise, softness and compression, drawn once, used per frame."""

    def __init__(self, rng: np.random.Generator, frames: int, *, strength: float) -> None:
        self._curves = tone_curves(rng, frames, strength=strength)
        self._matrix = colour_matrix(rng, strength=strength) if rng.random() < 0.35 else None
        self._noise = float(rng.uniform(1, 9)) * strength if rng.random() < 0.35 else 0.0
        self._shifts = rng.integers(0, 64, (frames, 2))
        self._blur = float(rng.uniform(0.4, 1.3)) if rng.random() < 0.25 else 0.0
        self._jpeg = int(rng.integers(20, 75)) if rng.random() < 0.15 else None

    def expose(self, picture: Frame, t: int) -> Frame:
        """Return the (S, S, 3) frame as this camera records it at time t."""
        import cv2

        frame: NDArray[Any] = picture
        if self._matrix is not None:
            frame = cv2.transform(frame, self._matrix)
        frame = cv2.LUT(frame, self._curves[t])
        if self._blur:
            frame = cv2.GaussianBlur(frame, (0, 0), self._blur)
        if self._noise:
            side = frame.shape[0]
            y, x = self._shifts[t]
            grain = _grain(side)[y : y + side, x : x + side]
            frame = cv2.addWeighted(frame.astype(np.int16), 1.0, grain, self._noise / 64, 0.0)
            frame = np.clip(frame, 0, 255).astype(np.uint8)
        if self._jpeg is not None:
            data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, self._jpeg])[1]
            frame = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
        return np.asarray(frame, dtype=np.uint8)
