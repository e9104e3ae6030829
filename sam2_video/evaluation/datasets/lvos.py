"""LVOS v1 and v2: SPLIT/{JPEGImages,Annotations}/SEQ and SPLIT/SPLIT_meta.json.

The meta file gives each object a range of frames by file name; names are five apart (6 frames a second cut
from 30). Of test only the first masks are public.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sam2_video.evaluation.datasets.layout import (
    Found,
    NotThere,
    Request,
    label_clip,
    need_folder,
    picture_frames,
    present,
    read_list,
    read_videos,
    split_folder,
)
from sam2_video.evaluation.datasets.rules import Listed
from sam2_video.evaluation.sequences import EvaluatedObject
from sam2_video.types import DataError

SPLITS = {"val": ("val", "valid", "eval"), "test": ("test",), "train": ("train",)}
STEP = 5  # between the numbers of neighbouring frames
UNSEEN = "unseen_videos.txt"  # of the evaluation package: videos with categories not in train


def read_lvos(request: Request) -> Found:
    """Read a split; videos are "seen" or "unseen" where the list of the evaluation package is there."""
    folder, split = split_folder(request, "JPEGImages", SPLITS)
    images, masks = folder / "JPEGImages", need_folder(folder / "Annotations")
    meta, unseen = _meta(folder, split), _unseen(folder)
    videos = read_videos(meta)
    clips = []
    for name in request.choose(present(sorted(videos), images, meta, request.findings), images):
        frames = picture_frames(name, images / name, request.findings)
        if frames is None:
            continue
        places = _places(frames.names, images / name)
        group = "" if unseen is None else ("unseen" if name in unseen else "seen")
        listed = [_object(meta, name, key, entry, places, group) for key, entry in videos[name].items()]
        objects = tuple(sorted((one for one in listed if one), key=lambda one: one.object_id))
        if len(objects) < len(listed):
            request.findings.add("error", meta, f"starts an object of {name} on a frame that is absent", name)
        if objects:
            clip = label_clip(name, images / name, masks / name, Listed(objects), request.findings)
            clips += [clip] if clip is not None else []
    return Found(split, clips)


def _meta(folder: Path, split: str) -> Path:
    names = [f"{name}_meta.json" for name in (split, folder.name, "valid", "val")] + ["meta.json"]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise NotThere(f"there is no {folder / names[0]}, which names the objects; it is a download of its own")


def _unseen(folder: Path) -> set[str] | None:
    for place in (folder, folder.parent):
        if (place / UNSEEN).is_file():
            return set(read_list(place / UNSEEN))
    return None


def _places(names: tuple[str, ...], folder: Path) -> dict[int, int]:
    if not all(name.isdecimal() for name in names):
        raise DataError(f"{folder}: frames must be numbered, as 00000001.jpg")
    return {int(name): k for k, name in enumerate(names)}


def _object(
    meta: Path, video: str, key: str, entry: Mapping[str, Any], places: Mapping[int, int], group: str
) -> EvaluatedObject | None:
    """Return an object with the frames that the evaluation package scores; None where it starts nowhere.

    It walks from start to end, excluded, in steps of 5 and leaves out the first of these, and the one that
    would be number `frame_nums`: where that is the length of the range, the first and the last frame.
    """
    span = entry.get("frame_range")
    try:
        start, end, count = (int(span[word]) for word in ("start", "end", "frame_nums"))  # type: ignore[index]
    except (KeyError, TypeError, ValueError) as error:
        message = f"{meta}: object {key} of {video} has no frame_range with start, end and frame_nums"
        raise DataError(message) from error
    if start not in places:
        return None
    walked = list(range(start, end, STEP))
    scored = tuple(places[n] for k, n in enumerate(walked) if 0 < k != count - 1 and n in places)
    return EvaluatedObject(int(key), places[start], scored, group)
