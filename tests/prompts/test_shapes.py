"""Shapes as masks: the same pixels as COCO's own tools, up to a pixel along the edge."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from sam2_video.prompts.shapes import Box, Ellipse, Patch, Polygons, fill_polygon, polygon, run_lengths
from sam2_video.types import PromptError
from tests.prompts.files import rectangle


def as_coco(ring: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.bool_]:
    (runs,) = coco_mask.frPyObjects([ring.ravel().tolist()], *size)
    decoded: NDArray[np.uint8] = coco_mask.decode(runs)
    return decoded > 0


# pycocotools 2.0.11 is older than NumPy's new rules for __array__.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_polygons_agree_with_coco_but_for_the_edge() -> None:
    rng = np.random.default_rng(0)
    areas = []
    for _ in range(60):
        size = (int(rng.integers(20, 100)), int(rng.integers(20, 100)))
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 12))))
        reach = rng.uniform(5, 60, len(angles))  # some reach out of the picture
        ring = np.stack([np.cos(angles), np.sin(angles)], 1) * reach[:, None] + (size[1] / 2, size[0] / 2)
        ours, theirs = fill_polygon(ring, size), as_coco(ring, size)
        for y, x in np.argwhere(ours != theirs):
            centre = (float(x) + 0.5, float(y) + 0.5)
            assert abs(cv2.pointPolygonTest(ring.astype(np.float32), centre, True)) <= 1
        areas.append((ours.sum(), theirs.sum()))
    ours_total, theirs_total = np.sum(areas, axis=0)
    assert abs(ours_total / theirs_total - 1) < 0.01  # neither larger nor smaller on the whole


def test_a_polygon_around_pixels_covers_just_these() -> None:
    ring = polygon([3, 2, 9, 2, 9, 7, 3, 7])
    np.testing.assert_array_equal(fill_polygon(ring, (10, 12)), rectangle(3, 2, 9, 7, (10, 12)))
    np.testing.assert_array_equal(fill_polygon(ring[::-1], (10, 12)), rectangle(3, 2, 9, 7, (10, 12)))
    np.testing.assert_array_equal(fill_polygon(ring - 0.4, (10, 12)), rectangle(3, 2, 9, 7, (10, 12)))


def test_polygons_that_cross_themselves_or_reach_far_out() -> None:
    bow_tie = fill_polygon(polygon([0, 0, 10, 10, 10, 0, 0, 10]), (10, 10))
    assert bow_tie[5, 1] and bow_tie[5, 8] and not bow_tie[1, 5]
    far = fill_polygon(polygon([-1e6, -1e6, 1e6, -1e6, 1e6, 1e6, -1e6, 1e6]), (5, 6))
    assert far.all()
    assert not fill_polygon(polygon([100, 100, 200, 100, 200, 200]), (5, 6)).any()
    two = Polygons((polygon([0, 0, 4, 0, 4, 4, 0, 4]), polygon([2, 2, 6, 2, 6, 6, 2, 6]))).draw((8, 8))
    assert two.sum() == 16 + 16 - 4  # a union, the overlap is not cut out


def test_a_tangle_is_refused_before_it_eats_memory() -> None:
    zigzag = np.stack([np.arange(20_000) % 50, np.tile([0.0, 4000.0], 10_000)], 1)
    with pytest.raises(PromptError, match="20000 points crosses the picture too often"):
        fill_polygon(zigzag, (4000, 50))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, 2, 3, 4], "2 points, expected 3"),
        ([1, 2, 3, 4, 5, 6, 7], "7 values, expected pairs"),
        ([1, 2, 3, "4", 5, 6], "'4', expected a number"),
        ([[1, 2], [3, 4], [5, 6, 7]], "3 values, expected 2"),
        ([1, 2, 3, float("inf"), 5, 6], "inf, not a finite"),
        ([1, 2, 3, 1e300, 5, 6], "far outside of any picture"),
        ([1, 2, 3, 10**400, 5, 6], "far outside of any picture"),
        ("1,2,3,4,5,6", "expected a list"),
    ],
)
def test_values_that_are_no_polygon(values: object, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        polygon(values)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"size": [4, 5], "counts": [3, 4]}, "cover 7 pixels, but a picture of 5x4 has 20"),
        ({"size": [4, 5], "counts": [25, -5]}, "-5, expected a whole number"),
        ({"size": [4], "counts": [20]}, r"\[4\], expected \[height, width\]"),
        ({"size": [0, 5], "counts": []}, "height is 0"),
        ({"size": [10**9, 10**9], "counts": [10**18]}, "far outside|too large"),
        ({"size": [100_000, 100_000], "counts": [10**10]}, "too large"),
        ({"size": [4, 5], "counts": "~~"}, "damaged"),
        ({"size": [4, 5], "counts": "é"}, "damaged"),
        ({"size": [4, 5], "counts": "o" * 50 + "0"}, "damaged"),
        ({"size": [4, 5], "counts": "5"}, "cover 5 pixels"),
        ({"size": [4, 5]}, "counts of it is None"),
    ],
)
def test_run_lengths_that_are_damaged(value: object, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        run_lengths(value, "it")


def test_circles_and_turned_shapes() -> None:
    circle = Ellipse((10, 10), (5, 5)).draw((20, 20))
    assert abs(circle.sum() - np.pi * 25) < 3 and circle[9, 14] and not circle[9, 15]
    lying = Ellipse((10, 10), (8, 2), degrees=90).draw((20, 20))
    assert lying[3, 9] and not lying[9, 3]
    diagonal = Ellipse((10, 10), (8, 2), degrees=45).draw((20, 20))  # clockwise: to the right and down
    assert diagonal[14, 14] and not diagonal[5, 14]
    assert Box((10, 10, 20, 14)).upright() == (10, 10, 20, 14)
    assert Box((10, 10, 20, 14), degrees=90).upright() == pytest.approx((13, 7, 17, 17))
    assert Box((10, 10, 20, 14), degrees=90, pivot=(0, 0)).upright() == pytest.approx((6, 10, 10, 20))


def test_a_patch_is_cut_at_the_border() -> None:
    patch = Patch(np.ones((4, 6), dtype=bool), left=-2, top=7)
    np.testing.assert_array_equal(patch.draw((10, 10)), rectangle(0, 7, 4, 10, (10, 10)))
    for place in (-50, 12, 50):
        assert not Patch(np.ones((4, 6), dtype=bool), place, place).draw((10, 10)).any()
