"""LabelMe JSON, as versions 4 to 6 write it: one file per picture."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sam2_video.prompts import read_prompts
from sam2_video.types import ObjectInfo
from tests.prompts.files import (
    by_place,
    complaint,
    folder_clip,
    mask_of,
    numbered_clip,
    rectangle,
    write,
    write_json,
)


def png(mask: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def shape(label: str, kind: str, points: list[list[float]], **more: Any) -> dict[str, Any]:
    blank = {"label": label, "points": points, "group_id": None, "description": "", "shape_type": kind}
    return {**blank, "flags": {}, "mask": None, **more}


def picture(name: str, *shapes: dict[str, Any]) -> dict[str, Any]:
    head = {"version": "5.5.0", "flags": {}, "shapes": list(shapes), "imageData": None}
    return {**head, "imagePath": f"..\\seq\\{name}.jpg", "imageHeight": 40, "imageWidth": 60}


SQUARE = [[10.0, 10.0], [20.0, 10.0], [20.0, 20.0], [10.0, 20.0]]


def test_every_kind_of_shape(tmp_path: Path) -> None:
    small = np.array([[0, 1, 1], [1, 1, 0]], dtype=bool)
    data = picture(
        "00005",
        shape("cat", "polygon", SQUARE, description="Tom"),
        shape("dog", "rectangle", [[30.0, 25.0], [5.0, 8.0]]),  # drawn from right to left
        shape("ball", "circle", [[30.0, 20.0], [33.0, 24.0]]),
        shape("eye", "point", [[12.5, 13.0]]),
        shape("hat", "mask", [[40.0, 30.0], [42.0, 31.0]], mask=png(small)),
        shape("box", "oriented_rectangle", [[30.0, 10.0], [40.0, 20.0], [30.0, 30.0], [20.0, 20.0]]),
        shape("road", "linestrip", [[1.0, 1.0], [5.0, 5.0], [9.0, 1.0]]),
    )
    path = write_json(tmp_path / "00005.json", data)
    found = read_prompts(path, clip=folder_clip(tmp_path / "seq"))
    prompts = by_place(found)
    assert list(prompts) == [(1, k) for k in range(1, 7)]
    np.testing.assert_array_equal(mask_of(prompts[1, 1]), rectangle(10, 10, 20, 20))
    assert prompts[1, 2].prompt.box == (5, 8, 30, 25)
    assert abs(mask_of(prompts[1, 3]).sum() - np.pi * 25) < 3
    assert prompts[1, 4].prompt.points == ((12.5, 13),)
    assert mask_of(prompts[1, 5]).sum() == 4 and mask_of(prompts[1, 5])[31, 40]
    assert prompts[1, 6].prompt.box == (20, 10, 40, 30)
    assert found.objects[1] == ObjectInfo("Tom", "cat") and found.objects[5] == ObjectInfo(category="hat")
    assert found.format == "labelme" and any("1 linestrip" in note for note in found.notes)


def test_a_group_is_one_object_and_its_number_the_id(tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    other = [[30.0, 10.0], [40.0, 10.0], [40.0, 20.0], [30.0, 20.0]]
    first = [shape("cat", "polygon", SQUARE, group_id=3), shape("cat", "polygon", other, group_id=3)]
    write_json(folder / "00000.json", picture("00000", *first))
    later = [shape("cat", "polygon", SQUARE, group_id=3), shape("dog", "polygon", SQUARE, group_id=5)]
    write_json(folder / "00010.json", picture("00010", *later))
    clip = folder_clip(tmp_path / "seq")
    prompts = by_place(read_prompts(folder, clip=clip))
    assert list(prompts) == [(0, 3), (2, 5)]
    united = rectangle(10, 10, 20, 20) | rectangle(30, 10, 40, 20)
    np.testing.assert_array_equal(mask_of(prompts[0, 3]), united)
    assert list(by_place(read_prompts(folder, clip=clip, frames="all"))) == [(0, 3), (2, 3), (2, 5)]


def test_clicks_of_a_group_add_up_and_the_same_number_in_two_classes_are_two_objects(tmp_path: Path) -> None:
    data = picture(
        "00000",
        shape("cat", "point", [[1.0, 2.0]], group_id=1),
        shape("cat", "point", [[3.0, 4.0]], group_id=1),
        shape("dog", "point", [[5.0, 6.0]], group_id=1),
    )
    prompts = by_place(read_prompts(write_json(tmp_path / "00000.json", data)))
    assert prompts[0, 1].prompt.points == ((1, 2), (3, 4))
    assert prompts[0, 2].info.category == "dog"


def test_pictures_of_one_name_in_several_folders_are_several_clips(tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    for k, folder in enumerate(("cups", "hands"), start=1):
        for name in ("00000", "00005"):
            data = picture(name, shape("cat", "polygon", SQUARE, group_id=k))
            write_json(labels / f"{folder}_{name}.json", {**data, "imagePath": f"..\\{folder}\\{name}.jpg"})
    assert list(by_place(read_prompts(labels, clip=folder_clip(tmp_path / "cups")))) == [(0, 1)]
    assert list(by_place(read_prompts(labels, sequence="hands", frames="all"))) == [(0, 2), (5, 2)]
    text = complaint(labels, clip=folder_clip(tmp_path / "others"))
    assert "several of folders of pictures: cups, hands; name one" in text


def test_pictures_of_one_name_with_and_without_a_folder(tmp_path: Path) -> None:
    for name in ("00000.jpg", "b/00000.jpg"):
        data = {**picture("00000", shape("cat", "polygon", SQUARE)), "imagePath": name}
        write_json(tmp_path / f"{name[0]}.json", data)
    assert "several of folders of pictures: ., b; name one" in complaint(tmp_path)


def test_frames_by_number_and_without_a_path(tmp_path: Path) -> None:
    data = picture("x", shape("cat", "polygon", SQUARE))
    del data["imagePath"]
    path = write_json(tmp_path / "frame_000012.json", data)
    assert [p.frame for p in read_prompts(path, clip=numbered_clip())] == [12]
    lonely = write_json(tmp_path / "first.json", data)
    assert "which frame 'first' is cannot be told" in complaint(lonely, clip=numbered_clip())
    assert [p.frame for p in read_prompts(lonely, clip=numbered_clip(1))] == [0]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (shape("cat", "polygon", [[1, 2], [3, 4]]), "the polygon has 2 points, expected 3 or more"),
        (shape("cat", "rectangle", [[1, 2]]), "a rectangle has 1 points"),
        (shape("cat", "circle", [[1, 2], [1, 2]]), "the circle has no radius"),
        (shape("cat", "mask", [[1, 2], [3, 4]], mask=png(np.ones((9, 9)))), "9x9, but its corners are 3x3"),
        (shape("cat", "mask", [[1, 2], [3, 4]], mask="%%%"), "the mask is not base64"),
        (shape("cat", "mask", [[1, 2], [3, 4]], mask="aGVsbG8="), "cannot read the mask"),
        (shape("cat", "mask", [[1, 2], [3, 4]]), "a mask needs its picture"),
        (shape("cat", "splat", [[1, 2]]), "shape_type is 'splat'; known"),
        (shape("cat", "point", [["1", 2]]), "'1', expected a number"),
        (shape("cat", "point", [[float("nan"), 2]]), "nan, not a finite number"),
        (shape("cat", "point", [[70, 2]]), "point (70, 2) is outside frame 1"),
        (shape("", "point", [[1, 2]]), "a shape needs a label"),
        (shape("cat", "point", [[1, 2]], group_id=-4), "group_id is -4"),
        (7, "a shape is 7, expected an object"),
    ],
)  # fmt: skip
def test_broken_shapes(tmp_path: Path, entry: Any, message: str) -> None:
    path = write_json(tmp_path / "00005.json", picture("00005", shape("dog", "polygon", SQUARE), entry))
    text = complaint(path, clip=folder_clip(tmp_path / "seq"))
    assert message in text and "(shapes[1])" in text


def test_broken_files_of_a_folder_are_told_together(tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    write(folder / "00000.json", "{")
    write_json(folder / "00005.json", {"shapes": 3, "imageHeight": 40, "imageWidth": 60})
    write_json(folder / "00010.json", {**picture("00010"), "imageHeight": "40"})
    write(folder / "00015.json", b"\xff")
    text = complaint(folder)
    assert text.startswith("4 problems") and text.count("\n") == 4
    for part in ("00000.json, line 1, column", "shapes is 3", "height is '40'", "byte 0xff is not UTF-8"):
        assert part in text


def test_pictures_of_another_size_and_of_another_clip(tmp_path: Path) -> None:
    path = write_json(tmp_path / "00005.json", picture("00005", shape("cat", "polygon", SQUARE)))
    assert "pictures of 60x40, but the frames are 80x40" in complaint(path, clip=numbered_clip(20, (40, 80)))
    text = complaint(path, clip=folder_clip(tmp_path / "seq", ("a1", "a2")))
    assert "frame '00005' is not in this clip; it has a1..a2" in text
    assert "describes no object" in complaint(write_json(tmp_path / "empty.json", picture("00000")))
