"""What this package writes it reads again: the same objects, names and masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sam2_video.prompts import PromptSet, read_prompts
from sam2_video.sinks.registry import SINKS, SinkOrder
from sam2_video.types import FrameResult, ObjectInfo
from sam2_video.video_predictor import VideoPredictor
from tests.prompts.files import by_place, folder_clip, mask_of, write_json
from tests.sinks.story import CAT, CUP, INFO, LATE, SIZE, iou, masks_of, story, write
from tests.toys import FRAME_SIZE, toy_clip, toy_model

NAMES = tuple(f"{k:05d}" for k in range(10))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Frames as the story has them: a folder of ten, 56x40."""
    from PIL import Image

    folder = folder_clip(tmp_path / "frames", NAMES)
    for file in folder.iterdir():
        Image.new("RGB", SIZE[::-1]).save(file)
    return folder


def saved(name: str, out: Path, clip: Path, results: list[FrameResult]) -> None:
    order = SinkOrder(out, "frames", source=str(clip), start=3, stride=2, frames=10, bits=16)
    with SINKS[name].make(order) as sink:
        write(sink, results)


def compare(found: PromptSet, results: list[FrameResult], least: float) -> None:
    """All masks are there, on their frames, for their objects, and as they were up to `least` IoU."""
    expected = masks_of(results)
    prompts = by_place(found)
    assert prompts.keys() == expected.keys()
    for place, mask in expected.items():
        assert iou(mask_of(prompts[place]), mask) >= least, place


def called(object_id: int, in_one_line: bool = False) -> ObjectInfo:
    """An object's name and class as formats keep them: the name for want of a class, or "object"."""
    name, category = INFO[object_id].name, INFO[object_id].category
    return ObjectInfo(" ".join(name.split()) if in_one_line else name, category or name or "object")


@pytest.mark.parametrize(
    ("name", "file", "least"),
    [
        ("coco", "coco.json", 1.0),
        ("youtube-vis", "youtube_vis.json", 1.0),
        ("labelme", "labelme", 0.9),
        ("cvat", "cvat.xml", 0.9),
    ],
)
def test_annotations_come_back(name: str, file: str, least: float, tmp_path: Path, clip: Path) -> None:
    results = story()
    saved(name, tmp_path, clip, results)
    found = read_prompts(tmp_path / file, clip=clip, frames="all")
    assert found.format == name
    compare(found, results, least)
    assert found.objects == {k: called(k, in_one_line=name == "cvat") for k in (CUP, LATE, CAT)}
    firsts = read_prompts(tmp_path / file, clip=clip, frames="first")
    assert list(by_place(firsts)) == [(3, CUP), (3, CAT), (5, LATE)]


def test_names_and_classes_go_through_a_session(tmp_path: Path) -> None:
    """From a file to a session, to its results, to a file, and back."""
    frames = toy_clip(3)
    runs = {"size": list(FRAME_SIZE), "counts": [500, 700, FRAME_SIZE[0] * FRAME_SIZE[1] - 1200]}
    cup = {"frame": 1, "object": 5, "name": "left cup", "category": "cup", "mask": runs}
    with VideoPredictor(toy_model()).open(frames) as session:
        for placed in read_prompts(write_json(tmp_path / "prompts.json", [cup]), clip=frames):
            session.prompt(frame=placed.frame, object_id=placed.object_id, **placed.arguments())
        results = list(session.propagate())
    assert [result.info_of(0) for result in results] == [ObjectInfo("left cup", "cup")] * 2
    with SINKS["coco"].make(SinkOrder(tmp_path, "toy")) as sink:
        write(sink, results)
    again = read_prompts(tmp_path / "coco.json", clip=frames)
    assert again.objects == {5: ObjectInfo("left cup", "cup")}
    np.testing.assert_array_equal(mask_of(again.prompts[0]), results[0].masks[0])


def test_mask_pictures_come_back(tmp_path: Path, clip: Path) -> None:
    small = [replace(r, object_ids=tuple(min(k, 900) for k in r.object_ids)) for r in story()]
    saved("masks", tmp_path, clip, small)
    found = read_prompts(tmp_path / "masks", clip=clip, frames="all")
    prompts = by_place(found)
    for result in small:
        labels = result.label_map()
        for object_id in np.unique(labels[labels > 0]).tolist():
            np.testing.assert_array_equal(mask_of(prompts[result.frame, object_id]), labels == object_id)


def test_yolo_keeps_masks_and_classes(tmp_path: Path, clip: Path) -> None:
    """It knows no objects, so a class is followed only where it has a single instance."""
    results = story()
    saved("yolo", tmp_path, clip, results)
    found = read_prompts(tmp_path / "yolo", clip=clip, frames="all")
    expected = masks_of(results)
    assert len(found) == len(expected)
    classes = {called(k).category: k for k in (CUP, CAT, LATE)}
    for placed in found:
        mask = expected[placed.frame, classes[placed.info.category]]
        assert iou(mask_of(placed), mask) >= 0.99
