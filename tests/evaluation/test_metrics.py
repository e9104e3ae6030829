from __future__ import annotations

import numpy as np
import pytest

from sam2_video.evaluation.metrics import (
    Score,
    average_score,
    boundary_accuracy,
    outline,
    region_similarity,
    score_sequence,
)

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


def test_first_and_last_frames_are_not_scored() -> None:
    a, b = block(0, 0, 10, 10), block(5, 0, 15, 10)
    score = score_sequence([EMPTY, a, b, EMPTY], [a, a, a, a])
    assert score.j == pytest.approx((1 + 1 / 3) / 2)
    assert score.f == pytest.approx((1 + boundary_accuracy(b, a)) / 2)
    assert score.jandf == pytest.approx((score.j + score.f) / 2)
    assert score_sequence([EMPTY, a], [a, a], skip_ends=False).j == 0.5


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        region_similarity(EMPTY, EMPTY.T)
    with pytest.raises(ValueError):
        score_sequence([EMPTY] * 3, [EMPTY] * 4)
    with pytest.raises(ValueError, match="no frame to score"):
        score_sequence([EMPTY] * 2, [EMPTY] * 2)
    with pytest.raises(ValueError, match="no scores"):
        average_score([])


def test_every_object_counts_once() -> None:
    mean = average_score([Score(1.0, 0.5), Score(0.0, 0.1)])
    assert (mean.j, mean.f) == pytest.approx((0.5, 0.3))
