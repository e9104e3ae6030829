"""Relations that hold whatever the weights: no reference is needed for them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam2_video import steps
from sam2_video.image_predictor import ImagePredictor
from sam2_video.model.sam2 import SAM2
from sam2_video.session import VideoSession
from sam2_video.sources import FrameArrays
from sam2_video.types import ABSENT_LOGIT, FrameResult
from sam2_video.video_predictor import VideoPredictor
from tests.toys import FRAME_SIZE, toy_clip, toy_model

FRAMES = 20  # more than the horizon of the memory
CLICK: dict[str, Any] = {"points": [(12, 14)], "labels": [1]}
BOX: dict[str, Any] = {"box": (30, 10, 60, 40)}
MASK: dict[str, Any] = {"mask": np.arange(FRAME_SIZE[0] * FRAME_SIZE[1]).reshape(FRAME_SIZE) % 80 < 30}
# Batches of another size may run other kernels, whose last digits differ; then memories round to bfloat16.
CLOSE = 1e-3

Clip = list[NDArray[np.uint8]]
Script = Callable[[VideoSession], Sequence[FrameResult]]


def run(script: Script, clip: Clip | None = None, retain: Any = "all") -> dict[tuple[int, int], Tensor]:
    """(frame, object) -> logits of what a script yields."""
    with VideoPredictor(toy_model()).open(
        toy_clip(FRAMES) if clip is None else clip, retain=retain
    ) as session:
        results = script(session)
        return {(r.frame, i): r.logits[row] for r in results for row, i in enumerate(r.object_ids)}


def difference(left: dict[tuple[int, int], Tensor], right: dict[tuple[int, int], Tensor]) -> float:
    assert left.keys() == right.keys() and left
    return max(float((left[key] - right[key]).abs().max()) for key in left)


def only(found: dict[tuple[int, int], Tensor], *objects: int) -> dict[tuple[int, int], Tensor]:
    return {key: logits for key, logits in found.items() if key[1] in objects}


def track_one(session: VideoSession) -> list[FrameResult]:
    session.prompt(frame=0, object_id=1, **CLICK)
    return list(session.propagate())


def test_the_tolerance_could_fail() -> None:
    def track_other(session: VideoSession) -> list[FrameResult]:
        session.prompt(frame=0, object_id=1, **BOX)
        return list(session.propagate())

    assert difference(run(track_one), run(track_other)) > 50 * CLOSE


def test_propagating_twice_gives_the_same() -> None:
    def twice(session: VideoSession) -> list[FrameResult]:
        track_one(session)
        return list(session.propagate())

    assert difference(run(track_one), run(twice)) == 0


def test_prompting_twice_afresh_is_prompting_once() -> None:
    def afresh(session: VideoSession) -> list[FrameResult]:
        session.prompt(frame=0, object_id=1, **BOX)
        session.prompt(frame=0, object_id=1, **CLICK, add=False)
        return list(session.propagate())

    assert difference(run(track_one), run(afresh)) == 0


def test_order_of_objects_does_not_matter() -> None:
    said = {3: CLICK, 0: BOX, 7: MASK}

    def prompted(order: Sequence[int]) -> Script:
        def script(session: VideoSession) -> list[FrameResult]:
            for object_id in order:
                session.prompt(frame=0, object_id=object_id, **said[object_id])
            return list(session.propagate())

        return script

    assert difference(run(prompted([3, 0, 7])), run(prompted([7, 3, 0]))) == 0


@pytest.mark.parametrize("frame", [0, 6])
def test_adding_an_object_changes_no_other(frame: int) -> None:
    def with_another(session: VideoSession) -> list[FrameResult]:
        session.prompt(frame=0, object_id=1, **CLICK)
        session.prompt(frame=frame, object_id=2, **MASK)
        return list(session.propagate())

    assert difference(run(track_one), only(run(with_another), 1)) < CLOSE


def test_object_does_not_depend_on_earlier_ones() -> None:
    def alone(session: VideoSession) -> list[FrameResult]:
        session.prompt(frame=6, object_id=2, **MASK)
        return list(session.propagate())

    def after_another(session: VideoSession) -> list[FrameResult]:
        session.prompt(frame=0, object_id=1, **CLICK)
        session.prompt(frame=6, object_id=2, **MASK)
        return [result for result in session.propagate() if result.frame >= 6]

    assert difference(run(alone), only(run(after_another), 2)) < CLOSE


def test_removing_an_object_changes_no_other() -> None:
    def removed(session: VideoSession) -> list[FrameResult]:
        session.prompt(frame=0, object_id=1, **CLICK)
        session.prompt(frame=0, object_id=2, **BOX)
        out = []
        for result in session.propagate():
            out.append(result)
            if result.frame == 8:
                session.remove(2)
        return out

    assert difference(run(track_one), only(run(removed), 1)) < CLOSE


def test_backward_on_a_reversed_clip_equals_forward() -> None:
    def backward(session: VideoSession) -> list[FrameResult]:
        session.prompt(frame=FRAMES - 1, object_id=1, **CLICK)
        return list(session.propagate("backward"))

    mirrored = {
        (FRAMES - 1 - t, i): logits for (t, i), logits in run(backward, toy_clip(FRAMES)[::-1]).items()
    }
    assert difference(run(track_one), mirrored) == 0


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_forgetting_changes_nothing_on_a_one_way_pass(direction: Any) -> None:
    def script(session: VideoSession) -> list[FrameResult]:
        session.prompt(frame=10, object_id=1, **CLICK)
        session.prompt(frame=12, object_id=2, **BOX)
        return list(session.propagate(direction))

    clip = toy_clip(40)
    assert difference(run(script, clip, "all"), run(script, clip, "window")) == 0


def test_walking_in_strides_equals_a_thinner_clip() -> None:
    def strided(session: VideoSession) -> list[FrameResult]:
        session.prompt(frame=0, object_id=1, **CLICK)
        return list(session.propagate(stride=2))

    thin = {(2 * t, i): logits for (t, i), logits in run(track_one, toy_clip(36)[::2]).items()}
    assert difference(thin, run(strided, toy_clip(36))) == 0


@pytest.mark.parametrize(("said", "count"), [(CLICK, 3), (BOX, 1), ({**BOX, **CLICK}, 1)])
def test_picture_equals_a_clip_of_one_frame(said: dict[str, Any], count: int) -> None:
    frame = toy_clip(1)
    picture = ImagePredictor(toy_model())
    picture.set_image(frame[0])
    result = picture.predict(**said, multimask=count == 3)
    best = int(result.iou.argmax())
    with VideoPredictor(toy_model()).open(frame) as session:
        shown = session.prompt(frame=0, object_id=1, **said)
    assert torch.equal(shown.logits[0], result.logits[best])
    assert (shown.masks[0] == result.masks[best]).all()
    assert shown.iou[0] == result.iou[best]


def test_the_future_is_not_read() -> None:
    changed = toy_clip(FRAMES)
    changed[12:] = toy_clip(FRAMES, seed=5)[12:]
    before, after = run(track_one), run(track_one, changed)
    early = {key for key in before if key[0] < 12}
    assert all(torch.equal(before[key], after[key]) for key in early)
    assert not torch.equal(before[12, 1], after[12, 1])


# Corrections: only what depends on them is computed again


class Calls:
    """What a network was asked."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.encoded = self.tracked = 0
        encode, follow = SAM2.encode_image, steps.segment_next

        def count_encoded(model: SAM2, pixels: Tensor) -> Any:
            self.encoded += 1
            return encode(model, pixels)

        def count_tracked(model: SAM2, features: Any, recall: Any) -> Any:
            self.tracked += recall.masks[0][1].features.shape[0]
            return follow(model, features, recall)

        patch.setattr(SAM2, "encode_image", count_encoded)
        patch.setattr(steps, "segment_next", count_tracked)

    def during(self, work: Callable[[], Any]) -> tuple[int, int]:
        """(frames encoded, frames tracked, once per object) while `work` is done."""
        encoded, tracked = self.encoded, self.tracked
        work()
        return self.encoded - encoded, self.tracked - tracked


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(monkeypatch)


def logits_of(results: Iterable[FrameResult]) -> dict[tuple[int, int], Tensor]:
    return {(r.frame, i): r.logits[row] for r in results for row, i in enumerate(r.object_ids)}


@pytest.mark.parametrize("direction", ["forward", "both"])
def test_a_pass_made_again_asks_nothing(calls: Calls, direction: Any) -> None:
    with VideoPredictor(toy_model()).open(toy_clip(FRAMES)) as session:
        session.prompt(frame=5, object_id=1, **CLICK)
        session.prompt(frame=9, object_id=2, **BOX)
        first = logits_of(session.propagate(direction))
        again: dict[tuple[int, int], Tensor] = {}
        assert calls.during(lambda: again.update(logits_of(session.propagate(direction)))) == (0, 0)
        assert difference(first, again) == 0


def test_a_correction_equals_tracking_everything_from_its_prompts(calls: Calls) -> None:
    with VideoPredictor(toy_model()).open(toy_clip(FRAMES)) as session:
        session.prompt(frame=0, object_id=1, **CLICK)
        session.prompt(frame=0, object_id=2, **BOX)
        before = logits_of(session.propagate())
        session.prompt(frame=8, object_id=1, points=[(40, 20)], labels=[1])
        found: dict[tuple[int, int], Tensor] = {}
        # Object 1 on all frames but its two prompted ones; each of them is encoded once.
        assert calls.during(lambda: found.update(logits_of(session.propagate()))) == (FRAMES - 2, FRAMES - 2)
        assert difference(only(before, 2), only(found, 2)) == 0
        state = session.state()
        objects = {
            i: replace(one, frames={f: r for f, r in one.frames.items() if r.settled})
            for i, one in state.objects.items()
        }
        scratch = VideoSession.restore(
            FrameArrays(toy_clip(FRAMES)), session.driver, replace(state, objects=objects)
        )
        alone = replace(state, objects={1: objects[1]})
        single = VideoSession.restore(FrameArrays(toy_clip(FRAMES)), session.driver, alone)
        # To the bit where objects are tracked in the same batches; otherwise within its last digits.
        assert difference(only(found, 1), logits_of(single.propagate())) == 0
        assert difference(found, logits_of(scratch.propagate())) < CLOSE


def test_prompt_and_undo_is_no_prompt() -> None:
    def undone(session: VideoSession) -> list[FrameResult]:
        track_one(session)
        session.prompt(frame=8, object_id=1, **MASK)
        session.prompt(frame=2, object_id=2, **BOX)
        list(session.propagate())
        session.undo()
        session.undo()
        return list(session.propagate())

    assert difference(run(track_one), run(undone)) == 0


# Both directions


def test_both_is_its_stretches_walked_alone() -> None:
    def prompted(session: VideoSession) -> None:
        session.prompt(frame=4, object_id=1, **CLICK)
        session.prompt(frame=13, object_id=1, **MASK)

    def stretch(direction: Any, start: int, stop: int | None) -> Script:
        def script(session: VideoSession) -> list[FrameResult]:
            prompted(session)
            return list(session.propagate(direction, start, stop))

        return script

    def both(session: VideoSession) -> list[FrameResult]:
        prompted(session)
        return list(session.propagate("both"))

    alone = run(stretch("backward", 4, None)) | run(stretch("forward", 4, 9))
    alone |= run(stretch("backward", 13, 8)) | run(stretch("forward", 13, None))
    together = run(both)
    assert [frame for frame, _ in together] == list(range(FRAMES))
    assert difference(alone, together) == 0


def test_both_on_a_reversed_clip_is_the_mirror_image() -> None:
    def both(*frames: int) -> Script:
        def script(session: VideoSession) -> list[FrameResult]:
            for frame in frames:
                session.prompt(frame=frame, object_id=1, **CLICK)
            return list(session.propagate("both"))

        return script

    clip = toy_clip(FRAMES)
    last = FRAMES - 1
    for frames in ((6,), (3, 14)):
        mirrored = run(both(*(last - frame for frame in frames)), clip[::-1])
        # Prompted memories are read in ascending order: with two of them last digits differ in the mirror.
        assert (
            difference(run(both(*frames), clip), {(last - t, i): m for (t, i), m in mirrored.items()}) < CLOSE
        )


def test_an_interrupted_pass_goes_on_to_the_same_bits() -> None:
    def interrupted(session: VideoSession) -> list[FrameResult]:
        session.prompt(frame=10, object_id=1, **CLICK)
        session.prompt(frame=12, object_id=2, **BOX)
        seen = list(islice(session.propagate("both"), 7))
        again = VideoSession.restore(FrameArrays(toy_clip(FRAMES)), session.driver, session.state())
        return seen + list(again.carry_on())

    def undisturbed(session: VideoSession) -> list[FrameResult]:
        session.prompt(frame=10, object_id=1, **CLICK)
        session.prompt(frame=12, object_id=2, **BOX)
        return list(session.propagate("both"))

    for retain in ("all", "window"):
        assert difference(run(undisturbed, retain=retain), run(interrupted, retain=retain)) == 0


# Presence


def test_presence_below_zero_marks_absence() -> None:
    model = copy.deepcopy(toy_model())
    # Some frames above and some below 0: the score of a toy network says nothing about its pictures.
    head = model.sam_mask_decoder.pred_obj_score_head.layers[-1]
    with torch.no_grad():
        head.bias.fill_(0.0)
    with VideoPredictor(model).open(toy_clip(FRAMES)) as session:
        session.prompt(frame=0, object_id=1, **MASK)
        scores = [float(result.presence[0]) for result in session.propagate()][1:]
        with torch.no_grad():
            head.bias.fill_(-sorted(scores)[len(scores) // 2])
        session.reset()
        session.prompt(frame=0, object_id=1, **MASK)
        results = list(session.propagate())
    absent = [result for result in results if result.presence[0] < 0]
    assert 0 < len(absent) < len(results)
    for result in results:
        gone = bool(result.presence[0] < 0)
        assert bool((result.logits == ABSENT_LOGIT).all()) == gone
        assert not (gone and result.masks.any())
