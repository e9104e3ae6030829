"""YOLO text files, as Ultralytics, Roboflow and CVAT write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sam2_video.prompts import read_prompts
from tests.prompts.files import (
    by_place,
    complaint,
    folder_clip,
    mask_of,
    numbered_clip,
    rectangle,
    write,
)

# 60x40: x 10..20, y 10..20
SQUARE = "0.166667 0.25 0.333333 0.25 0.333333 0.5 0.166667 0.5"
DATA = "path: ../datasets/cups\ntrain: images/train\nnc: 2\nnames:\n  0: cup\n  1: hand\n"


def test_polygons_and_boxes_with_names(tmp_path: Path) -> None:
    write(tmp_path / "data.yaml", DATA)
    write(tmp_path / "labels" / "00000.txt", "")
    write(tmp_path / "labels" / "00005.txt", f"0 {SQUARE}\r\n1 0.5 0.5 0.5 0.25\r\n\r\n")
    write(tmp_path / "labels" / "00010.txt", f"0 {SQUARE}\n")
    clip = folder_clip(tmp_path / "frames")
    found = read_prompts(tmp_path, clip=clip)
    prompts = by_place(found)
    assert found.format == "yolo" and list(prompts) == [(1, 1), (1, 2)]
    np.testing.assert_array_equal(mask_of(prompts[1, 1]), rectangle(10, 10, 20, 20))
    assert prompts[1, 2].prompt.box == (15, 15, 45, 25)
    assert [info.category for info in found.objects.values()] == ["cup", "hand"]
    every = read_prompts(tmp_path / "labels", clip=clip, frames="all")
    assert list(by_place(every)) == [(1, 1), (1, 2), (2, 1)]
    (single, _) = read_prompts(tmp_path / "labels" / "00005.txt", clip=clip)
    assert single.where.endswith("00005.txt, line 1")


@pytest.mark.parametrize(
    ("line", "object_id"),
    [
        ("0 0.5 0.5 0.5 0.25", 1),
        ("0 0.5 0.5 0.5 0.25 0.91", 1),
        ("0 0.5 0.5 0.5 0.25 7", 7),
        ("0 0.5 0.5 0.5 0.25 0.91 7", 7),
        ("0 0.5 0.5 0.5 0.25 0.91 1", 1),
        ("0.0 0.5 0.5 0.5 0.25", 1),
    ],
)
def test_boxes_with_a_confidence_and_a_track(tmp_path: Path, line: str, object_id: int) -> None:
    path = write(tmp_path / "clip_3.txt", line)
    (placed,) = read_prompts(path, clip=numbered_clip())
    assert (placed.frame, placed.object_id, placed.prompt.box) == (3, object_id, (15, 15, 45, 25))


@pytest.mark.parametrize("behind", ["", " 0.91", " 7", " 0.91 7"])
def test_polygons_with_a_confidence_and_a_track(tmp_path: Path, behind: str) -> None:
    path = write(tmp_path / "clip_3.txt", f"0 {SQUARE}{behind}")
    (placed,) = read_prompts(path, clip=numbered_clip())
    assert placed.object_id == (7 if "7" in behind else 1)
    np.testing.assert_array_equal(mask_of(placed), rectangle(10, 10, 20, 20))


def test_track_1_is_told_from_a_coordinate_by_the_other_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "clip_3.txt", f"0 {SQUARE} 0.91 1\n0 {SQUARE} 0.88 2\n")
    assert [p.object_id for p in read_prompts(path, clip=numbered_clip())] == [1, 2]
    np.testing.assert_array_equal(
        mask_of(read_prompts(path, clip=numbered_clip()).prompts[0]), rectangle(10, 10, 20, 20)
    )
    triangle = write(tmp_path / "clip_4.txt", "0 0.1 0.1 0.9 0.1 0.5 0.9")
    assert mask_of(read_prompts(triangle, clip=numbered_clip()).prompts[0]).sum() > 300


@pytest.mark.parametrize("last", ["0", "1"])
def test_a_triangle_at_the_border_among_polygons(tmp_path: Path, last: str) -> None:
    path = write(tmp_path / "clip_3.txt", f"0 {SQUARE}\n1 0.2 0.4 0.8 0.4 0.5 {last}\n")
    triangle = read_prompts(path, clip=numbered_clip()).prompts[1]
    assert mask_of(triangle).sum() == pytest.approx(0.5 * 36 * (24 if last == "1" else 16), rel=0.05)


def test_tracks_go_through_all_frames(tmp_path: Path) -> None:
    for k in range(4):
        write(tmp_path / "labels" / f"clip_{k}.txt", "0 0.5 0.5 0.5 0.25 4\n0 0.2 0.2 0.1 0.1 9\n")
    assert list(by_place(read_prompts(tmp_path, clip=numbered_clip()))) == [(0, 4), (0, 9)]
    assert len(read_prompts(tmp_path, clip=numbered_clip(), frames="all")) == 8


def test_names_of_other_tools(tmp_path: Path) -> None:
    write(tmp_path / "obj.names", "cup\nhand\n")
    write(tmp_path / "train.txt", "data/obj_train_data/00000.png\n")
    write(tmp_path / "obj_train_data" / "00000.txt", "1 0.5 0.5 0.5 0.25\n")
    found = read_prompts(tmp_path, clip=folder_clip(tmp_path / "frames"), format="yolo")
    assert found.objects[1].category == "hand"
    write(tmp_path / "b" / "data.yaml", "names: ['left cup', 'hand']\n")
    path = write(tmp_path / "b" / "00000.txt", "0 0.5 0.5 0.5 0.25\n")
    assert read_prompts(path, clip=numbered_clip()).objects[1].category == "left cup"
    plain = write(tmp_path / "c" / "d" / "e" / "00000.txt", "5 0.5 0.5 0.5 0.25\n")
    assert read_prompts(plain, clip=numbered_clip()).objects[1].category == "5"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0", "0 numbers after the class; expected 4 of a box"),
        ("0 0.5 0.5", "2 numbers after the class; expected 4 of a box"),
        ("cup 0.5 0.5 0.5 0.25", "the class is 'cup', expected a whole number"),
        ("-1 0.5 0.5 0.5 0.25", "the class is '-1'"),
        ("0 320 200 50 25", "a coordinate is 320, expected a fraction of the picture, 0..1"),
        ("0 nan 0.5 0.5 0.25", "a coordinate is nan, not a finite number"),
        ("0 1e99 0.5 0.5 0.25", "a coordinate is 1e+99, far outside"),
        ("0 0.5 0.5 0 0.25", "the box is 0 wide"),
        ("0 0.5,0.5,0.5,0.25", "1 numbers after the class"),
        ("7 0.5 0.5 0.5 0.25", "class 7 has no name; there are 2 names, from 0"),
        ("0 0.1 0.1 0.1 0.1 0.1 0.1", "covers no pixel"),
    ],
)
def test_broken_lines(tmp_path: Path, line: str, message: str) -> None:
    write(tmp_path / "data.yaml", DATA)
    path = write(tmp_path / "labels" / "00005.txt", f"0 {SQUARE}\n{line}\n")
    text = complaint(path, clip=folder_clip(tmp_path / "frames"))
    assert message in text and "00005.txt, line 2" in text


def test_broken_folders(tmp_path: Path) -> None:
    write(tmp_path / "a" / "00005.txt", f"0 {SQUARE}")
    assert "fractions of a picture whose size is not in the file" in complaint(tmp_path / "a")
    text = complaint(tmp_path / "a", clip=folder_clip(tmp_path / "frames", ("x0", "x1")))
    assert "frame '00005' is not in this clip; it has x0..x1" in text
    write(tmp_path / "b" / "labels" / "train" / "00005.txt", f"0 {SQUARE}")
    assert "name one of" in complaint(tmp_path / "b", format="yolo")
    write(tmp_path / "c" / "00005.txt", "\n\n0")
    write(tmp_path / "c" / "data.yaml", "names: 3")
    assert "data.yaml, line 1 (names): names is 3, expected a list" in complaint(tmp_path / "c")
    write(tmp_path / "d" / "00005.txt", b"0 \xff")
    assert "line 1: byte 0xff is not UTF-8" in complaint(tmp_path / "d")
    write(tmp_path / "e" / "00005.txt", "")
    assert "describes no object" in complaint(tmp_path / "e")
