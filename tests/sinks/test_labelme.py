"""LabelMe files hold what LabelMe checks when it opens them, and its way to fill gives the masks."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from sam2_video.sinks import LabelMeSink
from tests.clips import numbered_frame
from tests.sinks.story import (
    CAT,
    CUP,
    FRAMES,
    INFO,
    SIZE,
    Mask,
    files,
    iou,
    masks_of,
    result_of,
    story,
    write,
)


def read(path: Path) -> tuple[dict[str, Any], Image.Image]:
    """Open a file as LabelMe 5 and 6 do: with its picture, from inside or beside it, of the stated size."""
    data = json.loads(path.read_text(encoding="utf-8"))
    if data["imageData"] is not None:
        picture = Image.open(io.BytesIO(base64.b64decode(data["imageData"])))
    else:
        picture = Image.open(path.parent / data["imagePath"])
    assert picture.size == (data["imageWidth"], data["imageHeight"])
    for shape in data["shapes"]:
        assert isinstance(shape["label"], str) and isinstance(shape["group_id"], int | None)
        assert isinstance(shape["description"], str) and shape["flags"] == {}
        assert all(isinstance(v, float) for point in shape["points"] for v in point)
        assert shape["shape_type"] == "polygon" and len(shape["points"]) > 2
    return data, picture


def shape_to_mask(points: list[list[float]]) -> Mask:
    """As `labelme.utils.shape_to_mask` does."""
    picture = Image.new("L", SIZE[::-1])
    ImageDraw.Draw(picture).polygon([tuple(point) for point in points], outline=1, fill=1)
    return np.asarray(picture) > 0


def test_masks_names_and_classes_come_back(tmp_path: Path) -> None:
    with LabelMeSink(tmp_path) as sink:
        write(sink, story())
    assert files(tmp_path) == [f"{frame:05d}.json" for frame in FRAMES]
    found: dict[tuple[int, int], Mask] = {}
    for frame in FRAMES:
        for shape in read(tmp_path / f"{frame:05d}.json")[0]["shapes"]:
            key, part = (frame, shape["group_id"]), shape_to_mask(shape["points"])
            found[key] = found.get(key, part) | part
            expected = {CUP: "cup", CAT: "cat & <dog>"}.get(shape["group_id"], "object")
            assert (shape["label"], shape["description"]) == (expected, INFO[shape["group_id"]].name)
    expected_masks = masks_of(story())
    assert found.keys() == expected_masks.keys()
    assert min(iou(found[key], expected_masks[key]) for key in found) > 0.97, "half a pixel of tolerance"


def test_without_tolerance_every_pixel_comes_back(tmp_path: Path) -> None:
    with LabelMeSink(tmp_path, tolerance=0) as sink:
        write(sink, story()[:1])
    shapes = read(tmp_path / "00003.json")[0]["shapes"]
    cat = [shape_to_mask(shape["points"]) for shape in shapes if shape["group_id"] == CAT]
    assert len(cat) == 2, "each part is a polygon of its own"
    assert np.array_equal(np.logical_or(*cat), masks_of(story())[3, CAT])


def test_frames_of_a_video_are_inside(tmp_path: Path) -> None:
    with LabelMeSink(tmp_path, "clip.mp4") as sink:
        write(sink, story()[:1])
    data, picture = read(tmp_path / "00003.json")
    assert data["imagePath"] == "00003.jpg"
    assert np.abs(np.asarray(picture).astype(int) - numbered_frame(3, SIZE)).mean() < 8


def test_pictures_of_a_folder_are_referred_to(tmp_path: Path) -> None:
    (tmp_path / "my frames").mkdir()
    Image.fromarray(numbered_frame(3, SIZE)).save(tmp_path / "my frames" / "00003.png")
    with LabelMeSink(tmp_path / "out" / "labelme", tmp_path / "my frames") as sink:
        write(sink, [*story()[:1], result_of(4, {})])
    data, picture = read(tmp_path / "out" / "labelme" / "00003.json")
    assert (data["imagePath"], data["imageData"]) == ("../../my frames/00003.png", None)
    assert np.array_equal(np.asarray(picture), numbered_frame(3, SIZE))
    data, _ = read(tmp_path / "out" / "labelme" / "00004.json")
    assert data["shapes"] == [] and data["imageData"], "a frame without a file is inside"
