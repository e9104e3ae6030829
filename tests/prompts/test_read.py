"""Which format a file has, which frame a picture is, and that no frame is decoded for either."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

import sam2_video
from sam2_video.cli_prompts import gather_prompts
from sam2_video.prompts import FORMATS, read_annotations, read_prompts
from sam2_video.sources.base import Rgb, Source
from tests.prompts.files import (
    complaint,
    folder_clip,
    numbered_clip,
    rectangle,
    write,
    write_json,
    write_labels,
)
from tests.prompts.test_cvat import VIDEO


class Undecodable(Source):
    """A clip of which everything is known, but no frame can be had."""

    name = "clip.mp4"
    size = (40, 60)
    count = 20

    def read(self, frame: int) -> Rgb:
        raise AssertionError(f"frame {frame} was decoded")


def test_files_are_checked_before_any_frame_is_decoded(tmp_path: Path) -> None:
    entries = [{"frame": 30, "object": 1, "mask": [[1, 1, 9, 1, 9, 9]]}, {"frame": 0, "box": [1, 1, 99, 9]}]
    path = write_json(tmp_path / "a.json", entries)
    text = complaint(path, clip=Undecodable())
    assert "frame 30 is outside" in text and "reaches out of frame 0" in text
    assert len(read_prompts(write(tmp_path / "a.xml", VIDEO), clip=Undecodable())) == 6


@pytest.mark.parametrize("number", [10**21, 2**53 + 1])
def test_ids_that_results_cannot_hold(tmp_path: Path, number: int) -> None:
    own = write_json(tmp_path / "own.json", [{"frame": 0, "object": number, "points": [[2, 2]]}])
    shape = {"label": "cat", "points": [[2, 2]], "group_id": number, "shape_type": "point"}
    labelme = write_json(tmp_path / "00000.json", {"imagePath": "00000.jpg", "shapes": [shape]})
    for path, where in ((own, "line 2 ([0])"), (labelme, "(shapes[0])")):
        text = complaint(path)
        assert where in text and f"object id {number} is too large; the largest is {2**53}" in text
    largest = [{"frame": 0, "object": 2**53, "points": [[2, 2]]}]
    assert list(read_prompts(write_json(tmp_path / "largest.json", largest)).objects) == [2**53]


def test_a_broken_file_is_told_before_the_clip_is_opened(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xml", VIDEO.replace('xtl="5.50"', 'xtl="five"'))
    assert "xtl is 'five'" in complaint(path, clip=tmp_path / "missing.mp4")
    with pytest.raises(sam2_video.SourceError, match=r"missing\.mp4"):
        read_prompts(write(path, VIDEO), clip=tmp_path / "missing.mp4")


def test_an_open_clip_stays_open(tmp_path: Path) -> None:
    class Closable(Undecodable):
        closed = False

        def close(self) -> None:
            self.closed = True

    clip = Closable()
    read_prompts(write(tmp_path / "a.xml", VIDEO), clip=clip)
    assert not clip.closed


def test_content_decides_not_the_suffix(tmp_path: Path) -> None:
    assert read_prompts(write(tmp_path / "cvat.txt", VIDEO)).format == "cvat"
    assert (
        read_prompts(write_json(tmp_path / "own.txt", [{"frame": 0, "box": [1, 1, 9, 9]}])).format
        == "prompts"
    )
    label = write_labels(tmp_path / "7.png", rectangle(1, 1, 9, 9))
    assert read_prompts(label.rename(tmp_path / "7.dat")).format == "png"
    assert set(FORMATS) == {
        *("prompts", "png", "davis", "youtube-vos", "coco", "youtube-vis"),
        *("yolo", "labelme", "cvat", "label-studio"),
    }


def test_a_format_can_be_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xml", VIDEO)
    assert "this is not JSON" in complaint(path, format="coco")
    assert read_prompts(path, format="cvat").format == "cvat"


def test_what_is_no_format(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        archive.writestr("annotations.xml", VIDEO)
    assert "is a ZIP archive; unpack it" in complaint(tmp_path / "export.zip")
    assert "cannot read" in complaint(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    assert "holds nothing, which is no known folder" in complaint(tmp_path / "empty")
    write(tmp_path / "other" / "notes.md", "hello")
    assert "holds notes.md, which is no known folder" in complaint(tmp_path / "other")
    assert "this is not JSON" in complaint(write(tmp_path / "hello.md", "hello"))


def frames_of(folder: Path, names: list[str], clip: object) -> list[int]:
    """The frames that label pictures of these names are taken for."""
    for name in names:
        write_labels(folder / f"{name}.png", rectangle(1, 1, 9, 9))
    return [placed.frame for placed in read_prompts(folder, clip=clip, frames="all")]


def test_numbers_at_the_end_of_names_count_if_all_differ_in_nothing_else(tmp_path: Path) -> None:
    assert frames_of(tmp_path / "a", ["frame_0007", "frame_0012"], numbered_clip()) == [7, 12]
    assert frames_of(tmp_path / "b", ["7", "12"], None) == [7, 12]
    # take1_x and take2_x are no frames 1 and 2: as many pictures as frames are needed to know their order.
    assert frames_of(tmp_path / "c", ["take5", "shot7"], numbered_clip(2)) == [0, 1]
    assert "cannot be told" in complaint(tmp_path / "c", clip=numbered_clip())
    assert frames_of(tmp_path / "d", ["img10", "img9"], folder_clip(tmp_path / "f", ("img9", "img10"))) == [
        0,
        1,
    ]
    assert "frame 25 is outside this clip (0..19)" in complaint(
        write_labels(tmp_path / "25.png", rectangle(1, 1, 9, 9)), clip=numbered_clip()
    )


def test_the_command_line_takes_files_of_tools_beside_clicks(tmp_path: Path) -> None:
    notes: list[str] = []
    path = write(tmp_path / "a.xml", VIDEO)
    placed = gather_prompts(["2:9:5,5"], files=[path], clip=numbered_clip(), tell=notes.append)
    assert {p.object_id for p in placed} == {1, 2, 3, 6, 9}
    assert any("a.xml: left out: 1 polyline" in note for note in notes)


def test_names_and_classes_reach_the_session(tmp_path: Path) -> None:
    found = read_prompts(write(tmp_path / "a.xml", VIDEO), clip=numbered_clip())
    called = found.prompts[2].arguments()
    assert called["name"] == "the red one" and called["category"] == "car"
    assert "name" not in found.prompts[0].arguments()


def test_annotations_keep_the_scores_of_detectors(tmp_path: Path) -> None:
    coco = {
        "images": [{"id": 7, "file_name": "a.jpg"}],
        "categories": [{"id": 3, "name": "cup"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.75},
            {"id": 2, "image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4]},
        ],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(coco))
    found, name = read_annotations(tmp_path / "boxes.json")
    assert (name, [one.score for one in found.annotations]) == ("coco", [0.75, None])
    (tmp_path / "b.txt").write_text("0 0.5 0.5 0.2 0.2 0.625\n0 0.5 0.5 0.2 0.2\n0 0.5 0.5 0.2 0.2 0.5 17\n")
    found, name = read_annotations(tmp_path / "b.txt")
    assert [(one.score, one.object_id) for one in found.annotations] == [
        (0.625, None),
        (None, None),
        (0.5, 17),
    ]
