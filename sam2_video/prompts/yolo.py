"""YOLO text files: one file per picture, one line per object, coordinates as fractions of the picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sam2_video.prompts.annotations import Annotation, Found
from sam2_video.prompts.clip_facts import Picture
from sam2_video.prompts.documents import read_document, read_text
from sam2_video.prompts.problems import a_text, parse_number, parse_whole, shown
from sam2_video.prompts.request import Request
from sam2_video.prompts.shapes import Box, Polygons, Shape
from sam2_video.sources.folder import natural_key
from sam2_video.types import ObjectInfo, PromptError

NAME_FILES = ("classes.txt", "obj.names", "labels.txt", "_darknet.labels")
OTHER_FILES = {*NAME_FILES, "notes.txt", "readme.txt", "train.txt", "val.txt", "test.txt", "requirements.txt"}
ROUNDING = 1e-3  # how far outside of 0..1 tools may write


def label_files(path: Path) -> list[Path]:
    """Return the label files that a path names: itself, or those of a folder or of its `labels`."""
    if path.is_file():
        return [path]
    for folder in (path, path / "labels", path / "obj_train_data"):
        files = [f for f in folder.glob("*.txt") if f.name.lower() not in OTHER_FILES]
        if files:
            return sorted(files, key=lambda file: natural_key(file.name))
    return []


def read_yolo(request: Request) -> Found:
    """Read polygons and boxes, with or without confidence and track id behind them."""
    files = label_files(request.path)
    if not files:
        parts = sorted(str(p) for p in (request.path / "labels").glob("*") if p.is_dir())
        advice = f"name one of {', '.join(parts)}" if parts else "expected 00000.txt, 00001.txt, ..."
        raise PromptError(f"{request.path} holds no label files; {advice}")
    names = _class_names(files[0].parent)
    found = Found()
    lines = []
    for file in files:
        found.pictures.append(Picture(file.stem))
        if file.stat().st_size:  # else nothing is on this picture
            for number, line in enumerate(read_text(file).splitlines(), start=1):
                lines.append((Picture(file.stem), f"{file}, line {number}", line.split()))
    both = any(_has_both(words) for _, _, words in lines)
    drawn = any(len(words) > 7 for _, _, words in lines)
    for picture, where, words in lines:
        with request.problems.at(where):
            if words:
                found.annotations.append(_read_line(words, picture, where, names, drawn, both))
    if not found.annotations and not request.problems:
        raise PromptError(f"{request.path} describes no object")
    return found


def _has_both(words: list[str]) -> bool:
    """Has a polygon surely a confidence and a track id behind it? An id above 1 can be no coordinate."""
    return len(words) >= 9 and len(words) % 2 == 1 and words[-1].isdecimal() and int(words[-1]) > 1


def _read_line(
    words: list[str], picture: Picture, where: str, names: dict[int, str], drawn: bool, both: bool
) -> Annotation:
    number = parse_whole(words[0].removesuffix(".0"), "the class")
    if names and number not in names:
        raise PromptError(f"class {number} has no name; there are {len(names)} names, from {min(names)}")
    values, score, track = _split(words[1:], drawn, both)
    info = ObjectInfo(category=names.get(number, str(number)))
    shape = _shape(values)
    return Annotation(picture, shape, where, track, track, info, relative=True, score=score)


def _split(words: list[str], drawn: bool, both: bool) -> tuple[list[float], float | None, int | None]:
    """Return the coordinates, the confidence and the track id, where there are such.

    Behind the four numbers of a box, or the pairs of a polygon, comes nothing, a confidence, a whole number
    that is the id, or both. `drawn`: this folder has polygons for sure; `both`: they have both behind them.
    """
    count = len(words)
    if count < 4:
        raise PromptError(f"{count} numbers after the class; expected 4 of a box, or 6 or more of a polygon")
    last, spare = words[-1], count % 2
    if count == 6 and last.isdecimal() and not (drawn and last in ("0", "1")):
        spare = 2  # a box; among polygons it may be three points, the last of them at the border
    elif count >= 8 and not spare and both:
        spare = 2
    track = parse_whole(last, "the track id") if spare and last.isdecimal() else None
    numbers, rest = words[: count - spare], words[count - spare : count - (track is not None)]
    score = parse_number(rest[0], "the confidence") if rest else None
    return [parse_number(word, "a coordinate") for word in numbers], score, track


def _shape(values: list[float]) -> Shape:
    for value in values:
        if not -ROUNDING <= value <= 1 + ROUNDING:
            raise PromptError(f"a coordinate is {value:g}, expected a fraction of the picture, 0..1")
    if len(values) == 4:
        x, y, width, height = values
        if width <= 0 or height <= 0:
            raise PromptError(f"the box is {width:g} wide and {height:g} high")
        return Box((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    return Polygons((np.array(values).reshape(-1, 2),))


def _class_names(folder: Path) -> dict[int, str]:
    """Return the names of classes from data.yaml or classes.txt, in the folder or up to two above it."""
    for place in (folder, folder.parent, folder.parent.parent):
        for name in ("data.yaml", "data.yml", "dataset.yaml"):
            if (place / name).is_file():
                return _names_of_yaml(place / name)
        for name in NAME_FILES:
            if (place / name).is_file():
                lines = read_text(place / name).splitlines()
                return {k: line.strip() for k, line in enumerate(lines) if line.strip()}
    return {}


def _names_of_yaml(path: Path) -> dict[int, str]:
    document = read_document(path)
    names = document.data.get("names") if isinstance(document.data, dict) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not all(isinstance(key, int) for key in names):
        raise PromptError(f"{document.at('names')}: names is {shown(names)}, expected a list of class names")
    try:
        return {key: a_text(name, f"the name of class {key}") for key, name in names.items()}
    except PromptError as error:
        raise PromptError(f"{document.at('names')}: {error}") from None
