"""Where automatic masks are looked for: grids of clicks, and the crops of a picture that get one each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int]  # x0, y0, x1, y1; as a crop: first column and row, and those after the last
Grid = NDArray[np.float64]  # (P, 2) x, y as shares of width and height, 0 to 1

# Far beyond what is of use (the reference's 32 a side are 1024 clicks), and days of work for one picture.
MOST_LAYERS = 6  # 5461 crops
MOST_CLICKS = 10**6  # in all crops of a picture together


@dataclass(frozen=True)
class Crop:
    """A part of a picture that is looked at by itself. Layer 0 is the picture, layer n cuts it 4**n times."""

    layer: int
    box: Box

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        x0, y0, x1, y1 = self.box
        return y1 - y0, x1 - x0

    @property
    def area(self) -> int:
        height, width = self.size
        return height * width


def point_grid(side: int) -> Grid:
    """(side * side, 2) points spread evenly, row by row, half a step from the edges."""
    line = np.linspace(0.5 / side, 1 - 0.5 / side, side)
    return np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)


def layer_grids(side: int, layers: int, downscale: int) -> list[Grid]:
    """One grid for the picture and each of `layers` crop layers, thinner by `downscale` from layer to layer.

    Raises ValueError where a layer would be left without points, and for more work than `check_work` allows.
    """
    check_layers(layers)
    if side > MOST_CLICKS:  # a number that later arithmetic need not cope with
        raise ValueError(f"{side} points per side are too many: of all clicks {MOST_CLICKS} is the limit")
    sides = [int(side / downscale**layer) for layer in range(layers + 1)]
    check_work([count**2 for count in sides], f"{side} points per side with {layers} crop layers")
    if min(sides) < 1:
        raise ValueError(
            f"{side} points per side, {downscale} times fewer in each of {layers} crop layers, leave none in "
            "the last; ask for more points, fewer layers or a smaller crop_n_points_downscale_factor"
        )
    return [point_grid(count) for count in sides]


def check_layers(layers: int) -> None:
    """Raise ValueError for more crop layers than anybody can wait for."""
    if layers > MOST_LAYERS:
        raise ValueError(
            f"{layers} crop layers are too many: layer n looks at 4**n crops, so {MOST_LAYERS} layers, the "
            f"limit, are {_crops(MOST_LAYERS)} pictures to encode for each picture"
        )


def check_work(clicks: Sequence[int], asked: str) -> None:
    """Raise ValueError for too many clicks in all; `clicks`: in each crop of layer 0, 1, ..."""
    total = sum(4**layer * count for layer, count in enumerate(clicks))
    if total > MOST_CLICKS:
        crops = _crops(len(clicks) - 1)
        raise ValueError(
            f"{asked} come to {total} clicks in {crops} crop{'s' if crops > 1 else ''} of each picture, and "
            f"{MOST_CLICKS} is the limit; ask for fewer points, fewer layers or a larger "
            "crop_n_points_downscale_factor"
        )


def _crops(layers: int) -> int:
    return int(sum(4**layer for layer in range(layers + 1)))


def checked_grids(grids: Sequence[Any], layers: int) -> list[Grid]:
    """Custom grids, one for each layer, as arrays. Raises ValueError for what is no such grid."""
    check_layers(layers)
    if not hasattr(grids, "__len__"):
        raise ValueError(f"point_grids must be a list of grids, one for each layer; got {grids!r}")
    if len(grids) != layers + 1:
        raise ValueError(
            f"point_grids needs one grid for the picture and one for each of {layers} crop layers; "
            f"got {len(grids)}"
        )
    out = []
    for grid in grids:
        try:
            points = np.asarray(grid, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"a point grid is a list of (x, y) pairs of numbers: {error}") from error
        if points.ndim != 2 or points.shape[1] != 2 or not len(points):
            raise ValueError(f"a point grid is a list of (x, y) pairs; got an array shaped {points.shape}")
        if not ((points >= 0) & (points <= 1)).all():
            raise ValueError("points of a grid are shares of width and height, from 0 to 1")
        out.append(points)
    check_work([len(grid) for grid in out], f"these point_grids with {layers} crop layers")
    return out


def crops_of(size: tuple[int, int], layers: int, overlap: float) -> list[Crop]:
    """The picture, then layer n as 2**n by 2**n equal crops, column by column.

    Neighbours of the first layer share `overlap` of the picture's shorter side, those of later layers as much
    less as the crops are smaller. Raises ValueError for a picture that is too small to be cut so often.
    """
    height, width = size
    out = [Crop(0, (0, 0, width, height))]
    for layer in range(1, layers + 1):
        count = 2**layer
        if min(size) < count:
            raise ValueError(f"a picture of {width}x{height} is too small for {layers} crop layers")
        shared = int(overlap * min(size) * (2 / count))
        across, down = (ceil((shared * (count - 1) + side) / count) for side in (width, height))
        lefts = [(across - shared) * k for k in range(count)]
        tops = [(down - shared) * k for k in range(count)]
        out += [
            Crop(layer, (left, top, min(left + across, width), min(top + down, height)))
            for left, top in product(lefts, tops)
        ]
    return out
