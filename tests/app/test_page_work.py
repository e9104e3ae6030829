"""The page of a clip in a real browser, against a real server with the bundled model."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sam2_video.demo_clip import BALL, CAT, draw_demo_clip
from tests.app.browsing import Server, Tab, export, labels, scene, serving, sheet, tab
from tests.evaluation.test_report_page import browser as browser  # a fixture
from tests.paths import SHARED, needs_shared

pytestmark = pytest.mark.slow
FRAMES = scene().frames
CLIPS = ("walk.mp4", "paint.mp4", "keys.mp4", "scrub.mp4")
REAL = 25  # frames that are tracked of a real clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the same clip under several names, so that tests do not share their work."""
    path = tmp_path_factory.mktemp("clips")
    data = draw_demo_clip(path / CLIPS[0], FRAMES).path.read_bytes()
    for name in CLIPS[1:]:
        (path / name).write_bytes(data)
    return path


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(folder, tmp_path_factory.mktemp("state")) as running:
        yield running


def distance(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    return float(np.abs(np.subtract(one, other)).max())


def overlap(mask: Any, truth: Any) -> float:
    return float((mask & truth).sum() / (mask | truth).sum())


def test_the_way_of_a_person(browser: Any, server: Server, tmp_path: Path) -> None:
    """Open, click, see the mask, track, correct, track on, export, reload."""
    shots: list[tuple[str, bytes]] = []
    truth = scene().render(0)[1]
    with tab(browser, server) as at:
        page = at.page

        def shoot(title: str) -> None:
            shots.append((title, page.screenshot()))

        shoot("start")
        at.open("walk.mp4")
        assert "token" not in page.url
        ball, cat = scene().click(BALL), scene().click(CAT)
        near = (ball[0] + 9, ball[1] + 6)  # beside the mark of the click, on the ball
        before, wall = at.colour(*near), at.colour(240, 20)
        shoot("opened")
        at.click(*ball)
        page.wait_for_selector("#objects .chosen >> text=IoU")
        assert distance(at.colour(*near), before) > 25 and distance(at.colour(240, 20), wall) < 3
        page.click("#add-object")
        page.wait_for_selector("#objects li:nth-child(2).chosen")
        at.click(*cat)
        page.wait_for_selector("#objects li:nth-child(2) >> text=IoU")
        shoot("two objects")
        assert [(one["object"], one["points"]) for one in at.session["prompts"]] == [
            (1, [list(ball)]),
            (2, [list(cat)]),
        ]

        page.click("#track")
        page.wait_for_selector("#progress-about >> text=frames/s")
        shoot("tracking")
        at.wait_for_task("done")
        page.wait_for_selector("#progress-about >> text=done")
        at.wait_for_frame()
        assert at.frame == FRAMES - 1, "the canvas was taken along"
        assert at.session["known"] == [[0, FRAMES - 1]]
        shoot("tracked")

        page.fill("#frame-number", "20")
        page.keyboard.press("Enter")
        at.wait_for_frame()
        page.click("#objects li:nth-child(2) .choose")
        there = scene().click(CAT, 20)
        at.click(*there)
        page.wait_for_selector("#here-about >> text=1 click")
        at.click(10, 10, button="right")
        page.wait_for_selector("#here-about >> text=1 click on background")
        shoot("corrected")
        page.click("#track")
        page.wait_for_selector("#progress-about >> text=frames/s")
        at.wait_for_task("done")
        assert [one["frame"] for one in at.session["prompts"]] == [0, 0, 20]

        masks = labels(export(at, "masks"))
        assert len(masks) == FRAMES and {1, 2} <= set(np.unique(masks[5]))
        assert overlap(masks[0] == BALL, truth[BALL]) > 0.6
        assert masks[0][cat[1], cat[0]] == CAT and masks[20][there[1], there[0]] == CAT
        assert masks[20][10, 10] == 0, "where background was clicked"

        page.fill("#frame-number", "7")
        page.keyboard.press("Enter")
        at.wait_for_frame()
        at.until(lambda: page.url.endswith("/7"))
        page.reload()
        at.wait_for_frame()
        assert at.frame == 7
        assert page.locator("#objects .more").all_inner_texts()[0].startswith("IoU")
        shoot("after a reload")
        page.click("#export")
        page.wait_for_selector("#exports a")
        shoot("export")
        at.check()
    assert sheet(shots, tmp_path / "page_work.png").stat().st_size > 100_000


def test_masks_are_painted_boxed_cleared_and_taken_back(browser: Any, server: Server) -> None:
    with tab(browser, server) as at:
        page = at.page
        at.open("paint.mp4")
        at.drag((30, 140), (105, 222))  # a box around the ball
        page.wait_for_selector("#here-about >> text=a box")
        (prompt,) = at.session["prompts"]
        assert np.abs(np.subtract(prompt["box"], [30, 140, 105, 222])).max() <= 1 and not prompt["points"]

        page.keyboard.press("b")
        page.evaluate(
            "const size = document.querySelector('#brush-size'); size.value = 20;"
            "size.dispatchEvent(new Event('input'))"
        )
        before = at.api(f"/api/sessions/{at.session['id']}/masks/0")["objects"][0]
        at.drag((200, 60), (280, 60))
        at.drag((200, 110), (280, 110))  # at once: the stroke before must not be lost
        line = 80 * 20 + np.pi * 10**2  # 20 wide and 80 long, with round ends
        wait_for_area(at, area(before) + 2 * line, 0.2 * line)
        page.wait_for_selector("#here-about >> text=a painted mask")
        page.keyboard.press("e")
        at.drag((195, 110), (290, 110))
        wait_for_area(at, area(before) + line, 0.2 * line)
        at.drag((195, 60), (290, 60))
        wait_for_area(at, area(before), 0.1 * line)

        for strokes in (1, 2, 1):
            page.keyboard.press("Control+z")
            wait_for_area(at, area(before) + strokes * line, 0.2 * line)
        page.keyboard.press("Control+z")
        page.wait_for_selector("#here-about >> text=a box")
        page.keyboard.press("Control+Shift+z")
        page.wait_for_selector("#here-about >> text=a painted mask")
        page.keyboard.press("Delete")
        page.wait_for_selector("#here-about >> text=No prompts")
        assert at.session["prompts"] == []

        evil = "<img src=x onerror=alert(1)>"
        page.click("#objects .rename")
        page.fill("#ask-fields input >> nth=0", evil)
        page.fill("#ask-fields input >> nth=1", "toy")
        page.click("#ask-yes")
        page.wait_for_selector("#objects .name >> text=onerror")
        assert page.inner_text("#objects .name") == evil and page.locator("#objects img").count() == 0
        assert at.session["objects"][0]["category"] == "toy"
        page.click("#objects .remove")
        page.click("#ask-yes")
        page.wait_for_selector("#objects-none:not([hidden])")
        assert at.session["objects"] == []
        at.check()


def area(mask: dict[str, Any]) -> int:
    return sum(mask["counts"][1::2])


def wait_for_area(at: Tab, wanted: float, within: float) -> None:
    """Wait until the mask of frame 0 has an area."""
    path = f"/api/sessions/{at.session['id']}/masks/0"
    at.until(lambda: abs(area(at.api(path)["objects"][0]) - wanted) <= within, f"an area of {wanted}")


def test_without_a_mouse(browser: Any, server: Server) -> None:
    """From the start page to an exported mask with the keyboard alone."""
    with tab(browser, server) as at:
        page, press = at.page, at.page.keyboard.press

        def tab_to(selector: str) -> None:
            for _ in range(60):
                if page.evaluate("wanted => document.activeElement.matches(wanted)", selector):
                    return
                press("Tab")
            raise AssertionError(f"Tab never reaches {selector}")

        tab_to('#entries .open[data-path="keys.mp4"]')
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        press("Enter")
        at.wait_for_frame()
        x, y = scene().click(BALL)
        press("w")  # the cross begins in the middle: 240, 135
        scale = float(page.inner_text("#zoom-fit").split()[0]) / 100
        for key, steps in (("a", (240 - x) * scale / 12), ("s", (y - 135) * scale / 12 + 1)):
            for _ in range(round(steps)):
                press(key)
        press("Enter")
        page.wait_for_selector("#objects .chosen >> text=IoU")
        (prompt,) = at.session["prompts"]
        assert np.abs(np.subtract(prompt["points"][0], (x, y))).max() <= 8
        press("n")
        page.wait_for_selector("#objects li:nth-child(2).chosen")
        press("1")
        page.wait_for_selector("#objects li:nth-child(1).chosen")
        press("t")
        page.wait_for_selector("#progress-about >> text=frames/s")
        at.wait_for_task("done")
        for key, frame in (
            ("Home", 0),
            ("ArrowRight", 1),
            ("Shift+ArrowRight", 11),
            ("ArrowLeft", 10),
            ("End", FRAMES - 1),
        ):
            press(key)
            at.until(lambda frame=frame: at.frame == frame, f"frame {frame}")
        press("Home")
        press("Space")
        page.wait_for_selector("#play[aria-label=Stop]")
        at.until(lambda: at.frame > 4)
        press("Space")
        page.wait_for_selector("#play[aria-label=Play]")
        press("?")
        page.wait_for_selector("#help[open] >> text=give up the stroke or box")
        press("Escape")
        tab_to("#export")
        press("Enter")
        page.wait_for_selector("#export-dialog[open]")
        tab_to("#export-start")
        press("Enter")
        page.wait_for_selector("#exports a")
        tab_to("#exports a")
        with page.expect_download() as download:
            press("Enter")
        assert download.value.suggested_filename.endswith(".zip")
        at.check()


def test_scrubbing_asks_for_few_frames_and_ends_on_the_right_one(browser: Any, server: Server) -> None:
    with tab(browser, server) as at:
        page = at.page
        at.open("scrub.mp4")
        box = page.locator("#timeline").bounding_box()
        page.wait_for_timeout(300)
        at.asked.clear()
        page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + 20)
        page.mouse.down()
        for k in range(120):  # there and back, faster than frames can be shown
            share = 0.2 + 0.75 * abs(1 - 2 * (k / 119))
            page.mouse.move(box["x"] + box["width"] * share, box["y"] + 20)
        page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 20)
        page.mouse.up()
        at.wait_for_frame()
        frame = at.frame
        assert abs(frame - FRAMES // 2) <= 2
        assert page.get_attribute("#timeline", "aria-valuenow") == str(frame)
        assert f"/frames/{frame}.jpg" in " ".join(at.asked)
        shown = at.colour(240, 200)
        at.until(lambda: page.url.endswith(f"/{frame}"))
        page.reload()
        at.wait_for_frame()
        assert at.frame == frame and at.colour(240, 200) == shown
        assert sum("/frames/" in url for url in at.asked) < 80
        at.check()


@needs_shared
def test_from_the_command_to_an_exported_mask_of_a_real_clip(
    browser: Any, tmp_path: Path, record_property: Any
) -> None:
    """What a person does takes well under a minute; how long is written down, not asserted."""
    clips = SHARED / "data" / "clips"
    shots: list[tuple[str, bytes]] = []
    began = time.monotonic()
    with serving(clips, tmp_path / "state") as server, tab(browser, server) as at:
        page = at.page
        at.open("bedroom.mp4")
        opened = time.monotonic()
        page.fill("#frame-number", "0")
        at.click(440, 250)
        page.wait_for_selector("#objects .chosen >> text=IoU")
        clicked = time.monotonic()
        shots.append(("a click", page.screenshot()))
        page.click("#track")
        page.wait_for_selector("#progress-about >> text=frames/s")
        shots.append(("tracking", page.screenshot()))
        at.until(lambda: at.session["task"]["done"] >= REAL)
        page.click("#cancel")
        at.wait_for_task("cancelled")
        tracked = time.monotonic()
        known = at.session["known"]
        masks = labels(export(at, "masks"))
        ended = time.monotonic()
        shots.append(("stopped; what was done is kept", page.screenshot()))
        assert known[0][0] == 0 and len(masks) >= REAL and masks[0].shape == (540, 960)
        assert masks[0][250, 440] == 1 and all((one == 1).sum() > 500 for one in masks[:REAL])
        at.check()
    spent = {
        "start_and_open": opened - began,
        "click_to_mask": clicked - opened,
        "track": tracked - clicked,
        "export": ended - tracked,
        "all": ended - began,
    }
    record_property("seconds", json.dumps({name: round(value, 2) for name, value in spent.items()}))
    print({name: round(value, 2) for name, value in spent.items()})
    sheet(shots, tmp_path / "page_bedroom.png")
