"""Prompts as people type them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam2_video.cli_prompts import (
    PlacedPrompt,
    check_bounds,
    gather_prompts,
    parse_box,
    parse_click,
)
from sam2_video.prompts import read_masks
from sam2_video.types import Prompt, PromptError


def save_labels(path: Path, labels: np.ndarray, palette: bool) -> Path:
    picture = Image.fromarray(labels.astype(np.uint8))
    if palette:
        picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    picture.save(path)
    return path


@pytest.fixture
def two_objects(tmp_path: Path) -> Path:
    labels = np.zeros((6, 8), dtype=np.uint8)
    labels[1:3, 1:4], labels[4:, 5:] = 1, 2
    return save_labels(tmp_path / "two.png", labels, palette=True)


def test_click_on_and_off() -> None:
    assert parse_click("3:7:420,260.5") == PlacedPrompt(3, 7, Prompt(((420.0, 260.5),), (1,)))
    assert parse_click("3:7:1,2:-").prompt.labels == (0,)


def test_box() -> None:
    assert parse_box("0:2:30,40,200,310") == PlacedPrompt(0, 2, Prompt(box=(30, 40, 200, 310)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0:1",
        "0:1:5",
        "0:1:5,6,7",
        "0:1:5,nan",
        "0:1:inf,5",
        "x:1:5,6",
        "-1:1:5,6",
        "0:1.5:5,6",
        "0:1:5,6:+",
        f"0:{'9' * 5000}:5,6",
    ],
)
def test_a_click_that_does_not_parse_is_named(text: str) -> None:
    with pytest.raises(PromptError) as caught:
        parse_click(text)
    assert repr(text) in str(caught.value) or text in str(caught.value)


@pytest.mark.parametrize("number", [10**21, 2**53 + 1])
def test_an_id_that_results_cannot_hold(number: int) -> None:
    for parse, text in ((parse_click, f"0:{number}:5,6"), (parse_box, f"0:{number}:1,1,5,6")):
        with pytest.raises(PromptError, match=f"object id {number} is too large; the largest is {2**53}"):
            parse(text)


@pytest.mark.parametrize("text", ["0:1:5,6", "0:1:5,6,7,x", "0:1:5,6,7,nan", "0:5,6,7,8"])
def test_a_box_that_does_not_parse(text: str) -> None:
    with pytest.raises(PromptError):
        parse_box(text)


def test_what_is_said_of_one_object_on_one_frame_is_one_prompt() -> None:
    (first, second) = gather_prompts(["5:1:1,2", "0:1:3,4", "5:1:5,6:-"], ["5:1:0,0,9,9"])
    assert (first.frame, second.frame) == (0, 5)
    assert second.prompt == Prompt(((1, 2), (5, 6)), (1, 0), (0, 0, 9, 9))


def test_two_boxes_for_one_object_and_nothing_at_all_are_errors() -> None:
    with pytest.raises(PromptError, match="two boxes"):
        gather_prompts(boxes=["0:1:0,0,9,9", "0:1:0,0,8,8"])
    with pytest.raises(PromptError, match="no prompt"):
        gather_prompts()


def test_a_palette_picture_holds_an_object_per_value(two_objects: Path) -> None:
    parts = gather_prompts(masks=[f"4:{two_objects}"])
    assert [(p.frame, p.object_id, int(p.prompt.mask.sum())) for p in parts if p.prompt.mask is not None] == [
        (4, 1, 6),
        (4, 2, 6),
    ]


def test_a_picture_of_0_and_255_is_object_1(tmp_path: Path) -> None:
    labels = np.zeros((4, 4), dtype=np.uint8)
    labels[1:3, 1:3] = 255
    masks = read_masks(save_labels(tmp_path / "binary.png", labels, palette=False))
    assert list(masks) == [1] and masks[1].sum() == 4


def test_masks_that_cannot_be_used(tmp_path: Path, two_objects: Path) -> None:
    empty = save_labels(tmp_path / "empty.png", np.zeros((4, 4)), palette=False)
    colour = tmp_path / "colour.png"
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(colour)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    for path, message in [
        (empty, "empty"),
        (colour, "colour"),
        (broken, "cannot read"),
        (tmp_path / "missing.png", "cannot read"),
    ]:
        with pytest.raises(PromptError, match=message):
            gather_prompts(masks=[f"0:{path}"])
    with pytest.raises(PromptError, match="mask and something else"):
        gather_prompts(["0:1:1,1"], masks=[f"0:{two_objects}"])


def test_prompt_file_and_run_record_read_back_what_was_written(tmp_path: Path, two_objects: Path) -> None:
    placed = gather_prompts(["0:1:3,4", "0:1:5,5:-"], ["2:1:0,0,4,4"], [f"3:{two_objects}"])
    entries = [p.as_json() for p in placed]
    as_list, as_run = tmp_path / "list.json", tmp_path / "run.json"
    as_list.write_text(json.dumps(entries))
    as_run.write_text(json.dumps({"command": "track", "prompts": entries}))
    for path in (as_list, as_run):
        again = gather_prompts(files=[path])
        assert [(p.frame, p.object_id, p.prompt.points, p.prompt.labels, p.prompt.box) for p in again] == [
            (p.frame, p.object_id, p.prompt.points, p.prompt.labels, p.prompt.box) for p in placed
        ]
        for one, other in zip(again, placed, strict=True):
            np.testing.assert_array_equal(one.prompt.mask, other.prompt.mask)


@pytest.mark.parametrize(
    "content",
    [
        "not json",
        "3",
        "[3]",
        "[{}]",
        '[{"frame": 0}]',
        '[{"frame": 0, "points": [[1, 2]], "label": [1]}]',
        '[{"frame": 0, "points": [[1, 2]], "labels": [1, 1]}]',
        '[{"frame": 0, "points": [[1, 2]], "labels": [2]}]',
        '[{"frame": 0, "points": [[1, NaN]]}]',
        '[{"frame": 0, "points": 5}]',
        '[{"frame": true, "points": [[1, 2]]}]',
        '[{"frame": 0, "box": [1, 2, 3]}]',
    ],
)
def test_a_prompt_file_that_is_wrong_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "prompts.json"
    path.write_text(content)
    with pytest.raises(PromptError, match=r"prompts\.json"):
        gather_prompts(files=[path])


@pytest.mark.parametrize(
    ("click", "message"),
    [("10:1:1,1", r"0\.\.9"), ("0:1:8,1", "object 1 .*8 wide"), ("0:1:1,6", "outside frame 0")],
)
def test_prompts_outside_the_clip(click: str, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        check_bounds(gather_prompts([click]), 10, (6, 8))


def test_boxes_outside_the_frame() -> None:
    check_bounds(gather_prompts(boxes=["0:1:0,0,8,6"]), 10, (6, 8))
    with pytest.raises(PromptError, match=r"object 1 on frame 3: .*reaches out of frame 3"):
        check_bounds(gather_prompts(boxes=["3:1:0,0,9,6"]), 10, (6, 8))


def test_a_mask_of_another_size_is_told_both_sizes(two_objects: Path) -> None:
    check_bounds(gather_prompts(masks=[f"0:{two_objects}"]), 10, (6, 8))
    with pytest.raises(PromptError, match=r"\(6, 8\).*\(6, 9\)"):
        check_bounds(gather_prompts(masks=[f"0:{two_objects}"]), None, (6, 9))
