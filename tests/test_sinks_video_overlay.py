"""What an overlay shows: colours that stay, labels that can be read, and nothing for what is absent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sam2_video.sinks import lettering, object_colour, overlay
from sam2_video.sinks.overlay import Label, Plate, label_text, paint
from sam2_video.types import ABSENT_LOGIT, FrameResult, ObjectInfo
from tests.clips import disc_result

SIZE = (240, 320)  # 15 and 20 pixels of the frame for one of the logits
GREY = np.full((*SIZE, 3), 128, np.uint8)
# What people without one kind of cones see of linear RGB (Vienot, Brettel and Mollon, 1999).
BLIND = {
    "protan": np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]]),
    "deutan": np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]]),
}


def named(*names: str, centres: tuple[tuple[float, float], ...] = ((8.0, 8.0),)) -> FrameResult:
    result = disc_result(0, tuple(range(1, len(names) + 1)), SIZE, centres)
    return replace(result, info=tuple(ObjectInfo(name) for name in names), prompted=())


@pytest.fixture
def ascii_only(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """OpenCV as it was before version 5, with its stroke font alone."""
    monkeypatch.delattr(cv2, "FontFace")
    lettering._font.cache_clear()
    yield
    lettering._font.cache_clear()


def labels_of(result: FrameResult, monkeypatch: pytest.MonkeyPatch) -> list[Label]:
    placed: list[Label] = []
    original = overlay._paint_label

    def note(out: NDArray[np.uint8], label: Label) -> None:
        placed.append(label)
        original(out, label)

    monkeypatch.setattr(overlay, "_paint_label", note)
    paint(np.full((*result.size, 3), 128, np.uint8), result)
    return placed


def lab(colour: tuple[int, int, int], matrix: NDArray[np.float64] | None) -> NDArray[np.float64]:
    linear = (np.array(colour) / 255.0) ** 2.2
    seen = linear if matrix is None else (matrix @ linear).clip(0, 1)
    pixel = (seen ** (1 / 2.2)).astype(np.float32)[None, None]
    return cv2.cvtColor(pixel, cv2.COLOR_RGB2Lab)[0, 0].astype(np.float64)


@pytest.mark.parametrize("eyes", [None, *BLIND])
def test_neighbours_have_colours_that_can_be_told_apart(eyes: str | None) -> None:
    matrix = None if eyes is None else BLIND[eyes]
    seen = [lab(object_colour(k), matrix) for k in range(1, 40)]
    gaps = [float(np.linalg.norm(a - b)) for a, b in pairwise(seen)]
    assert min(gaps) > 25, f"ids {np.argmin(gaps) + 1} and {np.argmin(gaps) + 2}"  # 2.3 can just be seen
    assert min(gaps[:6]) > 60
    first = [np.linalg.norm(a - b) for i, a in enumerate(seen[:7]) for b in seen[:i]]
    assert min(first) > 12, "the first seven all differ from each other"


def test_colours_depend_on_the_id_alone() -> None:
    assert len({object_colour(k) for k in range(500)}) > 400, "not a few that come again and again"
    alone = paint(GREY, disc_result(0, (5,), SIZE, ((8.0, 8.0),)))
    among = paint(GREY, disc_result(9, (2, 5), SIZE, ((2.0, 2.0), (8.0, 8.0))))
    assert np.array_equal(alone[120:150, 150:180], among[120:150, 150:180])
    assert np.abs(alone[130, 160].astype(int) - (0.55 * 128 + 0.45 * np.array(object_colour(5)))).max() <= 1


def test_labels_say_id_and_name() -> None:
    result = replace(disc_result(0, (3, 4, 5)), info=(ObjectInfo("left cup", "cup"), ObjectInfo("", "dog")))
    assert [label_text(result, row) for row in range(3)] == ["3 left cup", "4 dog", "5"]
    broken = replace(result, info=(ObjectInfo("a\nb\t\x00 c "),))
    assert label_text(broken, 0) == "3 a b c"


@pytest.mark.parametrize("name", ["кубок", "杯子", "コップ", "컵", "κύπελλο", "éçø"])
def test_names_in_other_scripts_are_drawn(name: str) -> None:
    if not hasattr(cv2, "FontFace"):
        pytest.skip("this OpenCV draws ASCII only")
    shown, unknown = paint(GREY, named(name)), paint(GREY, named("?" * len(name)))
    assert not np.array_equal(shown, unknown)
    ink = np.zeros((40, 300, 3), np.uint8)
    lettering.write_text(ink, name, (5, 30), 20, (255, 255, 255))
    right = ink.any(axis=(0, 2)).nonzero()[0].max()
    assert abs(right - 5 - lettering.text_width(name, 20)) <= 6, "as wide as its plate"


@pytest.mark.parametrize(("name", "plain"), [("éçÜ", "ecU"), ("杯b", "?b"), ("a", "a")])
def test_without_a_font_accents_go_and_the_rest_is_a_question_mark(
    name: str, plain: str, ascii_only: None
) -> None:
    assert np.array_equal(paint(GREY, named(name)), paint(GREY, named(plain)))
    assert not np.array_equal(paint(GREY, named(name)), paint(GREY, named("")))


def test_labels_stay_in_the_frame_and_off_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    corners = ((0.0, 0.0), (15.0, 0.0), (0.0, 15.0), (15.0, 15.0), (8.0, 8.0), (8.5, 8.0))
    labels = labels_of(
        named("top left", "long name, top right", "c", "d", "one", "two", centres=corners), monkeypatch
    )
    plates = [label.plate for label in labels]
    assert len(plates) == 6
    for k, plate in enumerate(plates):
        assert plate.width > 5 and plate.x >= 0 and plate.x + plate.width <= SIZE[1]
        assert plate.height > 5 and plate.y >= 0 and plate.y + plate.height <= SIZE[0]
        assert [plate.overlap(other) for other in plates[:k]] == [0] * k


def test_where_no_place_is_free_a_label_hides_the_least() -> None:
    box = Plate(100, 100, 21, 21)
    label = Label("1", 12, (1, 2, 3), False, SIZE, Plate(0, 0, 40, 16))
    spots = list(overlay._spots(label, box))
    assert overlay._place(label, box, []).plate == spots[0] and spots[0].y + 16 == 100
    assert overlay._place(label, box, [Plate(90, 80, 60, 20)]).plate.y >= 100
    crowd = [Plate(0, 0, 320, 122), Plate(0, 125, 320, 100)]
    chosen = overlay._place(label, box, crowd).plate
    hidden = [sum(spot.overlap(other) for other in crowd) for spot in spots]
    assert sum(chosen.overlap(other) for other in crowd) == min(hidden) < max(hidden)


def test_labels_belong_to_the_largest_part(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = named("cup", centres=((10.0, 10.0),))
    logits = whole.logits.clone()
    logits[0, 0, 0] = 3.0  # a speck in the corner
    (alone,) = labels_of(whole, monkeypatch)
    (beside,) = labels_of(replace(whole, logits=logits), monkeypatch)
    assert beside.plate == alone.plate and alone.plate.x > 100


def test_long_names_are_cut_and_tiny_frames_survive(monkeypatch: pytest.MonkeyPatch) -> None:
    (label,) = labels_of(
        named("a name that is far longer than the frame is wide, by any measure"), monkeypatch
    )
    assert label.text.startswith("1 a name") and label.text.endswith("...") and label.plate.width <= SIZE[1]
    for size in ((8, 8), (3, 40), (40, 3)):
        result = disc_result(0, (123,), size, ((8.0, 8.0),), radius=9.0)
        assert paint(np.zeros((*size, 3), np.uint8), result).shape == (*size, 3)


def test_prompted_frames_have_a_dot(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = named("cup")
    prompted = replace(plain, prompted=(True,))
    assert [label.dot for label in labels_of(prompted, monkeypatch)] == [True]
    changed = (paint(GREY, plain) != paint(GREY, prompted)).any(axis=2)
    assert 20 < changed.sum() < 600, "discreetly: the label alone"
    assert not changed[120:, :].any()
    plate = labels_of(prompted, monkeypatch)[0].plate
    end = paint(GREY, prompted)[plate.y : plate.y + plate.height, : plate.x + plate.width][:, -8:]
    assert (end != np.array(object_colour(1))).any(), "it is inked"


def test_absent_objects_are_not_drawn() -> None:
    both = named("here", "gone", centres=((4.0, 8.0), (12.0, 8.0)))
    logits = both.logits.clone()
    logits[1] = ABSENT_LOGIT
    absent = replace(both, logits=logits, presence=torch.tensor([5.0, -5.0]))
    assert np.array_equal(paint(GREY, absent), paint(GREY, named("here", centres=((4.0, 8.0),))))


def test_labels_are_on_top_of_later_objects() -> None:
    result = named("first", "second", centres=((8.0, 8.0), (8.0, 5.0)))
    alone = paint(GREY, named("first", centres=((8.0, 8.0),)))
    label = (alone == np.array(object_colour(1))).all(axis=2)
    both = paint(GREY, result)
    assert label.sum() > 200 and (both[label] == np.array(object_colour(1))).all()
