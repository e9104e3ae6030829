"""Polygons give masks back: exactly where readers fill, within bounds where edges are simplified."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from sam2_video.sinks import polygons as module
from sam2_video.sinks.polygons import MOST, Ring, polygons, single_polygon
from tests.paths import SHARED, needs_shared
from tests.sinks.story import COCO_WARNS, Mask, blobs, disc, iou

pytestmark = COCO_WARNS


def filled_by_coco(rings: list[Ring], mask: Mask) -> Mask:
    """As pycocotools fills polygons, and CVAT and Datumaro with it."""
    runs = coco_mask.frPyObjects([ring.ravel().tolist() for ring in rings], *mask.shape)
    return coco_mask.decode(coco_mask.merge(runs)).astype(bool)


def filled_by_labelme(rings: list[Ring], mask: Mask) -> Mask:
    """As `labelme.utils.shape_to_mask` fills polygons, each a shape of its own."""
    out = np.zeros(mask.shape, dtype=bool)
    for ring in rings:
        picture = Image.new("L", mask.shape[::-1])
        ImageDraw.Draw(picture).polygon([tuple(point) for point in ring], outline=1, fill=1)
        out |= np.asarray(picture) > 0
    return out


def filled_by_centres(rings: list[Ring], mask: Mask) -> Mask:
    """By the book: a pixel is inside if a ray from its centre crosses the edge an odd number of times."""
    ys, xs = np.mgrid[: mask.shape[0], : mask.shape[1]] + 0.5
    out = np.zeros(mask.shape, dtype=bool)
    for ring in rings:
        inside = np.zeros(mask.shape, dtype=bool)
        for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            if y0 != y1:
                inside ^= ((y0 > ys) != (y1 > ys)) & (xs < x0 + (ys - y0) * (x1 - x0) / (y1 - y0))
        out |= inside
    return out


@pytest.mark.parametrize("seed", range(40))
def test_without_tolerance_nothing_is_lost(seed: int) -> None:
    mask = blobs(np.random.default_rng(seed))
    parts, whole = polygons(mask), single_polygon(mask)
    assert whole is not None and all(len(ring) >= 3 for ring in parts)
    assert np.array_equal(filled_by_coco(parts, mask), mask)
    assert np.array_equal(filled_by_coco([whole], mask), mask), "bridges have no width"
    assert np.array_equal(filled_by_centres(parts, mask), mask)
    assert np.array_equal(filled_by_centres([whole], mask), mask)
    assert iou(filled_by_labelme(parts, mask), mask) > 0.995, (
        "edges are drawn: a cut to a hole may add pixels"
    )


@pytest.mark.parametrize("seed", range(40))
def test_tolerance_bounds_how_far_edges_move(seed: int) -> None:
    import cv2

    mask = blobs(np.random.default_rng(seed))
    exact, simple = polygons(mask), polygons(mask, 0.5)
    assert sum(map(len, simple)) < 0.8 * sum(map(len, exact))
    wrong = filled_by_centres(simple, mask) != mask
    # The edge moves by half a pixel: only pixels beside it can change sides.
    core = cv2.erode(mask.astype(np.uint8), np.ones((3, 3)), borderValue=0) > 0
    halo = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3))) > 0
    assert not (wrong & core).any() and not (wrong & ~halo).any()


def test_parts_and_holes() -> None:
    ring, blob = disc(20, 20, 12) & ~disc(20, 20, 5), disc(46, 30, 4)
    assert [len(polygons(mask)) for mask in (ring, blob, ring | blob, ring & False)] == [1, 1, 2, 0]
    largest, smallest = polygons(ring | blob)
    assert largest[:, 0].max() < 34 < smallest[:, 0].min()
    assert single_polygon(ring & False) is None


@pytest.mark.parametrize("draw", ["pixel", "row", "column", "diagonal", "all"])
def test_thin_things_are_polygons_too(draw: str) -> None:
    mask = np.zeros((9, 12), dtype=bool)
    where = {"pixel": np.s_[3, 4], "row": np.s_[0, :], "column": np.s_[:, 11], "all": np.s_[:]}
    mask[where.get(draw, (np.arange(9), np.arange(9)))] = True
    for tolerance in (0.0, 0.5):
        rings = polygons(mask, tolerance)
        assert all(len(ring) >= 3 for ring in rings)
        for fill in (filled_by_coco, filled_by_labelme, filled_by_centres):
            assert np.array_equal(fill(rings, mask), mask), (fill.__name__, tolerance)


@pytest.fixture
def unsaid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was logged yet."""
    monkeypatch.setattr(module, "_said", set())


def specks(count: int) -> tuple[Mask, Mask]:
    """`count` pixels, the larger ones (two pixels) first; and the larger ones alone, `MOST` of them."""
    all_of_them = np.zeros((60, 90), dtype=bool)
    places = [(y, x) for y in range(2, 58, 3) for x in range(2, 86, 4)][:count]
    for y, x in places:
        all_of_them[y, x] = True
    for y, x in places[:MOST]:
        all_of_them[y, x + 1] = True
    large = all_of_them.copy()
    for y, x in places[MOST:]:
        large[y, x] = False
    return all_of_them, large


@pytest.mark.usefixtures("unsaid")
@pytest.mark.parametrize("as_holes", [False, True])
def test_of_too_many_specks_the_largest_stay(as_holes: bool, caplog: pytest.LogCaptureFixture) -> None:
    exactly, _ = specks(MOST)
    too_many, large = specks(MOST + 70)
    assert np.array_equal(filled_by_coco(polygons(exactly ^ as_holes), exactly), exactly ^ as_holes)
    assert not caplog.records, "nothing was lost"
    for _ in range(2):
        parts, whole = polygons(too_many ^ as_holes), single_polygon(too_many ^ as_holes)
        assert whole is not None and len(parts) == (1 if as_holes else MOST)
        assert np.array_equal(filled_by_coco(parts, large), large ^ as_holes)
        assert np.array_equal(filled_by_coco([whole], large), large ^ as_holes)
    assert [record.args for record in caplog.records] == [(0, 70, MOST) if as_holes else (70, 0, MOST)]


@pytest.mark.usefixtures("unsaid")
@pytest.mark.parametrize("kind", ["smooth noise", "noise", "fractal", "checkers", "dots", "grid"])
def test_work_is_bounded_however_noisy_a_mask_is(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2

    rng = np.random.default_rng(0)
    noise = rng.random((720, 1280)) if "smooth" not in kind else rng.random((256, 256))
    noise = cv2.resize(noise.astype(np.float32), (1280, 720), interpolation=cv2.INTER_LINEAR)
    ys, xs = np.indices((720, 1280))
    odd = ys % 2 & xs % 2 == 1
    patterns = {"fractal": noise < 0.41, "checkers": (ys + xs) % 2 == 0, "dots": odd, "grid": ~odd}
    drawn: list[int] = []
    searches: list[int] = []
    find, nearest = module._rings, module._nearest

    def counting_rings(image: Mask) -> list[list[Ring]]:
        rings = find(image)
        drawn.append(sum(map(len, rings)))
        return rings

    def counting_nearest(ring: Ring, point: Ring) -> int:
        searches.append(len(ring))
        return nearest(ring, point)

    monkeypatch.setattr(module, "_rings", counting_rings)
    monkeypatch.setattr(module, "_nearest", counting_nearest)
    whole = single_polygon(patterns.get(kind, noise > 0.5))
    assert whole is not None and 3 <= len(whole) < 600_000
    assert MOST == 200 and 100 < drawn[0] <= 400
    assert 100 < len(searches) <= 3200, "corners are searched a few times for each part and hole"


def test_bridges_from_long_outlines_end_at_a_corner_nearby(monkeypatch: pytest.MonkeyPatch) -> None:
    comb = np.zeros((40, 90), dtype=bool)
    comb[0], comb[:30, ::2], comb[35, 40] = True, True, True  # a part below teeth
    exact = single_polygon(comb)
    monkeypatch.setattr(module, "SEARCHED", 16)
    coarse = single_polygon(comb)
    assert exact is not None and coarse is not None and len(exact) == len(coarse)
    assert not np.array_equal(exact, coarse)
    assert np.array_equal(filled_by_centres([coarse], comb), comb)


@needs_shared
def test_loss_on_real_masks() -> None:
    pictures = sorted((SHARED / "data" / "davis2016_dev" / "Annotations").rglob("*.png"))[::40]
    masks = [np.asarray(Image.open(path)) > 0 for path in pictures]
    masks = [mask for mask in masks if mask.any()]
    assert len(masks) > 15
    drawn = [iou(filled_by_labelme(polygons(mask, 0.5), mask), mask) for mask in masks]
    joined = [single_polygon(mask, 0.5) for mask in masks]
    joined_fill = [
        iou(filled_by_coco([ring], mask), mask)
        for ring, mask in zip(joined, masks, strict=True)
        if ring is not None
    ]
    assert min(drawn) > 0.985 and np.mean(drawn) > 0.995
    assert min(joined_fill) > 0.97 and np.mean(joined_fill) > 0.99
