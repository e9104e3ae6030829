"""COCO files are what pycocotools reads, masks equal bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sam2_video.sinks import CocoSink
from sam2_video.types import SinkError
from tests.sinks.story import (
    CAT,
    COCO_WARNS,
    CUP,
    FRAMES,
    INFO,
    LATE,
    SIZE,
    masks_of,
    result_of,
    story,
    write,
)

pytestmark = COCO_WARNS


def written(folder: Path, source: str | Path = "") -> COCO:
    with CocoSink(folder / "coco.json", "my clip", source) as sink:
        write(sink, story())
    return COCO(str(folder / "coco.json"))


def test_pycocotools_gives_the_masks_back(tmp_path: Path) -> None:
    coco, expected = written(tmp_path), masks_of(story())
    found = {}
    for annotation in coco.loadAnns(coco.getAnnIds()):
        frame = coco.loadImgs(annotation["image_id"])[0]["frame_id"]
        mask = coco.annToMask(annotation).astype(bool)
        found[frame, annotation["track_id"]] = mask
        assert annotation["area"] == mask.sum() and annotation["iscrowd"] == 0
        ys, xs = mask.nonzero()
        assert annotation["bbox"] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
    assert found.keys() == expected.keys() and len(found) == 9
    assert all(np.array_equal(found[key], expected[key]) for key in found)


def test_images_are_frames_and_categories_are_classes(tmp_path: Path) -> None:
    coco = written(tmp_path)
    images = coco.loadImgs(coco.getImgIds())
    assert [image["frame_id"] for image in images] == list(FRAMES)
    assert [image["id"] for image in images] == [frame + 1 for frame in FRAMES]
    assert images[0]["file_name"] == "00003.jpg" and (images[0]["height"], images[0]["width"]) == SIZE
    assert coco.dataset["videos"] == [{"id": 1, "name": "my clip"}]
    classes = {c["name"]: c["id"] for c in coco.loadCats(coco.getCatIds())}
    assert classes["cup"] == 1 and set(classes) == {"cup", "cat & <dog>", "object", "ghost"}
    named = {a["track_id"]: (a["category_id"], a["name"]) for a in coco.dataset["annotations"]}
    assert named[CUP] == (classes["cup"], "left cup")
    assert named[CAT] == (classes["cat & <dog>"], INFO[CAT].name)
    assert named[LATE] == (classes["object"], "")


def test_the_data_set_evaluated_against_itself_is_perfect(tmp_path: Path) -> None:
    truth = written(tmp_path)
    (tmp_path / "found.json").write_text(json.dumps(truth.dataset["annotations"]))
    evaluation = COCOeval(truth, truth.loadRes(str(tmp_path / "found.json")), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0)


def test_file_names_are_those_of_the_pictures(tmp_path: Path) -> None:
    (tmp_path / "shots").mkdir()
    for frame in FRAMES:
        (tmp_path / "shots" / f"{frame:05d}.PNG").touch()
    (tmp_path / "shots" / "00003.txt").touch()
    coco = written(tmp_path, tmp_path / "shots")
    assert coco.loadImgs([4])[0]["file_name"] == "00003.PNG"


def test_a_clip_without_objects_or_frames_is_a_data_set_too(tmp_path: Path) -> None:
    with CocoSink(tmp_path / "a.json") as sink:
        write(sink, [result_of(0, {})])
    assert COCO(str(tmp_path / "a.json")).getImgIds() == [1]
    CocoSink(tmp_path / "b.json").close()
    assert COCO(str(tmp_path / "b.json")).getImgIds() == []


def test_frames_must_ascend(tmp_path: Path) -> None:
    backward = pytest.raises(SinkError, match="3 cannot follow 5; write the results of a backward")
    with backward, CocoSink(tmp_path / "coco.json") as sink:
        write(sink, list(reversed(story()[:2])))
    with pytest.raises(SinkError, match="3 cannot follow 3"), CocoSink(tmp_path / "coco.json") as sink:
        write(sink, story()[:1] * 2)
