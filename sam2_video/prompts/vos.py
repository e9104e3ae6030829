"""Folders of label pictures: as they are, in DAVIS layout, and in YouTube-VOS layout with a meta.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sam2_video.prompts.annotations import Annotation, Found
from sam2_video.prompts.clip_facts import Picture
from sam2_video.prompts.documents import Document, read_document
from sam2_video.prompts.pictures import LABEL_TYPES, label_values, read_labels
from sam2_video.prompts.problems import Problems, a_mapping, a_text
from sam2_video.prompts.request import Request
from sam2_video.prompts.shapes import PictureMask
from sam2_video.sources.folder import natural_key
from sam2_video.types import ObjectInfo, PromptError

RESOLUTIONS = ("480p", "Full-Resolution", "1080p")  # of DAVIS, the usual one first


def label_pictures(folder: Path) -> list[Path]:
    """Return the pictures of a folder that can hold labels, in natural order."""
    files = [f for f in folder.iterdir() if f.suffix.lower() in LABEL_TYPES and not f.name.startswith(".")]
    return sorted(files, key=lambda file: natural_key(file.name))


def read_label_pictures(request: Request) -> Found:
    """Read one label picture, or a folder of them, each named as its frame."""
    files = [request.path] if request.path.is_file() else label_pictures(request.path)
    if not files:
        raise PromptError(f"{request.path} holds no label pictures (.png)")
    return _read_files(files, {}, request.problems)


def read_davis(request: Request) -> Found:
    """Read the masks of one sequence below Annotations/480p, or below Annotations itself."""
    annotations = request.path / "Annotations"
    folders = [annotations / name for name in RESOLUTIONS if (annotations / name).is_dir()]
    base = folders[0] if folders else annotations
    if not base.is_dir():
        raise PromptError(f"{request.path} has no folder Annotations")
    sequence = request.choose(sorted(p.name for p in base.iterdir() if p.is_dir()), "sequences")
    return _read_files(_checked_files(base / sequence), {}, request.problems)


def read_youtube_vos(request: Request) -> Found:
    """Read the masks of one video, and the classes of its objects from meta.json.

    An object is asked for where its mask appears first, which may be long after the first frame.
    """
    root = request.path.parent if request.path.is_file() else request.path
    document = read_document(root / "meta.json")
    videos: Mapping[str, object] = {}
    with request.problems.at(document.at("videos")):
        videos = a_mapping(a_mapping(document.data, "meta.json").get("videos"), "videos")
    if not videos:
        return Found()
    video = request.choose(videos, "videos")
    info = _objects(document, video, request.problems)
    found = _read_files(_checked_files(root / "Annotations" / video), info, request.problems)
    drawn = {annotation.object_id for annotation in found.annotations}
    for number in info:
        if number not in drawn:
            here = document.at("videos", video, "objects", str(number))
            request.problems.add(here, f"no picture of Annotations/{video} shows object {number}")
    return found


def _checked_files(folder: Path) -> list[Path]:
    files = label_pictures(folder) if folder.is_dir() else []
    if not files:
        raise PromptError(f"{folder} holds no label pictures (.png)")
    return files


def _objects(document: Document, video: str, problems: Problems) -> dict[int, ObjectInfo]:
    """Return the objects of a video and their classes."""
    here = document.at("videos", video)
    info = {}
    objects: Mapping[str, object] = {}
    with problems.at(here):
        objects = a_mapping(a_mapping(document.data["videos"][video], "a video").get("objects"), "objects")
    for number, entry in objects.items():
        with problems.at(here.at("objects", number)):
            if not (number.isascii() and number.isdecimal() and 0 < len(number) < 10):
                raise PromptError(f"the object id {number!r} is no whole number")
            category = a_mapping(entry, "an object").get("category")
            info[int(number)] = ObjectInfo(category=a_text(category, "category"))
    return info


def _read_files(files: list[Path], info: Mapping[int, ObjectInfo], problems: Problems) -> Found:
    """Read which values each picture holds; masks are made later, of those that become prompts.

    White (255) is object 1 where it is the only value of all pictures.
    """
    found = Found()
    values: dict[Path, list[int]] = {}
    for file in files:
        found.pictures.append(Picture(file.stem))
        with problems.at(""):  # a picture that cannot be read says so itself
            values[file] = label_values(read_labels(file))
    only_white = {value for some in values.values() for value in some} == {255}
    for file, some in values.items():
        for value in some:
            number = 1 if only_white else value
            shape = PictureMask(file, value)
            known = info.get(number, ObjectInfo())
            found.annotations.append(Annotation(Picture(file.stem), shape, f"{file}", number, number, known))
    if not found.annotations and not problems:
        raise PromptError(f"{files[0] if len(files) == 1 else files[0].parent} is empty: every pixel is 0")
    return found
