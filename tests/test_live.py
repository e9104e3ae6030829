"""Live sources: queue, drop policies, loss and return, shutdown; real streams of this machine."""

from __future__ import annotations

import gc
import io
import itertools
import os
import select
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sam2_video.sinks import VideoWriter
from sam2_video.sources import EndOfClip, VideoSource, live, open_source
from sam2_video.sources.base import Rgb
from sam2_video.sources.live import LiveOptions, LiveSource, is_live, open_live
from sam2_video.types import SourceError
from sam2_video.video_predictor import VideoPredictor
from tests.live_servers import FFMPEG, mjpeg_server, number_of, rtsp_server, shades
from tests.toys import toy_clip, toy_model

SOON = 10.0  # seconds that nothing here should take


class FakeCapture:
    """Frames 0, 1, 2, ... as `shades`; each waits for leave where there is a gate."""

    def __init__(self, count: int, gate: threading.Semaphore | None = None, finite: bool = False) -> None:
        self.fps: float | None = 30.0
        self.finite = finite
        self.frames = iter(shades(count) if count < 50 else shades(1) * count)
        self.gate = gate
        self.closed = False
        self.asked = 0

    def read(self) -> Rgb | None:
        self.asked += 1
        if self.gate is not None:
            self.gate.acquire()
        return next(self.frames, None)

    def close(self) -> None:
        self.closed = True


def fake(capture: FakeCapture, **options: Any) -> LiveSource:
    return LiveSource("fake", lambda _: capture, LiveOptions(**options))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = [thread.name for thread in set(threading.enumerate()) - before if thread.name.startswith("decode")]
    assert left == []


# --- the queue ---


def test_all_frames_arrive_in_order() -> None:
    capture = FakeCapture(20)
    with fake(capture, drop="block") as source:
        assert isinstance(source, VideoSource)
        assert (source.size, source.fps, source.count) == ((48, 64), 30.0, None)
        assert [(frame, number_of(rgb)) for frame, rgb in source.frames()] == [(k, k) for k in range(20)]
        assert (source.count, source.decoded, source.dropped) == (20, 20, 0)
        with pytest.raises(EndOfClip):
            source.read(20)
    assert capture.closed


def test_block_loses_nothing_and_lets_the_decoder_wait() -> None:
    capture = FakeCapture(30)
    with fake(capture, drop="block", queue=3) as source:
        # Three frames wait, one is in the decoder's hand, and it asks for no other.
        wait_until(lambda: capture.asked == 4)
        time.sleep(0.1)
        assert capture.asked == source.decoded == 4
        assert [number_of(rgb) for _, rgb in source.frames()] == list(range(30))
        assert source.dropped == 0


def test_drop_oldest_keeps_the_newest_frames_and_counts_the_others() -> None:
    capture = FakeCapture(30)
    with fake(capture, drop="drop-oldest", queue=3) as source:
        wait_until(lambda: capture.closed)  # the decoder never waits
        assert [number_of(rgb) for _, rgb in source.frames()] == [27, 28, 29]
        assert (source.decoded, source.dropped, source.count) == (30, 27, 3)


def test_a_reader_that_keeps_up_loses_nothing() -> None:
    gate = threading.Semaphore(1)
    with fake(FakeCapture(12, gate), drop="drop-oldest", queue=1) as source:
        for k in range(12):
            assert number_of(source.read(k)) == k
            gate.release()
        assert source.dropped == 0


def test_the_latest_frame_can_be_read_again_and_frames_can_be_skipped_but_not_got_back() -> None:
    with fake(FakeCapture(9), drop="block") as source:
        assert source.time(0) is None
        assert number_of(source.read(2)) == number_of(source.read(2)) == 2
        assert number_of(source.read(6)) == 6
        with pytest.raises(SourceError, match="frame 5 of fake has passed"):
            source.read(5)
        assert number_of(source.read(6)) == 6


def test_frames_know_when_they_were_decoded() -> None:
    gate = threading.Semaphore(1)
    with fake(FakeCapture(3, gate)) as source:
        source.read(0)
        first = source.arrived
        assert first <= time.monotonic() and source.time(0) == 0.0
        time.sleep(0.05)
        gate.release()
        source.read(1)
        assert source.arrived - first >= 0.05 and source.time(1) == source.arrived - first
        assert source.time(0) is None
        gate.release(5)


# --- the end, and loss ---


class Broken(FakeCapture):
    """Two frames, then something goes wrong."""

    def __init__(self, error: Exception) -> None:
        super().__init__(2)
        self.error = error

    def read(self) -> Rgb | None:
        rgb = super().read()
        if rgb is None:
            raise self.error
        return rgb


def test_what_goes_wrong_while_decoding_reaches_the_reader_after_the_frames_before_it() -> None:
    for error, words in (
        (SourceError("the cable is out"), "the cable is out"),
        (ValueError("bug 7"), "decoding fake failed: ValueError.*bug 7"),
    ):
        with fake(Broken(error), drop="block") as source:
            assert number_of(source.read(1)) == 1
            for _ in range(2):
                with pytest.raises(SourceError, match=words) as caught:
                    source.read(2)
            assert not isinstance(caught.value, EndOfClip)


def test_a_source_that_cannot_be_opened_or_is_empty_says_so_at_once() -> None:
    def refuse(_: Any) -> Any:
        raise SourceError("no such camera")

    with pytest.raises(SourceError, match="no such camera"):
        LiveSource("fake", refuse, LiveOptions(reconnect=True))
    with pytest.raises(SourceError, match="ended before its first frame"):
        fake(FakeCapture(0))


def test_patience_ends() -> None:
    gate = threading.Semaphore(1)
    capture = FakeCapture(3, gate)
    source = fake(capture, patience=0.1)
    source.read(0)
    with pytest.raises(SourceError, match=r"no frame came after frame 0 for 0\.1 s"):
        source.read(1)
    gate.release()  # it was only slow: reading can go on
    wait_until(lambda: source.decoded == 2)
    assert number_of(source.read(1)) == 1
    gate.release(5)
    source.close()


def test_a_lost_stream_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "RETRY_SECONDS", 0.01)
    captures = [FakeCapture(2), Broken(SourceError("cut")), FakeCapture(3), FakeCapture(0, finite=True)]
    opened = iter(captures)
    with LiveSource("fake", lambda _: next(opened), LiveOptions("block", reconnect=True)) as source:
        assert [number_of(rgb) for _, rgb in source.frames()] == [0, 1, 0, 1, 0, 1, 2]
        assert source.reconnects == 2 and source.count == 7
    assert all(capture.closed for capture in captures)


def test_a_stream_that_stays_lost_is_given_up_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "RETRY_SECONDS", 0.01)
    captures: list[FakeCapture] = [FakeCapture(1)]

    def open_again(_: Any) -> FakeCapture:
        if captures:
            return captures.pop()
        raise SourceError("nobody answers")

    options = LiveOptions("block", patience=0.8, reconnect=True)
    with LiveSource("fake", open_again, options) as source:
        source.read(0)
        with pytest.raises(SourceError, match=r"no frame came after frame 0 for 0\.8 s \(nobody answers\)"):
            source.read(1)


def test_a_stream_that_knows_its_length_ends_where_it_ends() -> None:
    with fake(FakeCapture(3, finite=True), drop="block", reconnect=True) as source:
        assert len(list(source.frames())) == 3 and source.reconnects == 0


def test_frames_of_another_size_end_the_stream() -> None:
    class Growing(FakeCapture):
        def read(self) -> Rgb | None:
            rgb = super().read()
            return np.zeros((9, 9, 3), np.uint8) if self.asked == 3 else rgb

    with fake(Growing(5), drop="block", reconnect=True) as source:
        source.read(1)
        with pytest.raises(SourceError, match="frame 2 of fake is 9x9, but the first one is 64x48"):
            source.read(2)


@pytest.mark.parametrize("drop", ["block", "drop-oldest"])
def test_an_endless_stream_is_closed_early(drop: Any) -> None:
    capture = FakeCapture(100_000)
    source = fake(capture, drop=drop)
    source.read(3)
    source.close()
    source.close()
    assert capture.closed and not source._thread.is_alive()
    with pytest.raises(SourceError, match="closed"):
        source.read(9)


@pytest.mark.parametrize("drop", ["block", "drop-oldest"])
def test_a_source_that_is_dropped_without_being_closed_ends_its_thread(drop: Any) -> None:
    capture = FakeCapture(1)
    capture.frames = itertools.repeat(shades(1)[0])
    source = fake(capture, drop=drop)
    source.read(3)
    thread, alive = source._thread, weakref.ref(source)
    del source
    gc.collect()
    assert alive() is None
    thread.join(SOON)
    assert capture.closed and not thread.is_alive()


def test_wrong_options_are_refused() -> None:
    for wrong in ({"drop": "newest"}, {"queue": 0}, {"patience": 0}):
        with pytest.raises(SourceError, match=next(iter(wrong))):
            LiveOptions(**wrong)  # type: ignore[arg-type]


# --- what is a live source ---


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        *((source, True) for source in ("0", "12", 0, 3, "-", "rtsp://a/b", "RTSP://a/b", "udp://@:1234")),
        *((source, True) for source in ("srt://a:1", "rtmp://a/b")),
        *((source, False) for source in ("./0", "clip.mp4", "frames", "https://a.b/c/clip.MP4", "-1", -1)),
        *((source, False) for source in ("http://a/photo.jpg", "file:///clip.mp4", True, None, 2.0, "")),
    ],
)
def test_live_sources_are_told_from_files(source: Any, expected: bool) -> None:
    assert is_live(source) == expected


def test_of_web_addresses_without_a_suffix_the_server_is_asked() -> None:
    with mjpeg_server(shades(6)) as (url, visits):
        assert is_live(url) and len(visits) == 1
        with open_source(url) as source:
            assert isinstance(source, LiveSource) and number_of(source.read(0)) == 0
    with pytest.raises(SourceError, match=r"cannot read .*: no connection"):
        is_live("http://127.0.0.1:9/x")


def test_open_source_knows_live_sources(tmp_path: Path) -> None:
    for camera in (97, "97"):
        with pytest.raises(SourceError, match="camera 97 cannot be opened"):
            open_source(camera)
    with pytest.raises(SourceError, match=r"^rtsp://127\.0\.0\.1:9/a cannot be opened"):
        open_source("rtsp://127.0.0.1:9/a")
    with pytest.raises(SourceError, match="unknown kind of address; expected file://"):
        open_source("gopher://a/b")


def test_a_named_pipe_is_live_and_a_file_is_not(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file.mp4").touch()
    assert is_live(tmp_path / "pipe") and is_live(str(tmp_path / "pipe"))
    assert not is_live(tmp_path / "file.mp4") and not is_live(tmp_path)


def test_what_is_no_live_source_cannot_be_opened_as_one() -> None:
    with pytest.raises(SourceError, match=r"'clip\.mp4' is no live source; expected the number of a camera"):
        open_live("clip.mp4")


def test_a_camera_that_is_not_there() -> None:
    with pytest.raises(SourceError, match="camera 97 cannot be opened: there is none"):
        open_live(97)


def test_an_address_where_nobody_listens_and_passwords_are_not_shown() -> None:
    with pytest.raises(SourceError) as caught:
        open_live("rtsp://ann:secret@127.0.0.1:9/door")
    assert str(caught.value).startswith("rtsp://ann:***@127.0.0.1:9/door cannot be opened")
    assert "secret" not in str(caught.value)


# --- real streams ---


def test_mjpeg_over_http_and_back_after_a_loss() -> None:
    with mjpeg_server(shades(6)) as (url, visits), open_live(url, drop="block") as source:
        assert source.size == (48, 64)
        got = [number_of(source.read(k)) for k in range(9)]
        assert got == [0, 1, 2, 3, 4, 5, 0, 1, 2]
        assert source.reconnects == 1 and len(visits) == 2 and source.dropped == 0


def test_a_slow_reader_of_mjpeg_sees_what_is_new() -> None:
    with (
        mjpeg_server(shades(40), seconds=0.005, endless=True) as (url, _),
        open_live(url, queue=1) as source,
    ):
        source.read(0)
        busy_since = time.monotonic()
        wait_until(lambda: source.dropped > 5)
        source.read(1)
        assert source.arrived > busy_since  # not the frame that came right after the first


def test_rtsp(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "clip.mp4", 20) as writer:
        for rgb in shades(12, (64, 96)):
            writer.write(rgb)
    with rtsp_server(tmp_path / "clip.mp4") as url, open_live(url, drop="block") as source:
        assert source.size == (64, 96) and source.fps == 20
        got = [number_of(source.read(k)) for k in range(20)]
        assert all(right == (left + 1) % 12 for left, right in pairwise(got)), got


def ffmpeg(*output: str, count: int = 8) -> list[str]:
    """A command that draws frames as `shades` does and writes them as told."""
    drawn = f"color=black:size=64x48:rate=10,format=gray,geq=lum='20+4*N',trim=end_frame={count}"
    return [FFMPEG, "-v", "error", "-f", "lavfi", "-i", drawn, *output]


CONTAINERS = {
    "mpegts": ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-f", "mpegts"),
    "mkv": ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-f", "matroska"),
    "fragmented mp4": ("-c:v", "libx264", "-movflags", "frag_keyframe+empty_moov", "-f", "mp4"),
    "mjpeg": ("-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-f", "mjpeg"),
    "y4m": ("-pix_fmt", "yuv420p", "-f", "yuv4mpegpipe"),
}


class Piped:
    """Has a command's output as the standard input of this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, command: Sequence[str]) -> None:
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(self.process.stdout))

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        sys.stdin.close()


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_container_through_standard_input(container: str, monkeypatch: pytest.MonkeyPatch) -> None:
    piped = Piped(monkeypatch, ffmpeg(*CONTAINERS[container], "-"))
    with open_live("-", queue=1) as source:
        assert [number_of(rgb) for _, rgb in source.frames()] == list(range(8))
        assert source.size == (48, 64) and source.fps is not None and source.dropped == 0
    piped.end()


@pytest.mark.parametrize("pixels", ["rgb24", "bgr24", "gray", "yuv420p"])
def test_raw_frames_through_standard_input(pixels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    piped = Piped(monkeypatch, ffmpeg("-pix_fmt", pixels, "-f", "rawvideo", "-"))
    with open_live("-", size=(48, 64), pixels=pixels) as source:
        assert [number_of(rgb) for _, rgb in source.frames()] == list(range(8))
    piped.end()


def test_colours_of_raw_frames_are_not_mixed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for pixels in ("rgb24", "bgr24", "yuv420p"):
        drawn = ["-f", "lavfi", "-i", "color=red:size=16x16,trim=end_frame=1"]
        command = [FFMPEG, "-v", "error", *drawn, "-pix_fmt", pixels, "-f", "rawvideo", "-"]
        piped = Piped(monkeypatch, command)
        with open_live("-", size=(16, 16), pixels=pixels) as source:
            red, green, blue = source.read(0).reshape(-1, 3).mean(axis=0)
            assert red > 240 and green < 12 and blue < 12
        piped.end()


def test_a_pipe_that_ends_inside_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    piped = Piped(monkeypatch, ffmpeg("-pix_fmt", "rgb24", "-f", "rawvideo", "-", count=3))
    with open_live("-", size=(48, 60)) as source:
        with pytest.raises(
            SourceError, match=r"ended inside a frame, after 1728 of its 8640 bytes.*60x48 rgb24"
        ):
            list(source.frames())
    piped.end()


@pytest.mark.parametrize(
    ("sent", "words"),
    [("print('hello ' * 999)", "holds no container"), ("pass", "holds no container|ended before")],
)
def test_a_pipe_without_video(sent: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    piped = Piped(monkeypatch, [sys.executable, "-c", sent])
    with pytest.raises(SourceError, match=words):
        open_live("-")
    piped.end()


def test_a_process_without_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(SourceError, match="cannot read the pipe on standard input"):
        open_live("-")


def test_wrong_pixels_are_refused() -> None:
    with pytest.raises(SourceError, match="'rgb48'; expected one of rgb24, bgr24, gray, yuv420p"):
        open_live("-", size=(4, 4), pixels="rgb48")


def test_odd_frames_cannot_be_yuv420p(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match="no frames of 5x4 yuv420p"):
        open_live(tmp_path / "pipe", size=(4, 5), pixels="yuv420p")


def test_a_named_pipe_that_is_opened_before_its_writer(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    command = ffmpeg("-y", "-pix_fmt", "rgb24", "-f", "rawvideo", str(pipe))
    writers = []
    timer = threading.Timer(0.3, lambda: writers.append(subprocess.Popen(command)))
    timer.start()
    with open_live(str(pipe), size=(48, 64)) as source:
        assert [number_of(rgb) for _, rgb in source.frames()] == list(range(8))
    timer.join()
    assert writers[0].wait() == 0


def test_a_named_pipe_has_not_ended_before_it_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Systems other than Linux say that a pipe without a writer can be read, and then nothing is."""
    calls = iter(range(3))
    real = select.select

    def hasty(reading: Any, *rest: Any) -> Any:
        return (reading, [], []) if next(calls, None) is not None else real(reading, *rest)

    monkeypatch.setattr(select, "select", hasty)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match=r"no frame came for 0\.8 s"):
        open_live(str(tmp_path / "pipe"), size=(48, 64), patience=0.8)
    assert next(calls, None) is None, "it was asked again"


def test_a_named_pipe_that_nobody_writes_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match=r"the pipe .*: no frame came for 0\.2 s"):
        open_live(str(tmp_path / "pipe"), size=(48, 64), patience=0.2)


def test_a_pipe_that_stalls_is_closed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = "import os, time; os.write(1, bytes(48 * 64 * 3 + 5)); time.sleep(60)"
    piped = Piped(monkeypatch, [sys.executable, "-c", sent])
    with open_live("-", size=(48, 64)) as source:
        source.read(0)
    assert not source._thread.is_alive()
    piped.end()


# --- with a session ---


def test_a_session_tracks_a_live_source_as_it_tracks_the_clip() -> None:
    clip, said = toy_clip(9), {"frame": 0, "object_id": 1, "points": [(12, 14)]}

    class Camera(FakeCapture):
        def __init__(self) -> None:
            super().__init__(0)
            self.frames = iter(clip)

    def track(source: Any) -> list[Any]:
        with VideoPredictor(toy_model()).open(source, retain="window") as session:
            session.prompt(**said)
            return list(session.propagate())

    filmed = track(fake(Camera(), drop="block"))
    assert [result.frame for result in filmed] == list(range(9))
    # A generator's length is not known either, which the time code of pointers depends on.
    for left, right in zip(filmed, track(iter(clip)), strict=True):
        assert left.logits.equal(right.logits)
