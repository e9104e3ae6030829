"""A stream gives what a clip gives, to the last bit, and keeps nothing it does not need."""

from __future__ import annotations

import gc
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sam2_video import network, steps
from sam2_video import stream as stream_module
from sam2_video.memory import MemoryPolicy
from sam2_video.stream import MOST_PROMPTED, ObjectPrompt, VideoStream
from sam2_video.types import FrameResult, ObjectInfo, PromptError, Sam2VideoError, SourceError
from sam2_video.video_predictor import VideoPredictor
from tests.toys import FRAME_SIZE, SIDE, toy_clip, toy_model

CLICK: dict[str, Any] = {"points": [(12, 14)], "labels": [1]}
OFF: dict[str, Any] = {"points": [(60, 40)], "labels": [0]}
BOX: dict[str, Any] = {"box": (30, 10, 60, 40)}
MASK: dict[str, Any] = {"mask": np.arange(FRAME_SIZE[0] * FRAME_SIZE[1]).reshape(FRAME_SIZE) % 80 < 30}
Moments = Mapping[int, Sequence[tuple[int, dict[str, Any]]]]  # frame -> (object, what is said)
Clip = Sequence[NDArray[np.uint8]]


def predictor(**settings: Any) -> VideoPredictor:
    return VideoPredictor(toy_model(), **settings)


def by_stream(tracker: VideoPredictor, clip: Clip, before: Moments, after: Moments, **start: Any) -> Any:
    """Push a clip; `before` is said with a frame, `after` once it has been tracked."""
    out = []
    with tracker.stream(**start) as stream:
        for frame, rgb in enumerate(clip):
            said = [{"object_id": i, **what} for i, what in before.get(frame, ())]
            out.append(stream.step(rgb, said))
            out += [stream.prompt(i, **what) for i, what in after.get(frame, ())]
    return out


def by_session(tracker: VideoPredictor, clip: Clip, before: Moments, after: Moments) -> list[FrameResult]:
    """The same at the same moments, on an open clip whose frames are all kept."""
    out = []
    first = min(before)
    with tracker.open(list(clip)) as session:
        for i, what in before[first]:
            session.prompt(frame=first, object_id=i, **what)
        results = session.propagate()
        for frame in range(first, len(clip)):
            for i, what in before.get(frame, ()) if frame > first else ():
                session.prompt(frame=frame, object_id=i, **what)
            out.append(next(results))
            out += [session.prompt(frame=frame, object_id=i, **what) for i, what in after.get(frame, ())]
    return out


def assert_equal(streamed: Sequence[FrameResult], filed: Sequence[FrameResult]) -> None:
    """Equal bits, for each object of the right-hand results."""
    assert len(streamed) == len(filed) > 0
    for left, right in zip(streamed, filed, strict=True):
        rows = [left.object_ids.index(i) for i in right.object_ids]
        assert left.frame == right.frame and left.size == right.size
        assert torch.equal(left.logits[rows], right.logits), left.frame
        assert torch.equal(left.iou[rows], right.iou) and torch.equal(left.presence[rows], right.presence)
        assert np.array_equal(left.masks[rows], right.masks)
        assert [left.prompted[row] for row in rows] == list(right.prompted)


@pytest.mark.parametrize("count", [1, 7, 16, 40])
def test_a_file_pushed_through_step_is_propagate(count: int) -> None:
    """Several objects, first seen on different frames; clips shorter and longer than the pointers reach."""
    clip, late = toy_clip(count), min(5, count - 1)
    before: dict[int, list[tuple[int, dict[str, Any]]]] = {0: [(3, CLICK), (8, BOX)]}
    before.setdefault(late, []).append((5, MASK))
    with predictor().open(clip) as session:
        for frame, said in before.items():
            for object_id, what in said:
                session.prompt(frame=frame, object_id=object_id, **what)
        filed = list(session.propagate())
    streamed = by_stream(predictor(), clip, before, {}, frame_count=count)
    assert streamed[-1].object_ids == (3, 5, 8)
    for left, right in zip(streamed, filed, strict=True):  # the stream does not know what is yet to come
        rows = [right.object_ids.index(i) for i in left.object_ids]
        assert torch.equal(left.logits, right.logits[rows])
        assert torch.equal(left.iou, right.iou[rows]) and torch.equal(left.presence, right.presence[rows])
        assert np.array_equal(left.masks, right.masks[rows])


def test_without_the_length_short_clips_differ_and_long_ones_do_not() -> None:
    before: Moments = {0: [(1, CLICK)]}
    for count, same in ((9, False), (16, True), (30, True)):
        filed = by_session(predictor(), toy_clip(count), before, {})
        streamed = by_stream(predictor(), toy_clip(count), before, {})
        assert all(torch.equal(a.logits, b.logits) for a, b in zip(streamed, filed, strict=True)) == same


def test_corrections_are_those_of_an_open_clip() -> None:
    """Frames are said anew before they are tracked and refined after; the clip keeps everything."""
    before: Moments = {0: [(1, CLICK)], 3: [(2, BOX)], 18: [(1, BOX)], 30: [(2, MASK)]}
    after: Moments = {
        0: [(1, OFF)],
        20: [(1, OFF), (1, {"points": [(20, 20)]})],
        24: [(2, CLICK)],
        37: [(1, BOX)],
    }
    streamed = by_stream(predictor(), toy_clip(40), before, after)
    assert_equal(streamed, by_session(predictor(), toy_clip(40), before, after))


@pytest.mark.parametrize(
    "settings",
    [
        {"memory": MemoryPolicy(recent=3, pointers=4, stride=2)},
        {"memory": MemoryPolicy(prompted=2)},
        {"fill_holes": 4, "keep_corrections": False},
    ],
)
def test_settings_of_the_predictor_hold_in_streams(settings: dict[str, Any]) -> None:
    before: Moments = {0: [(1, CLICK)], 6: [(1, BOX)], 9: [(1, MASK)], 14: [(1, CLICK)]}
    after: Moments = {11: [(1, OFF)]}
    filed = by_session(predictor(**settings), toy_clip(24), before, after)
    assert_equal(by_stream(predictor(**settings), toy_clip(24), before, after), filed)


def test_results_do_not_overlap_where_the_predictor_says_so() -> None:
    stream = predictor(non_overlapping=True).stream()
    stream.step(toy_clip(1)[0], [{"object_id": 1, **CLICK}])
    again = stream.prompt(2, **CLICK)
    assert again.object_ids == (1, 2)
    assert not (again.masks[0] & again.masks[1]).any()


def test_a_clip_is_as_good_as_a_stream_up_to_the_limit_of_prompts() -> None:
    before: Moments = {frame: [(1, CLICK)] for frame in range(0, 2 * MOST_PROMPTED, 2)}
    count = 2 * MOST_PROMPTED + 3
    filed = by_session(predictor(), toy_clip(count), before, {})
    assert_equal(by_stream(predictor(), toy_clip(count), before, {}), filed)


# --- objects come and go ---


def test_nothing_to_track_gives_empty_results() -> None:
    clip = toy_clip(3)
    with predictor().stream() as stream:
        assert stream.frame is None and stream.objects == ()
        for frame in range(2):
            result = stream.step(clip[frame])
            assert (result.frame, result.object_ids, result.size) == (frame, (), FRAME_SIZE)
            assert result.logits.shape == (0, SIDE // 4, SIDE // 4) and result.masks.shape == (0, *FRAME_SIZE)
        assert stream.frame == 1
        late = stream.step(clip[2], [{"object_id": 4, **CLICK}])
        assert late.object_ids == stream.objects == (4,) and late.frame == 2 and late.prompted == (True,)


def test_frames_are_not_looked_at_while_there_is_nothing_to_track(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    real = network.Network.look
    monkeypatch.setattr(network.Network, "look", lambda self, rgb: (looked.append(1), real(self, rgb))[1])
    with predictor().stream() as stream:
        for rgb in toy_clip(4):
            stream.step(rgb)
        assert not looked
        stream.prompt(1, **CLICK)
        assert len(looked) == 1


def test_objects_come_and_go_without_a_trace() -> None:
    clip = toy_clip(24)
    alone = by_stream(predictor(), clip, {0: [(1, CLICK)]}, {})
    with predictor().stream() as stream:
        for frame, rgb in enumerate(clip):
            said = [{"object_id": 1, **CLICK}] if frame == 0 else []
            if frame == 4:
                said.append({"object_id": 2, **BOX})
            if frame == 9:
                stream.remove(2)
            result = stream.step(rgb, said)
            assert result.object_ids == ((1, 2) if 4 <= frame < 9 else (1,))
            assert torch.allclose(result.logits[0], alone[frame].logits[0], atol=1e-3)


def test_all_objects_may_leave_and_others_come() -> None:
    clip = toy_clip(30)
    with predictor().stream() as stream:
        stream.step(clip[0], [{"object_id": 1, **CLICK}])
        stream.step(clip[1])
        stream.remove(1)
        assert stream.objects == ()
        assert [stream.step(rgb).object_ids for rgb in clip[2:6]] == [()] * 4
        got = [stream.step(clip[6], [{"object_id": 1, **BOX}]), *map(stream.step, clip[7:])]
    # What was there before has left nothing behind: the rest is a clip of its own.
    with predictor().stream() as fresh:
        for rgb in clip[:6]:
            fresh.step(rgb)
        expected = [fresh.step(clip[6], [{"object_id": 1, **BOX}]), *map(fresh.step, clip[7:])]
    assert_equal(got, expected)
    assert got[-1].frame == 29


def test_an_object_that_is_added_after_a_step_is_tracked_from_there() -> None:
    clip = toy_clip(6)
    with predictor().stream() as stream:
        assert stream.step(clip[0]).object_ids == ()
        assert stream.prompt(7, **CLICK).object_ids == (7,)
        got = [stream.step(rgb) for rgb in clip[1:]]
    with predictor().stream() as stream:
        stream.step(clip[0], [ObjectPrompt(7, **CLICK)])
        assert_equal(got, [stream.step(rgb) for rgb in clip[1:]])


def test_prompt_gives_the_whole_frame_again() -> None:
    clip = toy_clip(3)
    with predictor().stream() as stream:
        stream.step(clip[0], [{"object_id": 1, **CLICK}, {"object_id": 2, **BOX}])
        tracked = stream.step(clip[1])
        refined = stream.prompt(2, **OFF)
        assert refined.frame == 1 and refined.object_ids == (1, 2) and refined.prompted == (False, True)
        assert torch.equal(refined.logits[0], tracked.logits[0])
        assert not torch.equal(refined.logits[1], tracked.logits[1])
        assert torch.equal(stream.result().logits, refined.logits)
        started_over = stream.prompt(2, **BOX, add=False)
        assert not torch.equal(started_over.logits[1], refined.logits[1])
        stream.remove(2)
        assert torch.equal(stream.result().logits, tracked.logits[:1])


def test_names_travel_with_results() -> None:
    clip = toy_clip(2)
    with predictor().stream() as stream:
        stream.step(clip[0], [{"object_id": 1, **CLICK, "name": "left", "category": "cup"}])
        result = stream.step(clip[1])
        assert result.info_of(0) == ObjectInfo("left", "cup")
        assert stream.prompt(1, **BOX, name="right").info_of(0) == ObjectInfo("right", "cup")


# --- what is refused, and that nothing has changed then ---


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (np.zeros((*FRAME_SIZE, 3), np.float32), "float32"),
        (np.zeros(FRAME_SIZE, np.uint8), "expected uint8 RGB"),
        (np.zeros((*FRAME_SIZE, 4), np.uint8), "expected uint8 RGB"),
        (np.zeros((0, 10, 3), np.uint8), "expected uint8 RGB"),
        (np.zeros((10, 12, 3), np.uint8), "12x10, but frame 0 is 80x48"),
        ("frame.png", "expected uint8 RGB"),
    ],
)
@pytest.mark.parametrize("prompts", [(), ({"object_id": 1, **BOX},)])
def test_a_wrong_frame_changes_nothing(frame: Any, words: str, prompts: Any) -> None:
    clip = toy_clip(4)
    with predictor().stream() as stream:
        got = [stream.step(clip[0], [{"object_id": 1, **CLICK}]), stream.step(clip[1])]
        with pytest.raises(SourceError, match=words):
            stream.step(frame, prompts)
        assert stream.frame == 1
        got += [stream.step(clip[2]), stream.step(clip[3])]
    assert_equal(got, by_stream(predictor(), clip, {0: [(1, CLICK)]}, {}))


def test_a_first_frame_that_is_none_leaves_the_size_open() -> None:
    with predictor().stream() as stream:
        with pytest.raises(SourceError):
            stream.step(np.zeros((10, 12), np.uint8))
        assert stream.step(toy_clip(1)[0]).size == FRAME_SIZE


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"object_id": 2, "points": [(500, 3)]}, "outside frame 2"),
        ({"object_id": 2}, "nothing was given"),
        ({"object_id": -1, **CLICK}, "whole number"),
        ({"object_id": 10**21, **CLICK}, "too large"),
        ({"object_id": 2, "mask": np.ones((3, 3), bool)}, "size of the original frame"),
        ({"points": [(1, 1)]}, "needs an object_id"),
        ({"object_id": 2, **CLICK, "frame": 7}, "does not know frame"),
        ({"object_id": 2, **CLICK, "name": 5}, "name"),
        ("object 2", "dictionary"),
    ],
)
def test_a_wrong_prompt_changes_nothing_not_even_by_the_right_ones_before_it(wrong: Any, words: str) -> None:
    clip = toy_clip(4)
    with predictor().stream() as stream:
        got = [stream.step(clip[0], [{"object_id": 1, **CLICK}]), stream.step(clip[1])]
        with pytest.raises(PromptError, match=words):
            stream.step(clip[2], [{"object_id": 1, **BOX}, {"object_id": 3, **BOX}, wrong])
        assert stream.frame == 1 and stream.objects == (1,)
        got += [stream.step(clip[2]), stream.step(clip[3])]
    assert_equal(got, by_stream(predictor(), clip, {0: [(1, CLICK)]}, {}))


def test_what_cannot_be_done_is_said() -> None:
    clip = toy_clip(3)
    stream = predictor().stream(frame_count=2)
    with pytest.raises(PromptError, match="push one"):
        stream.prompt(1, **CLICK)
    with pytest.raises(PromptError, match="no frame yet"):
        stream.result()
    with pytest.raises(PromptError, match="no object 5"):
        stream.remove(5)
    stream.step(clip[0])
    stream.step(clip[1])
    with pytest.raises(SourceError, match="frame_count=2"):
        stream.step(clip[2])
    stream.close()
    stream.close()
    for call in (lambda: stream.step(clip[0]), lambda: stream.prompt(1, **CLICK), lambda: stream.remove(1)):
        with pytest.raises(Sam2VideoError, match="closed"):
            call()
    with pytest.raises(PromptError, match="frame_count"):
        predictor().stream(frame_count=-1)


def test_a_pushed_array_may_be_used_again() -> None:
    clip = toy_clip(2)
    buffer = clip[0].copy()
    with predictor().stream() as stream:
        stream.step(buffer)
        buffer[:] = 0
        got = stream.prompt(1, **CLICK)
    assert torch.equal(got.logits, by_stream(predictor(), clip[:1], {0: [(1, CLICK)]}, {})[0].logits)


def test_after_an_error_of_the_network_the_stream_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = toy_clip(5)
    with predictor().stream() as stream:
        stream.step(clip[0], [{"object_id": 1, **CLICK}])
        with monkeypatch.context() as patch:
            patch.setattr(steps, "segment_next", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                stream.step(clip[1])
        assert stream.frame == 1
        result = stream.step(clip[2])
        assert result.frame == 2 and result.object_ids == (1,)


# --- memory ---


def kept(stream: VideoStream) -> tuple[int, int, int]:
    """What a stream holds beside its network: arrays and tensors, their bytes, entries of all containers."""
    arrays, size, entries = 0, 0, 0
    seen: set[int] = set()
    found: list[Any] = [stream]
    while found:
        thing = found.pop()
        if id(thing) in seen or isinstance(thing, type | ModuleType | FunctionType | torch.nn.Module):
            continue
        seen.add(id(thing))
        if isinstance(thing, torch.Tensor | np.ndarray):
            arrays, size = arrays + 1, size + thing.nbytes
            continue
        if isinstance(thing, dict | list | set | tuple | OrderedDict | deque):
            entries += len(thing)
        found += gc.get_referents(thing)
    return arrays, size, entries


@pytest.mark.parametrize("policy", [None, MemoryPolicy(prompted=3)])
def test_what_is_kept_stops_growing_however_often_objects_are_prompted_and_replaced(
    policy: MemoryPolicy | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "MOST_PROMPTED", 3)  # what holds where the policy sets no limit
    clip = toy_clip(8)
    counts = []
    with predictor(memory=policy).stream() as stream:
        for frame in range(121):
            said = [{"object_id": 1, **(BOX if frame % 4 else MASK)}] if frame % 2 == 0 else []
            if frame % 10 == 5:
                said.append({"object_id": 2 + frame // 10, **CLICK})
            if frame % 10 == 9:
                stream.remove(2 + frame // 10)
            stream.step(clip[frame % 8], said)
            if frame >= 60 and frame % 20 == 0:
                counts.append(kept(stream))
    assert len(counts) == 4 and len(set(counts)) == 1, counts
    assert counts[0][0] > 30, "the walk saw the memories"


def test_one_prompt_must_be_in_a_list() -> None:
    with predictor().stream() as stream:
        with pytest.raises(PromptError, match=r"one dict, expected a list"):
            stream.step(toy_clip(1)[0], {"object_id": 1, **CLICK})  # type: ignore[arg-type]
        assert stream.frame is None
