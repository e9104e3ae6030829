"""Label Studio's JSON export: rectangles through a video, and brushes, polygons and clicks on pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sam2_video.prompts import read_prompts
from sam2_video.prompts.label_studio import decode_brush
from sam2_video.types import PromptError
from tests.prompts.files import (
    by_place,
    complaint,
    folder_clip,
    mask_of,
    numbered_clip,
    rectangle,
    write_json,
)

# Made by Label Studio's own encoder from a mask of 10x8: columns 3 to 7 of rows 2 to 5, without (5, 4).
BRUSH = [0, 0, 1, 64, 57, 27, 254, 91, 0, 194, 127, 248, 76, 3, 9, 255, 225, 48, 9, 255, 227, 0, 159, 255, 9]
BRUSH += [128, 97, 63, 252, 174, 0]


def box(frame: int, x: float, **more: Any) -> dict[str, Any]:
    place = {"x": x, "y": 25, "width": 20, "height": 50, "time": frame / 25, "rotation": 0}
    return {"frame": frame, "enabled": True, **place, **more}


def region(number: str, kind: str, value: dict[str, Any], **more: Any) -> dict[str, Any]:
    head = {"id": number, "type": kind, "from_name": "box", "to_name": "video", "origin": "manual"}
    return {**head, "value": value, **more}


def on_picture(number: str, kind: str, **value: Any) -> dict[str, Any]:
    size = {"original_width": 60, "original_height": 40, "image_rotation": 0}
    return region(number, kind, value, **size)


def task(data: dict[str, str], *results: dict[str, Any], **more: Any) -> dict[str, Any]:
    annotation = {"id": 7, "completed_by": 1, "was_cancelled": False, "ground_truth": False}
    drawn = {**annotation, "result": list(results), "lead_time": 64.5, **more}
    return {"id": 3, "annotations": [drawn], "predictions": [], "data": data, "meta": {}, "project": 2}


def video() -> list[dict[str, Any]]:
    first = [box(1, 10), box(3, 14, auto=True), box(5, 20), box(9, 50, enabled=False)]
    cup = {"framesCount": 20, "duration": 0.8, "sequence": first, "labels": ["cup"]}
    hand = {"framesCount": 20, "duration": 0.8, "sequence": [box(8, 90, width=20)]}
    return [
        task(
            {"video": "/data/upload/1/4425adf9-cups.mp4"},
            region("tJhYZLMC9G", "videorectangle", cup),
            region("a1", "videorectangle", hand),
            region("a1", "labels", {"labels": ["hand"]}),
            {"type": "relation", "from_id": "a1", "to_id": "tJhYZLMC9G", "direction": "right"},
        )
    ]


def test_rectangles_of_a_video(tmp_path: Path) -> None:
    found = read_prompts(write_json(tmp_path / "export.json", video()), clip=numbered_clip())
    prompts = by_place(found)
    # Frames count from 1 there; interpolated frames and the one where the object has left are no prompts.
    assert found.format == "label-studio" and list(prompts) == [(0, 1), (4, 1), (7, 2)]
    assert prompts[0, 1].prompt.box == pytest.approx((6, 10, 18, 30))
    assert prompts[7, 2].prompt.box == pytest.approx((54, 10, 60, 30))  # cut at the border
    assert [info.category for info in found.objects.values()] == ["cup", "hand"]
    assert list(by_place(read_prompts(tmp_path / "export.json", clip=numbered_clip(), frames="first"))) == [
        (0, 1),
        (7, 2),
    ]
    assert (2, 1) in by_place(read_prompts(tmp_path / "export.json", clip=numbered_clip(), frames="all"))


def test_a_video_annotated_at_another_rate_is_remarked_on(tmp_path: Path) -> None:
    path = write_json(tmp_path / "export.json", video())
    assert read_prompts(path, clip=numbered_clip(21)).notes == ()
    (note,) = read_prompts(path, clip=numbered_clip(24)).notes
    assert "have 20 frames, but it has 24" in note and "frameRate" in note


def test_a_turned_rectangle_turns_around_its_corner_in_pixels(tmp_path: Path) -> None:
    data = video()
    data[0]["annotations"][0]["result"][0]["value"]["sequence"] = [
        {"frame": 1, "x": 50, "y": 25, "width": 10, "height": 10, "rotation": 90}
    ]
    placed = read_prompts(write_json(tmp_path / "a.json", data), clip=numbered_clip()).prompts[0]
    assert placed.prompt.box == pytest.approx((26, 10, 30, 16))  # 6x4 pixels become 4x6, left of the corner


def test_one_of_several_videos(tmp_path: Path) -> None:
    second = task({"video": "/data/local-files/?d=clips/juggle.mp4"}, *video()[0]["annotations"][0]["result"])
    path = write_json(tmp_path / "a.json", [*video(), second])
    assert "several of videos: cups, juggle" in complaint(path, clip=numbered_clip())
    assert len(read_prompts(path, clip=numbered_clip(), sequence="juggle")) == 3


def test_videos_of_one_name_in_several_folders(tmp_path: Path) -> None:
    drawn = video()[0]["annotations"][0]["result"]
    tasks = [task({"video": f"/data/local-files/?d={folder}/cups.mp4"}, *drawn) for folder in "ab"]
    path = write_json(tmp_path / "a.json", tasks)
    text = complaint(path, clip=numbered_clip())
    assert "several of videos: a/cups, b/cups; name one" in text
    assert len(read_prompts(path, clip=numbered_clip(), sequence="b/cups")) == 3


def car(file: str) -> dict[str, Any]:
    """A task with one rectangle on one picture."""
    shape = on_picture("r1", "rectanglelabels", x=10, y=25, width=20, height=50, rectanglelabels=["car"])
    return task({"image": file}, shape)


def test_pictures_of_one_name_in_several_folders_are_several_clips(tmp_path: Path) -> None:
    files = [f"{folder}/{name}.jpg" for folder in ("cups", "hands") for name in ("00000", "00005")]
    for head in ("s3://bucket/", "/data/local-files/?d=", "https://host:8080/"):
        path = write_json(tmp_path / "a.json", [car(head + file) for file in files])
        assert list(by_place(read_prompts(path, sequence="hands", frames="all"))) == [(0, 1), (5, 1)]
        assert "several of folders of pictures: cups, hands; name one" in complaint(path)
    buckets = write_json(tmp_path / "b.json", [car(f"s3://{bucket}/00000.jpg") for bucket in "ab"])
    assert "several of folders of pictures: a, b; name one" in complaint(buckets)


def test_uploaded_pictures_of_one_name_cannot_be_told_apart(tmp_path: Path) -> None:
    path = "/data/upload/1"
    tasks = [car(f"{path}/{number}-00000.jpg") for number in ("0a1b2c3d", "4425adf9")]
    text = complaint(write_json(tmp_path / "a.json", tasks))
    assert f"{path}/0a1b2c3d-00000 and {path}/4425adf9-00000 were uploaded under one name" in text
    again = write_json(tmp_path / "b.json", [tasks[0], tasks[0]])  # one picture in two tasks
    assert len(read_prompts(again)) == 2


@pytest.mark.parametrize("file", ["", "/", "."])
def test_an_address_without_a_file_name(tmp_path: Path, file: str) -> None:
    text = complaint(write_json(tmp_path / "a.json", [car(file)]))
    assert f"line 2 ([0]): data of the task is {file!r}, which names no file" in text


def test_shapes_on_pictures(tmp_path: Path) -> None:
    place = {"x": 50, "y": 50, "rotation": 0}
    click = on_picture("r4", "keypointlabels", x=25, y=25, width=0.5, keypointlabels=["ball"])
    data = [
        task({"image": "/data/upload/1/0a1b2c3d-00000.jpg"}),
        task(
            {"image": "s3://bucket/seq/00005.jpg?x=1"},
            on_picture("r1", "rectanglelabels", x=10, y=25, width=20, height=50, rectanglelabels=["car"]),
            on_picture("r2", "polygonlabels", points=[[50, 50], [75, 50], [75, 75], [50, 75]], closed=True,
                       polygonlabels=["dog"]),
            on_picture("r3", "keypointlabels", x=50, y=50, width=0.5, keypointlabels=["ball"]),
            {**click, "is_positive": False},
            on_picture("r5", "ellipselabels", **place, radiusX=10, radiusY=15, ellipselabels=["egg"]),
            on_picture("r6", "choices", choices=["good"]),
        ),
    ]  # fmt: skip
    found = read_prompts(write_json(tmp_path / "a.json", data), clip=folder_clip(tmp_path / "seq"))
    prompts = by_place(found)
    assert list(prompts) == [(1, k) for k in (1, 2, 3, 4)]
    assert prompts[1, 1].prompt.box == pytest.approx((6, 10, 18, 30))
    np.testing.assert_array_equal(mask_of(prompts[1, 2]), rectangle(30, 20, 45, 30))
    assert prompts[1, 3].prompt.points == ((30, 20), (15, 10)) and prompts[1, 3].prompt.labels == (1, 0)
    assert abs(mask_of(prompts[1, 4]).sum() - np.pi * 36) < 4
    assert [info.category for info in found.objects.values()] == ["car", "dog", "ball", "egg"]
    assert "left out: 1 choices" in found.notes[0]


def brush(values: list[int] = BRUSH, size: tuple[int, int] = (8, 10)) -> list[dict[str, Any]]:
    result = on_picture("r1", "brushlabels", format="rle", rle=values, brushlabels=["hat"])
    result.update(original_width=size[1], original_height=size[0])
    return [task({"image": "00000.jpg"}, result)]


def test_brushes_of_label_studio_itself(tmp_path: Path) -> None:
    (placed,) = read_prompts(write_json(tmp_path / "a.json", brush()))
    expected = rectangle(3, 2, 8, 6, (8, 10))
    expected[4, 5] = False
    np.testing.assert_array_equal(mask_of(placed), expected)
    assert placed.info.category == "hat"


def test_only_the_alpha_of_a_brush_counts() -> None:
    pixels = [9, 9, 9, 0, 0, 0, 0, 9]  # coloured but clear; black but opaque
    head = f"{len(pixels):032b}" + f"{7:05b}" + "".join(f"{length - 1:04b}" for length in (3, 4, 8, 16))
    row = "0" + f"{0:02b}" + f"{len(pixels) - 1:03b}" + "".join(f"{value:08b}" for value in pixels)
    bits = (head + row).ljust(8 * -(-len(head + row) // 8), "0")
    values = [int(bits[k : k + 8], 2) for k in range(0, len(bits), 8)]
    assert decode_brush(values, (1, 2)).tolist() == [[False, True]]


@pytest.mark.parametrize(
    ("values", "size", "message"),
    [
        (BRUSH[:-8], (8, 10), "rle is damaged: it ends too early"),
        (BRUSH[:3], (8, 10), "rle is damaged: it ends too early"),
        ([], (8, 10), "rle is damaged: it ends too early"),
        (BRUSH, (10, 9), "rle holds 320 values, but 9x10 pixels of RGBA have 360"),
        ([*BRUSH[:3], 4, *BRUSH[4:]], (1, 65), "rle is damaged: it holds more values"),
        ([*BRUSH[:5], 256], (8, 10), "not a list of bytes"),
        (["a"], (8, 10), "not a list of bytes"),
    ],
)
def test_damaged_brushes(values: list[Any], size: tuple[int, int], message: str) -> None:
    with pytest.raises(PromptError, match=message):
        decode_brush(values, size)


def test_which_annotation_counts(tmp_path: Path) -> None:
    data = video()
    cancelled = {**data[0]["annotations"][0], "was_cancelled": True}
    other = {"id": 9, "was_cancelled": False, "result": data[0]["annotations"][0]["result"][:1]}
    data[0]["annotations"] += [other, cancelled]
    found = read_prompts(write_json(tmp_path / "a.json", data), clip=numbered_clip())
    assert len(found) == 2 and "cups has 2 annotations; the one last in the file was read" in found.notes
    data[0]["annotations"][0]["ground_truth"] = True
    assert len(read_prompts(write_json(tmp_path / "b.json", data), clip=numbered_clip())) == 3
    data[0].update(annotations=[cancelled], predictions=[{"model_version": "1", "result": other["result"]}])
    assert len(read_prompts(write_json(tmp_path / "c.json", data), clip=numbered_clip())) == 2


def change(keys: tuple[Any, ...], value: Any) -> list[dict[str, Any]]:
    data: Any = video()
    inside = data[0]["annotations"][0]["result"]
    for key in keys[:-1]:
        inside = inside[key]
    inside[keys[-1]] = value
    return data  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        ((0, "value", "sequence", 0, "x"), "10", "x is '10', expected a number"),
        ((0, "value", "sequence", 0, "x"), float("nan"), "x is nan, not a finite number"),
        ((0, "value", "sequence", 0, "width"), 0, "the rectangle is 0 wide and 50 high (percent)"),
        ((0, "value", "sequence", 0, "x"), 400, "is empty, or outside of the picture"),
        ((0, "value", "sequence", 0, "frame"), 0, "in Label Studio the first frame is 1"),
        ((0, "value", "sequence", 1, "frame"), 1, "the sequence has frame 1 twice"),
        ((0, "value", "sequence", 2, "frame"), 21, "sequence[2]): frame 20 is outside this clip (0..19)"),
        ((0, "value", "sequence"), None, "sequence is None, expected a list"),
        ((0, "value"), [], "value is [], expected an object"),
        ((0,), 7, "a result is 7, expected an object"),
    ],
)
def test_broken_files(tmp_path: Path, keys: tuple[Any, ...], value: Any, message: str) -> None:
    path = write_json(tmp_path / "a.json", change(keys, value))
    text = complaint(path, clip=numbered_clip())
    assert message in text and "line " in text


def test_other_exports_of_label_studio(tmp_path: Path) -> None:
    small = [{"video": "/data/upload/1/cups.mp4", "box": [], "id": 3, "data": {"video": "x"}}]
    assert "export the project as JSON (not as JSON-MIN)" in complaint(write_json(tmp_path / "a.json", small))
    turned = brush()
    turned[0]["annotations"][0]["result"][0]["image_rotation"] = 90
    assert "turned (90 degrees)" in complaint(write_json(tmp_path / "b.json", turned))
    unnamed = video()
    unnamed[0]["data"] = {"id": 3}
    assert "data of the task names no file" in complaint(write_json(tmp_path / "c.json", unnamed))
