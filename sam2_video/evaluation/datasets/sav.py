"""SA-V, whose objects may overlap.

val and test: JPEGImages_24fps/VIDEO/*.jpg, Annotations_6fps/VIDEO/OBJECT/*.png, a list sav_SPLIT.txt.
train: VIDEO.mp4 beside VIDEO_manual.json.
"""

from __future__ import annotations

from pathlib import Path

from sam2_video.evaluation.datasets.clip import Clip
from sam2_video.evaluation.datasets.frames import VideoFrames
from sam2_video.evaluation.datasets.layout import (
    Found,
    NotThere,
    Request,
    by_frame,
    folders,
    masked_clip,
    need_folder,
    picture_frames,
    present,
    read_list,
    split_folder,
)
from sam2_video.evaluation.datasets.rules import PerObject
from sam2_video.evaluation.datasets.truth import Masklets, ObjectMaps

SPLITS = {"val": ("sav_val", "val"), "test": ("sav_test", "test")}
IMAGES, MASKS = "JPEGImages_24fps", "Annotations_6fps"
MANUAL = "_manual.json"


def read_sav(request: Request) -> Found:
    """Read val or test, or where there are videos with masklets, train."""
    if request.split == "train" or (request.split is None and masklet_files(request.root)):
        return _read_train(request)
    folder, split = split_folder(request, IMAGES, SPLITS)
    images, masks = folder / IMAGES, need_folder(folder / MASKS)
    listed = next((p for p in (folder / f"sav_{split}.txt", folder / f"{split}.txt") if p.is_file()), None)
    names = folders(images)
    if listed is not None:
        names = present(read_list(listed), images, listed, request.findings)
    clips = [_clip(name, images / name, masks / name, request) for name in request.choose(names, images)]
    return Found(split, [clip for clip in clips if clip is not None], overlapping=True)


def masklet_files(root: Path) -> list[Path]:
    """Return the files of manual masklets in a folder and in those in it: the videos come in sav_000, ..."""
    return sorted(root.glob(f"*{MANUAL}")) + sorted(root.glob(f"*/*{MANUAL}"))


def _clip(name: str, images: Path, masks: Path, request: Request) -> Clip | None:
    frames = picture_frames(name, images, request.findings)
    if frames is None:
        return None
    paths = {}
    for folder in folders(masks):
        if folder.isdecimal():
            paths[int(folder)] = by_frame(name, masks / folder, frames.names, request.findings)
        else:
            message = "is no folder of an object; expected numbers as 000"
            request.findings.add("error", masks / folder, message, name)
    truth = ObjectMaps({k: files for k, files in paths.items() if files})
    for k in sorted(set(paths) - set(truth.paths)):
        request.findings.add("error", masks / f"{k:03d}", "holds no mask", name)
    return masked_clip(name, frames, truth, masks, PerObject(), request.findings)


def _read_train(request: Request) -> Found:
    files = {path.name.removesuffix(MANUAL): path for path in masklet_files(request.root)}
    if not files:
        raise NotThere(f"there is no VIDEO{MANUAL} in {request.root}, nor in the folders in it")
    clips = []
    for name in request.choose(files, request.root):
        video = files[name].with_name(f"{name}.mp4")
        if video.is_file():
            clips.append(Clip(name, VideoFrames(video), Masklets(files[name]), PerObject()))
        else:
            request.findings.add("error", video, f"is missing beside {files[name].name}", name)
    return Found("train", clips, overlapping=True)
