"""Our own prompts files: JSON or YAML, a list of prompts or an object that holds one; also run.json.

{"version": 1,
 "clip": {"name": "cups.mp4", "size": [720, 1280]},
 "objects": [{"id": 1, "name": "left cup", "category": "cup"}],
 "prompts": [{"frame": 0, "object": 1, "points": [[420, 260], [500, 300]], "labels": [1, 0]},
             {"frame": 0, "object": 2, "box": [30, 40, 200, 310]},
             {"frame": 60, "object": 1, "mask": "cup_00060.png"}]}
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sam2_video.prompts.annotations import Annotation, Found
from sam2_video.prompts.clip_facts import Picture
from sam2_video.prompts.documents import Place
from sam2_video.prompts.pictures import label_values, read_labels
from sam2_video.prompts.problems import (
    Problems,
    a_list,
    a_mapping,
    a_number,
    a_text,
    numbers,
    shown,
    whole,
)
from sam2_video.prompts.request import Request
from sam2_video.prompts.shapes import (
    Box,
    Clicks,
    PictureMask,
    Polygons,
    Runs,
    Shape,
    Size,
    picture_size,
    polygon,
    run_lengths,
)
from sam2_video.types import ObjectInfo, PromptError

VERSION = 1
PROMPT_KEYS = ("frame", "object", "points", "labels", "box", "mask", "name", "category")
OBJECT_KEYS = ("id", "name", "category")
TOP_KEYS = ("version", "clip", "objects", "prompts")


def read_own(request: Request) -> Found:
    """Read a prompts file."""
    problems, data, whole_file = request.problems, request.document.data, request.document.at()
    reader = _Reader(problems)
    entries, here = data, whole_file
    if isinstance(data, dict):
        here = whole_file.at("prompts")
        entries = data.get("prompts")
        if "command" not in data:  # run.json of an earlier run has keys of its own
            reader.read_head(data, whole_file)
    found = Found(sparse=True, strict=True)
    if not isinstance(entries, list):
        problems.add(here, f"expected a list of prompts, got {shown(entries)}")
        return found
    if not entries:
        problems.add(here, "the list of prompts is empty")
    for k, entry in enumerate(entries):
        found.annotations += reader.read_entry(entry, here.at(k))
    return found


class _Reader:
    """What the head of a file says, and the reading of its prompts."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._info: dict[int, ObjectInfo] = {}
        self._ids: dict[str, int] = {}  # by name, where only one object has it
        self._size: Size | None = None

    def read_head(self, data: dict[str, Any], here: Place) -> None:
        """Read all but the prompts."""
        with self._problems.at(here):
            _known_keys(data, TOP_KEYS, "a prompts file")
        if data.get("version", VERSION) != VERSION:
            text = f"version is {shown(data['version'])}; this package reads version {VERSION}"
            self._problems.add(here.at("version"), text)
        with self._problems.at(here.at("clip")):
            clip = a_mapping(data.get("clip", {}), "clip")
            _known_keys(clip, ("name", "size"), "clip")
            if "size" in clip:
                self._size = picture_size(*numbers(clip["size"], 2, "size of clip, [height, width]"))
        objects: list[Any] = []
        with self._problems.at(here.at("objects")):
            objects = a_list(data.get("objects", []), "objects")
        for k, entry in enumerate(objects):
            with self._problems.at(here.at("objects", k)):
                self._read_object(entry)

    def _read_object(self, entry: Any) -> None:
        _known_keys(a_mapping(entry, "an entry of objects"), OBJECT_KEYS, "an entry of objects")
        object_id = whole(entry.get("id"), "id")
        if object_id in self._info:
            raise PromptError(f"object {object_id} is described twice")
        info = ObjectInfo(a_text(entry.get("name"), "name"), a_text(entry.get("category"), "category"))
        if info.name in self._ids:
            raise PromptError(f"object {self._ids[info.name]} has the name {info.name!r} already")
        self._info[object_id] = info
        if info.name:
            self._ids[info.name] = object_id

    def read_entry(self, entry: Any, here: Place) -> list[Annotation]:
        """Return what one prompt says; each of its values is checked, whatever is wrong with the others."""
        problems = self._problems
        with problems.at(here):
            _known_keys(a_mapping(entry, "a prompt"), PROMPT_KEYS, "a prompt")
        if not isinstance(entry, dict):
            return []
        picture: Picture | None = None
        with problems.at(here.at("frame")):
            picture = _picture(entry)
        object_id: int | None = None
        with problems.at(here.at("object")):
            object_id = self._object(entry)
        said = ObjectInfo()
        with problems.at(here):
            said = ObjectInfo(a_text(entry.get("name"), "name"), a_text(entry.get("category"), "category"))
        out = []
        for number, shape, size in self._shapes(entry, object_id, here):
            listed = self._info.get(number, ObjectInfo())
            info = ObjectInfo(said.name or listed.name, said.category or listed.category)
            if picture is not None:
                out.append(Annotation(picture, shape, here, number, number, info, size))
        return out

    def _object(self, entry: dict[str, Any]) -> int | None:
        """Return the object of a prompt, None for a label picture that says itself whose masks it holds."""
        value = entry.get("object", None if "mask" in entry else 1)
        if value is None and isinstance(entry.get("mask"), str):
            return None
        if isinstance(value, str) and value in self._ids:
            return self._ids[value]
        if isinstance(value, str):
            known = ", ".join(map(repr, self._ids)) or "none"
            raise PromptError(f"object {value!r} is not in the list of objects; named ones: {known}")
        return whole(value, "object")

    def _shapes(
        self, entry: dict[str, Any], object_id: int | None, here: Place
    ) -> Iterator[tuple[int, Shape, Size | None]]:
        """Yield object, shape, and size of the picture, of everything that one prompt says."""
        problems, number = self._problems, 0 if object_id is None else object_id
        if entry.keys() <= set(PROMPT_KEYS) and not {"points", "box", "mask"} & entry.keys():
            problems.add(here, "a prompt needs 'points', 'box' or 'mask'")
        if "mask" in entry and {"points", "labels", "box"} & entry.keys():
            problems.add(here, "a mask says it all; leave out points, labels and box")
        if "labels" in entry and "points" not in entry:
            problems.add(here.at("labels"), "labels need points")
        if "points" in entry:
            with problems.at(here.at("points")):
                yield number, _clicks(entry), self._size
        if "box" in entry:
            with problems.at(here.at("box")):
                x0, y0, x1, y1 = numbers(entry["box"], 4, "box")
                yield number, Box((x0, y0, x1, y1)), self._size
        if "mask" in entry:
            with problems.at(here.at("mask")):
                yield from self._masks(entry["mask"], object_id, here)

    def _masks(
        self, value: Any, object_id: int | None, here: Place
    ) -> Iterator[tuple[int, Shape, Size | None]]:
        if isinstance(value, str):
            for number, shape in _picture_masks(here, a_text(value, "mask"), object_id):
                yield number, shape, shape.size()
            return
        number = 0 if object_id is None else object_id  # None: its problem was told
        if isinstance(value, dict):
            runs = run_lengths(value, "the mask")
            yield number, Runs(runs), (runs["size"][0], runs["size"][1])
            return
        rings = tuple(polygon(ring) for ring in a_list(value, "mask"))
        if not rings:
            raise PromptError("the mask has no polygon")
        yield number, Polygons(rings), self._size


def _picture(entry: dict[str, Any]) -> Picture:
    if "frame" not in entry:
        raise PromptError("a prompt needs 'frame'")
    value = entry["frame"]
    if isinstance(value, str) and value:
        return Picture(name=value)
    return Picture(number=whole(value, "frame"))


def _clicks(entry: dict[str, Any]) -> Clicks:
    pairs = [numbers(point, 2, "a point") for point in a_list(entry["points"], "points")]
    labels = [a_number(v, "a label") for v in a_list(entry.get("labels", [1] * len(pairs)), "labels")]
    if not pairs:
        raise PromptError("points is empty")
    if len(labels) != len(pairs) or not set(labels) <= {0.0, 1.0}:
        raise PromptError(f"{len(pairs)} points need as many labels of 0 or 1, got {shown(entry['labels'])}")
    return Clicks(tuple((x, y) for x, y in pairs), tuple(int(v) for v in labels))


def _picture_masks(here: Place, name: str, object_id: int | None) -> Iterator[tuple[int, PictureMask]]:
    """Yield the masks of a label picture beside the prompts file; all of them if no object is named."""
    file = here.document.path.parent / name
    values = label_values(read_labels(file))
    if not values:
        raise PromptError(f"the mask {file} is empty: every pixel is 0")
    if object_id is None:
        for value in values:
            yield 1 if values == [255] else value, PictureMask(file, value)
    elif len(values) == 1:
        yield object_id, PictureMask(file, None)
    elif object_id in values:
        yield object_id, PictureMask(file, object_id)
    else:
        raise PromptError(f"the mask {file} holds the objects {shown(values)}, but not {object_id}")


def _known_keys(entry: dict[str, Any], known: tuple[str, ...], what: str) -> None:
    unknown = [str(key) for key in entry if key not in known]
    if unknown:
        raise PromptError(f"{what} has no {', '.join(map(repr, unknown))}; it has {', '.join(known)}")
