"""LabelMe JSON: one file per picture, shapes with a label and perhaps the group they belong to."""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Hashable
from typing import Any

import numpy as np

from sam2_video.prompts.annotations import Annotation, Found
from sam2_video.prompts.clip_facts import Picture, stem
from sam2_video.prompts.documents import Document, read_document
from sam2_video.prompts.pictures import decode_picture
from sam2_video.prompts.problems import a_list, a_mapping, a_text, numbers, shown, whole
from sam2_video.prompts.request import Request, folder_of
from sam2_video.prompts.shapes import Box, Clicks, Ellipse, Patch, Polygons, Shape, picture_size, polygon
from sam2_video.sources.folder import natural_key
from sam2_video.types import ObjectInfo, PromptError

SKIPPED = ("line", "linestrip", "points")
POINT_COUNTS = {"circle": 2, "point": 1, "mask": 2}


def read_labelme(request: Request) -> Found:
    """Read one file, or those of a folder that are of one clip, in natural order."""
    files = [request.path]
    if request.path.is_dir():
        files = sorted(request.path.glob("*.json"), key=lambda file: natural_key(file.name))
    if not files:
        raise PromptError(f"{request.path} holds no .json files")
    read: list[tuple[str, Found, Counter[str]]] = []
    for file in files:
        with request.problems.at(""):  # a file that cannot be read says so itself
            document = request.document if file == request.path else read_document(file)
            read.append((_picture_file(document), *_read_picture(document, request)))
    folder = request.choose_folder(file for file, _, _ in read)
    found = Found()
    skipped: Counter[str] = Counter()
    for picture, here, left_out in read:
        if folder in (None, folder_of(picture)):
            found.pictures += here.pictures
            found.annotations += here.annotations
            skipped += left_out
    found.note_skipped(skipped, "polygons, rectangles, circles, points and masks")
    if not found.annotations and not request.problems:
        raise PromptError(f"{request.path} describes no object")
    return found


def _picture_file(document: Document) -> str:
    """Return the picture that a file is about, with folders; the file's own name where it does not say."""
    named = document.data.get("imagePath") if isinstance(document.data, dict) else None
    return named if isinstance(named, str) and stem(named) else document.path.stem


def _read_picture(document: Document, request: Request) -> tuple[Found, Counter[str]]:
    """Return what is drawn on one picture, and how many shapes of each kind are left out."""
    here, problems = document.at(), request.problems
    found = Found()
    skipped: Counter[str] = Counter()
    with problems.at(here):
        data = a_mapping(document.data, "a LabelMe file")
        a_text(data.get("imagePath"), "imagePath")  # anything else is a problem
        picture = Picture(stem(_picture_file(document)))
        size = None
        if data.get("imageHeight") is not None and data.get("imageWidth") is not None:
            size = picture_size(data["imageHeight"], data["imageWidth"])
        found.pictures.append(picture)
        for k, entry in enumerate(a_list(data.get("shapes"), "shapes")):
            place = here.at("shapes", k)
            with problems.at(place):
                kind = a_text(a_mapping(entry, "a shape").get("shape_type"), "shape_type") or "polygon"
                if kind in SKIPPED:
                    skipped[kind] += 1
                    continue
                shape = _shape(kind, entry)
                key, number, info = _identity(entry)
                found.annotations.append(Annotation(picture, shape, place, key, number, info, size))
    return found, skipped


def _identity(entry: dict[str, Any]) -> tuple[Hashable | None, int | None, ObjectInfo]:
    """Return what tells the object apart, its id, and what it is called: the label is its class."""
    label = a_text(entry.get("label"), "label")
    if not label:
        raise PromptError("a shape needs a label")
    info = ObjectInfo(a_text(entry.get("description"), "description").strip(), label)
    if entry.get("group_id") is None:
        return None, None, info
    number = whole(entry["group_id"], "group_id")
    return (label, number), number, info


def _shape(kind: str, entry: dict[str, Any]) -> Shape:
    points = [numbers(point, 2, "a point") for point in a_list(entry.get("points"), "points")]
    if kind in POINT_COUNTS and len(points) != POINT_COUNTS[kind]:
        raise PromptError(f"a {kind} has {len(points)} points, expected {POINT_COUNTS[kind]}")
    if kind == "polygon":
        return Polygons((polygon(points),))
    if kind in ("rectangle", "oriented_rectangle"):
        if len(points) not in (2, 4):  # opposite corners, or all of them
            raise PromptError(f"a rectangle has {len(points)} points, expected 2 or 4")
        xs, ys = [x for x, _ in points], [y for _, y in points]
        return Box((min(xs), min(ys), max(xs), max(ys)))
    if kind == "point":
        return Clicks(((points[0][0], points[0][1]),), (1,))
    if kind == "circle":
        (x, y), edge = points
        radius = float(np.hypot(edge[0] - x, edge[1] - y))
        if radius == 0:
            raise PromptError("the circle has no radius")
        return Ellipse((x, y), (radius, radius))
    if kind == "mask":
        return _mask(entry, points)
    raise PromptError(f"shape_type is {shown(kind)}; known: polygon, rectangle, circle, point, mask")


def _mask(entry: dict[str, Any], points: list[list[float]]) -> Patch:
    """Decode a PNG that covers the box between two pixels, both included."""
    text = a_text(entry.get("mask"), "mask")
    if not text:
        raise PromptError("a mask needs its picture in 'mask'")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise PromptError(f"the mask is not base64: {error}") from None
    values = decode_picture(data, "the mask")
    values = values[..., 0] if values.ndim == 3 else values
    (x0, y0), (x1, y1) = points
    left, top = int(x0), int(y0)
    size = int(y1) - top + 1, int(x1) - left + 1
    if values.shape != size:
        raise PromptError(
            f"the mask is {values.shape[1]}x{values.shape[0]}, but its corners are {size[1]}x{size[0]} apart"
        )
    return Patch(np.asarray(values != 0), left, top)
