"""Our own prompts files: everything they can say, and everything that can be wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

import sam2_video
from sam2_video.prompts import read_prompts
from sam2_video.types import ObjectInfo
from tests.prompts.files import (
    SIZE,
    by_place,
    complaint,
    folder_clip,
    mask_of,
    numbered_clip,
    rectangle,
    write,
    write_json,
    write_labels,
)

FULL = """\
# two cups and a hand
version: 1
clip: {name: cups.mp4, size: [40, 60]}
objects:
  - {id: 1, name: left cup, category: cup}
  - {id: 7, name: hand}
prompts:
  - frame: 0
    object: left cup
    points: [[10, 12.5], [30, 20]]
    labels: [1, 0]
  - {frame: 0, object: 7, box: [5, 6, 25, 30]}
  - {frame: 9, object: 7, points: [[8, 8]]}
  - {frame: 9, object: 1, mask: [[10, 10, 20, 10, 20, 20, 10, 20]]}
"""


def test_yaml_with_names_clicks_box_and_polygon(tmp_path: Path) -> None:
    found = sam2_video.read_prompts(write(tmp_path / "cups.yaml", FULL), clip=numbered_clip())
    prompts = by_place(found)
    assert list(prompts) == [(0, 1), (0, 7), (9, 1), (9, 7)]
    assert prompts[0, 1].prompt.points == ((10, 12.5), (30, 20))
    assert prompts[0, 1].prompt.labels == (1, 0)
    assert prompts[0, 7].prompt.box == (5, 6, 25, 30)
    np.testing.assert_array_equal(mask_of(prompts[9, 1]), rectangle(10, 10, 20, 20))
    assert found.objects == {1: ObjectInfo("left cup", "cup"), 7: ObjectInfo("hand")}
    assert prompts[9, 7].info.name == "hand"
    assert found.format == "prompts" and len(found) == 4
    assert prompts[9, 7].where.endswith("cups.yaml, line 13 (prompts[2])")


def test_json_says_the_same_as_yaml(tmp_path: Path) -> None:
    import yaml

    as_yaml = read_prompts(write(tmp_path / "a.yml", FULL))
    as_json = read_prompts(write_json(tmp_path / "a.json", yaml.safe_load(FULL)))
    for one, other in zip(as_yaml, as_json, strict=True):
        assert one.as_json() == other.as_json()


@pytest.mark.parametrize("compressed", [True, False])
def test_run_lengths_of_coco(tmp_path: Path, compressed: bool) -> None:
    mask = rectangle(3, 4, 50, 33)
    mask[10:12, 20:30] = False
    runs: dict[str, Any] = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    runs["counts"] = runs["counts"].decode()
    if not compressed:
        flat = mask.ravel(order="F").astype(int)
        borders = np.flatnonzero(np.diff(flat)) + 1
        runs["counts"] = np.diff([0, *borders, flat.size]).tolist()
    path = write_json(tmp_path / "a.json", [{"frame": 2, "object": 3, "mask": runs}])
    placed = by_place(read_prompts(path, clip=numbered_clip()))[2, 3]
    np.testing.assert_array_equal(mask_of(placed), mask)


def test_masks_without_a_file_are_written_so_that_they_can_be_read_again(tmp_path: Path) -> None:
    found = read_prompts(write(tmp_path / "cups.yaml", FULL), clip=numbered_clip())
    path = write_json(tmp_path / "run.json", {"command": "track", "prompts": [p.as_json() for p in found]})
    again = read_prompts(path, clip=numbered_clip())
    assert again.objects == found.objects
    for one, other in zip(found, again, strict=True):
        assert (one.frame, one.object_id, one.prompt.points, one.prompt.box) == (
            (other.frame, other.object_id, other.prompt.points, other.prompt.box)
        )
        np.testing.assert_array_equal(one.prompt.mask, other.prompt.mask)


def test_label_pictures_lie_beside_the_file(tmp_path: Path) -> None:
    labels = rectangle(0, 0, 9, 9) * 4 + rectangle(20, 0, 30, 9) * 6
    write_labels(tmp_path / "masks" / "two.png", labels)
    entries = [{"frame": 0, "object": 6, "mask": "masks/two.png"}, {"frame": 3, "mask": "masks/two.png"}]
    path = write_json(tmp_path / "a.json", entries)
    prompts = by_place(read_prompts(path))
    assert list(prompts) == [(0, 6), (3, 4), (3, 6)]
    np.testing.assert_array_equal(mask_of(prompts[0, 6]), labels == 6)
    assert prompts[0, 6].mask_file == tmp_path / "masks" / "two.png"


def test_frames_by_the_names_of_their_files(tmp_path: Path) -> None:
    clip = folder_clip(tmp_path / "frames")
    path = write_json(tmp_path / "a.json", [{"frame": "00010", "box": [1, 1, 9, 9]}])
    assert [p.frame for p in read_prompts(path, clip=clip)] == [2]
    path = write_json(tmp_path / "b.json", [{"frame": "img_0007", "box": [1, 1, 9, 9]}])
    assert "frame 'img_0007' is not in this clip; it has 00000..00015" in complaint(path, clip=clip)


def test_clicks_on_one_frame_add_up(tmp_path: Path) -> None:
    entries = [{"frame": 0, "points": [[1, 1]]}, {"frame": 0, "points": [[2, 2]], "labels": [0]}]
    (placed,) = read_prompts(write_json(tmp_path / "a.json", entries))
    assert placed.prompt.points == ((1, 1), (2, 2)) and placed.prompt.labels == (1, 0)


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_marks_and_line_ends_of_other_systems(
    tmp_path: Path, start: bytes, newline: bytes, suffix: str
) -> None:
    lines = [b"[", b' {"frame": 1, "box": [1, 1, 9, 9]},', b' {"frame": 1, "box": [2, 2, 9]}', b"]", b""]
    path = write(tmp_path / f"a.{suffix}", start + newline.join(lines))
    assert "line 3" in complaint(path)
    lines[2] = b' {"frame": 2, "box": [2, 2, 9, 9]}'
    assert len(read_prompts(write(path, start + newline.join(lines)))) == 2


BROKEN = """\
{"version": 1,
 "objects": [{"id": 1, "name": "cup"}, {"id": 1}, {"id": -2}],
 "prompts": [
  {"frame": 0, "object": "cup", "points": [[1, 2]], "labels": [2]},
  {"frame": -1, "object": "pup", "box": [1, 2, 3]},
  {"frame": 0, "object": 2, "points": [[1, NaN]]},
  {"frame": 0, "object": 2, "points": [[1e9, 1]]},
  {"object": 2, "box": [1, 1, 9, 9]},
  {"frame": 0, "object": 2},
  {"frame": 0, "object": 2, "box": [1, 1, 9, 9],
   "mask": [[1, 1, 2, 2]]},
  {"frame": 0, "object": 2, "mask": "missing.png"},
  {"frame": 0, "object": 2, "mask": {"size": [4, 5], "counts": [3, 4]}},
  {"frame": 0, "object": 2, "boxes": [1, 1, 9, 9]},
  {"frame": 0, "object": null, "name": "\\ud800", "box": [1, 1, 9, 9]},
  7
 ]}
"""


def test_everything_wrong_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    text = complaint(write(tmp_path / "broken.json", BROKEN))
    expected = [
        "line 2 (objects[1]): object 1 is described twice",
        "line 2 (objects[2]): id is -2, expected a whole number from 0 on",
        "line 4 (prompts[0].points): 1 points need as many labels of 0 or 1, got [2]",
        "line 5 (prompts[1].frame): frame is -1, expected a whole number from 0 on",
        "line 5 (prompts[1].object): object 'pup' is not in the list of objects; named ones: 'cup'",
        "line 5 (prompts[1].box): box has 3 values, expected 4 numbers",
        "line 6 (prompts[2].points): a value of a point is nan, not a finite number",
        "line 7 (prompts[3].points): a value of a point is 1000000000.0, far outside of any picture",
        "line 8 (prompts[4].frame): a prompt needs 'frame'",
        "line 9 (prompts[5]): a prompt needs 'points', 'box' or 'mask'",
        "line 10 (prompts[6]): a mask says it all; leave out points, labels and box",
        "line 11 (prompts[6].mask): the polygon has 2 points, expected 3 or more",
        "line 12 (prompts[7].mask): cannot read",
        "line 13 (prompts[8].mask): the runs of the mask cover 7 pixels, but a picture of 5x4 has 20",
        "line 14 (prompts[9]): a prompt has no 'boxes'; it has frame, object,",
        "line 15 (prompts[10].object): object is None, expected a whole number",
        "line 15 (prompts[10]): name is '\\ud800', which has half of a character pair",
        "line 16 (prompts[11]): a prompt is 7, expected an object",
    ]
    for line in expected:
        assert f"\n  {line}" in text, line
    assert text.startswith(f"18 problems in {tmp_path / 'broken.json'}:\n")


def test_a_long_list_of_problems_is_cut(tmp_path: Path) -> None:
    entries = [{"frame": 0, "object": k, "box": [1]} for k in range(50)]
    text = complaint(write_json(tmp_path / "a.json", entries, indent=None))
    assert text.startswith("50 problems") and text.endswith("and 30 more")
    assert text.count("\n") == 21


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "", "a.json is empty"),
        ("a.json", " \n ", "a.json is empty"),
        ("a.json", '[\n {"frame": 0,}\n]', "a.json, line 2, column 1"),
        ("a.json", '[\n {"frame": 0', "a.json, line 2, column"),
        ("a.json", '[\n {"frame": 0,\n  "frame": 1}]', "line 3: 'frame' was given already, on line 2"),
        ("a.json", "[" * 100_000, "nested too deeply"),
        ("a.json", '{"prompts": []}', "line 1 (prompts): the list of prompts is empty"),
        ("a.json", '{"prompts": 3}', "expected a list of prompts, got 3"),
        ("a.json", '{"version": 2, "prompts": [{"frame": 0, "points": [[1, 1]]}]}', "reads version 1"),
        ("a.json", '{"prompt": []}', "keys prompt, which is no known format"),
        ("a.json", "3", "a.json holds 3, which is no known format"),
        ("a.json", b'[{"frame": 0, \n"name": "caf\xe9"}]', "line 2: byte 0xe9 is not UTF-8"),
        ("a.json", '[{"frame": 1' + "0" * 5000 + "}]", "a.json cannot be read"),
        ("a.yaml", "- {frame: 0\n- b", "a.yaml, line 2, column 4: this is not YAML"),
        ("a.yaml", "- {frame: 0, box: [1, 9],\n   box: [1, 8]}", "'box' was given already, on line 1"),
        ("a.yaml", "- &a {frame: 0, box: [1, 1, 9, 9]}\n- *a", "line 2, column 3: this is not YAML: aliases"),
        ("a.yaml", "- frame: 0\n  box: !!python/tuple [1, 1, 9, 9]", "line 2, column 8: this is not YAML"),
        ("a.yaml", "- {frame: 010, box: [1, 1, 9, 9]}", "010 is not a plain decimal number"),
        ("a.yaml", "- {frame: 1, name: no, box: [1, 1, 9, 9]}", "name is False, expected text"),
        ("a.yaml", "# nothing", "a.yaml is empty"),
        ("a.yaml", "[" * 5000, "nested too deeply"),
        ("a.yaml", "- {frame: 2024-99-99}", "a.yaml cannot be read"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_understood(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    assert message in complaint(write(tmp_path / name, content))


def test_a_missing_and_a_huge_file(tmp_path: Path) -> None:
    assert "cannot read" in complaint(tmp_path / "missing.json")
    huge = tmp_path / "huge.json"
    with huge.open("wb") as file:
        file.truncate(100_000_001)
    assert "huge.json has 100 MB; 100 MB is the limit" in complaint(huge)


def test_what_does_not_fit_the_clip_is_named_with_its_line(tmp_path: Path) -> None:
    entries = [
        {"frame": 99, "object": 1, "box": [1, 1, 9, 9]},
        {"frame": 0, "object": 1, "box": [1, 1, 90, 9]},
        {"frame": 0, "object": 2, "points": [[70, 1]]},
    ]
    text = complaint(write_json(tmp_path / "a.json", entries), clip=numbered_clip())
    assert "line 2 ([0]): frame 99 is outside this clip (0..19)" in text
    assert "line 12 ([1]): object 1 on frame 0: box (1, 1, 90, 9) reaches out of frame 0" in text
    assert "line 22 ([2]): object 2 on frame 0: point (70, 1) is outside frame 0" in text


def test_two_boxes_two_masks_and_two_names_name_the_second_one(tmp_path: Path) -> None:
    entries: list[dict[str, Any]] = [
        {"frame": 0, "name": "cup", "box": [1, 1, 9, 9]},
        {"frame": 0, "name": "hand", "box": [1, 1, 8, 8]},
    ]
    text = complaint(write_json(tmp_path / "a.json", entries, indent=None))
    assert "([1]): object 1 on frame 0 has two boxes" in text
    assert "([1]): object 1 has the name 'hand', but 'cup' before" in text
    ring = [1, 1, 9, 1, 9, 9]
    masks = [{"frame": 0, "object": 1, "mask": [ring]}, {"frame": 0, "object": 1, "mask": [ring]}]
    text = complaint(write_json(tmp_path / "b.json", masks), clip=numbered_clip())
    assert "a mask and something else" in text


def test_a_polygon_needs_the_size_of_its_picture(tmp_path: Path) -> None:
    entries = [{"frame": 0, "object": 1, "mask": [[1, 1, 9, 1, 9, 9]]}]
    path = write_json(tmp_path / "a.json", entries)
    assert "name the clip" in complaint(path)
    assert mask_of(read_prompts(path, clip=numbered_clip()).prompts[0]).shape == SIZE
    stated = write_json(tmp_path / "b.json", {"clip": {"size": [30, 30]}, "prompts": entries})
    assert mask_of(read_prompts(stated).prompts[0]).shape == (30, 30)
    text = complaint(stated, clip=numbered_clip())
    assert "for pictures of 30x30, but the frames are 60x40" in text


def test_a_mask_that_covers_nothing(tmp_path: Path) -> None:
    path = write_json(tmp_path / "a.json", [{"frame": 0, "object": 1, "mask": [[1, 1, 1.1, 1, 1, 1.1]]}])
    assert "covers no pixel" in complaint(path, clip=numbered_clip())


def test_unknown_options_are_named(tmp_path: Path) -> None:
    path = write_json(tmp_path / "a.json", [{"frame": 0, "box": [1, 1, 9, 9]}])
    assert "known formats: prompts, png" in complaint(path, format="voc")
    assert "choose one of auto, first, all" in complaint(path, frames="last")
    assert json.loads(path.read_text())  # and the file stays as it is
