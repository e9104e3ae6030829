"""Where a person would click, worked out by hand."""

from __future__ import annotations

import numpy as np

from sam2_video.evaluation.clicks import box_of, centre_of_error, deepest


def block(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((20, 30), bool)
    mask[y0:y1, x0:x1] = True
    return mask


NOTHING = block(0, 0, 0, 0)


def test_the_thickest_part_is_clicked_not_the_largest() -> None:
    """A line of 25 x 2 pixels has more of them than a square of 5 x 5."""
    truth = block(2, 1, 27, 3) | block(10, 8, 15, 13)
    assert centre_of_error(NOTHING, truth) == (12, 10, 1)
    assert centre_of_error(truth, NOTHING) == (12, 10, 0)
    assert centre_of_error(truth, truth) is None


def test_missing_and_surplus_parts_are_two_errors() -> None:
    """Side by side they would be 10 wide; apart the missing one is thicker, and wins also where they tie."""
    assert centre_of_error(block(14, 4, 18, 13), block(5, 4, 14, 13)) == (9, 8, 1)
    assert centre_of_error(block(14, 4, 23, 13), block(5, 4, 14, 13)) == (9, 8, 1)
    assert centre_of_error(block(14, 4, 25, 15), block(5, 4, 14, 13)) == (19, 9, 0)


def test_ties_go_to_the_first_pixel_in_reading_order() -> None:
    assert centre_of_error(NOTHING, block(4, 4, 8, 8)) == (5, 5, 1)
    assert centre_of_error(NOTHING, block(20, 2, 23, 5) | block(2, 2, 5, 5) | block(2, 9, 5, 12)) == (3, 3, 1)


def test_the_border_of_the_picture_is_an_edge() -> None:
    assert deepest(block(0, 0, 30, 20)) == (9, 9, 10.0)
    assert deepest(block(0, 0, 5, 5)) == (2, 2, 3.0)


def test_void_pixels_are_not_wrong() -> None:
    truth = block(5, 5, 16, 16)
    assert centre_of_error(NOTHING, truth, block(5, 5, 11, 16)) == (13, 7, 1)
    assert centre_of_error(NOTHING, truth, truth) is None


def test_boxes_are_tight() -> None:
    assert box_of(block(3, 4, 9, 6) | block(20, 18, 21, 19)) == (3, 4, 20, 18)
