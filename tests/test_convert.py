"""Results in the classes of other libraries."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas
import pytest
import supervision

from sam2_video.convert import add_to_fiftyone, to_fiftyone, to_pandas, to_supervision
from sam2_video.types import SinkError
from tests.sinks.story import CAT, CUP, FRAMES, INFO, LATE, disc, masks_of, result_of, story


def test_supervision_detections_are_the_visible_objects() -> None:
    for result in story():
        detections = to_supervision(result)
        seen = {k: mask for (frame, k), mask in masks_of(story()).items() if frame == result.frame}
        assert detections.tracker_id.tolist() == list(seen)
        assert np.array_equal(detections.mask, np.stack(list(seen.values())))
        assert np.array_equal(detections.xyxy, supervision.mask_to_xyxy(detections.mask))
        rows = [result.object_ids.index(k) for k in seen]
        assert detections.confidence.tolist() == result.iou[rows].tolist()
        assert detections["presence"].tolist() == result.presence[rows].tolist()
        assert detections["object_name"].tolist() == [INFO[k].name for k in seen]


def test_supervision_classes() -> None:
    first, second = story()[:2]
    assert to_supervision(first)["class_name"].tolist() == ["cup", "cat & <dog>"]
    assert to_supervision(first).class_id.tolist() == [1, 0], "in alphabetical order"
    classes = ["object", "cup", "cat & <dog>", "ghost"]
    assert to_supervision(first, classes).class_id.tolist() == [1, 2]
    assert to_supervision(second, classes).class_id.tolist() == [1, 2, 0]
    with pytest.raises(SinkError, match=r"class 'ghost' is not one of cup, cat & <dog>; add it"):
        to_supervision(first, ["cup", "cat & <dog>"])


def test_supervision_takes_what_it_gets() -> None:
    detections = to_supervision(story()[0])
    merged = supervision.Detections.merge([detections, to_supervision(story()[1])])
    assert len(merged) == 5 and len(merged[merged.tracker_id == LATE]) == 1
    painted = supervision.MaskAnnotator().annotate(np.zeros((40, 56, 3), np.uint8), detections)
    assert np.array_equal(painted.any(axis=2), detections.mask.any(axis=0))
    for empty in (result_of(0, {}), result_of(0, {1: disc(9, 9, 3) & False})):
        assert len(to_supervision(empty)) == 0 and to_supervision(empty).mask.shape == (0, 40, 56)


def test_pandas_table() -> None:
    table = to_pandas(iter(story()))
    assert list(table.columns) == [
        *("frame", "object", "area", "x0", "y0", "x1", "y1", "iou", "presence", "prompted", "name", "class")
    ]
    assert sorted(table["frame"].unique()) == list(FRAMES) and len(table) == 14
    areas = {(r.frame, r.object): r.area for r in table.itertuples() if r.area}
    assert areas == {key: mask.sum() for key, mask in masks_of(story()).items()}
    cat = table[table["object"] == CAT].set_index("frame")
    assert cat.loc[7, ["x0", "y0", "x1", "y1"]].isna().all() and cat.loc[3, "x0"] == 26
    assert cat["prompted"].tolist() == [True, False, False, False]
    assert set(cat["name"]) == {INFO[CAT].name} and set(cat["class"]) == {INFO[CAT].category}
    assert table["iou"].dtype == table["presence"].dtype == "float64" and table["x0"].dtype == "Int64"
    assert table.groupby("object")["area"].max()[CUP] == disc(12, 20, 9).sum()


def test_pandas_table_of_one_result_and_of_none() -> None:
    pandas.testing.assert_frame_equal(to_pandas(story()[0]), to_pandas(story()[:1]))
    assert len(to_pandas([])) == 0 and list(to_pandas([]).columns) == list(to_pandas(story()).columns)
    assert to_pandas([]).dtypes.equals(to_pandas(story()).dtypes)


@pytest.fixture
def fiftyone(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A stand-in for FiftyOne, which needs a MongoDB server: its labels keep what they are given."""
    module = ModuleType("fiftyone")
    module.Detection = module.Detections = SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fiftyone", module)
    yield module


def test_fiftyone_detections(fiftyone: ModuleType) -> None:
    result = story()[1]
    detections = to_fiftyone(result).detections
    assert [d.index for d in detections] == [CUP, CAT, LATE]
    for detection in detections:
        mask = masks_of(story())[5, detection.index]
        x, y, width, height = np.array(detection.bounding_box) * (56, 40, 56, 40)
        whole = np.zeros((40, 56), bool)
        whole[round(y) : round(y + height), round(x) : round(x + width)] = detection.mask
        assert np.array_equal(whole, mask)
        row = result.object_ids.index(detection.index)
        assert detection.confidence == float(result.iou[row]) and detection.presence == result.presence[row]
        assert detection.name == INFO[detection.index].name
    assert [d.label for d in detections] == ["cup", "cat & <dog>", "object"]
    assert to_fiftyone(result_of(0, {})).detections == []


def test_fiftyone_samples_count_frames_from_one(fiftyone: ModuleType) -> None:
    sample: Any = SimpleNamespace(frames={frame + 1: {} for frame in range(12)})
    add_to_fiftyone(sample, story(), field="tracked")
    filled = {number: labels for number, labels in sample.frames.items() if labels}
    assert list(filled) == [frame + 1 for frame in FRAMES]
    assert [len(labels["tracked"].detections) for labels in filled.values()] == [2, 3, 2, 2]


@pytest.mark.parametrize(
    ("name", "convert", "advice"),
    [
        ("supervision", to_supervision, r"pip install 'sam2_video\[convert\]'"),
        ("pandas", to_pandas, r"pip install 'sam2_video\[convert\]'"),
        ("fiftyone", to_fiftyone, "pip install fiftyone"),
    ],
)
def test_a_missing_library_is_named(
    name: str, convert: Any, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SinkError, match=f"this conversion needs {name} .*{advice}"):
        convert(story()[0])
