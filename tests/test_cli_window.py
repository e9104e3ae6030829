"""What clicks and keys do to a stream, and OpenCV's window by a stand-in of its module."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sam2_video.cli_window import Desk
from sam2_video.sources.base import Rgb
from sam2_video.types import Sam2VideoError
from sam2_video.video_predictor import VideoPredictor
from sam2_video.window import Click, Drag, Event, OpenCvWindow
from tests.toys import FRAME_SIZE, toy_clip, toy_model

ON, OFF = Click(12, 14, True), Click(60, 40, False)


class FakeWindow:
    """Does what a script says, one list of events per look."""

    def __init__(self, *script: list[Event]) -> None:
        self.script = list(script)
        self.titles: list[str] = []
        self.pictures: list[Rgb] = []
        self.closed = False

    def show(self, rgb: Rgb, title: str) -> None:
        self.pictures.append(rgb)
        self.titles.append(title)

    def events(self, wait_ms: int) -> list[Event]:
        return self.script.pop(0) if self.script else []

    def close(self) -> None:
        self.closed = True


def attend(*script: list[Event], frames: int = 1) -> tuple[Desk, FakeWindow, list[Any]]:
    window = FakeWindow(*script)
    stream = VideoPredictor(toy_model()).stream()
    desk, results = Desk(stream, window), []
    for rgb in toy_clip(frames):
        stream.step(rgb)
        results.append(desk.attend(rgb))
    return desk, window, results


def test_a_left_click_makes_an_object_and_a_right_click_corrects_it() -> None:
    desk, window, results = attend([ON], [], [OFF], frames=3)
    assert [result.object_ids for result in results] == [(1,)] * 3
    assert [result.prompted for result in results] == [(True,), (False,), (True,)]
    assert [(p.frame, p.object_id, p.prompt.points, p.prompt.labels) for p in desk.said] == [
        (0, 1, ((12.0, 14.0),), (1,)),
        (2, 1, ((60.0, 40.0),), (0,)),
    ]
    # Each frame is drawn when it comes, and again after a click.
    assert len(window.pictures) == 5
    assert not np.array_equal(window.pictures[0], window.pictures[1])


def test_number_keys_choose_the_object_that_clicks_are_about_and_d_drops_it() -> None:
    _, window, results = attend([ON, "3", Click(40, 20, True)], ["1", "d"], ["d"], frames=4)
    assert [result.object_ids for result in results] == [(1, 3), (3,), (3,), (3,)]
    assert "object 3" in window.titles[1]
    assert "no object 1 to drop" in window.titles[-2]


def test_space_stays_with_the_frame_until_space() -> None:
    _, window, results = attend([" "], [], [ON], [], [" "], [], frames=2)
    assert [result.object_ids for result in results] == [(1,), (1,)]
    assert [result.prompted for result in results] == [(True,), (False,)]
    assert [title.split(":")[0] for title in window.titles] == ["frame 0"] * 4 + ["frame 1"]
    assert ["paused" in title.split("(")[0] for title in window.titles] == [False, True, True, False, False]


def test_a_box_makes_an_object_and_is_noted() -> None:
    desk, _, results = attend([Drag((4, 7, 22, 25))], [Drag((4, 7, 500, 25))], frames=2)
    assert [result.object_ids for result in results] == [(1,), (1,)]
    assert [(p.frame, p.prompt.box, p.prompt.points) for p in desk.said] == [(0, (4, 7, 22, 25), ())]


def test_q_ends_it_also_while_paused() -> None:
    assert attend(["q"])[0].is_over
    assert attend([" "], [], ["q"])[0].is_over
    assert not attend(["x"], [])[0].is_over


def test_clicks_that_make_no_sense_are_explained_and_change_nothing() -> None:
    desk, window, results = attend([OFF], [Click(500, 3, True)], frames=2)
    assert [result.object_ids for result in results] == [(), ()] and not desk.said
    assert "left button first" in window.titles[1] and "outside" in window.titles[3]
    assert "outside" not in attend([Click(500, 3, True)], [], frames=2)[1].titles[-1]


# --- OpenCV ---


def stub_cv2(**changes: Any) -> Any:
    """As much of OpenCV as the window uses; calls are noted."""
    calls: list[tuple[Any, ...]] = []
    stub = SimpleNamespace(
        calls=calls,
        keys=[],
        visible=1.0,
        currentUIFramework=lambda: "QT5",
        namedWindow=lambda *a: calls.append(("open", *a)),
        resizeWindow=lambda *a: calls.append(("resize", *a)),
        setMouseCallback=lambda name, heard: setattr(stub, "mouse", heard),
        setWindowTitle=lambda name, title: calls.append(("title", title)),
        imshow=lambda name, bgr: calls.append(("show", bgr)),
        cvtColor=lambda rgb, code: rgb[..., ::-1],
        waitKey=lambda ms: stub.keys.pop(0) if stub.keys else -1,
        getWindowProperty=lambda name, which: stub.visible,
        destroyWindow=lambda name: calls.append(("close", name)),
    )
    numbers = ("WINDOW_NORMAL", "WINDOW_KEEPRATIO", "WINDOW_GUI_NORMAL", "COLOR_RGB2BGR", "WND_PROP_VISIBLE")
    events = ("LBUTTONDOWN", "LBUTTONUP", "RBUTTONDOWN", "MOUSEMOVE", "FLAG_ALTKEY")
    for number, name in enumerate((*numbers, *(f"EVENT_{event}" for event in events))):
        setattr(stub, name, 1 << number)
    for name, value in changes.items():
        setattr(stub, name, value)
    return stub


@pytest.fixture
def cv2(monkeypatch: pytest.MonkeyPatch) -> Any:
    stub = stub_cv2()
    monkeypatch.setitem(sys.modules, "cv2", stub)
    monkeypatch.setenv("DISPLAY", ":0")
    return stub


def test_the_window_shows_bgr_and_tells_of_clicks_and_keys(cv2: Any) -> None:
    window = OpenCvWindow("w")
    assert cv2.calls == [] and window.events(1) == []
    rgb = np.zeros((*FRAME_SIZE, 3), np.uint8)
    rgb[..., 0] = 9
    window.show(rgb, "first")
    window.show(rgb, "second")
    assert [call[0] for call in cv2.calls] == ["open", "resize", "title", "show", "title", "show"]
    assert cv2.calls[1][1:] == ("w", FRAME_SIZE[1], FRAME_SIZE[0])
    assert (cv2.calls[3][1][..., 2] == 9).all()
    cv2.mouse(cv2.EVENT_LBUTTONDOWN, 3, 3, 0, None)
    cv2.mouse(cv2.EVENT_LBUTTONUP, 3, 4, 0, None)
    cv2.mouse(cv2.EVENT_MOUSEMOVE, 9, 9, 0, None)
    cv2.mouse(cv2.EVENT_RBUTTONDOWN, 5, 6, 0, None)
    cv2.keys = [ord("2") | 1 << 20, 27, ord(" ")]  # some builds set higher bits for Caps Lock and the like
    assert window.events(1) == [Click(3, 4, True), Click(5, 6, False), "2"]
    assert window.events(1) == ["q"] and window.events(1) == [" "] and window.events(1) == []
    window.close()
    window.close()
    assert [call for call in cv2.calls if call[0] == "close"] == [("close", "w")]


def test_a_drag_is_a_box_and_alt_makes_a_click_off_the_object(cv2: Any) -> None:
    window = OpenCvWindow("w")
    window.show(np.zeros((*FRAME_SIZE, 3), np.uint8), "")
    cv2.mouse(cv2.EVENT_LBUTTONUP, 1, 1, 0, None)  # pressed elsewhere
    cv2.mouse(cv2.EVENT_LBUTTONDOWN, 30, 9, 0, None)
    cv2.mouse(cv2.EVENT_LBUTTONUP, 12, 24, 0, None)
    cv2.mouse(cv2.EVENT_LBUTTONDOWN, 7, 8, cv2.EVENT_FLAG_ALTKEY, None)
    cv2.mouse(cv2.EVENT_LBUTTONUP, 7, 8, cv2.EVENT_FLAG_ALTKEY, None)
    assert window.events(1) == [Drag((12, 9, 30, 24)), Click(7, 8, False)]


def test_closing_the_window_is_q(cv2: Any) -> None:
    window = OpenCvWindow("w")
    window.show(np.zeros((*FRAME_SIZE, 3), np.uint8), "")
    cv2.visible = 0.0
    assert window.events(1) == ["q"]


def test_an_opencv_without_windows_is_explained() -> None:
    """This environment has opencv-python-headless."""
    with pytest.raises(
        Sam2VideoError, match="pip uninstall opencv-python-headless, then pip install opencv-python"
    ):
        OpenCvWindow("w")


def test_a_machine_without_a_display_is_explained(cv2: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(Sam2VideoError, match="needs a display"):
        OpenCvWindow("w")
