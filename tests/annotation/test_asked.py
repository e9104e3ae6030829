"""What files ask of pictures: each picture by itself, all its objects, and the scores of detectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sam2_video.annotation.asked import Ask, Asked, Sources, corners, read_asked
from sam2_video.postprocess import encode_rle
from sam2_video.prompts.shapes import Box, Ellipse, Patch, Polygons, Runs
from sam2_video.types import PromptError


def pictures(*names: str) -> dict[str, Path]:
    return {Path(name).stem: Path("/somewhere") / name for name in names}


def read(path: Path, *names: str, **more: Any) -> Asked:
    return read_asked(Sources((path,), **more), pictures(*names))


def write_json(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value))
    return path


def test_a_list_of_results_by_name_and_number(tmp_path: Path) -> None:
    results = [
        {"image_id": "cat", "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5},
        {"image_id": "cat", "category_id": 1, "bbox": [5, 6, 7, 8], "score": 0.25},
        {"image_id": 139, "category_id": 2, "bbox": [0, 0, 2, 2], "score": 1},
        {"image_id": 7, "category_id": 2, "bbox": [0, 0, 2, 2], "score": 1},
    ]
    asked = read(write_json(tmp_path / "r.json", results), "cat.png", "000000000139.jpg")
    assert asked.by_picture["cat"] == (
        Ask(box=(1, 2, 4, 6), category="1", score=0.5),
        Ask(box=(5, 6, 12, 14), category="1", score=0.25),
    )
    assert [ask.category for ask in asked.by_picture["000000000139"]] == ["2"]
    assert asked.others == ("7",)


def test_a_list_of_results_with_the_file_it_refers_to(tmp_path: Path) -> None:
    info = {
        "images": [{"id": 4, "file_name": "cat.png", "width": 80, "height": 48}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [],
    }
    results = [{"image_id": 4, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]
    known = write_json(tmp_path / "info.json", info)
    path = write_json(tmp_path / "r.json", results)
    (ask,) = read(path, "cat.png", "4.png", image_info=known).by_picture["cat"]
    assert (ask.category, ask.size) == ("cat", (48, 80))
    results[0]["image_id"] = 5
    write_json(path, results)
    with pytest.raises(PromptError, match=r"r\.json, line 1 .*image_id 5 is not among the images"):
        read(path, "cat.png", image_info=known)


def test_detections_that_show_nothing_are_left_out_with_a_note(tmp_path: Path) -> None:
    results: list[dict[str, object]] = [
        {"image_id": "cat", "category_id": 1, "bbox": [1, 2, 0, 4], "score": 0.9},
        {"image_id": "cat", "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5},
        {"image_id": "cat", "category_id": 1, "bbox": [1, 2, 3, -4.5], "score": 0.9},
    ]
    path = write_json(tmp_path / "r.json", results)
    asked = read(path, "cat.png")
    assert [ask.score for ask in asked.by_picture["cat"]] == [0.5]
    assert asked.notes == (f"{path}: 2 of 3 detections have no width or no height: left out",)
    for wrong in (
        [1, 2, "3", 4],
        [1, 2, 3],
        [1, 2, 3, float("nan")],
    ):  # no detection at all: an error, by its line
        path.write_text(
            "[\n" + ",\n".join(json.dumps(one) for one in [*results, {**results[1], "bbox": wrong}]) + "]"
        )
        with pytest.raises(PromptError, match=r"r\.json, line 5 .*bbox"):
            read(path, "cat.png")


def test_a_detector_that_found_nothing(tmp_path: Path) -> None:
    asked = read(write_json(tmp_path / "r.json", []), "cat.png")
    assert not asked.by_picture and asked.notes[0].endswith("r.json: nothing was detected")


def test_a_number_that_two_pictures_have_is_neither(tmp_path: Path) -> None:
    path = write_json(tmp_path / "r.json", [{"image_id": 5, "category_id": 1, "bbox": [1, 2, 3, 4]}])
    assert read(path, "05.png", "005.png").others == ("5",)
    assert "5" in read(path, "5.png", "005.png").by_picture  # its name as it stands


def test_yolo_gives_every_object_of_every_picture(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.2 0.4 0.75\n0 0.25 0.5 0.1 0.1 0.5\n")
    (tmp_path / "b.txt").write_text("0 0.5 0.5 0.2 0.4 0.25\n0 0.2 0.2 0.2 0.2 0.25\n1 0.5 0.5 1 1 0.25\n")
    asked = read(tmp_path, "a.jpg", "b.jpg")
    assert [[ask.category for ask in asked.by_picture[name]] for name in "ab"] == [
        ["cat", "cat"],
        ["cat", "cat", "dog"],
    ]
    first = asked.by_picture["a"][0]
    assert first.score == 0.75
    assert first.prompt((100, 200)).box == pytest.approx((80, 30, 120, 70))


def test_shapes_of_one_object_belong_together(tmp_path: Path) -> None:
    shapes = [
        {"label": "cup", "group_id": 0, "shape_type": "rectangle", "points": [[10, 10], [30, 20]]},
        {"label": "cup", "group_id": 0, "shape_type": "point", "points": [[12, 12]]},
        {"label": "cup", "shape_type": "polygon", "points": [[1, 1], [5, 1], [3, 7]]},
        {"label": "lid", "group_id": 0, "shape_type": "point", "points": [[2, 2]]},
    ]
    labelme = {"imagePath": "a.jpg", "imageHeight": 48, "imageWidth": 80, "shapes": shapes}
    write_json(tmp_path / "a.json", labelme)
    write_json(tmp_path / "b.json", {**labelme, "imagePath": "b.jpg"})
    asked = read(tmp_path, "a.jpg", "b.jpg")
    assert set(asked.by_picture) == {"a", "b"}
    cup, outline, lid = asked.by_picture["b"]
    assert (cup.box, cup.points, cup.labels) == ((10, 10, 30, 20), ((12, 12),), (1,))
    assert (outline.box, outline.points) == ((1, 1, 5, 7), ())
    assert (lid.box, lid.points, lid.category) == (None, ((2, 2),), "lid")


def test_our_own_prompts_by_name_and_by_number(tmp_path: Path) -> None:
    prompts = [
        {"frame": "b.jpg", "object": 1, "points": [[4, 5]], "labels": [0]},
        {"frame": 0, "object": 1, "box": [1, 2, 3, 4], "name": "left", "category": "cup"},
        {"frame": 9, "object": 1, "box": [1, 2, 3, 4]},
    ]
    asked = read(write_json(tmp_path / "p.json", prompts), "a.jpg", "b.jpg")
    assert asked.by_picture["b"][0].labels == (0,)
    assert (asked.by_picture["a"][0].name, asked.by_picture["a"][0].category) == ("left", "cup")
    assert asked.others == ("number 9",)


def test_label_pictures_give_boxes(tmp_path: Path) -> None:
    labels = np.zeros((48, 80), np.uint8)
    labels[3:10, 20:31] = 4
    Image.fromarray(labels).save(tmp_path / "a.png")
    (ask,) = read(tmp_path, "a.jpg").by_picture["a"]
    assert ask.box == (20, 3, 31, 10)


def test_which_picture_is_meant_must_be_told(tmp_path: Path) -> None:
    path = write_json(tmp_path / "p.json", [{"frame": "a", "box": [1, 2, 3, 4]}])
    both = {"a.jpg": Path("a.jpg"), "a.png": Path("a.png")}
    with pytest.raises(PromptError, match=r"'a' is cannot be told: there are a\.jpg, a\.png"):
        read_asked(Sources((path,)), both)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (Box((1, 2, 5, 4), 90.0, (0.0, 0.0)), (-1, 2, 1, 6)),
        (
            Polygons((np.array([[1.5, 2], [3, 4], [0, 1]]), np.array([[9.0, 9], [8, 8]]))),
            (0, 1, 9, 9),
        ),
        (Ellipse((10, 10), (4, 2)), (6, 8, 14, 12)),
        (Ellipse((10, 10), (4, 2), 90.0), (8, 6, 12, 14)),
        (Patch(np.array([[0, 1], [0, 1]], bool), left=5, top=7), (6, 7, 7, 9)),
        (Runs(encode_rle(np.eye(4, dtype=bool))), (0, 0, 4, 4)),
    ],
)
def test_boxes_around_what_is_drawn(shape: Any, expected: tuple[float, ...]) -> None:
    assert corners(shape) == pytest.approx(expected)


def test_a_box_is_cut_to_the_picture() -> None:
    assert Ask(box=(-5, 2, 300, 9)).prompt((48, 80)).box == (0, 2, 80, 9)
    with pytest.raises(PromptError, match=r"\(90, 2, 95, 9\) is empty, or outside"):
        Ask(box=(90, 2, 95, 9)).prompt((48, 80))
    with pytest.raises(PromptError, match="pictures of 80x40, but the frames are 80x48"):
        Ask(box=(1, 2, 3, 4), size=(40, 80)).prompt((48, 80))
