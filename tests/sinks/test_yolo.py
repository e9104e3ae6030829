"""YOLO-seg labels are read as Ultralytics reads them, and by supervision."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import supervision
import yaml
from PIL import Image

from sam2_video.sinks import YoloSink
from sam2_video.types import ObjectInfo, SinkError
from tests.clips import numbered_frame
from tests.sinks.story import FRAMES, SIZE, Mask, disc, files, iou, masks_of, result_of, story, write


def read(path: Path) -> list[tuple[int, Mask]]:
    """Class and mask of each line: `polygon2mask` of Ultralytics scales, cuts fractions off and fills."""
    found = []
    for line in path.read_text().splitlines():
        number, *shares = line.split(" ")
        points = np.array(shares, dtype=np.float32).reshape(-1, 2) * SIZE[::-1]
        assert len(points) >= 3 and (points >= 0).all() and (points <= SIZE[::-1]).all()
        mask = np.zeros(SIZE, np.uint8)
        cv2.fillPoly(mask, [points.astype(np.int32)], 1)
        found.append((int(number), mask > 0))
    return found


def test_labels_give_masks_and_classes_back(tmp_path: Path) -> None:
    with YoloSink(tmp_path) as sink:
        write(sink, story())
    names = yaml.safe_load((tmp_path / "data.yaml").read_text(encoding="utf-8"))["names"]
    assert names == {0: "cup", 1: "cat & <dog>", 2: "object"}
    expected = masks_of(story())
    for frame in FRAMES:
        found = read(tmp_path / "labels" / f"{frame:05d}.txt")
        wanted = [mask for (f, _), mask in expected.items() if f == frame]
        assert len(found) == len(wanted)
        for (number, mask), original in zip(found, wanted, strict=True):
            # The cat is a ring and a blob: the bridge between them is drawn one pixel wide.
            assert iou(mask, original) > (0.98 if names[number].startswith("cat") else 0.9999)


def test_supervision_reads_the_data_set(tmp_path: Path) -> None:
    with YoloSink(tmp_path) as sink:
        write(sink, story())
    (tmp_path / "images").mkdir()
    for frame in FRAMES:
        Image.fromarray(numbered_frame(frame, SIZE)).save(tmp_path / "images" / f"{frame:05d}.png")
    data = supervision.DetectionDataset.from_yolo(
        str(tmp_path / "images"), str(tmp_path / "labels"), str(tmp_path / "data.yaml")
    )
    assert data.classes == ["cup", "cat & <dog>", "object"] and len(data) == 4
    found = {Path(name).stem: detections for name, detections in data.annotations.items()}
    assert found["00005"].class_id.tolist() == [0, 1, 2]
    # It rounds where Ultralytics cuts off: masks grow by a pixel to the right and below.
    assert iou(found["00005"].mask[0], masks_of(story())[5, 1]) > 0.85


def test_names_that_yaml_could_misread(tmp_path: Path) -> None:
    names = ["no", "1.5", "a: b # c", "quote\" and 'quote", "tab\tand\nline", "猫 😀", "${x}", "\ud800 half"]
    info = {k: ObjectInfo(category=name) for k, name in enumerate(names)}
    with YoloSink(tmp_path) as sink:
        write(sink, [result_of(0, {k: disc(20, 20, 5) for k in info}, info)])
    found = yaml.safe_load((tmp_path / "data.yaml").read_text(encoding="utf-8"))["names"]
    assert list(found.values()) == [*names[:4], "tab and line", *names[5:7], "half"]


def test_frames_without_objects_and_closing(tmp_path: Path) -> None:
    sink = YoloSink(tmp_path)
    write(sink, [result_of(0, {})])
    sink.close()
    assert (tmp_path / "labels" / "00000.txt").read_text() == ""
    assert yaml.safe_load((tmp_path / "data.yaml").read_text()) == {
        "train": "images",
        "val": "images",
        "names": {},
    }
    with pytest.raises(SinkError, match="is closed"):
        write(sink, [result_of(1, {})])
    assert files(tmp_path) == ["data.yaml", "labels/00000.txt"]
