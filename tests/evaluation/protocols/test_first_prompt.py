"""Protocols that give each object once: where and when they do, and what comes out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import sam2_video
from sam2_video.evaluation.protocols import PROTOCOLS, Protocol, make_protocol
from sam2_video.evaluation.sequences import EvaluatedObject
from sam2_video.types import ConfigError, DataError
from tests.evaluation.protocols.oracle import NOTHING, Oracle, Story, square, standing
from tests.evaluation.protocols.test_online import moving
from tests.toys import toy_model


def run(name: str, story: Story, predictor: Any, *, overlapping: bool = False) -> dict[int, dict[int, Any]]:
    protocol = make_protocol(name, overlapping=overlapping)
    found = list(protocol.run(predictor, story, 0))
    assert [p.frame for p in found] == list(range(len(story.truth))) and protocol.rounds == []
    return {p.frame: p.masks for p in found}


def test_protocols_have_their_names() -> None:
    assert list(PROTOCOLS) == ["mask", "box", "click1", "click3", "click5", "offline", "online"]
    for name in PROTOCOLS:
        protocol = make_protocol(name)
        assert isinstance(protocol, Protocol) and protocol.name == name
        assert make_protocol(name).rounds is not protocol.rounds
    with pytest.raises(ConfigError, match="no protocol 'click2'; expected one of mask, box"):
        make_protocol("click2")


def test_an_object_is_given_by_its_mask_or_box() -> None:
    story = standing(3)
    oracle = Oracle(story)
    run("mask", story, oracle)
    ((frame, prompt),) = oracle.prompts
    assert frame == 0 and prompt.mask is not None and np.array_equal(prompt.mask, square(20, 10))
    oracle = Oracle(story)
    run("box", story, oracle)
    ((_, prompt),) = oracle.prompts
    assert prompt.box == (20, 10, 30, 20) and not prompt.points


@pytest.mark.parametrize(("name", "count"), [("click1", 1), ("click3", 3), ("click5", 5)])
def test_clicks_go_to_the_largest_error_that_is_left(name: str, count: int) -> None:
    """As long as nothing is found the click is in the middle; what is right is not clicked."""
    story = standing(3)
    blind, sharp = Oracle(story, lazy=99), Oracle(story)
    run(name, story, blind)
    assert [prompt.points for _, prompt in blind.prompts] == [((25, 15),) * k for k in range(1, count + 1)]
    run(name, story, sharp)
    assert [prompt.labels for _, prompt in sharp.prompts] == [(1,)]


def test_void_pixels_are_not_clicked() -> None:
    story = standing(3)
    story.voids[0] = square(20, 10, side=7)
    oracle = Oracle(story)
    run("click1", story, oracle)
    ((x, y),) = oracle.prompts[0][1].points
    assert square(20, 10)[int(y), int(x)] and not story.voids[0][int(y), int(x)]


def test_later_objects_begin_on_their_first_frame_and_disturb_nobody() -> None:
    """A network, two objects: each is tracked as if it were alone, and frames are read once, in order."""
    predictor, both = sam2_video.VideoPredictor(toy_model()), moving()
    masks = run("mask", both, predictor, overlapping=True)
    assert both.read == list(range(20))
    for one in both.objects:
        alone = moving()
        alone.objects = (one,)
        found = run("mask", alone, predictor, overlapping=True)
        assert all(np.array_equal(found[t][one.object_id], masks[t][one.object_id]) for t in range(20))
        assert alone.read == list(range(one.first, 20))
    assert not any(masks[t][2].any() for t in range(4)) and masks[4][2].any()


def test_masks_are_disjoint_where_they_must_be() -> None:
    """As label maps have it: the largest logit wins."""
    predictor, story = sam2_video.VideoPredictor(toy_model()), moving()
    story.objects = tuple(EvaluatedObject(k, 4, ()) for k in (1, 2))
    shared, own = run("mask", story, predictor, overlapping=True), run("mask", story, predictor)
    assert any((shared[t][1] & shared[t][2]).any() for t in range(4, 20)), (
        "nothing overlaps: nothing is shown"
    )
    with predictor.open([story.image(t) for t in range(20)]) as session:
        for k in (1, 2):
            session.prompt(frame=4, object_id=k, mask=(story.truth[4] or {})[k])
        for result in session.propagate():
            labels = result.label_map()
            assert all(np.array_equal(own[result.frame][k], labels == k) for k in (1, 2))


def test_an_object_without_a_first_mask_is_named() -> None:
    for there in ({}, {1: NOTHING}, None):
        story = standing(3)
        story.truth[0] = there
        with pytest.raises(DataError, match=r"sequence story: object 1 .* frame 00000, whose mask does not"):
            run("mask", story, Oracle(story))


@pytest.mark.parametrize("name", ["click1", "offline", "online"])
def test_an_object_that_is_all_void_cannot_be_clicked_on(name: str) -> None:
    story = standing(4)
    story.voids[0] = square(20, 10)
    with pytest.raises(DataError, match="object 1 cannot be clicked on on frame 00000: all of it is void"):
        run(name, story, Oracle(story))


def test_without_objects_nothing_is_tracked() -> None:
    story = standing(3)
    story.objects = ()
    oracle = Oracle(story)
    assert run("mask", story, oracle) == {0: {}, 1: {}, 2: {}} and not oracle.looks
