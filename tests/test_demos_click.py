"""demos/click_opencv.py: the real program, before a screen that plays the part of the user."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from sam2_video.video_predictor import VideoPredictor

Run = Callable[..., None]
Step = str | tuple[Any, ...]
ON, ELSEWHERE = ("left", 13, 16), ("left", 60, 40)


class Screen:
    """OpenCV's windows without a display: each time the program looks, the next step of a script happens.

    A step is a key, or ("left" | "right" | "alt", x, y), ("drag", x0, y0, x1, y1), ("close",), ("wait",).
    """

    def __init__(self, patch: pytest.MonkeyPatch, script: list[Step]) -> None:
        self.script = script
        self.titles: list[str] = []
        self.pictures: list[np.ndarray] = []  # BGR
        self.open = 0
        self.visible = 1.0
        self.heard: Any = None
        for name in ("currentUIFramework", "namedWindow", "resizeWindow", "setMouseCallback", "waitKey",
                     "setWindowTitle", "imshow", "getWindowProperty", "destroyWindow"):  # fmt: skip
            patch.setattr(cv2, name, getattr(self, name))
        patch.setenv("DISPLAY", ":0")

    def currentUIFramework(self) -> str:
        return "QT5"

    def namedWindow(self, name: str, flags: int) -> None:
        self.open += 1

    def resizeWindow(self, name: str, width: int, height: int) -> None:
        pass

    def setMouseCallback(self, name: str, heard: Any) -> None:
        self.heard = heard

    def setWindowTitle(self, name: str, title: str) -> None:
        self.titles.append(title)

    def imshow(self, name: str, picture: np.ndarray) -> None:
        self.pictures.append(picture.copy())

    def getWindowProperty(self, name: str, which: int) -> float:
        return self.visible

    def destroyWindow(self, name: str) -> None:
        self.open -= 1

    def waitKey(self, wait_ms: int) -> int:
        step = self.script.pop(0) if self.script else "q"
        if isinstance(step, str):
            return ord(step)
        kind, *where = step
        if kind == "close":
            self.visible = 0.0
        elif kind == "right":
            self.heard(cv2.EVENT_RBUTTONDOWN, *where, 0, None)
        elif kind in ("left", "alt", "drag"):
            flags = cv2.EVENT_FLAG_ALTKEY if kind == "alt" else 0
            self.heard(cv2.EVENT_LBUTTONDOWN, *where[:2], flags, None)
            self.heard(cv2.EVENT_LBUTTONUP, *where[-2:], flags, None)
        return -1


@pytest.fixture
def play(run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Screen]:
    def play(*script: Step) -> Screen:
        screen = Screen(monkeypatch, list(script))
        run("click_opencv", "clip", "out")
        assert not screen.script, "all of the script was played"
        return screen

    return play


def frames_shown(screen: Screen) -> list[int]:
    return [int(title.split(",")[0].removeprefix("frame ")) for title in screen.titles]


def said(path: str = "out/work.sam2") -> dict[tuple[int, int], Any]:
    """What a saved session was told, by object and frame."""
    with VideoPredictor.from_pretrained("toy.safetensors").resume(path) as session:
        return {(k, f): p for k in session.objects for f, p in session.track(k).prompts.items()}


def test_click_drag_track_and_save(play: Callable[..., Screen]) -> None:
    screen = play(ON, "n", ("drag", 75, 44, 50, 30), " ", ("wait",), ("wait",), ("wait",), ("wait",), "s")
    assert screen.open == 0
    assert frames_shown(screen) == [0, 0, 0, 0, 0, 1, 2, 2, 2, 2] or frames_shown(screen)[-1] == 2
    assert not np.array_equal(screen.pictures[0], screen.pictures[1]), "the click shows"
    assert (
        "object 2" in screen.titles[2]
        and "tracking" in screen.titles[4]
        and "saved in out" in screen.titles[-1]
    )
    assert sorted(path.name for path in Path("out").iterdir()) == ["masks", "work.sam2"]
    assert sorted(path.name for path in Path("out/masks").iterdir()) == [f"{k:05d}.png" for k in range(3)]
    told = said()
    assert list(told) == [(1, 0), (2, 0)]
    assert told[1, 0].points == ((13, 16),) and told[1, 0].labels == (1,)
    assert told[2, 0].box == (50, 30, 75, 44)


def test_right_and_alt_click_are_off_the_object_and_u_takes_back(play: Callable[..., Screen]) -> None:
    screen = play(ON, ("right", 60, 40), ("alt", 70, 5), "u", "s")
    assert said()[1, 0].labels == (1, 0) and said()[1, 0].points == ((13, 16), (60, 40))
    assert np.array_equal(screen.pictures[4], screen.pictures[2]), "as it was before the last click"


def test_pause_go_back_correct_and_track_on(play: Callable[..., Screen]) -> None:
    track = (" ", ("wait",), ("wait",))
    screen = play(ON, *track, " ", "a", ELSEWHERE, *track, ("wait",), "s")
    assert list(said()) == [(1, 0), (1, 1)], "the correction is on frame 1"
    frames = frames_shown(screen)
    turn = frames.index(1, frames.index(2))  # gone back
    assert frames[turn - 1] == frames[-1] == 2
    predictor = VideoPredictor.from_pretrained("toy.safetensors")
    with predictor.open("clip") as session, predictor.resume("out/work.sam2") as saved:
        session.prompt(frame=0, object_id=1, points=[ON[1:]])
        before = list(session.propagate())[2].logits
        session.prompt(frame=1, object_id=1, points=[ELSEWHERE[1:]])
        after = list(session.propagate(start=1))[-1].logits
        assert torch.equal(list(saved.results())[2].logits, after), "frame 2 was tracked again"
        assert not torch.equal(before, after)
    assert "tracking" in screen.titles[turn + 2] and "paused" not in screen.titles[-1]


def test_what_cannot_be_done_is_told_in_the_title(play: Callable[..., Screen]) -> None:
    screen = play(("right", 5, 5), "u", ("left", 500, 5), " ", "a", "d", "d", "d", "x")
    notes = [title.split(": ", 1)[1] for title in screen.titles]
    assert "left button first" in notes[1] and "undo" in notes[2] and "outside" in notes[3]
    assert "nothing to propagate" in notes[4]
    assert frames_shown(screen)[-4:] == [1, 2, 2, 2] and notes[-1] != notes[-2], "the clip ends with frame 2"


def test_closing_the_window_ends_it(play: Callable[..., Screen]) -> None:
    assert play(ON, ("close",)).open == 0
    assert not Path("out").exists()


def test_an_opencv_without_windows_is_explained(run: Run) -> None:
    """This environment has opencv-python-headless."""
    with pytest.raises(
        SystemExit, match="pip uninstall opencv-python-headless, then pip install opencv-python"
    ):
        run("click_opencv", "clip", "out")


@pytest.mark.skipif(os.name != "posix", reason="displays have names on X and Wayland only")
def test_a_machine_without_a_display_is_explained(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Screen(monkeypatch, [])
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(SystemExit, match="needs a display"):
        run("click_opencv", "clip", "out")
