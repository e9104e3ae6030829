"""Curves as inline SVG: J&F over time, J&F against the number of interactions, and a histogram.

Coordinates are whole numbers, twice as many as pixels on an ordinary screen: pages stay small.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from typing import TypeAlias

import numpy as np

from sam2_video.evaluation.report.html import Html, element, join
from sam2_video.evaluation.scores import ObjectScore

COLOURS = 8  # of the style sheet: .c0 to .c7
_DASHES = (None, "14 7", "4 6", "18 6 4 6")  # of objects beyond the eighth, and so on
WIDTH, HEIGHT = 1040, 330
LEFT, RIGHT, TOP, BOTTOM = 66, 14, 14, 62  # margins around the axes
_INNER = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
_CROSS = 12  # width of a mark with its margin
_LEAST = 8  # points of a curve, however many curves share a page
Points: TypeAlias = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Curve:
    """Values 0..1 over x. `number` chooses colour and dashes, for a given one always the same."""

    label: str
    points: Points
    number: int
    dots: bool = False

    @property
    def look(self) -> dict[str, str | None]:
        """Attributes of its line."""
        return {
            "class_": f"line c{self.number % COLOURS}",
            "stroke_dasharray": _DASHES[self.number // COLOURS % len(_DASHES)],
        }


@dataclass(frozen=True)
class Axes:
    """What a plot shows. `title` and `summary` are read out to those who do not see it."""

    title: str
    summary: str
    across: str
    upwards: str
    first: float
    last: float
    whole_steps: bool = False  # a tick at each whole number

    def x(self, value: float) -> int:
        span = self.last - self.first
        return LEFT + round(_INNER[0] * ((value - self.first) / span if span > 0 else 0.5))

    def ticks(self) -> list[int]:
        """Whole numbers at round steps from the first to the last."""
        if self.whole_steps and self.last - self.first <= 20:
            return list(range(round(self.first), round(self.last) + 1))
        span = self.last - self.first
        steps = (step * 10**power for power in range(9) for step in (1, 2, 5))
        step = next((step for step in steps if span <= 8 * step), 10**9)
        begin = -(-int(self.first) // step) * step
        return list(range(begin, int(self.last) + 1, step))


def y_of(share: float) -> int:
    """Height of a value 0..1."""
    return TOP + round(_INNER[1] * (1 - min(max(share, 0.0), 1.0)))


def grid() -> Html:
    """The lines and numbers that all plots share; to be put once into a page."""
    lines = []
    for value in (0, 25, 50, 75, 100):
        y = y_of(value / 100)
        lines.append(element("path", d=f"M{LEFT} {y}h{_INNER[0]}", class_="axis" if value == 0 else "rule"))
        lines.append(element("text", value, x=LEFT - 10, y=y + 8, class_="end"))
    symbol = element("g", *lines, id="grid")
    return element("svg", element("defs", symbol), width=0, height=0, aria_hidden="true", class_="defs")


def plot(axes: Axes, curves: Sequence[Curve], key: str, missing: Iterable[float] = ()) -> Html:
    """Draw curves, and crosses at the x where predictions are missing.

    `key` is unlike those of the other plots of a page.
    """
    below, across = HEIGHT - BOTTOM + 28, LEFT + _INNER[0] // 2
    upwards = f"translate(16 {TOP + _INNER[1] // 2})rotate(-90)"
    return element(
        "svg",
        element("title", axes.title, id=f"{key}t"),
        element("desc", axes.summary, id=f"{key}d"),
        element("use", href="#grid"),
        *(element("text", tick, x=axes.x(tick), y=below, class_="middle") for tick in axes.ticks()),
        element("text", axes.across, x=across, y=HEIGHT - 6, class_="middle"),
        element("text", axes.upwards, transform=upwards, class_="middle"),
        *(_draw(curve, axes) for curve in curves),
        _crosses(axes, missing),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        class_="plot",
        role="img",
        aria_labelledby=f"{key}t {key}d",
    )


def over_time(name: str, scores: Sequence[ObjectScore], count: int, key: str, most: int) -> Html:
    """Draw the J&F of each object of a sequence of `count` frames, or J where F was not computed.

    At most `most` points a curve: of those between, the lowest and the highest are kept.
    """
    upwards = "J&F, %" if any(isfinite(s.mean.f) for s in scores) else "J, %"
    curves = [Curve(f"object {s.object_id}", thinned(curve_of(s), most), s.object_id - 1) for s in scores]
    said = (
        f"object {s.object_id}: mean {100 * figure(s):.1f}, lowest {100 * min(curve_of(s).values()):.1f}"
        for s in scores[:12]
    )
    axes = Axes(
        f"{upwards[:-3]} over time in {name}", "; ".join(said), "frame", upwards, 0, max(count - 1, 1)
    )
    return plot(axes, curves, key, {frame for s in scores for frame in s.missing})


def curve_of(score: ObjectScore) -> dict[float, float]:
    """Return frame -> J&F of an object, or J where F was not computed."""
    curve = {}
    for frame, j, f in zip(score.frames, score.j, score.f, strict=True):
        curve[float(frame)] = (j + f) / 2 if isfinite(f) else j
    return curve


def figure(score: ObjectScore) -> float:
    """Return mean J&F of an object, or mean J where F was not computed."""
    return score.mean.jandf if isfinite(score.mean.f) else score.mean.j


def thinned(curve: dict[float, float], most: int) -> Points:
    """Return at most `most` points of a curve: of each stretch its lowest and its highest, in their order."""
    points = list(curve.items())
    most = max(most, _LEAST)
    if len(points) <= most:
        return points
    values = np.asarray([value for _, value in points])
    kept: set[int] = set()
    for stretch in np.array_split(np.arange(len(points)), most // 2):
        part = values[stretch]
        kept |= {int(stretch[part.argmin()]), int(stretch[part.argmax()])}
    return [points[k] for k in sorted(kept)]


def legend(curves: Sequence[Curve], *, has_missing: bool = False) -> Html | None:
    """Say which line is whose, and what the crosses are; nothing where one line needs no name."""
    items = [element("li", _swatch(curve), " ", curve.label) for curve in curves] if len(curves) > 1 else []
    if has_missing:
        cross = element("path", d="M17 3l10 10m-10 0l10-10", class_="missing")
        items.append(element("li", _key(cross), " no prediction"))
    return element("ul", *items, class_="legend") if items else None


def histogram(values: Sequence[float], of_what: str) -> Html:
    """Draw how many of some values, 0..1, lie in each tenth."""
    counts = [0] * 10
    for value in values:
        counts[min(int(value * 10), 9)] += 1
    width, height, base = 46, 120, 150
    bars = []
    for k, count in enumerate(counts):
        x, tall = 4 + k * (width + 4), round(height * count / max(counts))
        bars.append(element("rect", x=x, y=base - tall, width=width, height=tall, class_="bar"))
        if count:
            bars.append(element("text", count, x=x + width // 2, y=base - tall - 8, class_="middle"))
        bars.append(element("text", k * 10, x=x - 2, y=base + 26, class_="middle"))
    bars.append(element("text", 100, x=4 + 10 * (width + 4), y=base + 26, class_="middle"))
    said = ", ".join(f"{10 * k} to {10 * k + 10}: {count}" for k, count in enumerate(counts) if count)
    return element(
        "svg",
        element("title", f"How many {of_what} lie in each tenth", id="ht"),
        element("desc", said, id="hd"),
        element("path", d=f"M2 {base}h{10 * (width + 4)}", class_="axis"),
        *bars,
        viewBox="-16 -10 546 196",
        class_="histogram",
        role="img",
        aria_labelledby="ht hd",
    )


def _draw(curve: Curve, axes: Axes) -> Html:
    places = [(axes.x(x), y_of(y)) for x, y in curve.points if isfinite(y)]
    parts = [element("path", element("title", curve.label), d=_path(places), **curve.look)]
    if curve.dots or len(places) == 1:
        look = f"dot c{curve.number % COLOURS}"
        parts += [element("circle", cx=x, cy=y, r=6, class_=look) for x, y in places]
    return join(parts)


def _crosses(axes: Axes, missing: Iterable[float]) -> Html | None:
    """Mark frames on the axis; as many marks as there is room for, however long the clip."""
    marks = sorted({axes.x(x) // _CROSS * _CROSS for x in missing})
    if not marks:
        return None
    crosses = "".join(f"M{x - 5} {HEIGHT - BOTTOM - 5}l10 10m-10 0l10-10" for x in marks)
    return element("path", element("title", "no prediction"), d=crosses, class_="missing")


def _path(places: Sequence[tuple[int, int]]) -> str:
    """A line as moves from point to point, which are short numbers."""
    if not places:
        return ""
    steps = [f"{x - x0} {y - y0}" for (x0, y0), (x, y) in pairwise(places)]
    return f"M{places[0][0]} {places[0][1]}" + (f"l{' '.join(steps)}" if steps else "")


def _swatch(curve: Curve) -> Html:
    return _key(element("path", d="M0 8h44", **curve.look))


def _key(sign: Html) -> Html:
    return element("svg", sign, viewBox="0 0 44 16", class_="swatch", aria_hidden="true")
