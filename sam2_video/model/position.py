"""Every positional encoding of the network: pure functions of the grid, and the one that has weights."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from sam2_video.model import triton_rotation
from sam2_video.model.derived import Derived

TEMPERATURE = 10_000.0


class GridTable:
    """Tables that depend on the feature grid alone, made when a grid, device or dtype is first seen.

    Values are computed in float32 and cast once, so that a model cast to bfloat16 and back loses nothing.
    """

    MAX_ENTRIES = 8  # training visits a few sizes; anything more is a leak

    def __init__(self, make: Callable[[int, int], Tensor]) -> None:
        self._make = make
        self._tables: dict[tuple[int, int, torch.device, torch.dtype], Tensor] = {}

    def __call__(self, height: int, width: int, like: Tensor) -> Tensor:
        """Return the table of a height x width grid on the device and in the dtype of `like`."""
        key = (height, width, like.device, like.dtype)
        found = self._tables.get(key)  # other threads may ask for other grids
        if found is None:
            if len(self._tables) >= self.MAX_ENTRIES:
                self._tables.clear()
            # Made outside inference mode: training may use a table that a validation pass asked for first.
            with torch.inference_mode(False):
                found = self._tables[key] = self._make(height, width).to(like.device, like.dtype)
        return found


def sine_grid(height: int, width: int, channels: int) -> Tensor:
    """(1, C, H, W): sines of the normalised row in the first half of the channels, then of the column."""
    half = channels // 2
    # Neighbours share a frequency: one is a sine, one a cosine.
    wave = TEMPERATURE ** (2 * (torch.arange(half) // 2) / half)

    def encode(count: int) -> Tensor:
        phase = torch.arange(1, count + 1, dtype=torch.float32) / (count + 1e-6) * 2 * math.pi
        phase = phase[:, None] / wave  # (count, half)
        return torch.stack((phase[:, 0::2].sin(), phase[:, 1::2].cos()), dim=2).flatten(1)

    rows = encode(height).T[:, :, None].expand(half, height, width)
    columns = encode(width).T[:, None, :].expand(half, height, width)
    return torch.cat((rows, columns))[None]


def sine_time(distance: Tensor, channels: int) -> Tensor:
    """Scalar positions (P,) -> (P, C): all sines, then all cosines."""
    half = channels // 2
    index = torch.arange(half, device=distance.device)
    wave = TEMPERATURE ** (2 * torch.div(index, 2, rounding_mode="floor") / half)
    phase = distance[:, None] / wave
    return torch.cat((phase.sin(), phase.cos()), dim=-1)


def axial_rope(height: int, width: int, channels: int) -> Tensor:
    """(2, H*W, C/2) cosines and sines of the rotation of each channel pair.

    The first half of the pairs turns with the column, the second with the row.
    """
    quarter = channels // 4
    frequency = TEMPERATURE ** (-torch.arange(quarter, dtype=torch.float32) * 4 / channels)
    cell = torch.arange(height * width)
    column, row = (cell % width).float(), torch.div(cell, width, rounding_mode="floor").float()
    angle = torch.cat((column[:, None] * frequency, row[:, None] * frequency), dim=-1)
    return torch.stack((angle.cos(), angle.sin()))


def pairs_apart(rows: Tensor, heads: int) -> Tensor:
    """(C, ...) in an order that puts the first of each head's neighbouring pairs before all the second.

    The released weights turn neighbours. Queries and keys may be reordered alike without changing their
    products, and halves are turned several times as fast as neighbours.
    """
    return torch.unflatten(rows, 0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Turn the pairs of x (..., N, C), ordered as by `pairs_apart`, by the angles of `table` (2, N, C/2)."""
    if triton_rotation.takes(x):
        return triton_rotation.turned(x, table)
    cos, sin = table
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1)


class RandomFourier(nn.Module):
    """Positions in the unit square -> sines and cosines of random projections: the prompt encoder's."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, channels // 2))
        self._grid = Derived(_code_of_cells)

    def forward(self, position: Tensor) -> Tensor:
        """(..., 2) x and y in 0..1 -> (..., C)."""
        return _code(self.positional_encoding_gaussian_matrix, position)

    def grid(self, height: int, width: int) -> Tensor:
        """(1, C, H, W): the encoding of every cell's centre."""
        code: Tensor = self._grid(self.positional_encoding_gaussian_matrix, of=(height, width))
        return code


def _code(matrix: Tensor, position: Tensor) -> Tensor:
    phase = 2 * math.pi * ((2 * position.to(matrix.dtype) - 1) @ matrix)
    return torch.cat((phase.sin(), phase.cos()), dim=-1)


def _code_of_cells(matrix: Tensor, height: int, width: int) -> Tensor:
    rows = (torch.arange(height) + 0.5) / height
    columns = (torch.arange(width) + 0.5) / width
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return _code(matrix, torch.stack((x, y), dim=-1).to(matrix)).permute(2, 0, 1)[None]
