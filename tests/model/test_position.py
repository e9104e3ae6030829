"""Positional encodings against direct formulas."""

from __future__ import annotations

import math

import pytest
import torch

from sam2_video.model.position import (
    GridTable,
    RandomFourier,
    axial_rope,
    pairs_apart,
    rotate,
    sine_grid,
    sine_time,
)
from tests.model.conftest import Draw


@pytest.mark.parametrize(("height", "width", "channels"), [(3, 5, 8), (4, 4, 16), (1, 2, 4)])
def test_sine_grid(height: int, width: int, channels: int) -> None:
    table = sine_grid(height, width, channels)
    assert table.shape == (1, channels, height, width)
    half = channels // 2
    for y in range(height):
        for x in range(width):
            for c in range(channels):
                place, count, c_in = (y, height, c) if c < half else (x, width, c - half)
                phase = 2 * math.pi * (place + 1) / count / 10000 ** ((c_in // 2) * 2 / half)
                expected = math.cos(phase) if c_in % 2 else math.sin(phase)
                assert abs(float(table[0, c, y, x]) - expected) < 1e-5


def test_sine_time() -> None:
    distance = torch.tensor([0.0, 0.2, -1.0, 3.0])
    table = sine_time(distance, 8)
    for row, t in zip(table, distance.tolist(), strict=True):
        phases = [t / 10000 ** (2 * (c // 2) / 4) for c in range(4)]
        expected = [*map(math.sin, phases), *map(math.cos, phases)]
        torch.testing.assert_close(row, torch.tensor(expected), rtol=1e-5, atol=1e-6)


def test_rope_angles() -> None:
    table = axial_rope(2, 3, 8)  # 4 pairs: two turn with the column, two with the row
    assert table.shape == (2, 6, 4)
    for cell in range(6):
        y, x = divmod(cell, 3)
        angles = torch.tensor([x * 1.0, x * 0.01, y * 1.0, y * 0.01])
        torch.testing.assert_close(table[:, cell], torch.stack((angles.cos(), angles.sin())))


def test_rotation_is_that_of_complex_numbers(draw: Draw) -> None:
    x, table = draw(2, 3, 12, 8), axial_rope(3, 4, 8)
    turned = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()) * torch.complex(*table)
    order = pairs_apart(torch.arange(8), heads=1)
    expected = torch.view_as_real(turned).flatten(-2)[..., order]
    torch.testing.assert_close(rotate(x[..., order], table), expected)


def test_pairs_are_put_apart_head_by_head() -> None:
    assert pairs_apart(torch.arange(6), heads=1).tolist() == [0, 2, 4, 1, 3, 5]
    assert pairs_apart(torch.arange(8), heads=2).tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_rotation_keeps_lengths(draw: Draw) -> None:
    x = draw(2, 30, 16)
    turned = rotate(x, axial_rope(5, 6, 16))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(turned[:, 0], x[:, 0])  # the first cell stays
    assert not torch.allclose(turned[:, 1:], x[:, 1:])


def test_products_depend_on_distance_alone(draw: Draw) -> None:
    side = 7
    table = axial_rope(side, side, 16)
    q, k = draw(16).expand(side * side, 16), draw(16).expand(side * side, 16)
    product = (rotate(q, table) @ rotate(k, table).T).unflatten(0, (side, side)).unflatten(2, (side, side))
    for dy, dx in [(0, 0), (1, 0), (0, 1), (2, -1), (-3, 2)]:
        found = [
            float(product[y, x, y + dy, x + dx])
            for y in range(3, 5)
            for x in range(3, 5)
        ]  # fmt: skip
        assert max(found) - min(found) < 1e-4
    assert abs(product[3, 3, 3, 4] - product[3, 3, 4, 3]) > 1e-2  # rows and columns differ


def test_random_fourier(draw: Draw) -> None:
    encoding = RandomFourier(6)
    matrix = encoding.positional_encoding_gaussian_matrix
    assert matrix.shape == (2, 3)
    phase = 2 * math.pi * ((2 * torch.tensor([0.3, 0.9]) - 1) @ matrix)
    torch.testing.assert_close(encoding(torch.tensor([0.3, 0.9])), torch.cat((phase.sin(), phase.cos())))
    grid = encoding.grid(4, 5)
    assert grid.shape == (1, 6, 4, 5)
    torch.testing.assert_close(grid[0, :, 1, 2], encoding(torch.tensor([2.5 / 5, 1.5 / 4])))


class Counted:
    def __init__(self) -> None:
        self.made: list[tuple[int, int]] = []

    def __call__(self, height: int, width: int) -> torch.Tensor:
        self.made.append((height, width))
        return torch.rand(height, width)


def test_tables_are_made_once_for_each_grid_and_type() -> None:
    make = Counted()
    table = GridTable(make)
    first = table(2, 3, like=torch.zeros(1))
    assert table(2, 3, like=torch.ones(5)) is first
    assert table(3, 2, like=torch.zeros(1)).shape == (3, 2)
    half = table(2, 3, like=torch.zeros(1, dtype=torch.bfloat16))
    assert half.dtype == torch.bfloat16
    assert table(2, 3, like=torch.zeros(1, device="meta")).is_meta
    assert table(2, 3, like=torch.zeros(1)) is first
    assert make.made == [(2, 3), (3, 2), (2, 3), (2, 3)]


def test_tables_of_many_sizes_do_not_pile_up() -> None:
    table = GridTable(Counted())
    for side in range(1, 40):
        assert table(side, side, like=torch.zeros(1)).shape == (side, side)
        assert len(table._tables) <= table.MAX_ENTRIES


def test_a_table_made_in_inference_serves_training() -> None:
    table = GridTable(torch.ones)
    with torch.inference_mode():
        table(2, 3, like=torch.zeros(1))
    weight = torch.ones(2, 3, requires_grad=True)
    (
        weight * table(2, 3, like=torch.zeros(1))
    ).sum().backward()  # an inference tensor cannot be saved for this
    assert weight.grad is not None
