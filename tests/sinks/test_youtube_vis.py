"""YouTube-VIS files have the structure that `YTVOS` of the YouTube-VIS fork of cocoapi reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from sam2_video.sinks import YouTubeVisSink
from sam2_video.types import SinkError
from tests.sinks.story import (
    CAT,
    COCO_WARNS,
    CUP,
    FRAMES,
    INFO,
    LATE,
    SIZE,
    Mask,
    masks_of,
    result_of,
    story,
    write,
)

pytestmark = COCO_WARNS


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def ann_to_mask(annotation: dict[str, Any], frame: int) -> Mask | None:
    """As `YTVOS.annToMask(ann, frameId)` does; the fork is not on a package index."""
    runs = annotation["segmentations"][frame]
    if runs is None:
        return None
    assert isinstance(runs["counts"], list), "text is refused by YouTubeVIS of TrackEval"
    compressed = coco_mask.frPyObjects(runs, annotation["height"], annotation["width"])
    return coco_mask.decode(compressed).astype(bool)


def test_masks_boxes_and_areas_come_back(tmp_path: Path) -> None:
    with YouTubeVisSink(tmp_path / "vis.json", "my clip") as sink:
        write(sink, story())
    data, expected = read(tmp_path / "vis.json"), masks_of(story())
    assert [a["track_id"] for a in data["annotations"]] == [CUP, CAT, LATE]
    for annotation in data["annotations"]:
        for place, frame in enumerate(FRAMES):
            wanted = expected.get((frame, annotation["track_id"]))
            mask = ann_to_mask(annotation, place)
            if wanted is None:
                assert mask is annotation["bboxes"][place] is annotation["areas"][place] is None
                continue
            assert mask is not None and np.array_equal(mask, wanted)
            ys, xs = wanted.nonzero()
            assert annotation["bboxes"][place] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
            assert annotation["areas"][place] == wanted.sum()
        assert len(annotation["segmentations"]) == len(annotation["areas"]) == len(FRAMES)


def test_video_and_classes(tmp_path: Path) -> None:
    with YouTubeVisSink(tmp_path / "vis.json", "my clip") as sink:
        write(sink, story())
    data = read(tmp_path / "vis.json")
    (video,) = data["videos"]
    assert video["file_names"] == [f"my clip/{frame:05d}.jpg" for frame in FRAMES]
    assert (video["id"], video["height"], video["width"], video["length"]) == (1, *SIZE, 4)
    assert {c["id"]: c["name"] for c in data["categories"]} == {1: "cup", 2: "cat & <dog>", 3: "object"}
    cat = data["annotations"][1]
    assert (cat["id"], cat["video_id"], cat["category_id"]) == (2, 1, 2) and cat["name"] == INFO[CAT].name
    assert (cat["height"], cat["width"], cat["length"], cat["iscrowd"]) == (*SIZE, 4, 0)
    assert data["annotations"][2]["category_id"] == 3, "who has neither name nor class is an object"


def test_nothing_to_say(tmp_path: Path) -> None:
    YouTubeVisSink(tmp_path / "a.json").close()
    assert read(tmp_path / "a.json")["videos"] == []
    with YouTubeVisSink(tmp_path / "b.json") as sink:
        write(sink, [result_of(0, {}), result_of(4, {})])
    data = read(tmp_path / "b.json")
    assert data["videos"][0]["length"] == 2 and data["annotations"] == []
    with pytest.raises(SinkError, match="ascending"), YouTubeVisSink(tmp_path / "c.json") as sink:
        write(sink, [result_of(4, {}), result_of(0, {})])
