"""Work that outlives a tab and a server, in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sam2_video.demo_clip import BALL, CAT, draw_demo_clip
from tests.app.browsing import scene, serving, tab
from tests.evaluation.test_report_page import browser as browser  # a fixture

pytestmark = pytest.mark.slow
FRAMES = scene().frames


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips")
    draw_demo_clip(path / "walk.mp4", FRAMES)
    return path


def test_the_server_is_killed_and_the_work_goes_on(browser: Any, folder: Path, tmp_path: Path) -> None:
    with serving(folder, tmp_path) as first, tab(browser, first) as at:
        page = at.page
        at.open("walk.mp4")
        at.click(*scene().click(BALL))
        page.wait_for_selector("#objects .chosen >> text=IoU")
        page.click("#track")
        page.wait_for_selector("#progress-about >> text=frames/s")
        first.kill()
        page.wait_for_selector("#offline:not([hidden])")
        port = int(first.origin.rpartition(":")[2])
        with serving(folder, tmp_path, port) as second:
            page.goto(second.address)
            page.click("#sessions .open")
            at.wait_for_frame()
            assert len(at.session["prompts"]) == 1 and at.session["known"][0][0] == 0
            page.wait_for_selector("#track >> text=Go on")
            page.click("#track")
            at.wait_for_task("done")
            assert at.session["known"] == [[0, FRAMES - 1]]
            at.check(allowed="Failed to load resource")


def test_two_tabs_work_on_one_clip(browser: Any, folder: Path, tmp_path: Path) -> None:
    with serving(folder, tmp_path) as server, tab(browser, server) as one, tab(browser, server) as other:
        other.page.route("**/events", lambda route: route.abort())  # this one hears of nothing
        one.open("walk.mp4")
        other.open("walk.mp4")
        with tab(browser, server, at=f"#/clip/{one.session['id']}/0") as third:
            third.wait_for_frame()
            one.click(*scene().click(BALL))
            one.page.wait_for_selector("#objects .chosen >> text=IoU")
            third.page.wait_for_selector("#objects .chosen >> text=IoU")  # told by the server
            third.check()
        revision = one.session["revision"]
        other.page.wait_for_selector("#offline:not([hidden])")
        other.page.keyboard.press("n")  # takes over what the first tab did
        other.page.wait_for_selector("#objects li:nth-child(2).chosen")
        one.page.wait_for_selector("#objects li:nth-child(2)")
        one.click(*scene().click(BALL), button="right")
        one.page.wait_for_selector("#here-about >> text=background")
        other.click(*scene().click(CAT))
        other.page.wait_for_selector(".message.error >> text=another window")
        assert [len(prompt["points"]) for prompt in one.session["prompts"]] == [2]
        other.click(*scene().click(CAT))  # with what it was told now, it can
        other.page.wait_for_selector("#objects li:nth-child(2) >> text=IoU")
        assert one.session["revision"] > revision
        assert [prompt["object"] for prompt in one.session["prompts"]] == [1, 2]
        one.check()
        other.check(allowed="Failed to load resource")
