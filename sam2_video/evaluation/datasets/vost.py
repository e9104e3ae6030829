"""VOST: JPEGImages/SEQ/*.jpg, Annotations/SEQ/*.png, ImageSets/SPLIT.txt."""

from __future__ import annotations

from sam2_video.evaluation.datasets.layout import (
    ALL,
    Found,
    Request,
    folders,
    label_clip,
    need_folder,
    present,
    read_list,
)
from sam2_video.evaluation.datasets.rules import FirstMask
from sam2_video.types import DataError

SPLITS = ("val", "train", "test")  # the default is the first that is there


def read_vost(request: Request) -> Found:
    """Read a split; without lists, or for "all", every folder."""
    images = need_folder(request.root / "JPEGImages")
    masks = need_folder(request.root / "Annotations")
    lists = {path.stem: path for path in sorted((request.root / "ImageSets").glob("*.txt"))}
    if request.split == ALL or (request.split is None and not lists):
        split, names = ALL, folders(images)
    else:
        split = request.split or next((name for name in SPLITS if name in lists), min(lists))
        if split not in lists:
            known = ", ".join([*sorted(lists), ALL])
            raise DataError(f"no list {request.root / 'ImageSets' / f'{split}.txt'}; there are {known}")
        names = present(read_list(lists[split]), images, lists[split], request.findings)
    clips = [
        label_clip(name, images / name, masks / name, FirstMask(), request.findings)
        for name in request.choose(names, images)
    ]
    return Found(split, [clip for clip in clips if clip is not None])
