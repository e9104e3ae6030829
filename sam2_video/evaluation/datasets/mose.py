"""MOSE v1 and v2: SPLIT/{JPEGImages,Annotations}/SEQ. Of valid and test only the first masks are public."""

from __future__ import annotations

from sam2_video.evaluation.datasets.layout import (
    Found,
    Request,
    folders,
    label_clip,
    need_folder,
    split_folder,
)
from sam2_video.evaluation.datasets.rules import FirstAppearance

SPLITS = {"valid": ("valid", "val"), "test": ("test",), "train": ("train",)}


def read_mose(request: Request) -> Found:
    """Read a split. All of the truth is there in train only; a server keeps the rest."""
    folder, split = split_folder(request, "JPEGImages", SPLITS)
    images, masks = folder / "JPEGImages", need_folder(folder / "Annotations")
    rule = FirstAppearance(skip_ends=True)
    clips = [
        label_clip(name, images / name, masks / name, rule, request.findings)
        for name in request.choose(folders(images), images)
    ]
    return Found(split, [clip for clip in clips if clip is not None])
