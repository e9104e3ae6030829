"""Tracking and scoring in one go gives what each of them gives alone."""

from __future__ import annotations

import pytest

import sam2_video
from sam2_video.evaluation.in_memory import Beginning, track_and_score
from sam2_video.evaluation.protocols import make_protocol
from sam2_video.evaluation.scores import MetricOptions, score_objects, summarise
from sam2_video.evaluation.sequences import EvaluatedObject, VosSequence
from sam2_video.types import DataError
from tests.evaluation.protocols.oracle import NOTHING, Oracle, square, standing
from tests.evaluation.protocols.test_online import moving
from tests.toys import toy_model


def test_an_oracle_scores_one_and_a_half_right_tracker_what_it_is_worth() -> None:
    story = standing(8)
    assert track_and_score(Oracle(story), [story]).overall.jandf == 1  # type: ignore[arg-type]
    blind = Oracle(story, lambda object_id, frame, prompted: NOTHING if frame > 3 else None)
    means = track_and_score(blind, [story]).overall  # type: ignore[arg-type]
    assert means.j.mean == means.f.mean == 3 / 6  # of the frames 1 to 6


def test_it_is_tracking_then_scoring() -> None:
    predictor, story = sam2_video.VideoPredictor(toy_model()), moving()
    predicted = {p.frame: p.masks for p in make_protocol("click3").run(predictor, story, 0)}
    summary = track_and_score(predictor, [story], "click3")
    assert summary == summarise(score_objects(story, predicted.get))
    only_j = track_and_score(predictor, [story], "click3", options=MetricOptions(boundary=False))
    assert only_j.overall.j == summary.overall.j and only_j.objects[0].f != summary.objects[0].f


def test_a_beginning_is_a_shorter_clip() -> None:
    story = standing(8)
    story.objects = (*story.objects, EvaluatedObject(2, 5, (6, 7)))
    short = Beginning(story, 4)
    assert isinstance(short, VosSequence)
    assert short.frame_names == ("00000", "00001", "00002", "00003")
    assert short.objects == (EvaluatedObject(1, 0, (1, 2)),)  # its last frame does not count, as ever
    assert Beginning(story, 8).objects == story.objects and Beginning(story, 99).objects == story.objects
    worse = Oracle(story, lambda object_id, frame, prompted: square(0, 0) if frame > 2 else None)
    assert track_and_score(worse, [story], max_frames=4).overall.j.mean == 1  # type: ignore[arg-type]
    assert max(worse.looks) <= 3
    with pytest.raises(DataError, match="no object has a frame that counts"):
        track_and_score(worse, [story], max_frames=2)  # type: ignore[arg-type]
