"""COCO JSON, one entry per object and image, and YouTube-VIS JSON, one entry per object and video."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Any

from sam2_video.prompts.annotations import Annotation, Found
from sam2_video.prompts.clip_facts import Picture, stem
from sam2_video.prompts.documents import Document, Place
from sam2_video.prompts.problems import (
    Problems,
    a_list,
    a_mapping,
    a_number,
    a_text,
    numbers,
    parse_whole,
    shown,
    whole,
)
from sam2_video.prompts.request import Request, folder_of
from sam2_video.prompts.shapes import (
    Box,
    Polygons,
    Runs,
    Shape,
    Size,
    other_size,
    picture_size,
    polygon,
    run_lengths,
)
from sam2_video.types import ObjectInfo, PromptError

# What tools call the identity of an object across images; CVAT writes it among its attributes.
IDENTITIES = ("track_id", "instance_id", "object_id")
FRAME_NUMBERS = ("frame_id", "frame_index")
Known = dict[int, dict[str, Any]]  # entries of a list, by id


def read_coco(request: Request) -> Found:
    """Read images and their annotations; of several videos in one file that of the clip."""
    return read_coco_document(request, request.document)


def read_coco_document(request: Request, document: Document) -> Found:
    """As `read_coco`, of a document that need not be the request's own."""
    data, here = a_mapping(document.data, "a COCO file"), document.at()
    problems = request.problems
    images = _by_id(data, "images", here, problems)
    categories = _category_names(data, here, problems)
    video = _chosen_video(request, data, here)
    folder = request.choose_folder(_files(images)) if video is None else None
    pictures: dict[int, Picture] = {}
    for number, image in images.items():
        of_folder = folder is None or folder_of(str(image.get("file_name"))) == folder
        if of_folder and (video is None or image.get("video_id") == video):
            with problems.at(here.at("images", image["#"])):
                pictures[number] = _picture(image)
    found = Found(pictures=list(pictures.values()))
    skipped: Counter[str] = Counter()
    for k, entry in enumerate(_entries(data, "annotations", here, problems)):
        place = here.at("annotations", k)
        with problems.at(place):
            image_id = whole(a_mapping(entry, "an annotation").get("image_id"), "image_id")
            if image_id not in images:
                raise PromptError(f"image_id {image_id} is not among the images")
            if image_id not in pictures:
                continue  # of another video, or its problem was told
            if entry.get("iscrowd"):
                skipped["crowd"] += 1
                continue
            size = _image_size(images[image_id])
            key, track = _identity(entry)
            shape = _shape(entry, size)
            info = _info(entry, categories)
            found.annotations.append(
                Annotation(*(pictures[image_id], shape, place, key, track, info, size), score=_score(entry))
            )
    found.note_skipped(skipped, "single objects")
    return found


def read_youtube_vis(request: Request) -> Found:
    """Read the objects of one video; each has a mask, or nothing, on every frame."""
    data, here = a_mapping(request.document.data, "a YouTube-VIS file"), request.document.at()
    problems = request.problems
    videos = _by_id(data, "videos", here, problems)
    categories = _category_names(data, here, problems)
    found = Found()
    names = {number: _video_name(video) for number, video in videos.items()}
    chosen = request.choose(names.values(), "videos")
    video = next(videos[number] for number, name in names.items() if name == chosen)
    files: list[Any] = []
    with problems.at(here.at("videos", video["#"])):
        files = a_list(video.get("file_names"), "file_names")
        found.pictures = [Picture(stem(a_text(f, "a file name")), order=k) for k, f in enumerate(files)]
    for k, entry in enumerate(_entries(data, "annotations", here, problems)):
        place = here.at("annotations", k)
        with problems.at(place):
            video_id = whole(a_mapping(entry, "an annotation").get("video_id"), "video_id")
            if video_id not in videos:
                raise PromptError(f"video_id {video_id} is not among the videos")
            if video_id == video["id"] and found.pictures:
                _read_track(entry, place, _info(entry, categories), _image_size(video), found, problems)
    return found


def _read_track(
    entry: dict[str, Any], place: Place, info: ObjectInfo, size: Size | None, found: Found, problems: Problems
) -> None:
    """Add one object of a YouTube-VIS file."""
    key, number = _identity(entry)
    if key is None:  # in the data set itself an annotation is an object
        key = number = whole(entry.get("id"), "id")
    masks = a_list(entry.get("segmentations"), "segmentations")
    if len(masks) != len(found.pictures):
        raise PromptError(f"{len(masks)} segmentations for {len(found.pictures)} frames")
    for k, mask in enumerate(masks):
        if not mask:  # the object is not on this frame
            continue
        with problems.at(place.at("segmentations", k)):
            shape = _shape({"segmentation": mask}, size)
            found.annotations.append(
                Annotation(found.pictures[k], shape, place.at("segmentations", k), key, number, info, size)
            )


def _entries(data: dict[str, Any], name: str, here: Place, problems: Problems) -> list[Any]:
    entries: list[Any] = []
    with problems.at(here.at(name)):
        entries = a_list(data.get(name), name)
    return entries


def _by_id(data: dict[str, Any], name: str, here: Place, problems: Problems) -> Known:
    """Return the entries of a list by their id, each with its place in the list as "#"."""
    out: Known = {}
    for k, entry in enumerate(_entries(data, name, here, problems)):
        with problems.at(here.at(name, k)):
            number = whole(a_mapping(entry, f"an entry of {name}").get("id"), "id")
            if number in out:
                raise PromptError(f"the id {number} was given already, in {name}[{out[number]['#']}]")
            out[number] = {**entry, "#": k}
    return out


def _category_names(data: dict[str, Any], here: Place, problems: Problems) -> dict[int, str]:
    names = {}
    for number, entry in _by_id(data, "categories", here, problems).items():
        with problems.at(here.at("categories", entry["#"])):
            names[number] = a_text(entry.get("name"), "name")
    return names


def _chosen_video(request: Request, data: dict[str, Any], here: Place) -> int | None:
    """Return the id of the video whose images are meant, None where images belong to no video."""
    if not data.get("videos"):
        return None
    videos = _by_id(data, "videos", here, request.problems)
    names = {number: _video_name(video) for number, video in videos.items()}
    chosen = request.choose(names.values(), "videos")
    return next(number for number, name in names.items() if name == chosen)


def _video_name(video: dict[str, Any]) -> str:
    """Return what a video is called: its name, or the folder that its first frame lies in."""
    name, files = video.get("name"), video.get("file_names")
    if isinstance(name, str) and name:
        return stem(name)
    first = files[0] if isinstance(files, list) and files else None
    folders = first.replace("\\", "/").split("/")[:-1] if isinstance(first, str) else []
    return folders[-1] if folders else str(video["id"])


def _files(images: Known) -> list[str]:
    """Return the files of pictures that have no frame number."""
    named = (image for image in images.values() if all(image.get(key) is None for key in FRAME_NUMBERS))
    return [file for image in named if isinstance(file := image.get("file_name"), str)]


def _picture(image: dict[str, Any]) -> Picture:
    """Return what the file says of a picture: its file, its number in the video, or both."""
    name = stem(a_text(image.get("file_name"), "file_name"))
    for key in FRAME_NUMBERS:
        if image.get(key) is not None:
            return Picture(name, whole(image[key], key))
    if not name:
        raise PromptError("an image needs file_name or frame_id")
    return Picture(name)


def _image_size(image: dict[str, Any]) -> Size | None:
    if image.get("height") is None or image.get("width") is None:
        return None
    return picture_size(image["height"], image["width"])


def _identity(entry: dict[str, Any]) -> tuple[Hashable | None, int | None]:
    """Return what tells the object apart across images, and its id if that is a number."""
    attributes = entry.get("attributes")
    for holder in (entry, attributes if isinstance(attributes, dict) else {}):
        for name in IDENTITIES:
            value = holder.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
                return value, value
            if isinstance(value, str) and value:
                return value, parse_whole(value, name) if value.isdecimal() else None
    return None, None


def _info(entry: dict[str, Any], categories: dict[int, str]) -> ObjectInfo:
    category = whole(entry.get("category_id"), "category_id")
    if category not in categories:
        raise PromptError(f"category_id {category} is not among the categories")
    attributes = entry.get("attributes")
    name = entry.get("name") or (attributes.get("name") if isinstance(attributes, dict) else None)
    return ObjectInfo(a_text(name, "name"), categories[category])


def _score(entry: dict[str, Any]) -> float | None:
    """What a detector gave an annotation; COCO's own have none."""
    return None if entry.get("score") is None else a_number(entry["score"], "score")


def _shape(entry: dict[str, Any], size: Size | None) -> Shape:
    """Return the segmentation, or the box where there is none. Raises PromptError."""
    drawn = entry.get("segmentation")
    if isinstance(drawn, dict):
        runs = run_lengths(drawn, "segmentation")
        if size is not None and tuple(runs["size"]) != size:
            raise PromptError(other_size((runs["size"][0], runs["size"][1]), size))
        return Runs(runs)
    if drawn:
        return Polygons(tuple(polygon(ring, "segmentation") for ring in a_list(drawn, "segmentation")))
    if "bbox" not in entry:
        raise PromptError(f"segmentation is {shown(drawn)}, and there is no bbox")
    x, y, width, height = numbers(entry["bbox"], 4, "bbox")
    if width <= 0 or height <= 0:
        raise PromptError(f"bbox is {width:g} wide and {height:g} high")
    return Box((x, y, x + width, y + height))
