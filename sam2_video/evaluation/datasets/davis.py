"""DAVIS 2016 and 2017: JPEGImages/480p/SEQ/*.jpg, Annotations/480p/SEQ/*.png, ImageSets/YEAR/SPLIT.txt."""

from __future__ import annotations

from pathlib import Path

from sam2_video.evaluation.datasets.layout import (
    ALL,
    Found,
    NotThere,
    Request,
    folders,
    label_clip,
    need_folder,
    present,
    read_list,
)
from sam2_video.evaluation.datasets.rules import FirstMask
from sam2_video.types import DataError

RESOLUTIONS = ("480p", "Full-Resolution", "1080p")
SPLITS = ("val", "test-dev", "trainval", "train", "test-challenge")  # the default is the first that is there


def read_davis2016(request: Request) -> Found:
    """One foreground object in each sequence: whatever is not 0."""
    return _read(request, "2016")


def read_davis2017(request: Request) -> Found:
    """Objects by palette index."""
    return _read(request, "2017")


def _read(request: Request, year: str) -> Found:
    images = need_folder(request.root / "JPEGImages") / request.resolution
    masks = need_folder(request.root / "Annotations") / request.resolution
    for folder in (images, masks):
        if not folder.is_dir():
            there = ", ".join(folders(folder.parent)) or "none"
            raise NotThere(f"there is no folder {folder}; resolutions there: {there}")
    split, names = _sequences(request, images, year)
    clips = []
    for name in request.choose(names, images):
        places = images / name, masks / name
        clip = label_clip(name, *places, FirstMask(), request.findings, foreground=year == "2016")
        if clip is not None and clip.annotated[0] != 0:
            first = masks / name / f"{clip.frame_names[0]}.png"
            request.findings.add("error", first, "is missing: no annotation of the first frame", name)
        elif clip is not None:
            clips.append(clip)
    return Found(split, clips)


def _sequences(request: Request, images: Path, year: str) -> tuple[str, list[str]]:
    """Name the split and list its sequences; without lists, or for "all", every folder."""
    lists = lists_of(request.root, year)
    if request.split == ALL or (request.split is None and not lists):
        return ALL, folders(images)
    split = request.split or next((name for name in SPLITS if name in lists), min(lists, default=""))
    if split not in lists:
        known = ", ".join([*sorted(lists), ALL])
        raise DataError(f"no list of the split {split!r} in {request.root / 'ImageSets'}; there are {known}")
    return split, present(read_list(lists[split]), images, lists[split], request.findings)


def lists_of(root: Path, year: str) -> dict[str, Path]:
    """Return split -> list. DAVIS 2016 itself keeps its lists in ImageSets/480p, with paths in them."""
    places = [root / "ImageSets" / year] + ([root / "ImageSets" / "480p"] if year == "2016" else [])
    return {path.stem: path for place in reversed(places) for path in sorted(place.glob("*.txt"))}
