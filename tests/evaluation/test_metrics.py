from __future__ import annotations

import cv2
import numpy as np
import pytest

from sam2_video.evaluation.boundary import matched_shares, outline, reach_in_pixels
from sam2_video.evaluation.metrics import (
    boundary_accuracy,
    compare,
    region_similarity,
    statistics,
)
from tests.paths import SHARED, needs_shared

EMPTY = np.zeros((20, 30), bool)


def block(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((20, 30), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_j_by_hand() -> None:
    a, b = block(0, 0, 10, 10), block(5, 0, 15, 10)
    assert region_similarity(a, b) == pytest.approx(50 / 150)
    assert region_similarity(a, a.astype(np.uint8) * 255) == 1
    assert region_similarity(EMPTY, EMPTY) == 1
    assert region_similarity(a, EMPTY) == region_similarity(EMPTY, a) == 0


def test_an_outline_by_hand() -> None:
    mask = np.zeros((4, 4), bool)
    mask[2:, 2:] = True  # its right and lower sides are the frame's border
    expected = np.zeros((4, 4), bool)
    expected[1, 1:] = expected[1:, 1] = True
    assert np.array_equal(outline(mask), expected)
    assert not outline(np.ones((4, 4), bool)).any()


def test_f_by_hand() -> None:
    a = block(5, 5, 15, 15)
    assert boundary_accuracy(a, a) == 1
    assert boundary_accuracy(EMPTY, EMPTY) == 1
    assert boundary_accuracy(a, EMPTY) == boundary_accuracy(EMPTY, a) == 0
    # The diagonal is 36 pixels, so outlines match up to ceil(0.29) = 1 pixel apart.
    assert boundary_accuracy(a, np.roll(a, 1, axis=1)) == 1
    assert boundary_accuracy(a, np.roll(a, 3, axis=1)) < 0.8
    assert boundary_accuracy(a, np.roll(a, 3, axis=1), bound=0.08) == 1
    assert boundary_accuracy(block(0, 0, 4, 4), block(20, 12, 25, 18)) == 0


def brute_force(a: np.ndarray, b: np.ndarray, reach: int) -> float:
    """The definition, pixel by pixel: a point matches where the other outline passes within `reach`."""

    def edge(mask: np.ndarray) -> list[tuple[int, int]]:
        height, width = mask.shape
        points = []
        for y in range(height):
            for x in range(width):
                around = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
                if any(v < height and u < width and mask[v, u] != mask[y, x] for v, u in around):
                    points.append((y, x))
        return points

    edge_a, edge_b = edge(a), edge(b)
    if not edge_a or not edge_b:
        return float(len(edge_a) == len(edge_b))

    def matched(these: list[tuple[int, int]], those: list[tuple[int, int]]) -> float:
        near = [any((y - v) ** 2 + (x - u) ** 2 <= reach**2 for v, u in those) for y, x in these]
        return float(np.mean(near))

    precision, recall = matched(edge_a, edge_b), matched(edge_b, edge_a)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize("seed", range(12))
def test_f_equals_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(8, 24, 2))
    coarse = rng.random((2, 4, 4)) < rng.choice([0.05, 0.4])
    a, b = (np.kron(c, np.ones((6, 6))).astype(bool)[: shape[0], : shape[1]] for c in coarse)
    reach = int(rng.integers(1, 5))
    bound = (reach - 0.5) / float(np.hypot(*shape))
    assert boundary_accuracy(a, b, bound) == pytest.approx(brute_force(a, b, reach))


def by_dilation(a: np.ndarray, b: np.ndarray, reach: int) -> float:
    """F as the published evaluation computes it: each outline dilated by a disc, on the whole picture."""
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = (x * x + y * y <= reach * reach).astype(np.uint8)
    lines = [line_of(mask).astype(np.uint8) for mask in (a, b)]
    if not lines[0].any() or not lines[1].any():
        return float(lines[0].any() == lines[1].any())
    near = [cv2.dilate(line, disc) for line in lines]
    precision = (lines[0] & near[1]).sum() / lines[0].sum()
    recall = (lines[1] & near[0]).sum() / lines[1].sum()
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def line_of(mask: np.ndarray) -> np.ndarray:
    """Pixels unlike their right, lower or lower right neighbour."""
    wide = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    return (mask != wide[:-1, 1:]) | (mask != wide[1:, :-1]) | (mask != wide[1:, 1:])


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("size", [(97, 161), (64, 64), (200, 33), (1, 40), (40, 1)])
def test_f_equals_dilation_on_blobs(seed: int, size: tuple[int, int]) -> None:
    rng = np.random.default_rng([seed, *size])
    noise = cv2.GaussianBlur(rng.standard_normal((2, *size)).transpose(1, 2, 0), (0, 0), rng.uniform(1, 6))
    level = rng.choice([-1.0, 0.0, 1.0, 2.5, 9.0], 2) * noise.std()  # from everywhere to nowhere
    a, b = (noise[..., k] > level[k] for k in range(2))
    for bound, reach in ((0.008, int(np.ceil(0.008 * np.hypot(*size)))), (5, 5), (17, 17)):
        assert boundary_accuracy(a, b, bound) == pytest.approx(by_dilation(a, b, reach), abs=1e-12)


@pytest.mark.parametrize("edge", ["left", "right", "top", "bottom", "all"])
def test_objects_at_the_border_of_the_frame(edge: str) -> None:
    a, b = np.zeros((60, 90), bool), np.zeros((60, 90), bool)
    window = {"left": np.s_[:, :9], "right": np.s_[:, -9:], "top": np.s_[:9], "bottom": np.s_[-9:]}
    a[window.get(edge, np.s_[:])] = True
    b[20:40, 30:50] = True
    for one, other in ((a, b), (b, a), (a, a), (a, ~a)):
        assert boundary_accuracy(one, other) == pytest.approx(by_dilation(one, other, 1), abs=1e-12)
    assert region_similarity(a, b) == pytest.approx((a & b).sum() / (a | b).sum())


@needs_shared
def test_j_and_f_equal_the_published_definition_on_real_masks() -> None:
    folder = SHARED / "data/davis2016_dev/Annotations/480p"
    compared = 0
    for sequence in sorted(folder.iterdir()):
        files = sorted(sequence.glob("*.png"))
        for at, apart in ((0, 4), (len(files) // 2, 1), (len(files) - 9, 8)):
            a, b = (cv2.imread(str(files[at + k]), cv2.IMREAD_GRAYSCALE) > 0 for k in (0, apart))
            reach = int(np.ceil(0.008 * np.hypot(*a.shape)))
            score = compare(a, b)
            assert score.f == pytest.approx(by_dilation(a, b, reach), abs=1e-12)
            assert score.j == pytest.approx((a & b).sum() / max(1, (a | b).sum()), abs=1e-12)
            compared += 1
    assert compared == 48


def test_void_pixels_do_not_count() -> None:
    a, b = block(0, 0, 10, 10), block(5, 0, 15, 10)
    assert region_similarity(a, b, void=block(0, 0, 5, 20) | block(10, 0, 30, 20)) == 1
    assert boundary_accuracy(a, b, void=a ^ b) == 1
    assert region_similarity(a, b, void=EMPTY) == pytest.approx(1 / 3)


def test_void_pixels_may_be_numbers_as_masks_may() -> None:
    """Turned around bit by bit, 1 is 254: no pixel would be void."""
    a, b = block(0, 0, 10, 10), block(5, 0, 15, 10)
    void = block(0, 0, 5, 20) | block(10, 0, 30, 20)
    assert region_similarity(a, b, void=void.astype(np.uint8)) == 1  # type: ignore[arg-type]
    assert compare(a, b, void.astype(np.uint8) * 255) == compare(a, b, void)  # type: ignore[arg-type]


def test_outlines_match_within_the_diagonal_at_most() -> None:
    a, b = block(0, 0, 4, 4), block(25, 12, 28, 18)
    assert boundary_accuracy(a, b, bound=10) == 0
    assert boundary_accuracy(a, b, bound=37) == boundary_accuracy(a, b, bound=5000) == 1
    assert reach_in_pixels(1e12, (20, 30)) == reach_in_pixels(0.9999, (20, 30)) == 37


def test_statistics_by_hand() -> None:
    found = statistics([1.0, 1.0, 0.8, 0.6, 0.5, 0.1, 0.0, 0.0])
    assert found.mean == pytest.approx(0.5)
    assert found.recall == 0.5  # above one half: four of eight frames, not the fifth
    # Frames 1..8 in quarters with rounded ends 1, 3, 4 or 5, 6, 8, both ends included.
    assert found.decay == pytest.approx((1 + 1 + 0.8) / 3 - (0.1 + 0 + 0) / 3)
    assert statistics([0.7]).decay == 0
    assert statistics([0.9, 0.2]).decay == pytest.approx(0.7)  # quarters of one frame each
    assert statistics([1.0, 0.5, 0.0]).decay == pytest.approx(0.75)  # the first quarter holds two
    with pytest.raises(ValueError, match="no values"):
        statistics([])


def test_decay_of_long_clips_is_of_the_first_and_the_last_quarter() -> None:
    curve = [1.0] * 250 + [0.5] * 500 + [0.2] * 250  # beyond what eight bits can count
    assert statistics(curve).decay == pytest.approx(0.8, abs=0.01)


def test_what_was_not_measured_has_no_statistics() -> None:
    found = statistics([1.0, float("nan")])
    assert np.isnan([found.mean, found.recall, found.decay]).all()


@pytest.mark.parametrize("reach", [1, 2, 3, 3.2, 3.672, 7.344, 17.3, 17.623])
def test_discs_of_any_size_dilate_as_those_of_the_published_evaluations(reach: float) -> None:
    rng = np.random.default_rng(int(reach * 100))
    steps = np.arange(-reach, reach + 1)  # a whole number of pixels apart, from minus the radius on
    disc = (steps[:, None] ** 2 + steps**2 <= reach**2).astype(np.uint8)
    for _ in range(5):
        noise = cv2.GaussianBlur(rng.standard_normal((60, 90, 2)), (0, 0), 4)
        a, b = (noise[..., k] > 0.1 for k in range(2))
        lines = [line_of(mask).astype(np.uint8) for mask in (a, b)]
        near = [cv2.dilate(line, disc) for line in lines]
        expected = [(lines[k] & near[1 - k]).sum() / lines[k].sum() for k in range(2)]
        assert matched_shares(a.view(np.uint8), b.view(np.uint8), reach) == pytest.approx(
            tuple(expected), abs=1e-12
        )


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        region_similarity(EMPTY, EMPTY.T)
    with pytest.raises(ValueError, match=r"void pixels of \(1, 30\) do not belong to masks of \(20, 30\)"):
        region_similarity(EMPTY, EMPTY, EMPTY[:1])
    for bound in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="outlines cannot match within"):
            boundary_accuracy(EMPTY, EMPTY, bound)
