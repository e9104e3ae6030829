"""COCO and YouTube-VIS JSON, as CVAT, Label Studio, Roboflow and the data sets write them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from sam2_video.prompts import read_prompts
from sam2_video.types import ObjectInfo
from tests.prompts.files import (
    by_place,
    complaint,
    folder_clip,
    mask_of,
    numbered_clip,
    rectangle,
    write_json,
)


def compressed(mask: np.ndarray) -> dict[str, Any]:
    runs: dict[str, Any] = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(side) for side in runs["size"]], "counts": runs["counts"].decode()}


def cvat_export() -> dict[str, Any]:
    """What CVAT writes as "COCO 1.0" for a task of four frames with two tracks and a shape."""

    def annotation(number: int, image: int, category: int, **values: Any) -> dict[str, Any]:
        attributes = {"occluded": False, "rotation": 0.0, **values.pop("attributes", {})}
        blank = {"id": number, "image_id": image, "category_id": category, "iscrowd": 0, "area": 100.0}
        return {**blank, "segmentation": [], "attributes": attributes, **values}

    return {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": {"contributor": "", "date_created": "", "description": "", "url": "", "version": ""},
        "categories": [
            {"id": 1, "name": "person", "supercategory": ""},
            {"id": 2, "name": "dog", "supercategory": ""},
        ],
        "images": [
            {"id": k + 1, "width": 60, "height": 40, "file_name": f"seq/{name}.jpg", "license": 0,
             "flickr_url": "", "coco_url": "", "date_captured": 0}
            for k, name in enumerate(["00000", "00005", "00010", "00015"])
        ],
        "annotations": [
            annotation(1, 2, 1, bbox=[10, 10, 20.5, 12], attributes={"track_id": 0, "keyframe": True}),
            annotation(2, 3, 1, bbox=[12, 10, 20.5, 12], attributes={"track_id": 0, "keyframe": True}),
            annotation(3, 1, 2, segmentation=[[5, 5, 15, 5, 15, 20, 5, 20], [20, 5, 25, 5, 25, 9, 20, 9]],
                       bbox=[5, 5, 20, 15], attributes={"track_id": 4}),
            annotation(4, 2, 2, segmentation=[[6, 5, 15, 5, 15, 20]], bbox=[6, 5, 9, 15],
                       attributes={"track_id": 4}),
            annotation(5, 4, 1, segmentation=compressed(rectangle(0, 30, 60, 40)), bbox=[0, 30, 60, 10]),
            annotation(6, 1, 1, segmentation={"size": [40, 60], "counts": [0, 2400]}, iscrowd=1,
                       bbox=[0, 0, 60, 40]),
        ],
    }  # fmt: skip


def test_tracks_masks_and_boxes_of_cvat(tmp_path: Path) -> None:
    path = write_json(tmp_path / "instances_default.json", cvat_export())
    found = read_prompts(path, clip=folder_clip(tmp_path / "seq"))
    prompts = by_place(found)
    # Track 0 becomes object 1: 0 is background elsewhere; the shape without a track gets the next free id.
    assert list(prompts) == [(0, 5), (1, 1), (3, 2)]
    assert prompts[1, 1].prompt.box == (10, 10, 30.5, 22)
    expected = rectangle(5, 5, 15, 20) | rectangle(20, 5, 25, 9)
    np.testing.assert_array_equal(mask_of(prompts[0, 5]), expected)
    np.testing.assert_array_equal(mask_of(prompts[3, 2]), rectangle(0, 30, 60, 40))
    assert found.objects == {k: ObjectInfo(category=c) for k, c in [(1, "person"), (2, "person"), (5, "dog")]}
    assert found.format == "coco"
    assert any("left out: 1 crowd" in note for note in found.notes)
    assert any("ids are one higher" in note for note in found.notes)


def test_all_frames_of_tracks(tmp_path: Path) -> None:
    data = cvat_export()
    data["annotations"] = data["annotations"][:4]
    path = write_json(tmp_path / "a.json", data)
    found = read_prompts(path, clip=folder_clip(tmp_path / "seq"), frames="all")
    assert list(by_place(found)) == [(0, 5), (1, 1), (1, 5), (2, 1)]


def test_frame_numbers_and_ids_of_cocovid(tmp_path: Path) -> None:
    data = cvat_export()
    data["videos"] = [{"id": 1, "name": "cups"}, {"id": 2, "name": "juggle"}]
    for k, image in enumerate(data["images"]):
        image.update(video_id=1 + k // 2, frame_id=k % 2)
    for entry in data["annotations"]:
        entry.update(instance_id=entry["id"] + 10)
    path = write_json(tmp_path / "a.json", data)
    assert list(by_place(read_prompts(path, sequence="juggle"))) == [(0, 12), (1, 15)]
    assert list(by_place(read_prompts(path, sequence="cups"))) == [(0, 13), (1, 11), (1, 14)]
    assert "several of videos: cups, juggle; name one" in complaint(path)
    assert "no videos 'cup'; it has: cups, juggle" in complaint(path, sequence="cup")


def test_file_names_come_before_frame_numbers_that_count_from_1(tmp_path: Path) -> None:
    data = cvat_export()
    for k, image in enumerate(data["images"], start=1):
        image["frame_id"] = k  # as tools for MOT write it
    path = write_json(tmp_path / "a.json", data)
    assert list(by_place(read_prompts(path, clip=folder_clip(tmp_path / "seq")))) == [(0, 5), (1, 1), (3, 2)]
    assert list(by_place(read_prompts(path, clip=numbered_clip()))) == [(1, 5), (2, 1), (4, 2)]


def test_pictures_of_one_name_in_several_folders_are_several_clips(tmp_path: Path) -> None:
    data = cvat_export()
    for k, image in enumerate(data["images"]):
        image["file_name"] = ["cups/00000.jpg", "cups/00005.jpg", "hands/00000.jpg", "hands\\00005.jpg"][k]
    path = write_json(tmp_path / "a.json", data)
    assert list(by_place(read_prompts(path, clip=folder_clip(tmp_path / "cups")))) == [(0, 5), (1, 1)]
    assert list(by_place(read_prompts(path, sequence="hands", frames="all"))) == [(0, 1), (5, 2)]
    text = complaint(path, clip=folder_clip(tmp_path / "others"))
    assert "several of folders of pictures: cups, hands; name one" in text


def without_ids(boxes: list[tuple[int, int]]) -> dict[str, Any]:
    """A file without track ids: boxes as (image, category)."""
    data = cvat_export()
    data["annotations"] = [
        {"id": k, "image_id": image, "category_id": category, "bbox": [k, 1, 9, 9], "iscrowd": 0}
        for k, (image, category) in enumerate(boxes)
    ]
    return data


def test_without_ids_the_only_instance_of_a_class_is_one_object(tmp_path: Path) -> None:
    path = write_json(tmp_path / "a.json", without_ids([(1, 2), (2, 2), (3, 2), (2, 1)]))
    clip = folder_clip(tmp_path / "seq")
    assert list(by_place(read_prompts(path, clip=clip))) == [(0, 1), (1, 2)]
    every = read_prompts(path, clip=clip, frames="all")
    assert list(by_place(every)) == [(0, 1), (1, 1), (1, 2), (2, 1)]
    assert every.objects[1].category == "dog"


def test_without_ids_several_instances_are_not_linked(tmp_path: Path) -> None:
    path = write_json(tmp_path / "a.json", without_ids([(1, 1), (1, 1), (2, 1), (2, 1), (2, 1)]))
    clip = folder_clip(tmp_path / "seq")
    found = read_prompts(path, clip=clip)
    assert list(by_place(found)) == [(0, 1), (0, 2)]
    assert "left out: 3 annotations of class 'person' after frame 0" in found.notes[0]
    text = complaint(path, clip=clip, frames="all")
    assert "several objects of class 'person' without ids" in text and "annotations[0]" in text


def test_names_that_are_numbers_and_names_that_are_none(tmp_path: Path) -> None:
    data = cvat_export()
    for k, image in enumerate(data["images"]):
        image["file_name"] = f"frame_{k + 3:06d}.PNG"
    path = write_json(tmp_path / "a.json", data)
    assert {p.frame for p in read_prompts(path, clip=numbered_clip(20))} == {3, 4, 6}
    text = complaint(path, clip=folder_clip(tmp_path / "seq"))
    assert "frame 'frame_000003' is not in this clip; it has 00000..00015" in text
    for image, name in zip(data["images"], ["ant", "bee", "cat", "dog"], strict=True):
        image["file_name"] = f"{name}.jpg"
    path = write_json(tmp_path / "b.json", data)
    assert {p.frame for p in read_prompts(path, clip=numbered_clip(4))} == {0, 1, 3}
    assert "4 annotated pictures, but 20 frames" in complaint(path, clip=numbered_clip(20))


def broken(change: str) -> dict[str, Any]:
    data = copy.deepcopy(cvat_export())
    entry = data["annotations"][2]
    match change:
        case "image":
            entry["image_id"] = 77
        case "category":
            entry["category_id"] = 9
        case "polygon":
            entry["segmentation"] = [[1, 2, 3, 4]]
        case "nan":
            entry["segmentation"] = [[1, 2, 3, 4, 5, float("nan")]]
        case "huge":
            entry["segmentation"] = [[1, 2, 3, 4, 5, 1e12]]
        case "runs":
            entry["segmentation"] = {"size": [40, 60], "counts": [5, 5]}
        case "other size":
            entry["segmentation"] = {"size": [60, 40], "counts": [0, 2400]}
        case "box":
            entry.update(segmentation=[], bbox=[5, 5, -1, 4])
        case "outside":
            entry.update(segmentation=[], bbox=[500, 5, 10, 4])
        case "nothing":
            del entry["bbox"], entry["segmentation"]
        case "twice":
            data["images"][1]["id"] = 1
        case "list":
            data["annotations"] = {}
        case "size":
            data["images"][0]["width"] = 80
        case "no name":
            del data["images"][0]["file_name"]
    return data


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("image", "(annotations[2]): image_id 77 is not among the images"),
        ("category", "(annotations[2]): category_id 9 is not among the categories"),
        ("polygon", "(annotations[2]): segmentation has 2 points, expected 3 or more"),
        ("nan", "(annotations[2]): a value of segmentation is nan, not a finite number"),
        ("huge", "(annotations[2]): a value of segmentation is 1000000000000.0, far outside"),
        ("runs", "(annotations[2]): the runs of segmentation cover 10 pixels"),
        ("other size", "(annotations[2]): the annotation is for pictures of 40x60, but the frames are 60x40"),
        ("box", "(annotations[2]): bbox is -1 wide and 4 high"),
        ("outside", "(annotations[2]): box (500, 5, 510, 9) is empty, or outside of the picture"),
        ("nothing", "(annotations[2]): segmentation is None, and there is no bbox"),
        ("twice", "(images[1]): the id 1 was given already, in images[0]"),
        ("list", "(annotations): annotations is {}, expected a list"),
        ("size", "the annotation is for pictures of 80x40, but the frames are 60x40; nothing is scaled"),
        ("no name", "(images[0]): an image needs file_name or frame_id"),
    ],
)
def test_broken_files(tmp_path: Path, change: str, message: str) -> None:
    path = write_json(tmp_path / "broken.json", broken(change))
    text = complaint(path, clip=folder_clip(tmp_path / "seq"))
    assert message in text
    assert "line " in text


def test_a_list_of_results_is_not_a_data_set(tmp_path: Path) -> None:
    results = [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.9}]
    assert "list of COCO results" in complaint(write_json(tmp_path / "a.json", results))


def youtube_vis() -> dict[str, Any]:
    mask = rectangle(5, 5, 20, 15)
    everything = {"size": [40, 60], "counts": [0, 2400]}
    return {
        "info": {"description": "", "version": "1.0", "year": 2021},
        "videos": [
            {"id": 3, "width": 60, "height": 40, "length": 4,
             "file_names": [f"0065b171f9/{k:05d}.jpg" for k in (0, 5, 10, 15)]},
            {"id": 4, "width": 60, "height": 40, "length": 1, "file_names": ["01c76f0a82/00000.jpg"]},
        ],
        "categories": [{"supercategory": "object", "id": 8, "name": "cat"}],
        "annotations": [
            {"id": 21, "video_id": 3, "category_id": 8, "iscrowd": 0, "height": 40, "width": 60,
             "areas": [None, 150, 150, None], "bboxes": [None, [5, 5, 15, 10], [5, 5, 15, 10], None],
             "segmentations": [None, compressed(mask), compressed(mask), None]},
            {"id": 22, "video_id": 3, "category_id": 8, "iscrowd": 0, "height": 40, "width": 60,
             "areas": [], "bboxes": [], "segmentations": [everything, None, None, None]},
            {"id": 23, "video_id": 4, "category_id": 8, "segmentations": [compressed(mask)]},
        ],
    }  # fmt: skip


def test_youtube_vis_asks_for_an_object_where_it_comes_in(tmp_path: Path) -> None:
    path = write_json(tmp_path / "instances.json", youtube_vis())
    found = read_prompts(path, clip=folder_clip(tmp_path / "0065b171f9"))
    prompts = by_place(found)
    assert found.format == "youtube-vis" and list(prompts) == [(0, 22), (1, 21)]
    np.testing.assert_array_equal(mask_of(prompts[1, 21]), rectangle(5, 5, 20, 15))
    assert found.objects[21] == ObjectInfo(category="cat")
    every = read_prompts(path, clip=tmp_path / "0065b171f9", frames="all")
    assert list(by_place(every)) == [(0, 22), (1, 21), (2, 21)]
    assert list(by_place(read_prompts(path, sequence="01c76f0a82"))) == [(0, 23)]


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("annotations", 0, "segmentations"), [None], "1 segmentations for 4 frames"),
        (("annotations", 0, "video_id"), 9, "video_id 9 is not among the videos"),
        (("annotations", 0, "segmentations", 1, "counts"), "0", "annotations[0].segmentations[1]): the runs"),
        (("annotations", 0, "id"), "a", "id is 'a', expected a whole number"),
        (("videos", 0, "file_names", 2), 3, "(videos[0]): a file name is 3, expected text"),
        (("videos",), [], "has no videos"),
    ],
)
def test_broken_youtube_vis(tmp_path: Path, keys: tuple[Any, ...], value: Any, message: str) -> None:
    data: Any = youtube_vis()
    inside = data
    for key in keys[:-1]:
        inside = inside[key]
    inside[keys[-1]] = value
    path = write_json(tmp_path / "a.json", data)
    assert message in complaint(path, clip=folder_clip(tmp_path / "0065b171f9"))
