"""SA-V files are read as `SAVDataset` in sav_dataset/utils/sav_utils.py of SAM 2 reads them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from sam2_video.sinks import SavSink
from sam2_video.types import SinkError
from tests.sinks.story import CAT, COCO_WARNS, CUP, LATE, SIZE, disc, masks_of, result_of, story, write

pytestmark = COCO_WARNS

# The keys of sav_000001_manual.json, which SAM 2's repository shows as an example, and the types there.
FIELDS = {
    "video_id": str,
    "video_duration": float,
    "video_frame_count": float,
    "video_height": float,
    "video_width": float,
    "video_resolution": float,
    "video_environment": str,
    "video_split": str,
    "masklet": list,
    "masklet_id": list,
    "masklet_size_rel": list,
    "masklet_size_abs": list,
    "masklet_size_bucket": list,
    "masklet_visibility_changes": list,
    "masklet_first_appeared_frame": list,
    "masklet_frame_count": list,
    "masklet_edited_frame_count": list,
    "masklet_type": list,
    "masklet_stability_score": list,
    "masklet_num": int,
}


def written(folder: Path, **options: Any) -> dict[str, Any]:
    with SavSink(folder, "clip 1", fps=24.0, stride=2, frames=30, **options) as sink:
        write(sink, story())
    return read(folder, "clip_1")


def read(folder: Path, video_id: str) -> dict[str, Any]:
    return json.loads((folder / f"{video_id}_manual.json").read_text(encoding="utf-8"))


def test_fields_are_those_of_the_data_set(tmp_path: Path) -> None:
    data = written(tmp_path)
    assert {key: type(data[key]) for key in FIELDS} == FIELDS
    assert data["video_id"] == "clip_1", "readers join it with _manual.json"
    assert (data["video_frame_count"], data["video_duration"]) == (30.0, 1.25)
    assert (data["video_height"], data["video_width"], data["video_resolution"]) == (40.0, 56.0, 2240.0)


def test_every_entry_is_the_frame_that_readers_take_it_for(tmp_path: Path) -> None:
    data, expected = written(tmp_path), masks_of(story())
    assert data["annot_sample_rate"] == 1, "frames 3, 5, 7, 9 are no multiples of the stride of 2"
    frames = range(30)[:: data["annot_sample_rate"]]  # what SAVDataset keeps of the video
    assert data["masklet_id"] == [CUP, CAT, LATE] and len(data["masklet"]) == 10
    for place, entry in enumerate(data["masklet"]):
        for object_id, runs in zip(data["masklet_id"], entry, strict=True):
            wanted = expected.get((frames[place], object_id), np.zeros(SIZE, bool))
            assert np.array_equal(coco_mask.decode(runs).astype(bool), wanted)


@pytest.mark.parametrize(
    ("frames", "stride", "rate"), [((4, 6, 8), 2, 2), ((0, 6), 3, 3), ((5, 9), 4, 1), ((6, 10), 4, 2)]
)
def test_rate(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, frames: tuple[int, ...], stride: int, rate: int
) -> None:
    with SavSink(tmp_path, "r", stride=stride) as sink:
        write(sink, [result_of(frame, {1: disc(frame, 9, 3)}) for frame in frames])
    data = read(tmp_path, "r")
    seen = [k * rate for k, (runs,) in enumerate(data["masklet"]) if coco_mask.area(runs)]
    assert (data["annot_sample_rate"], tuple(seen)) == (rate, frames)
    assert data["masklet_first_appeared_frame"] == [frames[0] // rate]
    assert (f"read it with annot_sample_rate={rate}" in caplog.text) == (rate != stride)


def test_what_is_said_of_masklets(tmp_path: Path) -> None:
    data, masks = written(tmp_path), masks_of(story())
    areas = [np.mean([m.sum() for (_, k), m in masks.items() if k == i]) for i in (CUP, CAT, LATE)]
    assert data["masklet_size_abs"] == pytest.approx(areas)
    assert data["masklet_size_rel"] == pytest.approx(np.array(areas) / 2240)
    assert data["masklet_first_appeared_frame"] == [3, 3, 5]
    assert data["masklet_visibility_changes"] == [0, 2, 1]
    assert data["masklet_frame_count"] == [4, 4, 4]
    assert data["masklet_edited_frame_count"] == [1, 1, 0]
    assert data["masklet_type"] == ["manual"] * 3 and data["masklet_num"] == 3
    assert data["masklet_name"][0] == "left cup" and data["masklet_category"][0] == "cup"


def test_automatic_masklets(tmp_path: Path) -> None:
    assert written(tmp_path)["masklet_stability_score"] == [None] * 3, "SA-V has them of automatic ones only"
    with SavSink(tmp_path, "auto", kind="auto") as sink:
        for result in story():
            sure = torch.where(result.logits > 0, 5.0, -5.0)
            sure[:, :1] = -0.5  # a strip that only a lower threshold takes
            write(sink, [replace(result, logits=sure)])
    data = json.loads((tmp_path / "auto_auto.json").read_text())
    assert data["masklet_type"] == ["auto"] * 3
    assert data["masklet_edited_frame_count"] == [0, 0, 0], "nobody edited them, though they were prompted"
    scores = data["masklet_stability_score"]
    assert [len(one) for one in scores] == [len(data["masklet"])] * 3
    strip = story()[0].logits.shape[2]
    checked = 0
    for place, entry in enumerate(data["masklet"]):
        for mine, runs in zip(scores, entry, strict=True):
            area = int(coco_mask.area(runs))
            assert (mine[place] > 0) == (area > 0)
            if area:
                assert mine[place] == pytest.approx(area / (area + strip), abs=1e-4)
                checked += 1
    assert checked > 5


def test_buckets(tmp_path: Path) -> None:
    size = (160, 160)
    masks = {k: disc(80, 80, radius, size) for k, radius in enumerate((17, 19, 53, 56))}
    with SavSink(tmp_path, "b") as sink:
        write(sink, [result_of(0, masks, size=size)])
    data = read(tmp_path, "b")
    assert data["masklet_size_bucket"] == ["small", "medium", "medium", "large"]
    assert data["video_frame_count"] == 1.0 and data["video_duration"] is None


def test_nothing_seen_and_frames_too_close(tmp_path: Path) -> None:
    with SavSink(tmp_path, "a") as sink:
        write(sink, [result_of(2, {}, size=SIZE)])
    assert read(tmp_path, "a")["masklet"] == [[], [], []]
    SavSink(tmp_path, "b").close()
    assert read(tmp_path, "b")["masklet"] == [] and read(tmp_path, "b")["masklet_num"] == 0
    close = pytest.raises(SinkError, match="frame 5 is closer to the one before than the stride, 4")
    with close, SavSink(tmp_path, "c", stride=4) as sink:
        write(sink, [result_of(4, {}), result_of(5, {})])
