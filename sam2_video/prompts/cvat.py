"""CVAT's XML 1.1: "for video" has a track for each object, "for images" a list of shapes for each picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

import numpy as np

from sam2_video.prompts.annotations import Annotation, Found
from sam2_video.prompts.clip_facts import Picture, stem
from sam2_video.prompts.markup import Element
from sam2_video.prompts.problems import parse_number, parse_whole
from sam2_video.prompts.request import Request, folder_of
from sam2_video.prompts.shapes import (
    Box,
    Clicks,
    Ellipse,
    Patch,
    Polygons,
    Shape,
    Size,
    picture_size,
    polygon,
    rows_of_runs,
)
from sam2_video.types import ObjectInfo, PromptError

SKIPPED = ("polyline", "skeleton", "cuboid")
READ = "boxes, polygons, masks, ellipses and points"


def read_cvat(request: Request) -> Found:
    """Read an annotations.xml; frame numbers of tracks are those of the video."""
    root = request.xml
    tracks, images = root.find("track"), root.find("image")
    if root.tag != "annotations" or not (tracks or images):
        raise PromptError(f"{root}: this is no CVAT file: expected <annotations> with <track> or <image>")
    found = Found(sparse=bool(tracks))
    skipped: Counter[str] = Counter()
    if tracks:
        size = None
        with request.problems.at(root):
            size = _original_size(root)
        seen: dict[int, int] = {}
        for track in tracks:
            with request.problems.at(track):
                number = track.whole("id")
                if number in seen:
                    raise PromptError(f"track {number} was given already, on line {seen[number]}")
                seen[number] = track.line
                _read_track(track, number, size, request, found, skipped)
    folder = request.choose_folder(image.attributes.get("name", "") for image in images)
    for image in images:
        if folder not in (None, folder_of(image.attributes.get("name", ""))):
            continue
        with request.problems.at(image):
            _read_image(image, request, found, skipped)
    found.note_skipped(skipped, READ)
    return found


def _read_track(
    track: Element, number: int, size: Size | None, request: Request, found: Found, skipped: Counter[str]
) -> None:
    """Add the shapes of one object; those with outside="1" say that it is not there."""
    category = track.get("label")
    frames: dict[int, int] = {}
    for element in track.children:
        if element.tag == "attribute":
            continue
        if element.tag in SKIPPED:
            skipped[element.tag] += 1
            continue
        with request.problems.at(element):
            frame = element.whole("frame")
            if frame in frames:
                raise PromptError(f"frame {frame} was given already, on line {frames[frame]}")
            frames[frame] = element.line
            if not element.flag("outside"):
                picture, info = Picture(number=frame), ObjectInfo(_attribute(element, "name"), category)
                keyframe = element.flag("keyframe", default=True)
                shape = _shape(element)
                found.annotations.append(
                    Annotation(picture, shape, element, number, number, info, size, keyframe=keyframe)
                )


def _read_image(image: Element, request: Request, found: Found, skipped: Counter[str]) -> None:
    """Add the shapes of one picture; tracks that were split into pictures have an attribute track_id."""
    picture = Picture(stem(image.get("name")), order=image.whole("id"))
    size = picture_size(image.number("height"), image.number("width"))
    found.pictures.append(picture)
    for element in image.children:
        if element.tag == "tag":
            continue
        if element.tag in SKIPPED:
            skipped[element.tag] += 1
            continue
        with request.problems.at(element):
            track = _attribute(element, "track_id")
            key: Hashable | None = track or None
            number = parse_whole(track, "track_id") if track else None
            info = ObjectInfo(_attribute(element, "name"), element.get("label"))
            found.annotations.append(Annotation(picture, _shape(element), element, key, number, info, size))


def _original_size(root: Element) -> Size | None:
    """Return the frame size that the file states; None if it states none, or those of several videos."""
    sizes = set()
    for element in root.find("original_size"):
        sides = {child.tag: parse_number(child.text.strip(), child.tag) for child in element.children}
        if not {"width", "height"} <= sides.keys():
            raise PromptError("<original_size> needs <width> and <height>")
        sizes.add(picture_size(sides["height"], sides["width"]))
    return sizes.pop() if len(sizes) == 1 else None


def _attribute(element: Element, name: str) -> str:
    """Return the text of an <attribute> of this name, "" if there is none."""
    for child in element.children:
        if child.tag == "attribute" and child.attributes.get("name") == name:
            return child.text.strip()
    return ""


def _shape(element: Element) -> Shape:
    """Return what a shape element draws. Raises PromptError."""
    degrees = element.number("rotation") if "rotation" in element.attributes else 0.0
    if element.tag == "box":
        x0, y0, x1, y1 = (element.number(name) for name in ("xtl", "ytl", "xbr", "ybr"))
        if x1 <= x0 or y1 <= y0:
            raise PromptError(f"the box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) is empty")
        return Box((x0, y0, x1, y1), degrees)
    if element.tag == "polygon":
        return Polygons((polygon(_points(element)),))
    if element.tag == "points":
        points = tuple((x, y) for x, y in _points(element))
        return Clicks(points, (1,) * len(points))
    if element.tag == "ellipse":
        cx, cy, rx, ry = (element.number(name) for name in ("cx", "cy", "rx", "ry"))
        if rx <= 0 or ry <= 0:
            raise PromptError(f"the ellipse has the radii {rx:g} and {ry:g}")
        return Ellipse((cx, cy), (rx, ry), degrees)
    if element.tag == "mask":
        size = picture_size(element.number("height"), element.number("width"))
        counts = [parse_whole(word.strip(), "a run of the mask") for word in element.get("rle").split(",")]
        return Patch(np.asarray(rows_of_runs(counts, size)), element.whole("left"), element.whole("top"))
    raise PromptError(f"<{element.tag}> is not known; {READ} are read")


def _points(element: Element) -> list[list[float]]:
    """Parse "x0,y0;x1,y1;..."."""
    pairs = []
    for text in element.get("points").split(";"):
        words = text.split(",")
        if len(words) != 2:
            raise PromptError(f"the point {text!r} does not read as x,y")
        pairs.append([parse_number(word.strip(), "a coordinate") for word in words])
    return pairs
