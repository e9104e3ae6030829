"""What is asked of each picture: clicks and boxes from prompts files and detectors, picture by picture."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sam2_video.annotation.results import read_results
from sam2_video.mask_runs import Runs as PictureRuns
from sam2_video.prompts import read_annotations
from sam2_video.prompts.annotations import Annotation
from sam2_video.prompts.clip_facts import Picture
from sam2_video.prompts.pictures import read_labels
from sam2_video.prompts.shapes import (
    Box,
    Clicks,
    Ellipse,
    Patch,
    PictureMask,
    Polygons,
    Runs,
    Shape,
    Size,
    other_size,
)
from sam2_video.sinks.names import class_name
from sam2_video.transforms import make_prompt
from sam2_video.types import ObjectInfo, Prompt, PromptError

Corners = tuple[float, float, float, float]  # x0, y0, x1, y1


@dataclass(frozen=True)
class Ask:
    """One object that is asked for: clicks, a box, or both. Plain values, which travel to workers.

    `relative`: coordinates are fractions of the picture's sides. `size`: (H, W) of the picture where the file
    states it. `score` is a detector's.
    """

    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: Corners | None = None
    relative: bool = False
    size: Size | None = None
    category: str = ""
    name: str = ""
    score: float | None = None

    def prompt(self, size: Size) -> Prompt:
        """As a prompt in pixels of a picture of this size; what of a box is outside of it is cut off.

        Raises PromptError.
        """
        if self.size is not None and self.size != size:
            raise PromptError(other_size(self.size, size))
        height, width = size
        x, y = (width, height) if self.relative else (1, 1)
        box = None
        if self.box is not None:
            x0, y0, x1, y1 = (value * side for value, side in zip(self.box, (x, y, x, y), strict=True))
            box = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
            if box[2] <= box[0] or box[3] <= box[1]:
                raise PromptError(f"the box {_short((x0, y0, x1, y1))} is empty, or outside of the picture")
        points = tuple((x * px, y * py) for px, py in self.points)
        return make_prompt(
            size, points=points or None, labels=self.labels or None, box=box, where="the picture"
        )

    def record(self) -> dict[str, Any]:
        """What was asked, without what is not there."""
        return {name: value for name, value in asdict(self).items() if value not in (None, (), "", False)}


@dataclass
class Asked:
    """What files ask of pictures. `others`: pictures that they speak of and that are not here."""

    by_picture: dict[str, tuple[Ask, ...]] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sources:
    """Where prompts come from. `image_info`: COCO file that names pictures and classes of detections."""

    files: tuple[Path, ...] = ()
    format: str | None = None
    sequence: str | None = None
    image_info: Path | None = None


def read_asked(sources: Sources, pictures: Mapping[str, Path]) -> Asked:
    """Read what files ask of pictures, which are given by the names of their results.

    Raises PromptError with all that is wrong in a file, also where which picture is meant cannot be told.
    """
    finder = _Finder(pictures)
    asks: dict[str, list[Ask]] = defaultdict(list)
    notes: list[str] = []
    for file in sources.files:
        found = read_results(file, sources.image_info, list(pictures.values()))
        if found is None:
            found, _ = read_annotations(file, format=sources.format, sequence=sources.sequence)
        notes += [f"{file}: {note}" for note in found.notes]
        for picture, group in _objects(found.annotations):
            key = finder.find(picture)
            if key is not None:
                try:
                    asks[key].append(_ask(group))
                except PromptError as error:
                    raise PromptError(f"{group[0].where}: {error}") from error
    others = tuple(dict.fromkeys(finder.missing))
    return Asked({key: tuple(some) for key, some in asks.items()}, others, tuple(notes))


def _objects(annotations: Iterable[Annotation]) -> Iterable[tuple[Picture, list[Annotation]]]:
    """Annotations of the same object on the same picture together; those of nobody knows whom alone."""
    groups: dict[Hashable, list[Annotation]] = defaultdict(list)
    for turn, one in enumerate(annotations):
        # The class belongs to the key: LabelMe counts groups of each class from 0.
        own = (turn,) if one.key is None else (one.key, one.info.category)
        groups[one.picture, own].append(one)
    return ((group[0].picture, group) for group in groups.values())


class _Finder:
    """Which picture an annotation means."""

    def __init__(self, pictures: Mapping[str, Path]) -> None:
        self._keys = list(pictures)
        self._by_file = {file.name: key for key, file in pictures.items()}
        self._by_name: dict[str, list[str]] = defaultdict(list)
        self.missing: list[str] = []
        for key, file in pictures.items():
            for name in {key, file.name, file.stem}:
                self._by_name[name].append(key)

    def find(self, picture: Picture) -> str | None:
        """Return the name of its results; None where it is not here. Raises PromptError."""
        if picture.name in self._by_file:  # a.jpg, also where there is a.jpg.png
            return self._by_file[picture.name]
        found = self._by_name.get(picture.name, []) if picture.name else []
        if len(found) > 1:
            raise PromptError(
                f"which picture {picture.name!r} is cannot be told: there are {', '.join(sorted(found))}; "
                "annotate them into different folders"
            )
        if found:
            return found[0]
        place = picture.number if picture.number is not None else picture.order
        if not picture.name and place is not None and place < len(self._keys):
            return self._keys[place]
        self.missing.append(picture.name or f"number {place}")
        return None


def _ask(group: Sequence[Annotation]) -> Ask:
    """All that is said of one object. Raises PromptError."""
    clicks = [one.shape for one in group if isinstance(one.shape, Clicks)]
    boxes = [corners(one.shape) for one in group if not isinstance(one.shape, Clicks)]
    infos = [one.info for one in group]
    info = ObjectInfo(
        next((one.name for one in infos if one.name), ""),
        next((one.category for one in infos if one.category), ""),
    )
    scores = [one.score for one in group if one.score is not None]
    return Ask(
        points=tuple(point for one in clicks for point in one.points),
        labels=tuple(label for one in clicks for label in one.labels),
        box=_around(boxes) if boxes else None,
        relative=group[0].relative,
        size=group[0].size,
        category=class_name(info),
        name=info.name,
        score=max(scores, default=None),
    )


def corners(shape: Shape) -> Corners:
    """The upright box around what is drawn. Raises PromptError for a mask without pixels."""
    if isinstance(shape, Box):
        return shape.upright()
    if isinstance(shape, Polygons):
        points = np.concatenate(shape.rings)
        (x0, y0), (x1, y1) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        return x0, y0, x1, y1
    if isinstance(shape, Ellipse):
        cos, sin = math.cos(math.radians(shape.degrees)), math.sin(math.radians(shape.degrees))
        (x, y), (u, v) = shape.centre, shape.radii
        across, down = math.hypot(u * cos, v * sin), math.hypot(u * sin, v * cos)
        return x - across, y - down, x + across, y + down
    if isinstance(shape, Runs):
        return _covered(PictureRuns.of_lengths(shape.runs), 0, 0)
    if isinstance(shape, Patch):
        return _covered(PictureRuns.of_mask(shape.mask), shape.left, shape.top)
    if isinstance(shape, PictureMask):
        labels = read_labels(shape.file)
        return _covered(PictureRuns.of_mask(labels != 0 if shape.value is None else labels == shape.value))
    raise PromptError(f"a box around {type(shape).__name__} is not known")


def _covered(runs: PictureRuns, left: int = 0, top: int = 0) -> Corners:
    if not runs.area:
        raise PromptError("a mask covers no pixel")
    x0, y0, x1, y1 = runs.box  # the last column and row are included
    return left + float(x0), top + float(y0), left + x1 + 1.0, top + y1 + 1.0


def _around(boxes: Sequence[Corners]) -> Corners:
    table = np.array(boxes)
    x0, y0 = table[:, :2].min(axis=0).tolist()
    x1, y1 = table[:, 2:].max(axis=0).tolist()
    return x0, y0, x1, y1


def _short(values: Corners) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"
