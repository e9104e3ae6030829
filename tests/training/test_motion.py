from __future__ import annotations

import numpy as np
import pytest

from sam2_video.training.appearance import line_kernel, tone_curves
from sam2_video.training.motion import (
    bounced,
    control_points,
    draw_path,
    draw_wobble,
    excursion,
    place,
    spread,
    still_path,
    through,
)


def test_a_rigid_map_is_exact() -> None:
    """The spline grid reproduces an affine map: mapped back, every pixel returns to where it came from."""
    path = draw_path(np.random.default_rng(1), 4, speed=0.03)
    spot = place(
        path, centre=np.array([20.0, 15.0]), anchor=(0.4, 0.6), scale=1.3, aspect=0.7, size=(40, 30), side=64
    )
    box = np.tile(np.array([3, 5, 61, 40]), (4, 1))
    points = control_points(spot, box, None)
    for t in range(4):
        map_x, map_y = spread(points[t], 58, 35)
        assert map_x.shape == (35, 58)
        source = np.stack([map_x, map_y], axis=-1).reshape(-1, 2)
        back = spot.forward(source)[t].reshape(35, 58, 2)
        ys, xs = np.mgrid[5:40, 3:61]
        assert back[..., 0] == pytest.approx(xs, abs=1e-3)
        assert back[..., 1] == pytest.approx(ys, abs=1e-3)


def test_the_anchor_is_where_the_centre_goes() -> None:
    spot = place(
        still_path(2),
        centre=np.array([5.0, 9.0]),
        anchor=(0.25, 0.75),
        scale=2.0,
        aspect=1.3,
        size=(10, 18),
        side=100,
    )
    assert spot.forward(np.array([[5.0, 9.0]], np.float32))[1, 0] == pytest.approx([25, 75], abs=1e-4)


def test_squash_makes_wide_things_narrow() -> None:
    spot = place(
        still_path(1), centre=np.zeros(2), anchor=(0.5, 0.5), scale=1.0, aspect=0.5625, size=(16, 16), side=64
    )
    corner = spot.forward(np.array([[10.0, 10.0]], np.float32))[0, 0] - 32
    assert corner[0] / corner[1] == pytest.approx(0.5625)


def test_a_camera_moves_what_it_sees() -> None:
    size = (64, 64)
    inner = place(
        still_path(1), centre=np.zeros(2), anchor=(0.5, 0.5), scale=1.0, aspect=1.0, size=size, side=64
    )
    camera = place(
        still_path(1),
        centre=np.array([32.0, 32.0]),
        anchor=(0.75, 0.5),
        scale=2.0,
        aspect=1.0,
        size=size,
        side=64,
    )
    seen = through(inner, camera).forward(np.array([[1.0, 3.0]], np.float32))[0, 0]
    assert seen == pytest.approx([48 + 2, 32 + 6], abs=1e-4)


def test_paths_start_where_they_are_placed_and_have_the_speed_asked_for() -> None:
    paces = []
    for seed in range(200):
        path = draw_path(np.random.default_rng(seed), 6, speed=0.02, jumps=0.0)
        assert not path.offset[0].any() and path.scale[0] == 1 and path.angle[0] == 0
        paces.append(np.linalg.norm(np.diff(path.offset, axis=0), axis=1).mean())
    assert 0.014 < np.median(paces) < 0.03
    assert max(paces) < 0.25


def test_bending_does_not_fold_a_layer() -> None:
    """Neighbouring pixels keep their order nearly everywhere, even at full strength."""
    folded = []
    for seed in range(20):
        wobble = draw_wobble(np.random.default_rng(seed), 3, strength=0.13)
        spot = place(
            still_path(3),
            centre=np.full(2, 32.0),
            anchor=(0.5, 0.5),
            scale=1.0,
            aspect=1.0,
            size=(64, 64),
            side=64,
        )
        points = control_points(spot, np.tile(np.array([0, 0, 64, 64]), (3, 1)), wobble)
        map_x, map_y = spread(points[2], 64, 64)
        folded.append(((np.diff(map_x, axis=1) <= 0).mean() + (np.diff(map_y, axis=0) <= 0).mean()) / 2)
    assert np.mean(folded) < 0.02


@pytest.mark.parametrize("frames", [2, 3, 4, 8])
def test_an_excursion_leaves_and_comes_back(frames: int) -> None:
    ways = [np.abs(excursion(np.random.default_rng(seed), frames)).max(axis=1) for seed in range(30)]
    assert all(way[0] == 0 for way in ways)
    if frames > 2:
        assert all(way.max() > 1 for way in ways)
    if frames == 8:
        assert sum(way[-1] == 0 for way in ways) > 5


def test_tone_curves_rise_and_drift_slowly() -> None:
    curves = tone_curves(np.random.default_rng(3), 5, strength=1.0).astype(int)
    assert curves.shape == (5, 256, 1, 3)
    assert (np.diff(curves, axis=1) >= 0).all()
    assert np.abs(np.diff(curves, axis=0)).mean() < 12


def test_no_strength_leaves_colours_alone() -> None:
    curves = tone_curves(np.random.default_rng(3), 1, strength=0.0)
    assert np.abs(curves[0, :, 0, 0].astype(int) - np.arange(256)).max() <= 1


def test_a_smear_keeps_brightness_and_follows_its_direction() -> None:
    kernel = line_kernel(8.0, 0.0)
    assert kernel is not None and kernel.sum() == pytest.approx(1.0)
    assert kernel.sum(axis=1).max() > 0.6 > 5 * kernel.sum(axis=0).max() / 2  # along one row
    assert line_kernel(0.5, 0.5) is None


def test_a_way_is_turned_back_at_its_bounds() -> None:
    way = np.array([[0.0, 0.0], [0.3, -0.2], [0.6, 0.1], [1.4, 0.0]], np.float32)
    out = bounced(way, np.array([-0.5, -0.1], np.float32), np.array([0.5, 0.2], np.float32))
    assert out == pytest.approx(np.array([[0.0, 0.0], [0.3, 0.0], [0.4, 0.1], [-0.4, 0.0]]), abs=1e-6)
