"""Objects are born where automatic masks find something new, and die by rules."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from sam2_video.mask_generator import AutoMask, MaskGenerator
from sam2_video.mask_runs import Runs
from sam2_video.sources import FrameArrays
from sam2_video.track_everything import Everything, EverythingRules, new_objects
from sam2_video.types import FrameResult, PromptError, Sam2VideoError
from sam2_video.video_predictor import VideoPredictor
from tests.toys import FRAME_SIZE, toy_clip, toy_model

SIZE = (16, 16)
Box = tuple[int, int, int, int]  # x0, y0, x1, y1, the last two exclusive


def square(x0: int, y0: int, x1: int, y1: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def auto(mask: np.ndarray) -> AutoMask:
    return AutoMask(Runs.of_mask(mask), 0.9, 0.9, (0, 0), (0, 0, mask.shape[1], mask.shape[0]))


class Script:
    """In place of a generator: what it finds on each frame, by the number that the frame shows."""

    def __init__(self, found: dict[int, list[Box]]) -> None:
        self.found, self.looks = found, []
        self.predictor = SimpleNamespace(model=SimpleNamespace(image_size=64))

    def generate(self, rgb: np.ndarray) -> list[AutoMask]:
        self.looks.append(int(rgb[0, 0, 0]))
        return [auto(square(*box)) for box in self.found.get(self.looks[-1], [])]


class Still:
    """In place of a session: an object stays where it was prompted, for as many frames as `ends` says."""

    def __init__(self, frames: int, ends: dict[int, int] | None = None, known: bool = True) -> None:
        self.source = FrameArrays([np.full((*SIZE, 3), t, np.uint8) for t in range(frames)])
        self.frames, self.frame_count, self.size = frames, frames if known else None, SIZE
        self.masks: dict[int, np.ndarray] = {}
        self.ends = ends or {}

    @property
    def objects(self) -> tuple[int, ...]:
        return tuple(sorted(self.masks))

    def prompt(self, *, frame: int, object_id: int, mask: np.ndarray) -> None:
        self.masks[object_id] = mask

    def remove(self, object_id: int) -> None:
        del self.masks[object_id]

    def propagate(self, way: str, start: int, stop: int | None) -> Iterator[FrameResult]:
        for frame in range(start, min(self.frames, stop or self.frames)):
            shown = [self.masks[k] & (frame < self.ends.get(k, 99)) for k in self.objects]
            logits = torch.from_numpy(np.stack(shown)).float() - 0.5
            ones = torch.ones(len(shown))
            yield FrameResult(frame, self.objects, logits, ones, ones, SIZE)


def follow(session: Any, script: Any, start: int = 0, stop: int | None = None, **rules: Any) -> Everything:
    """All results; the objects of each frame are left in `shown`."""
    everything = Everything(session, script, EverythingRules(least=0.0, **rules))
    results = list(everything.results(start, stop))
    frames = [result.frame for result in results]
    assert frames == list(range(start, start + len(frames)))
    everything.shown = [result.object_ids for result in results]  # type: ignore[attr-defined]
    return everything


LEFT, RIGHT, LOW = (0, 0, 4, 4), (10, 0, 14, 4), (0, 10, 8, 16)


def test_first_frame_only() -> None:
    script = Script({0: [LEFT, LOW, LEFT], 3: [RIGHT]})
    everything = follow(Still(6), script)
    assert everything.shown == [(1, 2)] * 6 and script.looks == [0]
    assert everything.session.masks[1].sum() == 48  # the largest comes first; the same one twice counts once


def test_births() -> None:
    script = Script({0: [LEFT], 3: [(1, 0, 4, 4), RIGHT], 6: [LEFT, RIGHT]})
    everything = follow(Still(8), script, every=3)
    assert everything.shown == [(1,)] * 3 + [(1, 2)] * 5 and script.looks == [0, 3, 6]
    assert [(life.born, life.died) for life in everything.lives.values()] == [(0, None), (3, None)]


def test_what_is_mostly_covered_is_nothing_new() -> None:
    half = (2, 0, 6, 4)  # 8 of 16 pixels lie in LEFT, IoU 1/3
    assert len(follow(Still(2), Script({0: [LEFT], 1: [half]}), every=1, covered=0.5).lives) == 2
    assert len(follow(Still(2), Script({0: [LEFT], 1: [half]}), every=1, covered=0.4).lives) == 1
    # two tracked objects on the same pixels cover them once
    both = Script({0: [LEFT, (0, 0, 4, 2)], 1: [(0, 0, 4, 9)]})
    assert len(follow(Still(2), both, every=1, same=0.6, covered=0.45).lives) == 3


def test_deaths() -> None:
    script = Script({0: [LEFT, RIGHT]})
    gone = follow(Still(9, ends={1: 3}), script, every=2, patience=2)
    # without a pixel at the looks of frames 4 and 6: from 6 on it is not there any more
    assert gone.shown == [(1, 2)] * 6 + [(2,)] * 3
    assert (gone.lives[1].died, gone.lives[1].reason) == (6, "gone")
    patient = follow(Still(9, ends={1: 3}), Script({0: [LEFT, RIGHT]}), every=2, patience=4)
    assert patient.shown == [(1, 2)] * 9


def test_two_that_become_one() -> None:
    session = Still(5)
    script = Script({0: [LEFT], 1: [RIGHT]})
    everything = Everything(session, script, EverythingRules(every=1, least=0.0))  # type: ignore[arg-type]
    shown = []
    for result in everything.results():
        shown.append(result.object_ids)
        if result.frame == 2:
            session.masks[2] = session.masks[1]
    assert shown == [(1,), (1, 2), (1, 2), (1,), (1,)]
    assert everything.lives[2].reason == "the same as 1" and everything.lives[2].died == 3


def test_limit_is_of_the_living() -> None:
    script = Script({0: [LEFT, RIGHT, LOW], 2: [LEFT, RIGHT, LOW], 4: [LEFT, RIGHT, LOW]})
    everything = follow(Still(6, ends={1: 1}), script, every=2, limit=2, patience=1)
    assert everything.shown[0] == (1, 2) and everything.shown[2] == (2, 3)  # the first died, LOW comes again
    assert len(everything.lives) == 3 and script.looks == [0, 2]  # where there is no room nobody looks


def test_nothing_at_first() -> None:
    later = follow(Still(5), Script({2: [LEFT]}), every=2)
    assert later.shown == [(), (), (1,), (1,), (1,)]
    assert follow(Still(3, known=False), Script({}), every=2).shown == [()] * 3
    everything = Everything(Still(3), Script({}))  # type: ignore[arg-type]
    with pytest.raises(Sam2VideoError, match="no mask passes the filters on frame 0"):
        next(everything.results())


@pytest.mark.parametrize("known", [True, False])
def test_parts_of_clips(known: bool) -> None:
    script = Script({1: [LEFT], 3: [RIGHT]})
    assert follow(Still(9, known=known), script, 1, 6, every=2).shown == [(1,), (1,), (1, 2), (1, 2), (1, 2)]
    assert len(follow(Still(4, known=known), Script({0: [LEFT]}), every=3).shown) == 4


def test_which_masks_are_new() -> None:
    found = [auto(square(*box)) for box in (LEFT, LOW, (0, 0, 1, 1))]
    rules = EverythingRules(least=2 / 256)
    assert [m.area for m in new_objects(found, [], rules)] == [48, 16]
    assert [m.area for m in new_objects(found, [Runs.of_mask(square(*LOW))], rules)] == [16]


@pytest.mark.parametrize(
    ("given", "complaint"),
    [({"limit": 0}, "limit must be"), ({"every": -1}, "every must be"), ({"same": 2.0}, "same is a share")],
)
def test_rules_that_mean_nothing(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(PromptError, match=complaint):
        EverythingRules(**given)


# With a network


class Finder(Script):
    def __init__(self, clip: list[np.ndarray], found: dict[int, list[Box]]) -> None:
        super().__init__(found)
        self.numbers = {frame.tobytes(): t for t, frame in enumerate(clip)}

    def generate(self, rgb: np.ndarray) -> list[AutoMask]:
        boxes = self.found.get(self.numbers[rgb.tobytes()], [])
        return [auto(square(*box, size=FRAME_SIZE)) for box in boxes]


def test_births_change_nothing_for_others() -> None:
    clip = toy_clip(8)
    first, second = (5, 8, 21, 24), (50, 20, 70, 40)
    predictor = VideoPredictor(toy_model())
    expected = {}
    for frame, object_id, box in ((0, 1, first), (4, 2, second)):
        with predictor.open(clip) as session:
            session.prompt(frame=frame, object_id=object_id, mask=square(*box, size=FRAME_SIZE))
            expected[object_id] = {r.frame: r.logits[0] for r in session.propagate()}
    with predictor.open(clip, retain="window") as session:
        everything = Everything(
            session, Finder(clip, {0: [first], 4: [second]}), EverythingRules(every=4, same=0.9, least=0.0)
        )  # fmt: skip
        results = list(everything.results())
    assert [r.frame for r in results] == list(range(8))
    assert [r.object_ids for r in results] == [(1,)] * 4 + [(1, 2)] * 4
    for result in results:
        for row, object_id in enumerate(result.object_ids):
            assert torch.allclose(result.logits[row], expected[object_id][result.frame], atol=1e-4)


def test_a_session_with_objects_is_refused() -> None:
    clip = toy_clip(2)
    with VideoPredictor(toy_model()).open(clip) as session:
        session.prompt(frame=0, object_id=1, points=[(9, 9)])
        with pytest.raises(PromptError, match="has objects already"):
            next(Everything(session, MaskGenerator(toy_model())).results())
