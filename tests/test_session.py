"""The rules of a session, with plain numbers in place of tensors: no network runs here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from sam2_video.history import STEPS
from sam2_video.memory import MemoryPolicy
from sam2_video.session import SessionOptions, VideoSession
from sam2_video.sources import FrameArrays
from sam2_video.timeline import Row
from sam2_video.types import Prompt, PromptError, Recall, Sam2VideoError
from sam2_video.walker import CACHED_FRAMES
from tests.fakes import numbered_clip, open_numbers, values

SIZE = (48, 80)
FRAMES = 12
CLICK = {"points": [(10, 10)], "labels": [1]}


class Note:
    """Stands for a prediction and for a memory: says how it was made."""

    def __init__(self, kind: str, frame: int, number: int, recall: Recall, previous: Any = None) -> None:
        self.kind, self.frame, self.number, self.previous = kind, frame, number, previous
        self.logits = self
        self.span = recall.pointer_span
        self.seen = sorted({(slot, m.frame) for slot, m in recall.masks})  # type: ignore[attr-defined]
        self.pointers = sorted({(gap, m.frame) for gap, m in recall.pointers})  # type: ignore[attr-defined]


class FakeDriver:
    """A driver that remembers what it was asked."""

    def __init__(self) -> None:
        self.looks: list[int] = []
        self.made = 0

    def look(self, rgb: Any) -> Any:
        self.looks.append(int(rgb[0, 0, 0]))
        return int(rgb[0, 0, 0])

    def segment(self, features: Any, prompt: Prompt, size: Any, previous: Any, recall: Recall) -> Any:
        note = self._note("mask" if prompt.mask is not None else "prompt", features, recall, previous)
        note.prompt = prompt  # type: ignore[attr-defined]
        return note, note

    def follow(self, features: Any, recalls: Sequence[Recall]) -> Any:
        notes = [self._note("tracked", features, recall) for recall in recalls]
        return [(note, note) for note in notes]

    def show(self, frame: int, size: Any, rows: Sequence[Row]) -> Any:
        return frame, {row.object_id: row.prediction for row in rows}

    def _note(self, kind: str, frame: int, recall: Recall, previous: Any = None) -> Note:
        self.made += 1
        return Note(kind, frame, self.made, recall, previous)


def clip(frames: int = FRAMES) -> list[np.ndarray]:
    return [np.full((*SIZE, 3), t, np.uint8) for t in range(frames)]


def make_session(source: Any = None, **options: Any) -> tuple[VideoSession, FakeDriver]:
    driver = FakeDriver()
    arrays = FrameArrays(clip() if source is None else source)
    return VideoSession(arrays, driver, SessionOptions(**options)), driver


@pytest.fixture
def session() -> Iterator[VideoSession]:
    with make_session()[0] as made:
        yield made


def frames_of(results: Any) -> list[int]:
    return [frame for frame, _ in results]


# Prompts


def test_first_sight_recalls_nothing_and_refines_nothing(session: VideoSession) -> None:
    frame, found = session.prompt(frame=3, object_id=5, **CLICK)  # type: ignore[misc]
    assert frame == 3
    assert found[5].seen == [] and found[5].previous is None
    assert session.objects == (5,)
    assert session.track(5).is_prompted(3) and session.track(5).is_settled(3)


def test_second_click_sends_all_clicks_and_the_previous_logits(session: VideoSession) -> None:
    _, first = session.prompt(frame=3, object_id=5, **CLICK)  # type: ignore[misc]
    _, second = session.prompt(frame=3, object_id=5, points=[(20, 20)], labels=[0])  # type: ignore[misc]
    assert second[5].prompt.points == ((10, 10), (20, 20))
    assert second[5].previous is first[5]
    assert second[5].seen == []  # the frame was not tracked: still first sight
    assert session.track(5).bank.prompted[3] is second[5]  # the memory is that of the last click


def test_starting_a_frame_over_leaves_nothing_of_its_clicks(session: VideoSession) -> None:
    session.prompt(frame=3, object_id=5, **CLICK)
    list(session.propagate())
    _, again = session.prompt(frame=3, object_id=5, points=[(20, 20)], labels=[1], add=False)  # type: ignore[misc]
    assert again[5].prompt.points == ((20, 20),)
    assert again[5].previous is None
    assert 3 not in [f for _, f in again[5].seen]


def test_mask_and_clicks_replace_each_other(session: VideoSession) -> None:
    session.prompt(frame=0, object_id=1, **CLICK)
    _, masked = session.prompt(frame=0, object_id=1, mask=np.ones(SIZE, bool))  # type: ignore[misc]
    assert masked[1].prompt.points == ()
    _, clicked = session.prompt(frame=0, object_id=1, **CLICK)  # type: ignore[misc]
    assert clicked[1].prompt.mask is None and clicked[1].previous is masked[1]


def test_correction_attends_to_memory_and_feeds_the_mask_back(session: VideoSession) -> None:
    session.prompt(frame=0, object_id=1, **CLICK)
    results = dict(session.propagate())
    _, corrected = session.prompt(frame=4, object_id=1, points=[(2, 2)], labels=[0])  # type: ignore[misc]
    assert corrected[1].previous is results[4][1]
    assert corrected[1].seen == [(-1, 0), (0, 3), (1, 2), (2, 1)]
    assert corrected[1].prompt.points == ((2, 2),)


def test_correction_looks_back_the_way_the_frame_was_tracked(session: VideoSession) -> None:
    session.prompt(frame=9, object_id=1, **CLICK)
    list(session.propagate("backward"))
    _, corrected = session.prompt(frame=4, object_id=1, **CLICK)  # type: ignore[misc]
    assert corrected[1].seen[:3] == [(-1, 9), (0, 5), (1, 6)]


def test_corrected_frame_stays_corrected_and_later_frames_see_it(session: VideoSession) -> None:
    session.prompt(frame=0, object_id=1, **CLICK)
    first = dict(session.propagate())
    _, corrected = session.prompt(frame=4, object_id=1, **CLICK)  # type: ignore[misc]
    again = dict(session.propagate(start=4))
    assert again[4][1] is corrected[1]
    assert again[5][1] is not first[5][1]
    assert (-1, 4) in again[5][1].seen and (0, 4) not in again[5][1].seen
    assert (1, 3) in again[5][1].seen  # what was tracked before the correction is still known
    assert set(session.track(1).bank.prompted) == {0, 4}


def test_reference_rule_tracks_corrected_frames_again() -> None:
    session, _ = make_session(keep_corrections=False)
    session.prompt(frame=0, object_id=1, **CLICK)
    list(session.propagate())
    _, corrected = session.prompt(frame=4, object_id=1, **CLICK)  # type: ignore[misc]
    assert set(session.track(1).bank.prompted) == {0}
    assert session.track(1).bank.tracked[4] is corrected[1]
    assert dict(session.propagate())[4][1].kind == "tracked"


def test_failing_prompt_changes_nothing(session: VideoSession) -> None:
    session.prompt(frame=0, object_id=1, **CLICK)
    before = session.track(1).prompts[0]
    for bad in ({"points": [(99, 0)], "labels": [1]}, {}, {"box": (5, 5, 1, 1)}):
        with pytest.raises(PromptError):
            session.prompt(frame=0, object_id=1, **bad)
        with pytest.raises(PromptError):
            session.prompt(frame=0, object_id=2, **bad)
    assert session.objects == (1,)
    assert session.track(1).prompts[0] is before


def test_driver_failure_registers_no_object() -> None:
    session, driver = make_session()

    def fail(*_: Any) -> Any:
        raise RuntimeError("out of memory")

    driver.segment = fail  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        session.prompt(frame=0, object_id=1, **CLICK)
    assert session.objects == ()


# Propagation


def test_forward_runs_from_the_earliest_prompt_to_the_end(session: VideoSession) -> None:
    session.prompt(frame=3, object_id=1, **CLICK)
    results = list(session.propagate())
    assert frames_of(results) == list(range(3, 12))
    assert results[0][1][1].kind == "prompt"
    assert all(found[1].kind == "tracked" for _, found in results[1:])


def test_tracked_frames_recall_six_recent_and_the_prompted_one(session: VideoSession) -> None:
    session.prompt(frame=0, object_id=1, **CLICK)
    last = dict(session.propagate())[11][1]
    assert last.seen == [(-1, 0), (0, 10), (1, 9), (2, 8), (3, 7), (4, 6), (5, 5)]
    assert last.pointers == [(gap, 11 - gap) for gap in range(1, 12)]


def test_backward_runs_from_the_latest_prompt_to_the_first_frame(session: VideoSession) -> None:
    session.prompt(frame=2, object_id=1, **CLICK)
    session.prompt(frame=6, object_id=1, **CLICK)
    results = list(session.propagate("backward"))
    assert frames_of(results) == [6, 5, 4, 3, 2, 1, 0]
    assert results[1][1][1].seen == [(-1, 2), (-1, 6)]


def test_both_gives_each_frame_once_and_keeps_the_ways_apart(session: VideoSession) -> None:
    session.prompt(frame=5, object_id=1, **CLICK)
    results = list(session.propagate("both"))
    assert frames_of(results) == list(range(12))
    found = dict(results)
    assert found[4][1].seen == [(-1, 5)]
    assert found[2][1].seen == [(-1, 5), (0, 3), (1, 4)]
    assert found[2][1].pointers == [(1, 3), (2, 4), (3, 5)]
    assert found[6][1].seen == [(-1, 5)] and found[6][1].pointers == [(1, 5)]


def test_separate_passes_read_each_other(session: VideoSession) -> None:
    session.prompt(frame=5, object_id=1, **CLICK)
    list(session.propagate())
    found = dict(session.propagate("backward", start=5))
    assert (1, 6) in found[4][1].seen


def test_range_and_stride(session: VideoSession) -> None:
    session.prompt(frame=0, object_id=1, **CLICK)
    assert frames_of(session.propagate(start=2, stop=5)) == [2, 3, 4]
    assert frames_of(session.propagate(stop=50)) == list(range(12))
    assert frames_of(session.propagate("backward", start=5, stop=2)) == [5, 4, 3]
    assert frames_of(session.propagate(stride=5)) == [0, 5, 10]
    assert frames_of(session.propagate("both", start=5, stop=11, stride=3)) == [5, 8]
    assert frames_of(session.propagate(start=4, stop=4)) == []


@pytest.mark.parametrize("retain", ["all", "window"])
@pytest.mark.parametrize("count", [60, 28])
def test_walk_in_strides_reads_as_if_the_frames_between_did_not_exist(retain: str, count: int) -> None:
    long, _ = make_session(clip(count), retain=retain)
    short, _ = make_session(clip(count)[::3], retain=retain)
    long.prompt(frame=0, object_id=1, **CLICK)
    short.prompt(frame=0, object_id=1, **CLICK)
    far, near = list(long.propagate(stride=3)), list(short.propagate())
    assert [f for f, _ in far] == list(range(0, count, 3))
    for (_, strided), (_, plain) in zip(far, near, strict=True):
        assert strided[1].seen == plain[1].seen  # frames carry their original number as content
        assert strided[1].pointers == plain[1].pointers
        assert strided[1].span == plain[1].span


def test_walk_in_strides_does_not_read_what_an_earlier_pass_tracked_between(session: VideoSession) -> None:
    session.prompt(frame=0, object_id=1, **CLICK)
    list(session.propagate())
    found = dict(session.propagate(stride=3))
    assert found[9][1].seen == [(-1, 0), (0, 6), (1, 3)]


def test_prompts_between_the_frames_of_a_stride_are_read(session: VideoSession) -> None:
    for frame in (0, 4, 5, 10):
        session.prompt(frame=frame, object_id=1, **CLICK)
    last = dict(session.propagate(stride=3))[9][1]
    assert [f for slot, f in last.seen if slot == -1] == [0, 4, 5, 10]
    assert last.pointers == [(1, 6), (2, 3), (2, 5), (3, 4), (4, 0)]  # none lost, and none from the future


def test_object_that_comes_later_is_absent_until_its_first_prompt(session: VideoSession) -> None:
    session.prompt(frame=0, object_id=1, **CLICK)
    session.prompt(frame=4, object_id=2, **CLICK)
    found = dict(session.propagate())
    assert [found[t][2] is None for t in range(6)] == [True] * 4 + [False] * 2
    back = dict(session.propagate("backward"))
    assert [back[t][1] is None for t in (4, 3, 1)] == [False] * 3  # it was tracked there before
    fresh, _ = make_session()
    fresh.prompt(frame=0, object_id=1, **CLICK)
    fresh.prompt(frame=4, object_id=2, **CLICK)
    back = dict(fresh.propagate("backward"))
    assert [back[t][1] is None for t in range(5)] == [False, True, True, True, True]


def test_with_a_start_every_object_is_tracked_from_there(session: VideoSession) -> None:
    session.prompt(frame=0, object_id=1, **CLICK)
    session.prompt(frame=4, object_id=2, **CLICK)
    found = dict(session.propagate(start=2))
    assert found[2][2].seen == [(-1, 4)]


def test_object_may_be_added_and_removed_on_the_way(session: VideoSession) -> None:
    session.prompt(frame=0, object_id=1, **CLICK)
    ids = []
    for frame, found in session.propagate():
        ids.append(tuple(found))
        if frame == 3:
            session.prompt(frame=3, object_id=2, **CLICK)
        if frame == 6:
            session.remove(1)
    assert ids == [(1,)] * 4 + [(1, 2)] * 3 + [(2,)] * 5


def test_each_frame_is_looked_at_once() -> None:
    session, driver = make_session()
    for object_id in (1, 2):
        session.prompt(frame=0, object_id=object_id, **CLICK)
    list(session.propagate())
    assert driver.looks == list(range(12))


def test_window_keeps_a_bounded_state() -> None:
    policy = MemoryPolicy()
    session, _ = make_session(clip(100), retain="window")
    session.prompt(frame=0, object_id=1, **CLICK)
    track = session.track(1)
    for _ in session.propagate():
        assert len(track.bank.tracked) <= policy.horizon + 1
        assert max(len(track.predictions), len(track.ways)) <= policy.horizon + 2
        assert len(session._walker._features) <= CACHED_FRAMES
    everything, _ = make_session(clip(100))
    everything.prompt(frame=0, object_id=1, **CLICK)
    list(everything.propagate())
    assert len(everything.track(1).bank.tracked) == 99


@hypothesis.settings(deadline=None, max_examples=60)
@hypothesis.given(
    policy=st.builds(
        MemoryPolicy, recent=st.integers(0, 3), prompted=st.integers(1, 3), pointers=st.integers(0, 4)
    ),
    pace=st.sampled_from([1, 1, 2, -1, -3]),
    begun=st.integers(0, 29),
    clicks=st.sets(st.integers(0, 29), max_size=12),
)
def test_a_window_that_is_prompted_on_the_way_misses_nothing(
    policy: MemoryPolicy, pace: int, begun: int, clicks: set[int]
) -> None:
    def found(retain: Any) -> list[Any]:
        session, _ = open_numbers(30, retain=retain, memory=policy)
        session.prompt(frame=begun, object_id=1, **CLICK)
        out = []
        for result in session.propagate("forward" if pace > 0 else "backward", begun, stride=abs(pace)):
            out.append(values(result))
            if result.frame in clicks:
                add = result.frame % 3 > 0
                out.append(values(session.prompt(frame=result.frame, object_id=1, add=add, **CLICK)))
            if result.frame in clicks and result.frame % 2:
                out.append(values(session.prompt(frame=result.frame, object_id=1, add=False, **CLICK)))
        return out

    assert found("window") == found("all")


def test_a_window_that_is_prompted_again_and_again_stays_small() -> None:
    policy = MemoryPolicy(prompted=3, recent=2, pointers=4)
    session, _ = open_numbers(300, retain="window", memory=policy)
    session.prompt(frame=0, object_id=1, **CLICK)
    track, most = session.track(1), 0
    for result in session.propagate():
        if result.frame % 3 == 0:
            session.prompt(frame=result.frame, object_id=1, **CLICK)
        most = max(most, *map(len, (track.prompts, track.bank.versions, track.predictions, track.ways)))
        assert len(track.bank.prompted) == len(track.prompts)
    assert most <= 3 + 1 + STEPS + policy.horizon + 1  # what an undo might need is kept too


def test_an_iterator_is_not_asked_for_frames_that_were_tracked() -> None:
    once, driver = open_numbers(iter(numbered_clip(FRAMES)))
    once.prompt(frame=0, object_id=1, **CLICK)
    walk = once.propagate()
    first = [values(next(walk)) for _ in range(5)]
    again = [values(result) for result in once.propagate()]
    assert again[:5] == first and len(again) == FRAMES
    assert driver.looks == list(range(FRAMES))


def test_clip_of_unknown_length_ends_where_it_ends() -> None:
    session, _ = make_session(iter(clip()))
    assert session.frame_count is None
    session.prompt(frame=0, object_id=1, **CLICK)
    assert frames_of(session.propagate()) == list(range(12))


def test_video_size_may_differ_from_that_of_the_frames() -> None:
    session, _ = make_session(video_size=(480, 800))
    session.prompt(frame=0, object_id=1, points=[(700, 400)], labels=[1])
    with pytest.raises(PromptError, match="800 wide and 480 high"):
        session.prompt(frame=0, object_id=1, points=[(800, 400)], labels=[1])


# Removing and clearing


def test_clearing_a_correction_gives_the_frame_back_to_tracking(session: VideoSession) -> None:
    session.prompt(frame=0, object_id=1, **CLICK)
    list(session.propagate())
    session.prompt(frame=4, object_id=1, **CLICK)
    session.clear(frame=4, object_id=1)
    assert not session.track(1).is_prompted(4)
    assert dict(session.propagate())[4][1].kind == "tracked"


def test_object_without_prompts_is_an_error_until_prompted_again(session: VideoSession) -> None:
    session.prompt(frame=0, object_id=3, **CLICK)
    list(session.propagate())
    session.clear(frame=0, object_id=3)
    track = session.track(3)
    assert not track.bank.tracked and not track.predictions and not track.ways
    with pytest.raises(PromptError, match="object 3 has no prompts"):
        session.propagate()
    session.prompt(frame=1, object_id=3, **CLICK)
    assert frames_of(session.propagate())[0] == 1


def test_clearing_what_is_not_there_says_what_is(session: VideoSession) -> None:
    session.prompt(frame=2, object_id=3, **CLICK)
    with pytest.raises(PromptError, match="no prompts on frame 1; prompted frames: 2"):
        session.clear(frame=1, object_id=3)
    with pytest.raises(PromptError, match="no object 4; known objects: 3"):
        session.clear(frame=2, object_id=4)


def test_removing_an_unknown_object_lists_the_known_ones(session: VideoSession) -> None:
    with pytest.raises(PromptError, match="known objects: none yet"):
        session.remove(1)
    for object_id in (7, 3):
        session.prompt(frame=0, object_id=object_id, **CLICK)
    with pytest.raises(PromptError, match="known objects: 3, 7"):
        session.remove(1)
    session.remove(7)
    assert session.objects == (3,)


def test_reset_forgets_all_objects(session: VideoSession) -> None:
    session.prompt(frame=0, object_id=1, **CLICK)
    session.reset()
    assert session.objects == ()
    with pytest.raises(PromptError, match="nothing to propagate"):
        session.propagate()


def test_closed_session_says_so() -> None:
    session, _ = make_session()
    session.prompt(frame=0, object_id=1, **CLICK)
    running = session.propagate()
    next(running)
    session.close()
    session.close()
    for use in (
        lambda: next(running),
        lambda: session.prompt(frame=0, object_id=1, **CLICK),
        session.propagate,
        session.reset,
        lambda: session.remove(1),
        lambda: session.clear(0, 1),
    ):
        with pytest.raises(Sam2VideoError, match="closed"):
            use()


# Bad input


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"frame": 12}, r"frame 12 is outside this clip \(0..11\)"),
        ({"frame": -1}, "whole number"),
        ({"frame": 1.5}, "whole number"),
        ({"object_id": -2}, "object_id must be a whole number"),
        ({"object_id": "cat"}, "object_id must be a whole number"),
        ({"object_id": 10**21}, "object id 10{21} is too large; the largest is 9007199254740992"),
    ],
)
def test_bad_frames_and_objects_are_refused(
    session: VideoSession, given: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(PromptError, match=complaint):
        session.prompt(**{"frame": 0, "object_id": 1, **CLICK, **given})  # type: ignore[arg-type]


def test_frame_beyond_a_clip_of_unknown_length_is_refused() -> None:
    session, _ = make_session(iter(clip()))
    with pytest.raises(PromptError, match="frame 40 is outside this clip"):
        session.prompt(frame=40, object_id=1, **CLICK)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"direction": "up"}, "choose 'forward'"),
        ({"start": 12}, "start 12 is outside"),
        ({"stride": 0}, "at least 1"),
        ({"stride": -1}, "whole number"),
        ({"start": 5, "stop": 3}, "never reaches stop=3"),
        ({"direction": "backward", "start": 3, "stop": 5}, "never reaches stop=5"),
        ({"direction": "both", "start": 5, "stop": 3}, "never reaches stop=3"),
    ],
)
def test_bad_passes_are_refused_at_once(session: VideoSession, given: dict[str, Any], complaint: str) -> None:
    session.prompt(frame=0, object_id=1, **CLICK)
    with pytest.raises(PromptError, match=complaint):
        session.propagate(**given)


def test_unknown_retention_is_refused() -> None:
    with pytest.raises(ValueError, match="choose 'all' or 'window'"):
        SessionOptions(retain="none")  # type: ignore[arg-type]
