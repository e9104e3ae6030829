"""YouTube-VOS 2018 and 2019: SPLIT/{JPEGImages,Annotations}/SEQ and SPLIT/meta.json.

meta.json lists for each object its category and frames, the first of which has its mask. Masks of valid and
test show nothing but the objects that begin there; the rest is kept by a server.
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
    read_videos,
    split_folder,
)
from sam2_video.evaluation.datasets.rules import Listed
from sam2_video.evaluation.sequences import EvaluatedObject
from sam2_video.types import DataError

SPLITS = {"valid": ("valid", "val"), "test": ("test",), "train": ("train",)}
SEEN = frozenset(  # the 65 categories of the training set; all others are "unseen"
    """airplane ape bear bike bird boat bucket bus camel cat cow crocodile deer dog dolphin duck eagle
    earless_seal elephant fish fox frisbee frog giant_panda giraffe hand hat hedgehog horse knife leopard lion
    lizard monkey motorbike mouse others owl paddle parachute parrot penguin person plant rabbit raccoon sedan
    shark sheep sign skateboard snail snake snowboard squirrel surfboard tennis_racket tiger toilet train
    truck turtle umbrella whale zebra""".split()
)


def read_youtube_vos(request: Request) -> Found:
    """Read a split; with `every_frame` the pictures come from SPLIT_all_frames (30 instead of 6 a second)."""
    folder, split = split_folder(request, "Annotations", SPLITS)
    meta = folder / "meta.json"
    if not meta.is_file():
        raise NotThere(f"there is no {meta}, which names the objects")
    images = _images(folder, request.every_frame)
    videos = read_videos(meta)
    clips = []
    names = present(sorted(videos), images, meta, request.findings)
    for name in request.choose(names, images):
        frames = picture_frames(name, images / name, request.findings)
        if frames is None:
            continue
        places = {stem: k for k, stem in enumerate(frames.names)}
        listed = [_object(request, meta, name, key, entry, places) for key, entry in videos[name].items()]
        objects = sorted((one for one in listed if one), key=lambda one: one.object_id)
        if not objects:
            request.findings.add("error", meta, f"names no object of {name} that could be tracked", name)
            continue
        wanted = sorted({frame for one in objects for frame in (one.first, *one.scored)})
        clip = label_clip(
            name,
            images / name,
            folder / "Annotations" / name,
            Listed(tuple(objects)),
            request.findings,
            wanted=tuple(wanted),
        )
        if clip is not None:
            clips.append(clip)
    return Found(split, clips)


def _images(folder: Path, every_frame: bool) -> Path:
    if not every_frame:
        return need_folder(folder / "JPEGImages")
    name = f"{folder.name}_all_frames"
    places = [folder.parent / name / "JPEGImages", folder.parent / "all_frames" / name / "JPEGImages"]
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        raise NotThere(f"there is neither {places[0]} nor {places[1]}, which hold the pictures of all frames")
    return found


def _object(
    request: Request, meta: Path, video: str, key: str, entry: Mapping[str, Any], places: Mapping[str, int]
) -> EvaluatedObject | None:
    """Return an object with all frames it is listed for but its first; None, and a finding, without any."""
    names, category = entry.get("frames"), entry.get("category", "")
    if not isinstance(names, list) or not isinstance(category, str):
        raise DataError(f"{meta}: object {key} of {video} must have a list of frames and a category")
    missing = [str(name) for name in names if name not in places]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        message = f"object {key} of {video} is listed on frames without a picture: {', '.join(missing[:3])}"
        request.findings.add("error", meta, message + more, video)
    frames = sorted(places[name] for name in names if name in places)
    if not frames:
        return None
    category = category.replace(" ", "_")
    group = ("seen" if category in SEEN else "unseen") if category else ""
    return EvaluatedObject(int(key), frames[0], tuple(frames[1:]), group, category)
