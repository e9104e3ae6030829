"""CVAT files are read as CVAT's importer reads them, and its way to fill gives the masks."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
from pycocotools import mask as coco_mask

from sam2_video.sinks import CvatSink
from sam2_video.sinks.names import plain
from sam2_video.types import ObjectInfo
from tests.sinks.story import (
    CAT,
    COCO_WARNS,
    CUP,
    FRAMES,
    INFO,
    LATE,
    SIZE,
    Mask,
    disc,
    iou,
    masks_of,
    result_of,
    story,
    write,
)

pytestmark = COCO_WARNS


def written(folder: Path, **options: float | None) -> Element:
    with CvatSink(folder / "cvat.xml", "my <clip>", stride=2, **options) as sink:  # type: ignore[arg-type]
        write(sink, story())
    return ElementTree.parse(folder / "cvat.xml").getroot()


def tracks(root: Element) -> dict[int, Element]:
    return {int(track.attrib["id"]): track for track in root.iter("track")}


def fill(shape: Element) -> Mask:
    """Points as `load_anno` of CVAT splits them, filled by pycocotools as CVAT and Datumaro do."""
    points = [float(v) for pair in shape.attrib["points"].split(";") for v in pair.split(",")]
    assert len(points) >= 6 and len(points) % 2 == 0
    return coco_mask.decode(coco_mask.frPyObjects([points], *SIZE))[..., 0].astype(bool)


def test_visible_shapes_are_the_masks(tmp_path: Path) -> None:
    for tolerance, bound in ((0.0, 1.0), (0.5, 0.97)):
        found = {
            (int(shape.attrib["frame"]), object_id): fill(shape)
            for object_id, track in tracks(written(tmp_path, tolerance=tolerance)).items()
            for shape in track.iter("polygon")
            if shape.attrib["outside"] == "0"
        }
        expected = masks_of(story())
        assert found.keys() == expected.keys()
        assert min(iou(found[key], expected[key]) for key in found) >= bound


def test_tracks_end_where_objects_are_gone(tmp_path: Path) -> None:
    found = {
        object_id: [(int(s.attrib["frame"]), s.attrib["outside"]) for s in track.iter("polygon")]
        for object_id, track in tracks(written(tmp_path, frames=20)).items()
    }
    assert found == {
        CUP: [(3, "0"), (5, "0"), (7, "0"), (9, "0"), (11, "1")],
        CAT: [(3, "0"), (5, "0"), (7, "1"), (9, "0"), (11, "1")],
        LATE: [(5, "0"), (7, "0"), (9, "1")],
    }


def test_nothing_lies_beyond_the_clip(tmp_path: Path) -> None:
    for frames in (None, 10, 11):
        places = [int(s.attrib["frame"]) for s in written(tmp_path, frames=frames).iter("polygon")]
        assert set(places) == set(FRAMES), "CVAT refuses frames that a task does not have"


def test_labels_names_and_the_task(tmp_path: Path) -> None:
    root = written(tmp_path, frames=20)
    assert root.findtext("version") == "1.1"
    task = root.find("meta/task")
    assert task is not None and task.findtext("name") == "my <clip>" and task.findtext("size") == "20"
    assert task.findtext("mode") == "interpolation"
    assert (task.findtext("original_size/height"), task.findtext("original_size/width")) == ("40", "56")
    labels = [label.findtext("name") for label in task.iter("label")]
    assert labels == ["cup", "cat & <dog>", "object"]
    for label in task.iter("label"):
        assert label.findtext("attributes/attribute/name") == "name"
    found = tracks(root)
    assert list(found) == [CUP, CAT, LATE] and [t.attrib["label"] for t in found.values()] == labels
    shape = found[CAT].find("polygon")
    assert shape is not None and shape.findtext("attribute") == plain(INFO[CAT].name)
    assert found[LATE].find("polygon/attribute") is None, "who has no name has no attribute"
    for shape in root.iter("polygon"):
        assert shape.attrib["keyframe"] == "1" and shape.attrib["occluded"] == "0"


def test_characters_that_xml_forbids(tmp_path: Path) -> None:
    info = {1: ObjectInfo("a\x00b\x1b[0m\ud800\ufffe", 'x"\x07y&amp;')}
    with CvatSink(tmp_path / "cvat.xml") as sink:
        write(sink, [result_of(0, {1: disc(20, 20, 5)}, info)])
    (track,) = ElementTree.parse(tmp_path / "cvat.xml").getroot().iter("track")
    assert track.attrib["label"] == 'x" y&amp;' and track.findtext("polygon/attribute") == "a b [0m"


def test_nothing_to_say(tmp_path: Path) -> None:
    CvatSink(tmp_path / "a.xml").close()
    with CvatSink(tmp_path / "b.xml") as sink:
        write(sink, [result_of(0, {1: np.zeros(SIZE, bool)})])
    for name in ("a.xml", "b.xml"):
        assert not list(ElementTree.parse(tmp_path / name).getroot().iter("track"))
