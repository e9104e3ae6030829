"""MOTChallenge files are read as TrackEval and py-motmetrics read them, MOTS masks by pycocotools."""

from __future__ import annotations

import configparser
import csv
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from sam2_video.sinks import MotSink, MotsSink
from sam2_video.types import ObjectInfo, SinkError
from tests.sinks.story import (
    CAT,
    COCO_WARNS,
    CUP,
    FRAMES,
    LATE,
    disc,
    files,
    masks_of,
    result_of,
    story,
    write,
)

pytestmark = COCO_WARNS


def rows(path: Path) -> list[list[float]]:
    return [[float(v) for v in row] for row in csv.reader(path.read_text().splitlines())]


def write_mot(folder: Path, frames: int | None = 30) -> None:
    with MotSink(folder, "my clip", fps=29.97, frames=frames) as sink:
        write(sink, story())


def test_boxes_count_from_one(tmp_path: Path) -> None:
    write_mot(tmp_path)
    assert files(tmp_path) == [
        *("my_clip.txt", "my_clip/gt/gt.txt", "my_clip/gt/labels.txt", "my_clip/seqinfo.ini")
    ]
    expected = []
    for (frame, object_id), mask in masks_of(story()).items():
        ys, xs = mask.nonzero()
        expected.append([frame + 1, object_id, xs.min() + 1, ys.min() + 1, np.ptp(xs) + 1, np.ptp(ys) + 1])
    truth, found = rows(tmp_path / "my_clip" / "gt" / "gt.txt"), rows(tmp_path / "my_clip.txt")
    assert [row[:6] for row in truth] == [row[:6] for row in found] == expected
    assert {row[0] for row in truth} == {frame + 1 for frame in FRAMES}
    assert all(len(row) == 9 and row[6] == row[8] == 1 for row in truth)
    assert all(len(row) == 10 and row[7:] == [-1, -1, -1] for row in found)
    assert found[0][6] == pytest.approx(0.95), "confidence is the predicted IoU"


def test_classes_and_the_description_of_the_clip(tmp_path: Path) -> None:
    write_mot(tmp_path)
    labels = (tmp_path / "my_clip" / "gt" / "labels.txt").read_text().split("\n")
    assert labels == ["cup", "cat & <dog>", "object"]
    classes = {int(row[1]): labels[int(row[7]) - 1] for row in rows(tmp_path / "my_clip" / "gt" / "gt.txt")}
    assert classes == {CUP: "cup", CAT: "cat & <dog>", LATE: "object"}
    ini = configparser.ConfigParser()
    ini.read(tmp_path / "my_clip" / "seqinfo.ini")
    assert dict(ini["Sequence"]) == {
        "name": "my_clip",
        "imdir": "img1",
        "framerate": "30",
        "seqlength": "30",
        "imwidth": "56",
        "imheight": "40",
        "imext": ".jpg",
    }


def test_length_of_a_clip_that_does_not_know_it(tmp_path: Path) -> None:
    write_mot(tmp_path, frames=None)
    assert "seqLength=10\n" in (tmp_path / "my_clip" / "seqinfo.ini").read_text()


def test_mots_masks_are_apart_and_the_larger_logit_wins(tmp_path: Path) -> None:
    info = {1: ObjectInfo("", "person"), 999: ObjectInfo("x", "car"), 0: ObjectInfo("", "cup")}
    masks = {1: disc(12, 20, 9), 999: disc(20, 20, 9), 0: disc(16, 26, 9)}
    gone = {1: disc(12, 20, 9) & False, 999: disc(20, 20, 9)}
    with MotsSink(tmp_path / "mots.txt") as sink:
        write(sink, [result_of(4, masks, info), result_of(5, gone, info)])
    lines = [line.split(" ") for line in (tmp_path / "mots.txt").read_text().splitlines()]
    assert [line[:5] for line in lines] == [
        ["5", "2001", "2", "40", "56"],
        ["5", "1999", "1", "40", "56"],
        ["5", "3000", "3", "40", "56"],
        ["6", "1999", "1", "40", "56"],
    ]
    found = [
        coco_mask.decode({"size": [int(h), int(w)], "counts": runs}).astype(bool) for *_, h, w, runs in lines
    ]
    assert np.array_equal(found[2], masks[0]), "the last has the largest logits of the story"
    assert np.array_equal(found[1], masks[999] & ~masks[0])
    assert np.array_equal(found[0], masks[1] & ~masks[0] & ~masks[999])
    assert np.array_equal(found[3], masks[999])


def test_what_mots_has_no_number_for(tmp_path: Path) -> None:
    with (
        pytest.raises(SinkError, match="object id 1000 does not fit MOTS, which has 0 to 999"),
        MotsSink(tmp_path / "mots.txt") as sink,
    ):
        write(sink, [result_of(0, {1000: disc(9, 9, 3)})])
    names = {k: ObjectInfo(category=f"class{k}") for k in range(8)}
    with (
        pytest.raises(SinkError, match="MOTS has 9 classes; 'class7' is one too many"),
        MotsSink(tmp_path / "mots.txt") as sink,
    ):
        write(sink, [result_of(0, {k: disc(9, 9, 3) for k in names}, names)])
    assert files(tmp_path) == []
