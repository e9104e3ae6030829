"""Masks as polygons.

A polygon runs a quarter of a pixel outside of the centres of a mask's outermost pixels, in coordinates that
begin at the upper left corner of the picture: pixel x reaches from x to x + 1, its centre is at x + 0.5.
Whether a reader fills pixels whose centre is inside (pycocotools, CVAT, this package) or cuts off fractions
and fills up to and with the edge (LabelMe, Ultralytics), it gets the pixels back.

Noise has more specks than anybody could correct by hand, and drawing them all would take minutes: only the
`MOST` largest parts and the `MOST` largest holes of a mask are drawn.
"""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

Ring = NDArray[np.float64]  # (n, 2) x, y

MOST = 200  # parts of a mask that are drawn, and holes
SEARCHED = 32_768  # corners of a ring that are looked at for the end of a bridge

_log = logging.getLogger(__name__)
_said: set[str] = set()  # what was logged once


def polygons(mask: NDArray[np.bool_], tolerance: float = 0.0) -> list[Ring]:
    """(H, W) mask -> one polygon, (n, 2) x, y with n >= 3, for each part (8-connected), the largest first.

    A hole becomes a bay: a cut of no width leads from the outer edge to it and back. With a `tolerance` in
    pixels, corners are left out as long as the edge moves no farther than that. Of more than `MOST` parts the
    smallest are left out, of more than `MOST` holes the smallest are filled, which is logged once.
    """
    ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(xs):
        return []
    corner = np.array([xs[0], ys[0]], dtype=np.float64)
    window = _without_specks(mask[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1]).astype(np.uint8)
    parts = []
    # At twice the size a line of single pixels has two sides, and every ring three corners or more.
    for rings in _rings(window.repeat(2, axis=0).repeat(2, axis=1)):
        whole, *holes = [_simplified(ring, 2 * tolerance) for ring in rings]
        for hole in holes:
            whole = _bridged(whole, hole)
        parts.append(whole / 2 + 0.25 + corner)
    return sorted(parts, key=_area, reverse=True)


def single_polygon(mask: NDArray[np.bool_], tolerance: float = 0.0) -> Ring | None:
    """(H, W) mask -> one polygon, its parts joined by bridges of no width; None for an empty mask.

    Readers that draw edges, not only fill them, give a bridge the width of a pixel.
    """
    parts = polygons(mask, tolerance)
    if not parts:
        return None
    whole, *others = parts
    for part in others:
        whole = _bridged(whole, part)
    return whole


def _without_specks(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask with its largest parts and holes, `MOST` of each; itself where it has no more."""
    parts, areas = _components(mask, 8)
    kept = _largest(areas, MOST)
    lost = len(areas) - len(kept)
    if lost:
        mask = np.isin(parts, kept)
    # A margin makes one component of everything that is outside: the hole that is never filled.
    ground = np.ones((mask.shape[0] + 2, mask.shape[1] + 2), dtype=np.bool_)
    ground[1:-1, 1:-1] = ~mask
    holes, areas = _components(ground, 4)
    areas[holes[0, 0] - 1] = holes.size
    kept = _largest(areas, MOST + 1)
    filled = len(areas) - len(kept)
    if filled:
        mask = ~np.isin(holes[1:-1, 1:-1], kept)
    if (lost or filled) and not _said:
        _said.add("specks")
        _log.warning(
            "a mask has too many specks for polygons: of its parts the %d smallest are left out, of its "
            "holes the %d smallest are filled, so that %d of each stay; this is said once",
            *(lost, filled, MOST),
        )
    return mask


def _components(mask: NDArray[np.bool_], neighbours: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Numbers of the components of a mask from 1 on, 0 elsewhere; and the area of each."""
    import cv2

    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=neighbours)
    return labels.astype(np.int32, copy=False), np.bincount(labels.ravel(), minlength=count)[1:]


def _largest(areas: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """The numbers, from 1 on, of the largest components; the first ones where they are as large."""
    return np.argsort(-areas, kind="stable")[:most] + 1


def _rings(image: NDArray[np.uint8]) -> list[list[Ring]]:
    """The rings of each part: its outline, then its holes."""
    import cv2

    found, tree = cv2.findContours(image, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    rings = [ring[:, 0].astype(np.float64) for ring in found]
    parents = [int(parent) for *_, parent in tree[0]]
    parts = {k: [ring] for k, ring in enumerate(rings) if parents[k] < 0}
    for k, ring in enumerate(rings):
        if parents[k] >= 0:
            parts[parents[k]].append(ring)
    return list(parts.values())


def _simplified(ring: Ring, tolerance: float) -> Ring:
    import cv2

    if tolerance <= 0:
        return ring
    simple = cv2.approxPolyDP(ring.astype(np.int32)[:, None], tolerance, True)[:, 0].astype(np.float64)
    return simple if len(simple) >= 3 else ring


def _bridged(ring: Ring, other: Ring) -> Ring:
    """Two rings as one: along the first, over to the second, around it, and back over the same bridge."""
    target, there = other.mean(axis=0), -1
    for _ in range(4):  # nearest to nearest: a short bridge, in linear time
        here, before = _nearest(ring, target), there
        there = _nearest(other, ring[here])
        if there == before:
            break
        target = other[there]
    return np.concatenate([ring[: here + 1], other[there:], other[: there + 1], ring[here:]])


def _nearest(ring: Ring, point: Ring) -> int:
    """The corner that is nearest to a point; of a very long ring the nearest of every few."""
    step = -(-len(ring) // SEARCHED)
    x, y = ring[::step, 0] - point[0], ring[::step, 1] - point[1]
    return step * int((x * x + y * y).argmin())


def _area(ring: Ring) -> float:
    x, y = ring.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
