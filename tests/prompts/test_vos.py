"""Label pictures by themselves, in DAVIS folders, and in YouTube-VOS folders."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sam2_video.prompts import read_prompts
from sam2_video.types import ObjectInfo
from tests.paths import SHARED, needs_shared
from tests.prompts.files import (
    SIZE,
    by_place,
    complaint,
    folder_clip,
    mask_of,
    numbered_clip,
    rectangle,
    write,
    write_json,
    write_labels,
)

ONE = rectangle(2, 2, 10, 12)
TWO = rectangle(30, 20, 50, 35)


def test_one_picture(tmp_path: Path) -> None:
    path = write_labels(tmp_path / "00010.png", ONE * 1 + TWO * 2)
    found = read_prompts(path, clip=folder_clip(tmp_path / "frames"))
    prompts = by_place(found)
    assert found.format == "png" and list(prompts) == [(2, 1), (2, 2)]
    np.testing.assert_array_equal(mask_of(prompts[2, 2]), TWO)
    assert prompts[2, 1].mask_file == path
    assert prompts[2, 1].as_json() == {"frame": 2, "object": 1, "mask": str(path.resolve())}


def test_a_folder_gives_each_object_where_it_comes_in(tmp_path: Path) -> None:
    folder = tmp_path / "masks"
    write_labels(folder / "00000.png", ONE * 1)
    write_labels(folder / "00005.png", np.zeros(SIZE))
    write_labels(folder / "00010.png", ONE * 1 + TWO * 6)
    clip = folder_clip(tmp_path / "frames")
    assert list(by_place(read_prompts(folder, clip=clip))) == [(0, 1), (2, 6)]
    assert list(by_place(read_prompts(folder, clip=clip, frames="all"))) == [(0, 1), (2, 1), (2, 6)]


def test_white_is_object_1_where_nothing_else_is_drawn(tmp_path: Path) -> None:
    for name in ("00000", "00005"):
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(ONE).save(tmp_path / "masks" / f"{name}.png")  # one bit per pixel
    clip = folder_clip(tmp_path / "frames")
    assert list(by_place(read_prompts(tmp_path / "masks", clip=clip, frames="all"))) == [(0, 1), (1, 1)]
    write_labels(tmp_path / "masks" / "00010.png", TWO * 3)
    every = by_place(read_prompts(tmp_path / "masks", clip=clip, frames="all"))
    assert list(every) == [(0, 255), (1, 255), (2, 3)]


def test_a_picture_that_was_drawn_anew_is_read_anew(tmp_path: Path) -> None:
    path = write_labels(tmp_path / "0.png", ONE * 1)
    assert [p.object_id for p in read_prompts(path)] == [1]
    before = path.stat().st_mtime_ns
    write_labels(path, TWO * 2)
    os.utime(path, ns=(before + 1_000_000, before + 1_000_000))  # clocks of file systems may be coarse
    assert [p.object_id for p in read_prompts(path)] == [2]


def test_sixteen_bits(tmp_path: Path) -> None:
    Image.fromarray((TWO * 700).astype(np.uint16)).save(tmp_path / "00000.png")
    (placed,) = read_prompts(tmp_path / "00000.png", clip=numbered_clip())
    assert placed.object_id == 700
    np.testing.assert_array_equal(mask_of(placed), TWO)


def davis(root: Path) -> Path:
    for sequence, labels in (("bear", ONE * 1), ("cows", ONE * 2 + TWO * 5)):
        write_labels(root / "Annotations" / "480p" / sequence / "00000.png", labels)
        write_labels(root / "Annotations" / "480p" / sequence / "00001.png", labels)
        folder_clip(root / "JPEGImages" / "480p" / sequence, ("00000", "00001"))
    return root


def test_davis_takes_the_sequence_of_the_clip(tmp_path: Path) -> None:
    root = davis(tmp_path / "DAVIS")
    found = read_prompts(root, clip=root / "JPEGImages" / "480p" / "cows")
    assert found.format == "davis" and list(by_place(found)) == [(0, 2), (0, 5)]
    assert list(by_place(read_prompts(root, sequence="bear", frames="all"))) == [(0, 1), (1, 1)]
    direct = read_prompts(root / "Annotations" / "480p" / "bear", clip=numbered_clip())
    assert direct.format == "png" and list(by_place(direct)) == [(0, 1)]
    assert "several of sequences: bear, cows" in complaint(root)
    assert "no sequences 'cow'; it has: bear, cows" in complaint(root, sequence="cow")


@needs_shared
def test_davis_as_it_is_published() -> None:
    root = SHARED / "data" / "davis2016_dev"
    sequence = next((root / "JPEGImages" / "480p").iterdir()).name
    found = read_prompts(root, clip=root / "JPEGImages" / "480p" / sequence)
    assert list(by_place(found)) == [(0, 1)]
    assert 100 < mask_of(found.prompts[0]).sum() < mask_of(found.prompts[0]).size / 2


def youtube_vos(root: Path, video: str = "0043f083b5") -> dict[str, Any]:
    folder = root / "Annotations" / video
    write_labels(folder / "00000.png", ONE * 1)
    write_labels(folder / "00010.png", TWO * 2)  # as in the validation set: only where an object comes in
    objects = {
        "1": {"category": "sedan", "frames": ["00000", "00005", "00010", "00015"]},
        "2": {"category": "person", "frames": ["00010", "00015"]},
    }
    return {"videos": {video: {"objects": objects}}}


def test_youtube_vos_asks_for_objects_that_come_later(tmp_path: Path) -> None:
    data = youtube_vos(tmp_path / "valid")
    data["videos"]["other"] = {"objects": {}}
    path = write_json(tmp_path / "valid" / "meta.json", data)
    clip = folder_clip(tmp_path / "valid" / "JPEGImages" / "0043f083b5")
    for given in (path, path.parent):
        found = read_prompts(given, clip=clip)
        assert found.format == "youtube-vos" and list(by_place(found)) == [(0, 1), (2, 2)]
        assert found.objects == {1: ObjectInfo(category="sedan"), 2: ObjectInfo(category="person")}


def test_broken_youtube_vos(tmp_path: Path) -> None:
    data = youtube_vos(tmp_path)
    objects = data["videos"]["0043f083b5"]["objects"]
    objects["3"] = {"category": "dog", "frames": ["00015"]}
    objects["x"] = {"category": "dog"}
    objects["4"] = {"category": 5}
    text = complaint(write_json(tmp_path / "meta.json", data))
    assert "no picture of Annotations/0043f083b5 shows object 3" in text
    assert "the object id 'x' is no whole number" in text and "category is 5, expected text" in text
    assert "(videos.0043f083b5.objects.3)" in text and "line " in text
    text = complaint(write_json(tmp_path / "meta.json", {"videos": {"abc": {"objects": {}}}}))
    assert "abc holds no label pictures" in text
    assert "videos is [], expected" in complaint(
        write_json(tmp_path / "meta.json", {"videos": []}), format="youtube-vos"
    )
    assert "meta.json, line 1, column" in complaint(write(tmp_path / "meta.json", "{'videos'}").parent)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("colour.png", "is a colour picture"),
        ("photo.jpg", "is a JPEG, which does not keep values"),
        ("broken.png", "cannot read the mask"),
        ("cut.png", "cannot read the mask"),
        ("empty.png", "is empty: every pixel is 0"),
        ("none.png", "is empty"),
        ("small.png", "for pictures of 20x10, but the frames are 60x40"),
        ("missing.png", "cannot read"),
    ],
)
def test_broken_pictures(tmp_path: Path, name: str, message: str) -> None:
    Image.fromarray(np.arange(30, dtype=np.uint8).reshape(2, 5, 3)).save(tmp_path / "colour.png")
    Image.fromarray(ONE * np.uint8(9)).save(tmp_path / "photo.jpg")
    write(tmp_path / "broken.png", b"no picture")
    noise = np.random.default_rng(0).integers(0, 255, SIZE, dtype=np.uint8)
    whole = write_labels(tmp_path / "cut.png", noise).read_bytes()
    write(tmp_path / "cut.png", whole[: len(whole) // 2])
    write_labels(tmp_path / "empty.png", np.zeros(SIZE))
    write(tmp_path / "none.png", b"")
    write_labels(tmp_path / "small.png", np.ones((10, 20)))
    assert message in complaint(tmp_path / name, clip=numbered_clip(1), format="png")


@pytest.mark.parametrize("side", [10_000, 14_000], ids=["PIL warns", "PIL refuses"])
def test_pictures_that_unfold_to_gigabytes(tmp_path: Path, side: int) -> None:
    Image.new("1", (side, side)).save(tmp_path / "bomb.png")
    assert "is too large" in complaint(tmp_path / "bomb.png")


def test_a_folder_with_broken_pictures_names_each(tmp_path: Path) -> None:
    write_labels(tmp_path / "m" / "00000.png", ONE)
    write(tmp_path / "m" / "00005.png", b"no picture")
    write(tmp_path / "m" / "00010.png", b"")
    text = complaint(tmp_path / "m")
    assert text.startswith("2 problems") and "00005.png" in text and "00010.png" in text
    write_labels(tmp_path / "n" / "late.png", ONE)
    text = complaint(tmp_path / "n", clip=folder_clip(tmp_path / "frames"))
    assert "late.png: frame 'late' is not in this clip; it has 00000..00015" in text
