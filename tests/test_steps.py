"""Frames of a session that are replayed are those that are not: with a recorder in place of a GPU."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch

from sam2_video.steps import Steps
from sam2_video.tracker import remember, segment_next
from sam2_video.types import FrameMemory, FrameResult, Recall
from sam2_video.video_predictor import VideoPredictor
from tests.model.test_graphs import Recorder
from tests.toys import SIDE, toy_clip, toy_model

CLICK: dict[str, Any] = {"points": [(20, 20)], "labels": [1]}
OTHER: dict[str, Any] = {"points": [(60, 30)], "labels": [1]}


@contextmanager
def replaying() -> Iterator[tuple[VideoPredictor, Recorder]]:
    predictor, recorder = VideoPredictor(toy_model()), Recorder()
    predictor._steps = Steps(predictor.model, record=recorder)
    yield predictor, recorder


def story(predictor: VideoPredictor, retain: Any) -> list[FrameResult]:
    """Two objects, one of which comes later, a correction, and the way back."""
    with predictor.open(toy_clip(32), retain=retain) as session:
        session.prompt(frame=0, object_id=1, **CLICK)
        found = list(session.propagate(stop=22))
        session.prompt(frame=21, object_id=2, **OTHER)
        found += session.propagate(start=21)
        if retain == "all":
            session.prompt(frame=28, object_id=1, **OTHER)
            found += session.propagate(start=28)
            found += session.propagate("backward", start=28, stop=10)
        return found


@pytest.mark.parametrize("retain", ["all", "window"])
def test_replayed_frames_are_those_that_are_not(retain: Any) -> None:
    plain = story(VideoPredictor(toy_model()), retain)
    with replaying() as (predictor, recorder):
        replayed = story(predictor, retain)
        assert predictor._steps.follow.replays > 8 and predictor._steps.look.replays > 8
        assert recorder.recorded >= 2  # one for looking
    assert [r.frame for r in replayed] == [r.frame for r in plain]
    for found, expected in zip(replayed, plain, strict=True):
        assert torch.equal(found.logits, expected.logits)
        assert torch.equal(found.presence, expected.presence)


def test_the_distance_of_a_prompt_is_no_part_of_a_layout() -> None:
    with replaying() as (predictor, _), predictor.open(toy_clip(22)) as session:
        session.prompt(frame=0, object_id=1, **CLICK)
        list(session.propagate())
        steps = predictor._steps
        # The layout settles on frame 16; two more are run as they are.
        assert steps.follow.replays == 22 - 1 - 15 - 2


def test_a_predictor_can_be_copied() -> None:
    predictor = VideoPredictor(toy_model(), graphs="off")
    for copied in (copy.deepcopy(predictor), pickle.loads(pickle.dumps(predictor))):
        steps = copied._steps
        assert steps._model is copied.model is not predictor.model and steps._graphs == "off"


def test_graphs_are_auto_or_off() -> None:
    with pytest.raises(ValueError, match="graphs is 'on'"):
        VideoPredictor(toy_model(), graphs="on")  # type: ignore[arg-type]


@torch.no_grad()
def test_a_step_is_what_the_tracker_does() -> None:
    """Taking a recall apart into tensors, and putting it together again, loses nothing."""
    model = toy_model()
    features = model.encode_image(torch.rand(1, 3, SIDE, SIDE))

    def memory(seed: int) -> FrameMemory:
        draw = torch.Generator().manual_seed(seed)
        cells = torch.randn(2, 16, SIDE // 16, SIDE // 16, generator=draw).bfloat16()
        made = FrameMemory(cells, torch.randn(2, 64, generator=draw))
        return replace(made, keys=model.memory_keys(made)) if seed < 3 else made

    for first in (0, 3):  # with keys and without
        a, b, c = (memory(first + k) for k in range(3))
        recall = Recall(((-1, a), (2, b), (0, c)), ((9, a), (1, c)), 12)
        prediction, kept = Steps(model).track(features, recall)
        expected = segment_next(model, features, recall)
        assert torch.equal(prediction.logits, expected.logits)
        assert torch.equal(prediction.pointer, expected.pointer)
        made = remember(model, features, expected, prompted=False)
        assert torch.equal(kept.features, made.features) and torch.equal(kept.pointer, made.pointer)
