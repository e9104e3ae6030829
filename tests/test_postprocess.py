"""Holes, sprinkles, overlaps, boxes, run lengths."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sam2_video.postprocess import clean_logits, decode_rle, encode_rle, fill_holes, non_overlapping
from sam2_video.types import upsample_logits


def blob(*cells: tuple[int, int]) -> torch.Tensor:
    """A 6 x 6 square inside a 10 x 10 map, with some cells turned over."""
    logits = torch.full((1, 10, 10), -5.0)
    logits[0, 2:8, 2:8] = 5.0
    for y, x in cells:
        logits[0, y, x] *= -1
    return logits


def test_small_hole_is_filled_and_small_sprinkle_removed() -> None:
    out = fill_holes(blob((4, 4), (4, 5), (0, 0)), 2)
    assert ((out > 0) == (blob() > 0)).all()
    assert out[0, 5, 5] == 5.0  # the rest keeps its logits


@pytest.mark.parametrize("threshold", [0.0, 1.5])
def test_cleaning_of_pictures_fills_and_sweeps(threshold: float) -> None:
    """A hole of two pixels, a speck of one; what is changed lies 10 from the threshold, the rest stays."""
    logits = blob((4, 4), (4, 5), (0, 0))
    assert clean_logits(logits, 0, 0, threshold) is logits
    assert torch.equal(clean_logits(logits, 1, 0, threshold), logits)  # the hole is larger
    filled = clean_logits(logits, 2, 0, threshold)
    assert filled[0, 4, 4:6].tolist() == [threshold + 10] * 2 and filled[0, 0, 0] == 5
    swept = clean_logits(logits, 2, 1, threshold)
    assert swept[0, 0, 0] == threshold - 10 and ((swept > threshold) == (blob() > 0)).all()
    assert (swept != logits).sum() == 3
    assert not (clean_logits(logits, 0, 36, threshold) > threshold).any()  # all of it is a speck


def test_large_ones_stay() -> None:
    logits = blob((4, 4), (4, 5), (0, 0), (0, 1))
    assert torch.equal(fill_holes(logits, 1), logits)


def test_diagonal_neighbours_belong_together() -> None:
    logits = blob((4, 4), (5, 5))
    assert torch.equal(fill_holes(logits, 1), logits)


def test_a_mask_of_small_parts_only_keeps_them() -> None:
    logits = torch.full((1, 10, 10), -5.0)
    logits[0, 3, 3] = 5.0
    assert torch.equal(fill_holes(logits, 4), logits)


def test_nothing_is_filled_by_default_or_without_objects() -> None:
    logits = blob((4, 4))
    assert fill_holes(logits, 0) is logits
    assert fill_holes(torch.zeros(0, 4, 4), 5).shape == (0, 4, 4)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), objects=st.integers(2, 4), scale=st.sampled_from([1.0, 30.0]))
def test_masks_do_not_overlap_at_any_resolution(seed: int, objects: int, scale: float) -> None:
    logits = scale * torch.randn(objects, 8, 8, generator=torch.Generator().manual_seed(seed))
    out = non_overlapping(logits)
    assert ((upsample_logits(out, (37, 53)) > 1e-4).sum(dim=0) <= 1).all()
    winner = (logits == logits.max(dim=0).values) & (logits > 0)
    assert torch.equal(out > 0, winner)  # the largest logit keeps its pixel, and nobody gains one


def test_what_no_other_object_claims_is_unchanged() -> None:
    logits = torch.stack([blob()[0], torch.full((10, 10), -3.0)])
    out = non_overlapping(logits)
    assert torch.equal(out[0], logits[0])
    assert non_overlapping(logits[:1]) is not None and torch.equal(non_overlapping(logits[:1]), logits[:1])


def test_runs_go_column_by_column_and_begin_with_background() -> None:
    mask = np.array([[1, 0], [1, 1]], bool)
    assert encode_rle(mask) == {"size": [2, 2], "counts": [0, 2, 1, 1]}
    assert encode_rle(np.zeros((2, 2), bool))["counts"] == [4]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 10_000))
def test_runs_come_back_as_the_mask(height: int, width: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) > 0.5
    runs = encode_rle(mask)
    assert (decode_rle(runs) == mask).all()
    assert sum(runs["counts"]) == height * width


def test_runs_that_do_not_fill_the_mask_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fill 2 x 2"):
        decode_rle({"size": [2, 2], "counts": [1, 2]})


def test_a_sprinkle_inside_of_a_hole_is_removed_and_the_hole_around_it_filled() -> None:
    """Both are looked for in the logits as they came, as the reference does it."""
    logits = torch.ones(1, 7, 7)
    logits[0, 2:5, 2:5] = -1
    logits[0, 3, 3] = 1
    masks = clean_logits(logits, 8, 1)[0] > 0
    assert masks.sum() == 48 and not masks[3, 3]
