"""Looking ahead and writing behind: threads change no result, are bounded, and end with the work."""

from __future__ import annotations

import threading
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sam2_video import VideoPredictor
from sam2_video.ahead import Ahead, Lookahead
from sam2_video.session import VideoSession
from sam2_video.sinks import BaseSink
from sam2_video.sinks.behind import WriteBehind
from sam2_video.sources import FrameArrays, SharedSource, open_source, shared
from sam2_video.types import FrameResult, SinkError, SourceError
from tests.clips import disc_result, write_clip
from tests.fakes import CLICK, NumberDriver, masks, numbered_clip
from tests.toys import toy_clip, toy_model

FRAMES = 14
WAYS: list[dict[str, Any]] = [
    {},
    {"direction": "backward"},
    {"direction": "both"},
    {"direction": "both", "stride": 3},
    {"stride": 2, "start": 1, "stop": 11},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "frames"
    made.mkdir()
    for k, picture in enumerate(numbered_clip(FRAMES)):
        Image.fromarray(picture).save(made / f"{k:05d}.png")
    return made


def opened(source: Any, encoders: int, device: str = "cpu") -> tuple[VideoSession, NumberDriver]:
    driver, how = NumberDriver(), Lookahead.of(encoders, device)
    session = VideoSession(shared(open_source(source), how.frames + 2), driver)
    session.look_ahead(how)
    session.prompt(frame=6, object_id=1, **CLICK)
    session.prompt(frame=2, object_id=2, **CLICK)
    return session, driver


def looking() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith(("ahead", "write-behind"))]


@pytest.mark.parametrize("encoders", [0, 1, 3])
@pytest.mark.parametrize("asked", WAYS, ids=str)
def test_results_are_those_of_looking_when_asked(folder: Path, asked: dict[str, Any], encoders: int) -> None:
    when_asked = NumberDriver()
    plain = VideoSession(open_source(folder), when_asked)
    plain.prompt(frame=6, object_id=1, **CLICK)
    plain.prompt(frame=2, object_id=2, **CLICK)
    session, driver = opened(folder, encoders)
    assert masks(session.propagate(**asked)) == masks(plain.propagate(**asked))
    assert sorted(driver.looks) == sorted(when_asked.looks), "more was encoded than needed"
    assert not looking()


def test_a_device_of_its_own_is_given_the_next_frame_before_this_one_is_tracked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, _ = opened(folder, 0)
    session, driver = opened(folder, 0, "cuda")
    behind: list[int] = []  # frames between the one that is tracked and the one that was last looked at
    follow = driver.follow

    def following(features: Any, recalls: Any) -> Any:
        behind.append(driver.looks[-1] - features)
        return follow(features, recalls)

    monkeypatch.setattr(driver, "follow", following)
    monkeypatch.setattr(Ahead, "has", lambda self, frame: True)  # however fast reading is
    assert masks(session.propagate(start=2)) == masks(plain.propagate(start=2))
    assert behind.count(1) >= 8 and set(behind) <= {0, 1}
    assert not looking()


def test_pixels_masks_and_scores_are_the_same_to_the_last_bit(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", pictures=toy_clip(FRAMES, size=(48, 80)))
    found = []
    for ahead in (0, 2):
        with VideoPredictor(toy_model()).open(clip, ahead=ahead) as session:
            session.prompt(frame=4, object_id=1, points=[(25, 25)], labels=[1])
            found.append([(r.frame, r.logits, r.iou) for r in session.propagate("both")])
    for (a, logits, iou), (b, other, iou_too) in zip(*found, strict=True):
        assert a == b and bool((logits == other).all()) and bool((iou == iou_too).all())


def test_nothing_is_read_beyond_what_was_announced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session, driver = opened(folder, 2)
    reads: list[int] = []
    inner = session.source.inner  # type: ignore[attr-defined]
    read = inner.read
    monkeypatch.setattr(inner, "read", lambda frame: (reads.append(frame), read(frame))[1])
    driver.looks.clear()  # at prompts
    walk = session.propagate(start=2, stop=10)
    for result in islice(walk, 3):
        assert max([*reads, *driver.looks]) <= result.frame + 2
    list(walk)
    assert max(reads) == 9, "the pass ends at 10, and so does looking"
    assert len(reads) == len(set(reads))


def test_frames_that_nothing_is_tracked_on_are_not_looked_at(folder: Path) -> None:
    session, driver = opened(folder, 2)
    list(session.propagate())
    looks = len(driver.looks)
    list(session.propagate())
    assert len(driver.looks) == looks, "a pass made again costs nothing"
    assert 0 not in driver.looks and 1 not in driver.looks


def test_prompted_frames_are_not_looked_at_again(folder: Path) -> None:
    driver = NumberDriver()
    session = VideoSession(shared(open_source(folder), 4), driver)
    session.look_ahead(Lookahead.of(2))
    for frame in (3, 5, 6, 8, 9, 10, 12):
        session.prompt(frame=frame, object_id=1, **CLICK)
    driver.looks.clear()
    list(session.propagate())
    assert sorted(driver.looks) == [4, 7, 11, 13]


@pytest.mark.parametrize("ends", ["closed", "dropped", "session closed", "error"])
def test_no_thread_stays(folder: Path, ends: str) -> None:
    session, driver = opened(folder, 2)
    walk = session.propagate()
    next(walk), next(walk)
    assert looking()
    if ends == "closed":
        walk.close()
    elif ends == "dropped":
        del walk
    elif ends == "session closed":
        session.close()
    else:
        driver.follow = lambda *_: 1 // 0  # type: ignore[method-assign]
        with pytest.raises(ZeroDivisionError):
            next(walk)
    assert not looking()


@pytest.mark.parametrize("encoders", [0, 2])
def test_a_broken_frame_is_told_when_it_is_asked_for(folder: Path, encoders: int) -> None:
    (folder / "00009.png").write_bytes(b"no picture")
    session, _ = opened(folder, encoders)
    seen = []
    with pytest.raises(SourceError, match="00009"):
        for result in session.propagate():
            seen.append(result.frame)
    assert seen == list(range(2, 9)) and not looking()
    assert masks(session.propagate(stop=9)).keys() == set(range(2, 9))


def test_who_asks_again_does_not_send_the_decoder_back(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 30)
    source = open_source(clip)
    decoded: list[int] = []
    decode = source._decoder.read  # type: ignore[attr-defined]
    source._decoder.read = lambda: (decoded.append(1), decode())[1]  # type: ignore[attr-defined]
    driver = NumberDriver()
    driver.look = lambda rgb: int(rgb.sum())  # type: ignore[method-assign]
    session = VideoSession(shared(source, 4), driver)
    session.look_ahead(Lookahead.of(0))
    session.prompt(frame=0, object_id=1, **CLICK)
    with open_source(clip) as plain:
        for result in session.propagate():
            assert np.array_equal(session.source.read(result.frame), plain.read(result.frame))
    assert len(decoded) == 29  # all but the first, which was read on opening


def test_only_files_are_read_ahead(folder: Path) -> None:
    assert isinstance(shared(open_source(folder), 3), SharedSource)
    assert isinstance(shared(open_source(folder, stride=2), 3), SharedSource)
    arrays = FrameArrays(numbered_clip(3))
    assert shared(arrays, 3) is arrays
    mine = open_source(folder)
    with VideoPredictor(toy_model()).open(mine) as session:
        assert session.source is mine, "who opened it may be reading, too"


def test_a_shared_source_says_what_its_source_says(tmp_path: Path) -> None:
    from sam2_video.fingerprint import clip_fingerprint, source_files

    clip = write_clip(tmp_path / "clip.mp4", 12)
    with open_source(clip, stride=2) as plain, SharedSource(open_source(clip, stride=2), 2) as both:
        for name in ("name", "size", "fps", "count"):
            assert getattr(both, name) == getattr(plain, name)
        assert both.frame_name(3) == plain.frame_name(3) and both.time(3) == plain.time(3)
        assert clip_fingerprint(both) == clip_fingerprint(plain) and source_files(both) == (clip,)
        assert both.original(3) == 6 and not hasattr(both, "nothing of the kind")


def test_frames_are_read_in_order_while_others_are_made() -> None:
    reads: list[int] = []
    gate = threading.Event()

    def make(frame: int) -> int:
        if frame == 0:
            assert gate.wait(10)
        else:
            gate.set()  # in another thread, while frame 0 is still in the making
        return -frame

    ahead = Ahead(lambda frame: (reads.append(frame), frame)[1], make, threads=2)
    ahead.expect([0, 1])
    assert [ahead.take(0), ahead.take(1), ahead.take(7)] == [0, -1, -7]
    ahead.expect([2, 3])
    assert ahead.take(3) == -3 and ahead.waiting == 1
    ahead.expect([4])  # 2 is given up
    assert ahead.take(4) == -4 and ahead.waiting == 0
    ahead.rest()
    assert reads[:3] == [0, 1, 7] and not looking()


def test_one_thread_reads_at_a_time_and_in_order() -> None:
    finished: list[int] = []

    def read(frame: int) -> int:
        time.sleep(0.02 if frame % 2 == 0 else 0.0)  # odd ones would overtake
        finished.append(frame)
        return frame

    ahead = Ahead(read, int, threads=3)
    ahead.expect(range(6))
    assert [ahead.take(frame) for frame in range(6)] == list(range(6))
    ahead.rest()
    assert finished == list(range(6))


# Writing behind


class Noting(BaseSink):
    def __init__(self, fails_at: int | None = None, gate: threading.Event | None = None) -> None:
        self.seen: list[int] = []
        self.fails_at, self.gate, self.discarded = fails_at, gate, False

    def write(self, frame_rgb: Any, result: FrameResult, frame_name: str) -> None:
        if self.gate is not None:
            assert self.gate.wait(10)
        if result.frame == self.fails_at:
            raise SinkError("the disk is full")
        self.seen.append(result.frame)

    def discard(self) -> None:
        self.discarded = True


RGB = np.zeros((48, 64, 3), np.uint8)


def test_every_sink_gets_all_results_in_order() -> None:
    behind, sinks = WriteBehind(), [Noting(), Noting()]
    for frame in range(20):
        behind.write(sinks, RGB, disc_result(frame), str(frame))
    behind.settle()
    assert [sink.seen for sink in sinks] == [list(range(20))] * 2 and behind.written == 20
    behind.close()
    assert not looking()


def test_writing_waits_when_two_results_are_in_hand() -> None:
    gate, took = threading.Event(), []
    behind, sink = WriteBehind(), Noting(gate=gate)

    def feed() -> None:
        for frame in range(4):
            behind.write([sink], RGB, disc_result(frame), "")
            took.append(frame)

    feeder = threading.Thread(target=feed)
    feeder.start()
    deadline = time.monotonic() + 10
    while len(took) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    feeder.join(0.2)
    assert took == [0, 1]
    gate.set()
    feeder.join()
    behind.close()
    assert sink.seen == [0, 1, 2, 3]


def test_large_results_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sam2_video.sinks.behind.LARGE", 48 * 64)
    gate, behind, took = threading.Event(), WriteBehind(), []
    sink = Noting(gate=gate)

    def feed() -> None:
        for frame in range(2):
            behind.write([sink], RGB, disc_result(frame), "")
            took.append(frame)

    feeder = threading.Thread(target=feed)
    feeder.start()
    feeder.join(0.2)
    assert took == [0]
    gate.set()
    feeder.join()
    behind.close()


def test_the_first_error_ends_the_work_and_is_told() -> None:
    gate = threading.Event()
    gate.set()
    behind, first, second, third = WriteBehind(), Noting(), Noting(fails_at=3, gate=gate), Noting()
    with pytest.raises(SinkError, match="full"):
        for frame in range(20):
            if frame == 3:
                behind.settle()
                gate.clear()
            behind.write([first, second, third], RGB, disc_result(frame), "")
            if frame == 4:  # it waits while the one before fails
                gate.set()
    with pytest.raises(SinkError, match="full"):
        behind.settle()
    behind.close()
    assert behind.written == 3 and second.discarded and not first.discarded
    assert (first.seen, second.seen, third.seen) == ([0, 1, 2, 3], [0, 1, 2], [0, 1, 2])
    assert not looking()
