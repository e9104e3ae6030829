"""Miniature data sets, with folders and names as their authors publish them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sam2_video.demo_clip import draw_demo_clip
from sam2_video.postprocess import encode_rle
from sam2_video.sinks.masks import palette_png
from sam2_video.sinks.tables import compress_runs

SIZE = (24, 32)  # H, W
VIDEO = (270, 480)  # of the demo clip
Labels = NDArray[np.uint8]


def labels(frame: int, ids: Iterable[int], size: tuple[int, int] = SIZE) -> Labels:
    """A map with a square for each object, in a row of its own, farther right in each frame."""
    out = np.zeros(size, np.uint8)
    for k in ids:
        row = 6 * (k % 4)
        out[row : row + 5, frame : frame + 6] = k
    return out


def square(frame: int, k: int, size: tuple[int, int] = SIZE) -> NDArray[np.bool_]:
    return labels(frame, [k + 1], size) > 0


def write_picture(path: Path, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((*size, 3), (20, 90, 200), np.uint8))


def write_labels(path: Path, values: Labels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(palette_png(values))


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any) -> None:
    write_text(path, json.dumps(data))


def davis2017(root: Path) -> None:
    """bear: objects 1, 2; dog: 1 to 3. Listed as val; tennis in train; aerobatics in test-dev."""
    for name, ids in (("bear", (1, 2)), ("dog", (1, 2, 3)), ("tennis", (1,)), ("aerobatics", (1, 2))):
        for t in range(6):
            write_picture(root / f"JPEGImages/480p/{name}/{t:05d}.jpg")
            if t == 0 or name != "aerobatics":
                write_labels(root / f"Annotations/480p/{name}/{t:05d}.png", labels(t, ids))
    for split, names in (("val", "bear\ndog\n"), ("train", "tennis\n"), ("test-dev", "aerobatics\n")):
        write_text(root / f"ImageSets/2017/{split}.txt", names)
    write_text(root / "ImageSets/2016/val.txt", "bear\n")


def davis2016(root: Path) -> None:
    """As first published: white masks, lists with paths."""
    lines = []
    for name in ("bear", "camel"):
        for t in range(5):
            image, mask = (f"{part}/480p/{name}/{t:05d}" for part in ("JPEGImages", "Annotations"))
            write_picture(root / f"{image}.jpg")
            write_labels(root / f"{mask}.png", (labels(t, [1]) > 0).astype(np.uint8) * 255)
            lines.append(f"/{image}.jpg /{mask}.png")
    write_text(root / "ImageSets/480p/val.txt", "\n".join(lines[:5]))
    write_text(root / "ImageSets/480p/trainval.txt", "\n".join(lines))


def youtube_vos(root: Path) -> None:
    """valid: 0a49f5265b, person 1 from the start, penny_farthing 3 from frame 10 on. train: all masks."""
    names = [f"{t:05d}" for t in range(0, 30, 5)]
    objects = {
        "1": {"category": "person", "frames": names},
        "3": {"category": "penny_farthing", "frames": names[2:]},
    }
    for split in ("valid", "train"):
        write_json(root / split / "meta.json", {"videos": {"0a49f5265b": {"objects": objects}}})
        for t, name in enumerate(names):
            write_picture(root / f"{split}/JPEGImages/0a49f5265b/{name}.jpg")
            ids = [1, 3] if t >= 2 else [1]
            if split == "valid":
                ids = {0: [1], 2: [3]}.get(t, [])
            if ids:
                write_labels(root / f"{split}/Annotations/0a49f5265b/{name}.png", labels(t, ids))
    for t in range(27):
        write_picture(root / f"all_frames/valid_all_frames/JPEGImages/0a49f5265b/{t:05d}.jpg")


def mose(root: Path) -> None:
    """train: 002b4dce with object 2 from frame 3 on; valid: only the first mask."""
    for t in range(7):
        for split in ("train", "valid"):
            write_picture(root / f"{split}/JPEGImages/002b4dce/{t:05d}.jpg")
            if split == "train" or t == 0:
                ids = (1, 2) if t >= 3 else (1,)
                write_labels(root / f"{split}/Annotations/002b4dce/{t:05d}.png", labels(t, ids))


def lvos(root: Path) -> None:
    """val: 0f2D, object 1 on 1..46, object 2 on 11..34; test: the first masks."""
    numbers = range(1, 47, 5)
    span = {"start": "1", "end": "46", "frame_nums": 10}
    later = {"start": "11", "end": "34", "frame_nums": 5}
    meta = {"videos": {"0f2D": {"objects": {"1": {"frame_range": span}, "2": {"frame_range": later}}}}}
    for split in ("val", "test"):
        write_json(root / split / f"{split}_meta.json", meta)
        for t, number in enumerate(numbers):
            write_picture(root / f"{split}/JPEGImages/0f2D/{number:08d}.jpg")
            ids = [1, 2] if 11 <= number <= 34 else [1]
            if split == "test":
                ids = {1: [1], 11: [2]}.get(number, [])
            if ids:
                write_labels(root / f"{split}/Annotations/0f2D/{number:08d}.png", labels(t, ids))


def sav(root: Path) -> None:
    """val: sav_044979 with a person 000 and a hand 001 on it that appears on frame 8."""
    for name in ("sav_044979", "sav_000262"):
        for t in range(21):
            write_picture(root / f"sav_val/JPEGImages_24fps/{name}/{t:05d}.jpg")
        for t in range(0, 21, 4):
            for k in (0, 1):
                mask = square(t // 4, 1) if k == 0 or t >= 8 else np.zeros(SIZE, bool)
                if k:
                    mask = mask & (np.arange(SIZE[1]) < t // 4 + 3)  # a part of the other
                path = root / f"sav_val/Annotations_6fps/{name}/{k:03d}/{t:05d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                assert cv2.imwrite(str(path), mask.astype(np.uint8) * 255)
    write_text(root / "sav_val/sav_val.txt", "sav_044979\nsav_000262\n")


def sav_train(root: Path) -> None:
    """sav_000/sav_000001.mp4 of nine frames, masklets 0 and 1 on frames 0, 4 and 8; 1 appears on frame 4."""
    folder = root / "sav_000"
    folder.mkdir(parents=True)
    draw_demo_clip(str(folder / "sav_000001.mp4"), frames=9)
    entries = []
    for place in range(3):
        masks = [square(place, 1, VIDEO), square(place, 2, VIDEO) if place else None]
        entries.append([None if mask is None else _coco(mask) for mask in masks])
    write_json(
        folder / "sav_000001_manual.json",
        {"video_id": "sav_000001", "masklet": entries, "masklet_id": [0, 1.0], "masklet_num": 2},
    )


def _coco(mask: NDArray[np.bool_]) -> Mapping[str, Any]:
    runs = encode_rle(mask)
    return {"size": runs["size"], "counts": compress_runs(runs)}


def vost(root: Path) -> None:
    """3161_peel_banana: two objects, a border of 255 around the first."""
    for t in range(6):
        name = f"3161_peel_banana/frame{12 * t:05d}"
        write_picture(root / f"JPEGImages/{name}.jpg")
        values = labels(t, [1, 2])
        values[11, t : t + 6] = 255
        write_labels(root / f"Annotations/{name}.png", values)
    write_text(root / "ImageSets/val.txt", "3161_peel_banana\n")


def plain(root: Path) -> None:
    """Two clips of frames, named without leading zeros; object 2 of b appears on frame 10."""
    for clip in ("a", "b"):
        for t in range(12):
            write_picture(root / f"frames/{clip}/frame{t}.png")
            if t in (0, 5, 10):
                ids = (1, 2) if clip == "b" and t == 10 else (1,)
                write_labels(root / f"masks/{clip}/frame{t}.png", labels(t, ids))


def plain_video(root: Path) -> None:
    """A video and masks of its frames 0, 3 and 7."""
    root.mkdir(exist_ok=True, parents=True)
    draw_demo_clip(str(root / "juggle.mp4"), frames=8)
    for t in (0, 3, 7):
        write_labels(root / f"masks/{t:05d}.png", labels(t, [1, 2], VIDEO))


BUILDERS: dict[str, tuple[Callable[[Path], None], str, str | None]] = {
    # data set -> builder, name that is recognised, split whose truth is there
    "DAVIS": (davis2017, "davis2017", "val"),
    "DAVIS16": (davis2016, "davis2016", "val"),
    "YouTubeVOS2018": (youtube_vos, "youtubevos2018", "train"),
    "ytvos": (youtube_vos, "youtubevos2019", "train"),
    "MOSE": (mose, "mose1", "train"),
    "MOSEv2": (mose, "mose2", "train"),
    "LVOS": (lvos, "lvos2", "val"),
    "LVOS_v1": (lvos, "lvos1", "val"),
    "SA-V": (sav, "sav", "val"),
    "sav_train": (sav_train, "sav", "train"),
    "VOST": (vost, "vost", "val"),
    "my clips": (plain, "folder", None),
    "my video": (plain_video, "folder", None),
}
