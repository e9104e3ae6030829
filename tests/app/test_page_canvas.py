"""Coordinates, run lengths, brush and overlay of the page, run in a browser and held against Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sam2_video.postprocess import encode_rle
from tests.app.test_page_modules import call
from tests.app.test_page_modules import page as page  # a fixture
from tests.evaluation.test_report_page import browser as browser  # a fixture

pytestmark = pytest.mark.slow


def some_masks() -> list[NDArray[np.bool_]]:
    random = np.random.default_rng(3)
    blob = np.add.outer((np.arange(40) - 20.0) ** 2, (np.arange(60) - 12.0) ** 2) < 150
    return [
        np.zeros((7, 5), bool),
        np.ones((7, 5), bool),
        random.random((23, 31)) > 0.5,
        np.eye(9, dtype=bool),
        blob,
    ]


@pytest.mark.parametrize("k", range(5))
def test_run_lengths_are_those_of_python(page: Any, k: int) -> None:
    mask = some_masks()[k]
    size, flat = list(mask.shape), mask.reshape(-1).astype(int).tolist()
    counts = plain(mask)
    assert (
        call(
            page,
            "canvas/runs",
            "return Array.from(m.toBitmap(a.counts, a.size))",
            {"counts": counts, "size": size},
        )
        == flat
    )
    assert (
        call(
            page,
            "canvas/runs",
            "return m.toRuns(Uint8Array.from(a.flat), a.size)",
            {"flat": flat, "size": size},
        )
        == counts
    )
    assert call(page, "canvas/runs", "return m.areaOf(a)", counts) == int(mask.sum())
    places = [(x, y) for y in range(-1, size[0] + 1) for x in range(-1, size[1] + 1)]
    inside = [0 <= x < size[1] and 0 <= y < size[0] and bool(mask[y, x]) for x, y in places]
    assert (
        call(
            page,
            "canvas/runs",
            "return a.places.map(([x, y]) => m.covers(a.counts, a.size, x, y))",
            {"places": places, "counts": counts, "size": size},
        )
        == inside
    )


def plain(mask: NDArray[np.bool_]) -> list[int]:
    """Runs down the columns that begin with background, by the package; a mask that ends in it says so."""
    counts = encode_rle(mask)["counts"]
    assert isinstance(counts, list)
    return [int(count) for count in counts]


def test_runs_of_another_size_are_refused(page: Any) -> None:
    said = call(page, "canvas/runs", "try { m.toBitmap([3, 4], [2, 3]); } catch (e) { return e.message; }")
    assert said == "the runs cover 7 pixels, the mask has 6"


def test_a_stroke_covers_what_is_near_the_line(page: Any) -> None:
    a, b, radius = (8.0, 9.5), (40.0, 22.0), 5.0
    drawn = call(
        page,
        "canvas/brush",
        "const s = new Uint8Array(30 * 50).fill(a.before);"
        "m.stroke(s, [30, 50], a.from, a.to, a.radius, 1 - a.before); return Array.from(s)",
        {"from": {"x": a[0], "y": a[1]}, "to": {"x": b[0], "y": b[1]}, "radius": radius, "before": 0},
    )
    y, x = np.mgrid[:30, :50] + 0.5
    along = np.subtract(b, a)
    t = np.clip(((x - a[0]) * along[0] + (y - a[1]) * along[1]) / (along**2).sum(), 0, 1)
    near = np.hypot(x - a[0] - t * along[0], y - a[1] - t * along[1]) <= radius
    assert (np.array(drawn).reshape(30, 50).astype(bool) == near).all()
    gone = call(
        page,
        "canvas/brush",
        "const s = new Uint8Array(25).fill(1);"
        "m.stroke(s, [5, 5], { x: 2.5, y: 2.5 }, { x: 2.5, y: 2.5 }, 0.1, 0); return Array.from(s)",
    )
    assert gone == [int(k != 12) for k in range(25)], "the smallest brush still takes a pixel"
    assert call(
        page,
        "canvas/brush",
        "return [m.paintSize({ width: 1920, height: 1080 }), m.paintSize({ width: 9, height: 5 })]",
    ) == [[720, 1280], [5, 9]]


def test_masks_are_tinted_and_outlined(page: Any) -> None:
    bitmap = np.zeros((5, 6), int)
    bitmap[1:4, 1:4] = bitmap[2:, 3:] = 1  # one part touches the border
    body = (
        "const p = new Uint8ClampedArray(120); m.tint(p, Uint8Array.from(a), [5, 6], m.rgb('#10a0ff'), 0.5);"
    )
    rgba = call(page, "canvas/overlay", f"{body} return Array.from(p)", bitmap.reshape(-1).tolist())
    pixels = np.array(rgba).reshape(5, 6, 4)
    assert {tuple(pixel[:3]) for pixel in pixels[bitmap == 1].tolist()} == {(16, 160, 255)}
    inside = np.zeros((5, 6), bool)
    inside[2, 2] = inside[2, 3] = inside[3, 3] = inside[3, 4] = True  # their four neighbours are in the mask
    assert (pixels[..., 3] == np.where(inside, 128, 240 * bitmap)).all()
    assert call(page, "canvas/overlay", "return [m.rgb('red;x'), m.paint([], 1)]") == [[128, 128, 128], None]


def test_zoom_keeps_what_is_under_the_pointer(page: Any) -> None:
    found = call(
        page,
        "canvas/geometry",
        """
        const picture = { width: 1920, height: 1080 }, box = { width: 800, height: 500 };
        const at = { x: 300, y: 222 };
        let view = m.fit(picture, box);
        const first = m.toPicture(view, at);
        const corners = [m.toScreen(view, { x: 0, y: 0 }), m.toScreen(view, { x: 1920, y: 1080 })];
        for (let k = 0; k < 9; k += 1) view = m.zoomAt(view, 1.3, at, picture, box);
        const last = m.toPicture(view, at), far = m.zoomAt(view, 1e9, at, picture, box).scale;
        const near = m.zoomAt(view, 1e-9, at, picture, box).scale / m.fit(picture, box).scale;
        const lost = m.held({ scale: 1, x: 1e6, y: -1e6 }, picture, box);
        return { first, last, corners, far, near, lost };
    """,
    )
    assert found["last"] == pytest.approx(found["first"])
    left, right = found["corners"]
    assert left["x"] == pytest.approx(8) and right["x"] == pytest.approx(792)
    assert left["y"] + right["y"] == pytest.approx(500)
    assert found["far"] == 32 and found["near"] == pytest.approx(0.25)
    assert found["lost"] == {"scale": 1, "x": 760, "y": 40 - 1080}


def test_points_and_boxes_are_pixels_of_the_picture(page: Any) -> None:
    pixels = call(
        page,
        "canvas/geometry",
        "return a.map(([x, y]) => m.pixelAt({ x, y }, { width: 10, height: 5 }))",
        [[0, 0], [9.99, 4.99], [10, 2], [3, -0.1], [2.5, 5]],
    )
    assert pixels == [{"x": 0, "y": 0}, {"x": 9, "y": 4}, None, None, None]
    boxes = call(
        page,
        "canvas/geometry",
        "return a.map(([p, q]) => m.boxBetween({ x: p[0], y: p[1] }, { x: q[0], y: q[1] },"
        " { width: 10, height: 5 }))",
        [[[8, 4], [2, 1]], [[-5, -5], [50, 50]], [[3, 1], [3, 4]], [[-4, 0], [-1, 5]]],
    )
    assert boxes == [[2, 1, 8, 4], [0, 0, 10, 5], None, None]
    widths = call(
        page,
        "canvas/geometry",
        "return a.map(([w, s, r]) => m.widthFor({ width: w, height: 9 }, { scale: s }, r))",
        [[1920, 0.4, 1], [1920, 0.4, 2], [1920, 1, 1], [640, 1, 1], [300, 2, 2], [3840, 0.25, 1]],
    )
    assert widths == [960, 1440, 1920, 640, 300, 960]
