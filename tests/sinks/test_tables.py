"""objects.csv and masks.jsonl say what objects are called."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

from sam2_video.sinks import ObjectsCsvSink, RleJsonSink
from sam2_video.types import ObjectInfo
from tests.sinks.story import CAT, COCO_WARNS, CUP, INFO, LATE, disc, masks_of, result_of, story, write

pytestmark = COCO_WARNS


def test_csv_has_names_and_classes_at_the_end(tmp_path: Path) -> None:
    with ObjectsCsvSink(tmp_path / "objects.csv") as sink:
        write(sink, story())
    with (tmp_path / "objects.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[-3:] == ["prompted", "name", "class"], "columns before them stay where they were"
    found = {int(row["object"]): ObjectInfo(row["name"], row["class"]) for row in rows}
    assert found == INFO, "commas, quotes, line ends and all"
    assert len(rows) == sum(len(result.object_ids) for result in story())


def test_csv_takes_names_that_are_no_text_in_any_encoding(tmp_path: Path) -> None:
    with ObjectsCsvSink(tmp_path / "objects.csv") as sink:
        write(sink, [result_of(0, {1: disc(9, 9, 3)}, {1: ObjectInfo("cup\udcff")})])
    assert (tmp_path / "objects.csv").read_text(encoding="utf-8").endswith(",cup\\udcff,\n")


def test_lines_have_names_and_masks(tmp_path: Path) -> None:
    with RleJsonSink(tmp_path / "masks.jsonl") as sink:
        write(sink, story())
    lines = [json.loads(line) for line in (tmp_path / "masks.jsonl").read_text().splitlines()]
    assert {line["object"]: ObjectInfo(line["object_name"], line["category"]) for line in lines} == INFO
    expected = masks_of(story())
    found = {(line["frame"], line["object"]): coco_mask.decode(line["segmentation"]) for line in lines}
    assert {key for key, mask in found.items() if mask.any()} == expected.keys()
    assert all(np.array_equal(found[key], expected[key]) for key in expected)
    assert {line["object"] for line in lines} > {CUP, CAT, LATE}, "absent objects have lines too"
