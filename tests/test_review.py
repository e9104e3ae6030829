"""Frames that a person should look at: each reason is found where it is, and nothing where there is none."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sam2_video.review import Notice, Reviewer, _Mask
from sam2_video.sinks import ResultLog, ReviewSink
from sam2_video.sinks.registry import SINKS, SinkOrder
from sam2_video.sources import open_source
from sam2_video.types import ABSENT_LOGIT, FrameResult, ObjectInfo
from tests.paths import SHARED, needs_shared

SIZE = (90, 120)
Box = tuple[int, int, int, int]  # x0, y0, x1, y1
GREY = np.full((*SIZE, 3), 120, np.uint8)


def shown(
    frame: int,
    *boxes: Box | None,
    score: float = 0.9,
    presence: float = 5.0,
    prompted: bool = False,
    ids: tuple[int, ...] | None = None,
) -> FrameResult:
    """A result of rectangles; None is an absent object."""
    count = len(boxes)
    logits = torch.full((count, *SIZE), -8.0)
    present = torch.full((count,), presence)
    for row, box in enumerate(boxes):
        if box is None:
            logits[row], present[row] = ABSENT_LOGIT, -5.0
        else:
            logits[row, box[1] : box[3], box[0] : box[2]] = 8.0
    named = ids or tuple(range(1, count + 1))
    return FrameResult(
        frame, named, logits, torch.full((count,), score), present, SIZE, prompted=(prompted,) * count
    )


def look(results: list[FrameResult], pictures: list[NDArray[np.uint8]] | None = None) -> list[Notice]:
    reviewer = Reviewer()
    return [
        notice
        for k, result in enumerate(results)
        for notice in reviewer.add(GREY if pictures is None else pictures[k], result)
    ]


def found(results: list[FrameResult]) -> list[tuple[int, int | None, str]]:
    return [(notice.frame, notice.object_id, notice.kind) for notice in look(results)]


def calm(count: int, first: int = 0, step: int = 1) -> list[FrameResult]:
    """An object that moves and grows slowly, prompted on the first frame."""
    return [
        shown(
            first + step * k, (20 + k, 20, 50 + k + k // 2, 60), prompted=k == 0, score=0.9 - 0.01 * (k % 3)
        )
        for k in range(count)
    ]


def test_a_calm_clip_brings_no_notices() -> None:
    assert found(calm(20)) == []


def test_lost_and_returned() -> None:
    clip = calm(10)
    clip[4] = shown(4, None)
    clip[5] = shown(5, None)
    assert found(clip) == [(4, 1, "lost"), (6, 1, "returned")]
    by_presence = calm(6)
    by_presence[3] = replace(by_presence[3], presence=torch.tensor([-0.5]))
    notices = look(by_presence)
    assert [(n.frame, n.kind) for n in notices] == [(3, "lost"), (4, "returned")]
    assert notices[0].value == -0.5 and "object 1 is lost" in notices[0].message


def test_an_object_that_was_never_there_is_not_lost() -> None:
    clip = [shown(k, None) for k in range(3)] + [shown(3, (20, 20, 40, 40))]
    assert found(clip) == []


@pytest.mark.parametrize("box", [(20, 20, 80, 60), (20, 20, 36, 36)])
def test_sudden_area(box: Box) -> None:
    clip = [shown(k, (20, 20, 50, 60)) for k in range(5)]
    clip += [shown(5 + k, box) for k in range(5)]
    notices = [n for n in look(clip) if n.kind == "area"]
    assert [n.frame for n in notices] == [5], "once, not until the new area has become usual"
    area = (box[2] - box[0]) * (box[3] - box[1])
    assert notices[0].value == pytest.approx(area / 1200, rel=1e-3)


def test_a_few_pixels_more_are_no_change_of_area() -> None:
    assert found([shown(0, (20, 20, 21, 21)), shown(1, (20, 20, 22, 21))]) == []


def test_low_and_falling_scores() -> None:
    def scores(*values: float) -> list[tuple[int, float]]:
        clip = [shown(k, (20, 20, 50, 60), score=v) for k, v in enumerate(values)]
        return [(n.frame, round(n.value, 2)) for n in look(clip) if n.kind == "score"]

    assert scores(0.9, 0.9, 0.65, 0.65, 0.65) == [(2, 0.65)], "a fall far above the limit"
    assert scores(0.6, 0.55, 0.49, 0.52, 0.48, 0.55, 0.49) == [(2, 0.49)], "once while it stays low"
    assert scores(0.6, 0.49, 0.61, 0.55, 0.49) == [(1, 0.49), (4, 0.49)]
    assert scores(0.6, 0.49, 0.4, 0.35, 0.29) == [(1, 0.49), (4, 0.29)], "and again where it gets worse"
    assert scores(0.2) == [(0, 0.2)]


def test_jumps() -> None:
    clip = [shown(k, (20 + 2 * k, 20, 50 + 2 * k, 60)) for k in range(6)]
    clip += [shown(6 + k, (80, 20, 110, 60)) for k in range(3)]
    notices = look(clip)
    assert [(n.frame, n.kind) for n in notices] == [(6, "jump")] and notices[0].value < 0.1
    fast = [shown(k, (10 * k, 20, 10 * k + 12, 40)) for k in range(8)]
    assert found(fast) == [(1, 1, "jump")], "after a first look, what is always fast does not jump"


def test_jump_and_area_are_not_asked_after_a_return() -> None:
    clip = [*calm(4), shown(4, None), shown(5, (80, 5, 90, 15)), shown(6, (80, 5, 90, 15))]
    assert found(clip) == [(4, 1, "lost"), (5, 1, "returned")]


def test_prompted_frames_bring_no_notices_and_start_anew() -> None:
    clip = [*calm(4), shown(4, (80, 60, 90, 70), prompted=True, score=0.1), shown(5, (80, 60, 90, 70))]
    assert found(clip) == []
    taken_away = [*calm(3), replace(shown(3, None), prompted=(True,)), shown(4, None)]
    assert found(taken_away) == [], "the user said so"


def test_touching_objects() -> None:
    def pair(frame: int, gap: int, down: int = 0) -> FrameResult:
        return shown(frame, (10, 20, 40, 60), (40 + gap, 20 + down, 70 + gap, 60 + down), ids=(3, 8))

    clip = [pair(k, gap) for k, gap in enumerate([30, 20, 10, 0, 0, 1, 15, 30, 15, 0])]
    notices = [n for n in look(clip) if n.kind == "touch"]
    assert [(n.frame, n.object_id) for n in notices] == [(3, 3), (9, 3)], "when it begins, and begins again"
    assert "object 3 touches object 8" in notices[0].message and 0.2 < notices[0].value < 0.5
    sliding = [pair(0, 0), pair(1, 0, 20), pair(2, 0)]
    assert [n.frame for n in look(sliding) if n.kind == "touch"] == [0], "not over while much still touches"
    assert [n.frame for n in look(sliding[1:]) if n.kind == "touch"] == [2]
    inside = [shown(0, (10, 10, 80, 80), (30, 30, 50, 50))]
    assert [n.value for n in look(inside)] == [1.0], "an object inside another touches it all around"


def test_objects_that_touch_on_a_prompted_frame() -> None:
    def pair(frame: int, gap: int, *prompted: bool) -> FrameResult:
        both = shown(frame, (10, 20, 40, 60), (40 + gap, 20, 70 + gap, 60), ids=(3, 8))
        return replace(both, prompted=prompted or (False, False))

    def told(*clip: FrameResult) -> list[int]:
        return [n.frame for n in look(list(clip)) if n.kind == "touch"]

    assert told(pair(0, 0, True, True), pair(1, 0), pair(2, 0)) == [], "the user saw both, side by side"
    assert told(pair(0, 0, True, True), pair(1, 30), pair(2, 0)) == [2], "they meet anew"
    assert told(pair(0, 30, True, True), pair(1, 0, True, False)) == [1], "of one the user has not spoken"


@pytest.mark.parametrize(("first", "step"), [(100, -1), (0, 5), (100, -4)])
def test_any_direction_and_stride(first: int, step: int) -> None:
    clip = calm(10, first, step)
    assert found(clip) == []
    clip[6] = replace(shown(clip[6].frame, None), prompted=())
    assert found(clip)[0] == (first + 6 * step, 1, "lost")


def test_where_frames_turn_round_another_clip_begins() -> None:
    there = [shown(k, (10, 10, 30, 30)) for k in range(4)]
    back = [shown(k, (70, 50, 110, 85), score=0.7) for k in (2, 1, 0)]
    assert found(there + back) == []
    assert found([*there, shown(3, (70, 50, 110, 85), score=0.65)]) == [], "the same frame once more"
    assert [kind for *_, kind in found([*there, shown(4, (70, 50, 110, 85), score=0.65)])] == [
        "score",
        "area",
        "jump",
    ]


def test_objects_that_come_and_go_from_the_results() -> None:
    clip = [shown(0, (10, 10, 30, 30)), shown(1, (10, 10, 30, 30), (60, 40, 90, 80))]
    clip += [shown(2, (60, 40, 90, 80), ids=(2,)), shown(3, ids=()), shown(4, (10, 10, 20, 20), ids=(2,))]
    assert found(clip) == []


def test_overlap_is_that_of_whole_masks() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        one, other = np.zeros((2, 20, 30), bool)
        for mask in (one, other):
            y, x = rng.integers(0, 12), rng.integers(0, 20)
            mask[y : y + rng.integers(1, 8), x : x + rng.integers(1, 10)] = True

        def cropped(mask: NDArray[np.bool_]) -> _Mask:
            ys, xs = np.nonzero(mask)
            part = mask[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
            return _Mask(part, int(xs.min()), int(ys.min()), int(mask.sum()))

        expected = (one & other).sum() / (one | other).sum()
        assert cropped(one).iou(cropped(other)) == pytest.approx(expected)


def scene(seed: int, count: int) -> list[NDArray[np.uint8]]:
    """A camera that pans over coloured patches."""
    rng = np.random.default_rng(seed)
    patches = rng.integers(30, 220, (9, 24, 3), dtype=np.uint8).repeat(10, axis=0).repeat(10, axis=1)
    return [np.ascontiguousarray(np.roll(patches, 3 * k, axis=1)[:, :120]) for k in range(count)]


def test_scene_cuts_are_found_where_two_clips_are_joined() -> None:
    pictures = scene(1, 10) + scene(2, 10)
    results = [shown(k, (20, 20, 50, 60)) for k in range(10)]
    results += [shown(k, (80, 50, 100, 70), score=0.6) for k in range(10, 20)]
    notices = look(results, pictures)
    assert [(n.frame, n.object_id, n.kind) for n in notices] == [(10, None, "cut")], (
        "and what a cut brings with it is not told again"
    )
    assert 0.1 < notices[0].value < 1 and "scene" in notices[0].message
    backward = look(results[::-1], pictures[::-1])
    assert [(n.frame, n.kind) for n in backward] == [(9, "cut")]


def test_a_picture_that_always_changes_has_one_cut_at_most() -> None:
    wild = [scene(seed, 1)[0] for seed in range(12)]
    cuts = [n.frame for n in look([shown(k, (20, 20, 50, 60)) for k in range(12)], wild)]
    assert cuts == [1]


@needs_shared
def test_scene_cuts_of_real_clips() -> None:
    clips = []
    for name in ("bedroom", "02_cups", "05_default_juggle"):
        with open_source(SHARED / "data" / "clips" / f"{name}.mp4") as clip:
            clips.append([rgb for _, rgb in clip.frames(0, 60, 4)])
    pictures = [rgb for clip in clips for rgb in clip]
    results = [shown(k, (20, 20, 50, 60)) for k in range(len(pictures))]
    assert [n.frame for n in look(results, pictures)] == [15, 30]


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def troubled() -> list[FrameResult]:
    clip = calm(12)
    clip[4] = shown(4, None)
    clip[9] = shown(9, (80, 10, 84, 14), score=0.2)
    info = (ObjectInfo("cup, the left one"),)
    return [replace(result, info=info, prompted=(k == 0,)) for k, result in enumerate(clip)]


def test_review_csv(tmp_path: Path) -> None:
    kind = SINKS["review"]
    sink = kind.make(SinkOrder(tmp_path, clip="clip"))
    assert isinstance(sink, ReviewSink)
    with sink:
        for result in troubled():
            sink.write(GREY, result, f"img{result.frame}")
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")] == [*kind.files]
    rows = rows_of(tmp_path / "review.csv")
    assert rows[0] == {
        "frame": "4",
        "frame_name": "img4",
        "object": "1",
        "name": "cup, the left one",
        "kind": "lost",
        "value": "-5.0000",
        "message": "object 1 (cup, the left one) is lost",
    }
    assert [(row["frame"], row["kind"]) for row in rows] == [
        ("4", "lost"),
        ("5", "returned"),
        ("9", "score"),
        ("9", "area"),
        ("9", "jump"),
        ("10", "area"),
        ("10", "jump"),
    ]
    assert sink.summary() == (
        "4 frames to look at: 4, 5, 9, 10 "
        "(sudden change of area 2x, jump 2x, object lost 1x, object back 1x, low score 1x)"
    )


def test_review_of_a_calm_and_of_a_wild_clip(tmp_path: Path) -> None:
    with ReviewSink(tmp_path / "calm.csv") as calm_sink:
        for result in calm(3):
            calm_sink.write(GREY, result, "x")
    assert rows_of(tmp_path / "calm.csv") == []
    assert calm_sink.summary() == "no frame looks as if a person should check it"
    with ReviewSink(tmp_path / "wild.csv") as wild:
        for k in range(60):
            wild.write(GREY, shown(k, (20, 20, 50, 60) if k % 2 else None), "x")
    assert wild.summary().startswith("58 frames to look at: 2, 3, 4") and ", 13, ... (" in wild.summary()


def test_replayed_results_bring_the_same_notices(tmp_path: Path) -> None:
    with ResultLog(tmp_path / "log") as log:
        for result in troubled():
            log.append(result)
        replayed = [log.read(k) for k in range(len(log))]
    pictures = scene(3, 7) + scene(4, 5)
    assert look(replayed, pictures) == look(troubled(), pictures) != []


def test_memory_does_not_grow() -> None:
    import pickle

    reviewer = Reviewer()
    sizes = []
    for k in range(60):
        reviewer.add(GREY, shown(k, (20 + k % 5, 20, 50, 60), (60, 20, 80 + k % 7, 60)))
        sizes.append(len(pickle.dumps(reviewer)))
    assert max(sizes[30:]) <= max(sizes[:30])
