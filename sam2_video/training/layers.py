"""The pieces that a pseudo-clip is put together from: cut-outs, occluders, filled holes.

A layer's picture is (h, w, 4) uint8: RGB and an alpha whose threshold at 128 is the layer's mask.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Rgba = NDArray[np.uint8]
Mask = NDArray[np.bool_]
_MARGIN = 3


def soft_alpha(mask: Mask, softness: int = 3) -> NDArray[np.uint8]:
    """Return an alpha that fades on the inner side of the mask's edge, so that no background shows."""
    import cv2

    blurred = cv2.GaussianBlur(mask.astype(np.uint8) * 255, (softness, softness), 0)
    return np.asarray(cv2.addWeighted(blurred, 1.7, blurred, 0.0, -178.0), dtype=np.uint8)


def cut_out(image: NDArray[np.uint8], mask: Mask, *, softness: int = 3) -> Rgba:
    """Cut an object out of its picture, with a transparent margin of a few pixels."""
    import cv2

    xs, ys = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    part = slice(ys[0], ys[-1] + 1), slice(xs[0], xs[-1] + 1)
    edge = (_MARGIN,) * 4
    rgb = cv2.copyMakeBorder(image[part], *edge, cv2.BORDER_REPLICATE)
    inside = cv2.copyMakeBorder(mask[part].astype(np.uint8), *edge, cv2.BORDER_CONSTANT, value=0)
    return with_alpha(np.asarray(rgb), soft_alpha(inside > 0, softness))


def with_alpha(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> Rgba:
    """Join RGB and alpha into one picture."""
    import cv2

    joined = cv2.cvtColor(rgb, cv2.COLOR_RGB2RGBA)
    joined[..., 3] = alpha
    return np.asarray(joined, dtype=np.uint8)


def mirror(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the picture with left and right swapped."""
    import cv2

    return np.asarray(cv2.flip(picture, 1), dtype=np.uint8)


def shrink(picture: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """Make a picture smaller by averaging, so that warping it to a small frame does not alias."""
    import cv2

    height, width = picture.shape[:2]
    size = max(4, round(width * factor)), max(4, round(height * factor))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def fill_hole(image: NDArray[np.uint8], mask: Mask) -> NDArray[np.uint8]:
    """Paint an object over with averages of its surroundings at ever coarser scales, and some grain."""
    import cv2

    height, width = mask.shape
    near = cv2.dilate(mask.astype(np.uint8), np.ones((7, 7), np.uint8))
    small = max(8, width // 8), max(8, height // 8)
    weight = cv2.resize(1.0 - near.astype(np.float32), small, interpolation=cv2.INTER_AREA)
    seen = cv2.bitwise_and(image, image, mask=1 - near)
    colour = cv2.resize(seen, small, interpolation=cv2.INTER_AREA).astype(np.float32)
    total: NDArray[Any] = np.full(weight.shape, 1e-6, np.float32)
    sums: NDArray[Any] = colour * np.float32(1e-6)
    for reach in (1.0, 3.0, 9.0, 27.0):
        part = reach**-4  # the nearest colours count most
        total = total + part * cv2.GaussianBlur(weight, (0, 0), reach)
        sums = sums + part * cv2.GaussianBlur(colour, (0, 0), reach)
    x0, y0, wide, high = cv2.boundingRect(near)
    x1, y1 = min(width, x0 + wide + 4), min(height, y0 + high + 4)
    x0, y0 = max(0, x0 - 4), max(0, y0 - 4)
    part_of = slice(y0, y1), slice(x0, x1)
    paint = cv2.resize(sums / total[..., None], (width, height), interpolation=cv2.INTER_LINEAR)[part_of]
    # A hole without grain would give the object's old place away: borrow the texture of the mirrored picture.
    other = mirror(image)[part_of].astype(np.float32)
    paint += 0.7 * (other - cv2.blur(other, (9, 9)))
    blend = cv2.blur(near.astype(np.float32), (7, 7))[part_of]
    out = image.copy()
    out[part_of] = cv2.blendLinear(
        image[part_of].astype(np.float32), np.clip(paint, 0, 255), 1 - blend, blend
    )
    return np.asarray(out)


def shape(rng: np.random.Generator, texture: NDArray[np.uint8]) -> Rgba:
    """Cut a random shape out of a picture: an object of no class, known by its texture and outline alone."""
    import cv2

    high, wide = (max(int(side * rng.uniform(0.2, 0.6)), 12) for side in texture.shape[:2])
    y0, x0 = (
        int(rng.integers(0, whole - part + 1))
        for whole, part in zip(texture.shape[:2], (high, wide), strict=True)
    )
    mask = np.zeros((high, wide), np.uint8)
    cv2.fillPoly(mask, [_blob(rng, high, wide, depth=0.45)], 1)
    return cut_out(texture[y0 : y0 + high, x0 : x0 + wide], mask > 0)


def occluder(rng: np.random.Generator, texture: NDArray[np.uint8], size: int) -> Rgba:
    """Draw something that stands in the way: a bar, a slab or a blob, of a texture or a plain colour."""
    import cv2

    kind = rng.integers(3)
    if kind == 0:  # a pole or a beam
        height, width = int(size * rng.uniform(1.0, 1.6)), int(size * rng.uniform(0.04, 0.15))
    else:
        height, width = (int(size * s) for s in rng.uniform(0.15, 0.5, 2))
    height, width = max(height, 8), max(width, 8)
    if rng.random() < 0.25:
        rgb: NDArray[Any] = np.empty((height, width, 3), np.uint8)
        rgb[:] = rng.integers(0, 256, 3)
    else:
        y0, x0 = rng.integers(0, texture.shape[0] // 2), rng.integers(0, texture.shape[1] // 2)
        patch = texture[y0 : y0 + height, x0 : x0 + width]
        rgb = np.asarray(cv2.resize(patch, (width, height), interpolation=cv2.INTER_LINEAR))
    mask = np.zeros((height, width), np.uint8)
    if kind == 2:
        cv2.fillPoly(mask, [_blob(rng, height, width)], 1)
    else:
        mask[:] = 1
    return cut_out(np.asarray(rgb), mask > 0)


def _blob(rng: np.random.Generator, height: int, width: int, depth: float = 0.25) -> NDArray[np.int32]:
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    radius = np.ones_like(angle)
    for wave in range(2, 6):
        radius += rng.uniform(-depth, depth) / (wave - 1) * np.sin(wave * angle + rng.uniform(0, 2 * np.pi))
    radius /= radius.max()
    x, y = (
        (0.5 + 0.5 * radius * np.cos(angle)) * (width - 1),
        (0.5 + 0.5 * radius * np.sin(angle)) * (height - 1),
    )
    return np.stack([x, y], axis=1).astype(np.int32)
