"""Label Studio's JSON export: tasks, their annotations, and results with coordinates in percent."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from sam2_video.prompts.annotations import Annotation, Found
from sam2_video.prompts.clip_facts import Picture, stem
from sam2_video.prompts.documents import Place
from sam2_video.prompts.problems import a_list, a_mapping, a_number, a_text, shown, whole
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
)
from sam2_video.types import ObjectInfo, PromptError

SHAPES = ("rectangle", "polygon", "brush", "keypoint", "ellipse", "videorectangle")
MEDIA = ("video", "image", "img", "frame")  # usual names of the field with the file, tried first
_UPLOAD = re.compile(r"[0-9a-f]{8}-(?=.)")  # what Label Studio puts before the names of uploaded files


@dataclass(frozen=True)
class _Task:
    """One picture or video of the project, and what somebody drew on it."""

    file: str  # with folders, without suffix, as the project has it
    media: str  # its name, without what Label Studio puts before names of uploaded files
    results: list[tuple[dict[str, Any], Place]]

    @property
    def is_video(self) -> bool:
        return any(result.get("type") == "videorectangle" for result, _ in self.results)


def read_label_studio(request: Request) -> Found:
    """Read the tasks of a project: the pictures of one clip, or one of its videos."""
    here = request.document.at()
    found = Found()
    tasks = []
    for k, entry in enumerate(a_list(request.document.data, "a Label Studio file")):
        with request.problems.at(here.at(k)):
            tasks.append(_read_task(a_mapping(entry, "a task"), here.at(k), found))
    videos = [task for task in tasks if task.is_video]
    if videos:
        tasks = _one_video(videos, request)
        found.sparse = True
    else:
        tasks = _one_folder(tasks, request)
    skipped: Counter[str] = Counter()
    for task in tasks:
        picture = Picture(task.media)
        if not videos:
            found.pictures.append(picture)
        for result, place in task.results:
            kind = str(result.get("type", "")).removesuffix("labels")
            if kind not in SHAPES:
                if kind != "relation":
                    skipped[kind] += 1
                continue
            with request.problems.at(place):
                found.annotations += _read_result(kind, result, picture, place)
                found.frame_count = _frames_count(result) or found.frame_count
    found.note_skipped(skipped, f"{', '.join(SHAPES)} results")
    return found


def _one_video(tasks: list[_Task], request: Request) -> list[_Task]:
    """Choose a video by its name, with its folders where others have that name. Raises PromptError."""
    files = {(task.media, task.file) for task in tasks}
    count = Counter(media for media, _ in files)
    names = [task.media if count[task.media] == 1 else task.file for task in tasks]
    chosen = request.choose(names, "videos")
    return [task for task, name in zip(tasks, names, strict=True) if name == chosen]


def _one_folder(tasks: list[_Task], request: Request) -> list[_Task]:
    """Choose a folder where pictures of several have one name; problems where names tell nothing."""
    folder = request.choose_folder(f"{folder_of(task.file)}/{task.media}.jpg" for task in tasks)
    chosen = [task for task in tasks if folder in (None, folder_of(task.file))]
    first: dict[str, str] = {}
    for task in chosen:
        file = first.setdefault(task.media, task.file)
        if file != task.file:
            request.problems.add(
                request.document.at(),
                f"{file} and {task.file} were uploaded under one name, so which frames they are cannot be "
                "told; upload pictures of different names",
            )
    return chosen


def _read_task(entry: dict[str, Any], here: Place, found: Found) -> _Task:
    """Choose the annotation that counts, and join each of its shapes with labels given apart from it."""
    if "annotations" not in entry and "predictions" not in entry:
        raise PromptError("a task needs 'annotations'; export the project as JSON (not as JSON-MIN)")
    file = _media_file(a_mapping(entry.get("data", {}), "data"))
    media = _UPLOAD.sub("", stem(file), count=1)
    kept = []
    for name in ("annotations", "predictions"):
        drawn = enumerate(a_list(entry.get(name) or [], name))
        kept = [(a_mapping(one, name), here.at(name, k)) for k, one in drawn]
        kept = [(one, place) for one, place in kept if not one.get("was_cancelled") and one.get("result")]
        if kept:
            break
    if not kept:
        return _Task(file, media, [])
    best = next((one for one in kept if one[0].get("ground_truth")), kept[-1])
    if len(kept) > 1:
        why = "marked as ground truth" if best[0].get("ground_truth") else "last in the file"
        found.notes.append(f"{media} has {len(kept)} annotations; the one {why} was read")
    entries = enumerate(a_list(best[0]["result"], "result"))
    placed = [(a_mapping(r, "a result"), best[1].at("result", k)) for k, r in entries]
    apart = {str(r.get("id")): _labels(r) for r, _ in placed if r.get("type") == "labels"}
    shapes = [(r, place) for r, place in placed if r.get("type") != "labels"]
    results = [({**r, "apart": apart.get(str(r.get("id")), "")}, place) for r, place in shapes]
    return _Task(file, media, results)


def _media_file(data: dict[str, Any]) -> str:
    """Return a task's picture or video: s3://bucket/clips/cups.mp4 -> bucket/clips/cups."""
    texts = [data[name] for name in MEDIA if isinstance(data.get(name), str)]
    texts += [value for value in data.values() if isinstance(value, str)]
    if not texts:
        raise PromptError("data of the task names no file")
    address = urlsplit(texts[0])
    inside = parse_qs(address.query).get("d")  # /data/local-files/?d=folder/cups.mp4
    file = PurePosixPath(unquote(inside[0] if inside else address.netloc + address.path))
    if not stem(file.name):
        raise PromptError(f"data of the task is {shown(texts[0])}, which names no file")
    return str(file.with_suffix(""))


def _labels(result: dict[str, Any]) -> str:
    """Return the first label of a result, "" if there is none."""
    value = result.get("value")
    for name, labels in value.items() if isinstance(value, dict) else ():
        if name.endswith("labels") and isinstance(labels, list) and labels:
            return a_text(labels[0], name)
    return ""


def _read_result(kind: str, result: dict[str, Any], picture: Picture, place: Place) -> Iterator[Annotation]:
    """Yield the annotations of one result. Raises PromptError."""
    value = a_mapping(result.get("value"), "value")
    info = ObjectInfo(category=_labels(result) or result["apart"])
    if result.get("image_rotation"):
        raise PromptError(f"the picture was turned ({shown(result['image_rotation'])} degrees); turn it back")
    blank = Annotation(picture, Clicks((), ()), place, info=info, size=_original(result), relative=True)
    if kind == "videorectangle":
        region = a_text(result.get("id"), "id")
        yield from _keyframes(value, replace(blank, key=region, size=None), place)
    elif kind == "brush":
        if blank.size is None:
            raise PromptError("a brush needs original_width and original_height")
        mask = decode_brush(a_list(value.get("rle"), "rle"), blank.size)
        yield replace(blank, shape=Patch(mask, whole=True), relative=False)
    elif kind == "keypoint":
        label = 0 if result.get("is_positive") is False else 1
        (x, y) = (a_number(value.get(name), name) / 100 for name in ("x", "y"))
        # Clicks of one label are about one object, as Label Studio's own SAM backend has it.
        yield replace(blank, shape=Clicks(((x, y),), (label,)), key=("keypoints", info.category))
    else:
        yield replace(blank, shape=_area(kind, value))


def _frames_count(result: dict[str, Any]) -> int | None:
    """Return how many frames Label Studio took a video to have: its length times the rate that was set."""
    count = result["value"].get("framesCount")
    return count if isinstance(count, int) else None


def _area(kind: str, value: dict[str, Any]) -> Shape:
    """Return a rectangle, ellipse or polygon in fractions of the picture."""
    if kind == "polygon":
        rings = polygon(value.get("points"))
        return Polygons((rings / 100,))
    if kind == "rectangle":
        return _rectangle(value)
    names = ("x", "y", "radiusX", "radiusY")
    x, y, rx, ry = (a_number(value.get(name), name) / 100 for name in names)
    if rx <= 0 or ry <= 0:
        raise PromptError("the ellipse has no radius")
    return Ellipse((x, y), (rx, ry), a_number(value.get("rotation", 0), "rotation"))


def _rectangle(value: dict[str, Any]) -> Box:
    names = ("x", "y", "width", "height")
    x, y, width, height = (a_number(value.get(name), name) / 100 for name in names)
    if width <= 0 or height <= 0:
        raise PromptError(f"the rectangle is {100 * width:g} wide and {100 * height:g} high (percent)")
    degrees = a_number(value.get("rotation", 0), "rotation")
    return Box((x, y, x + width, y + height), degrees, pivot=(0, 0))


def _keyframes(value: dict[str, Any], blank: Annotation, place: Place) -> Iterator[Annotation]:
    """Yield a video rectangle on each frame of its sequence, which count from 1.

    Where `enabled` is False the object leaves; tools write a copy of the last box there.
    """
    seen = set()
    for k, entry in enumerate(a_list(value.get("sequence"), "sequence")):
        frame = whole(a_mapping(entry, "an entry of sequence").get("frame"), "frame")
        if frame == 0:
            raise PromptError("the sequence has a frame 0; in Label Studio the first frame is 1")
        if frame in seen:
            raise PromptError(f"the sequence has frame {frame} twice")
        seen.add(frame)
        if entry.get("enabled") is False:
            continue
        yield replace(
            blank,
            picture=Picture(number=frame - 1),
            shape=_rectangle(entry),
            where=place.at("value", "sequence", k),
            keyframe=not entry.get("auto", False),
        )


def _original(result: dict[str, Any]) -> Size | None:
    if result.get("original_width") is None or result.get("original_height") is None:
        return None
    return picture_size(result["original_height"], result["original_width"])


def decode_brush(values: list[Any], size: Size) -> NDArray[np.bool_]:
    """Decode a brush: bytes -> (H, W) mask, True where the picture's alpha is not 0. Raises PromptError.

    A stream of bits, highest first: 32 for the number of values, 5 for the bits of a value less one, 4 times
    4 for the bits of four kinds of length less one. Then, until there are enough values: a bit that tells a
    repeated value from a row of different ones, 2 for the kind of the length, the length less one, and the
    one value or as many as the length says. Values are R, G, B, A of pixel after pixel, row after row.
    """
    try:
        data = np.array(values, dtype=np.uint8)
    except (OverflowError, ValueError, TypeError):
        raise PromptError("rle is not a list of bytes, 0 to 255") from None
    bits = _Bits(np.unpackbits(data))
    total, expected = bits.number(32), 4 * size[0] * size[1]
    if total != expected:
        raise PromptError(f"rle holds {total} values, but {size[1]}x{size[0]} pixels of RGBA have {expected}")
    width = bits.number(5) + 1
    lengths = [bits.number(4) + 1 for _ in range(4)]
    out = np.zeros(total, dtype=bool)
    at = 0
    while at < total:
        repeated = bits.number(1)
        count = bits.number(lengths[bits.number(2)]) + 1
        if at + count > total:
            raise PromptError("rle is damaged: it holds more values than it says")
        out[at : at + count] = bits.number(width) != 0 if repeated else bits.row(count, width)
        at += count
    return out.reshape(size[0], size[1], 4)[..., 3]


class _Bits:
    """Reads numbers from a row of bits."""

    def __init__(self, bits: NDArray[np.uint8]) -> None:
        self._bits = bits
        self._at = 0

    def _take(self, count: int) -> NDArray[np.uint8]:
        taken = self._bits[self._at : self._at + count]
        if len(taken) < count:
            raise PromptError("rle is damaged: it ends too early")
        self._at += count
        return taken

    def number(self, width: int) -> int:
        """Return the next number of so many bits."""
        value = 0
        for bit in self._take(width).tolist():
            value = value << 1 | bit
        return value

    def row(self, count: int, width: int) -> NDArray[np.bool_]:
        """Return which of the next numbers are not 0."""
        return np.asarray(self._take(count * width).reshape(count, width).any(axis=1))
