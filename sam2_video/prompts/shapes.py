"""What annotators draw: clicks, boxes, polygons, run lengths, ellipses, label pictures -> masks.

Coordinates are continuous pixels: the pixel in column 3 covers x from 3 to 4, as in COCO, CVAT and LabelMe.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sam2_video.postprocess import RunLengths, decode_rle
from sam2_video.prompts.pictures import read_labels
from sam2_video.prompts.problems import a_list, a_mapping, a_number, numbers, shown, whole
from sam2_video.sinks.tables import expand_runs
from sam2_video.types import PromptError

Mask = NDArray[np.bool_]  # (H, W)
Size = tuple[int, int]  # (H, W)
LARGEST_PICTURE = 1 << 27  # pixels
MOST_CROSSINGS = 1 << 25  # of a polygon with rows: thousands of edges as high as the picture
# Digits of COCO's compressed runs, of which at most 6 go on: a run has less than 2^35 pixels.
_RUNS = re.compile(r"(?:[P-o]{0,6}[0-O])*")


@dataclass(frozen=True)
class Clicks:
    """Points on the object (label 1) or off it (label 0)."""

    points: tuple[tuple[float, float], ...]
    labels: tuple[int, ...]

    def scaled(self, x: float, y: float) -> Clicks:
        return replace(self, points=tuple((x * px, y * py) for px, py in self.points))


@dataclass(frozen=True)
class Box:
    """x0, y0, x1, y1, perhaps turned by an angle (degrees, clockwise) around a point.

    `pivot` is that point in fractions of width and height: (0, 0) left upper corner, (0.5, 0.5) centre.
    """

    corners: tuple[float, float, float, float]
    degrees: float = 0.0
    pivot: tuple[float, float] = (0.5, 0.5)

    def scaled(self, x: float, y: float) -> Box:
        x0, y0, x1, y1 = self.corners
        return replace(self, corners=(x * x0, y * y0, x * x1, y * y1))

    def upright(self) -> tuple[float, float, float, float]:
        """Return the smallest box with upright sides around this one, corners in order."""
        x0, y0, x1, y1 = self.corners
        cos, sin = math.cos(math.radians(self.degrees)), math.sin(math.radians(self.degrees))
        px, py = x0 + self.pivot[0] * (x1 - x0), y0 + self.pivot[1] * (y1 - y0)
        around = [(x - px, y - py) for x in (x0, x1) for y in (y0, y1)]
        xs = [px + cos * dx - sin * dy for dx, dy in around] if self.degrees else [x0, x1]
        ys = [py + sin * dx + cos * dy for dx, dy in around] if self.degrees else [y0, y1]
        return min(xs), min(ys), max(xs), max(ys)


class Region(Protocol):
    """An area that can be drawn as a mask."""

    def draw(self, size: Size) -> Mask:
        """Return an (H, W) mask. Raises PromptError where it is for pictures of another size."""

    def scaled(self, x: float, y: float) -> Region:
        """Return it with coordinates multiplied."""


Shape = Clicks | Box | Region


@dataclass(frozen=True)
class Polygons:
    """The union of polygons, each (n, 2) x, y."""

    rings: tuple[NDArray[np.float64], ...]

    def draw(self, size: Size) -> Mask:
        out = np.zeros(size, dtype=bool)
        for ring in self.rings:
            out |= fill_polygon(ring, size)
        return out

    def scaled(self, x: float, y: float) -> Polygons:
        return Polygons(tuple(ring * (x, y) for ring in self.rings))


@dataclass(frozen=True)
class Ellipse:
    """An ellipse, turned by an angle (degrees, clockwise); a circle where both radii are the same."""

    centre: tuple[float, float]
    radii: tuple[float, float]
    degrees: float = 0.0

    def draw(self, size: Size) -> Mask:
        ys, xs = np.ogrid[: size[0], : size[1]]
        dx, dy = xs + 0.5 - self.centre[0], ys + 0.5 - self.centre[1]
        cos, sin = math.cos(math.radians(self.degrees)), math.sin(math.radians(self.degrees))
        u, v = (cos * dx + sin * dy) / self.radii[0], (cos * dy - sin * dx) / self.radii[1]
        return np.asarray(u * u + v * v <= 1)

    def scaled(self, x: float, y: float) -> Ellipse:
        centre = self.centre[0] * x, self.centre[1] * y
        return replace(self, centre=centre, radii=(self.radii[0] * x, self.radii[1] * y))


@dataclass(frozen=True)
class Patch:
    """A mask that covers a part of the picture, from column `left` and row `top` on, or all of it.

    What reaches out of the picture is cut off.
    """

    mask: Mask
    left: int = 0
    top: int = 0
    whole: bool = False  # the mask is as large as the picture

    def draw(self, size: Size) -> Mask:
        if self.whole:
            return fitting(self.mask, size)
        out = np.zeros(size, dtype=bool)
        y, x = max(self.top, 0), max(self.left, 0)
        bottom, right = max(size[0] - self.top, 0), max(size[1] - self.left, 0)
        inside = self.mask[y - self.top : bottom, x - self.left : right]
        out[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
        return out

    def scaled(self, x: float, y: float) -> Patch:
        raise PromptError("a mask of pixels cannot be scaled")


@dataclass(frozen=True)
class Runs:
    """A mask as COCO's run lengths, decoded when it is drawn."""

    runs: RunLengths

    def draw(self, size: Size) -> Mask:
        if tuple(self.runs["size"]) != size:
            raise PromptError(other_size((self.runs["size"][0], self.runs["size"][1]), size))
        return decode_rle(self.runs)

    def scaled(self, x: float, y: float) -> Runs:
        raise PromptError("run lengths cannot be scaled")


@dataclass(frozen=True)
class PictureMask:
    """The pixels of a label picture that have one value, or all that are not 0 (`value` None)."""

    file: Path
    value: int | None

    def size(self) -> Size:
        height, width = read_labels(self.file).shape
        return height, width

    def draw(self, size: Size) -> Mask:
        labels = read_labels(self.file)
        return fitting(labels != 0 if self.value is None else labels == self.value, size)

    def scaled(self, x: float, y: float) -> PictureMask:
        raise PromptError("a label picture cannot be scaled")


def fitting(mask: Mask, size: Size) -> Mask:
    """Return the mask. Raises PromptError if it is not as large as the picture."""
    if mask.shape != size:
        raise PromptError(other_size((mask.shape[0], mask.shape[1]), size))
    return mask


def other_size(stated: Size, size: Size) -> str:
    """Say that annotations are for pictures of another size."""
    return (
        f"the annotation is for pictures of {stated[1]}x{stated[0]}, but the frames are {size[1]}x{size[0]}; "
        "nothing is scaled: export it for, or give a clip of, the same size"
    )


def fill_polygon(ring: NDArray[np.float64], size: Size) -> Mask:
    """(n, 2) x, y -> (H, W) mask of the pixels whose centre is inside, by the even-odd rule.

    The edge may leave the picture; what is outside is cut off. Raises PromptError for a hopeless tangle.
    """
    height, width = size
    x0, y0 = ring.T
    x1, y1 = np.roll(ring, -1, axis=0).T
    # An edge crosses the centre lines of rows `first` to `last - 1`; a level edge crosses none.
    first = np.clip(np.ceil(np.minimum(y0, y1) - 0.5), 0, height).astype(np.int64)
    last = np.clip(np.ceil(np.maximum(y0, y1) - 0.5), 0, height).astype(np.int64)
    counts = np.maximum(last - first, 0)
    if counts.sum() > MOST_CROSSINGS:
        raise PromptError(f"a polygon of {len(ring)} points crosses the picture too often to be an outline")
    edge = np.repeat(np.arange(len(ring)), counts)
    rows = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    slope = (x1 - x0)[edge] / (y1 - y0)[edge]
    crossings = x0[edge] + (rows + 0.5 - y0[edge]) * slope
    columns = np.clip(np.ceil(crossings - 0.5), 0, width).astype(np.int64)
    # Each crossing turns over all pixels to its right.
    turns = np.zeros((height, width + 1), dtype=np.int32)
    np.add.at(turns, (rows, columns), 1)
    return np.asarray(np.cumsum(turns[:, :width], axis=1) % 2 == 1)


def polygon(values: Any, what: str = "the polygon") -> NDArray[np.float64]:
    """[x0, y0, x1, y1, ...] or [[x0, y0], ...] -> (n, 2). Raises PromptError for less than 3 points."""
    items = a_list(values, what)
    if items and isinstance(items[0], list):
        flat = [v for item in items for v in numbers(item, 2, f"a point of {what}")]
    else:
        flat = numbers(items, None, what)
    if len(flat) % 2:
        raise PromptError(f"{what} has {len(flat)} values, expected pairs of x and y")
    if len(flat) < 6:
        raise PromptError(f"{what} has {len(flat) // 2} points, expected 3 or more")
    return np.array(flat, dtype=np.float64).reshape(-1, 2)


def run_lengths(value: Any, what: str) -> RunLengths:
    """{size: [H, W], counts: numbers or COCO's compressed text} -> runs that fill the picture.

    Raises PromptError.
    """
    entry = a_mapping(value, what)
    sides = [whole(side, f"a side of {what}") for side in a_list(entry.get("size"), f"size of {what}")]
    if len(sides) != 2:
        raise PromptError(f"size of {what} is {shown(sides)}, expected [height, width]")
    size = picture_size(sides[0], sides[1])
    counts = entry.get("counts")
    if isinstance(counts, str):
        if not _RUNS.fullmatch(counts):
            raise PromptError(f"counts of {what} is damaged: it is not COCO's compressed text")
        runs = expand_runs(counts, size)
    else:
        lengths = [whole(n, f"a value of {what}") for n in a_list(counts, f"counts of {what}")]
        runs = RunLengths(size=list(size), counts=lengths)
    total, pixels = sum(runs["counts"]), size[0] * size[1]
    if total != pixels or min(runs["counts"], default=0) < 0:
        picture = f"a picture of {size[1]}x{size[0]}"
        raise PromptError(f"the runs of {what} cover {total} pixels, but {picture} has {pixels}")
    return runs


def picture_size(height: Any, width: Any) -> Size:
    """Check a size that a file states. Raises PromptError."""
    sides = []
    for side, what in ((height, "height"), (width, "width")):
        side = a_number(side, what)
        if side != int(side) or side < 1:
            raise PromptError(f"{what} is {side:g}, expected a whole number of pixels")
        sides.append(int(side))
    if sides[0] * sides[1] > LARGEST_PICTURE:
        raise PromptError(f"a picture of {sides[1]}x{sides[0]} is too large")
    return sides[0], sides[1]


def rows_of_runs(counts: Sequence[int], size: Size) -> Mask:
    """Runs of 0 and 1 in turn, row by row -> (H, W) mask. Raises PromptError if they do not fill it."""
    if sum(counts) != size[0] * size[1]:
        raise PromptError(
            f"the runs cover {sum(counts)} pixels, but a mask of {size[1]}x{size[0]} has {size[0] * size[1]}"
        )
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(size)
