"""The start page, models and pictures in a real browser."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sam2_video.demo_clip import BALL, CAT, draw_demo_clip
from tests.app.browsing import NARROW, Server, scene, serving, sheet, static_page, tab
from tests.evaluation.test_report_page import browser as browser  # a fixture

pytestmark = pytest.mark.slow
SIDES = ("scroll", "client")
LONG = "a_name_without_any_place_to_break_it_" * 4 + ".mp4"
EVIL = "<img src=x onerror=alert(1)>.png"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, a folder of pictures, and outside of it a clip to send."""
    top = tmp_path_factory.mktemp("start")
    path = top / "folder"
    (path / "frames").mkdir(parents=True)
    for frame in range(3):
        Image.fromarray(scene().render(frame)[0]).save(path / "frames" / f"{frame:03d}.jpg", quality=95)
    for name in ("room.png", EVIL):
        Image.fromarray(scene().render(0)[0]).save(path / name)
    draw_demo_clip(top / "sent.mp4", 4)
    draw_demo_clip(path / LONG, 4)
    (top / "no_video.mp4").write_bytes(b"this is a text" * 100)
    return path


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(folder, tmp_path_factory.mktemp("state")) as running:
        yield running


def test_files_are_sent_opened_and_forgotten(browser: Any, server: Server, folder: Path) -> None:
    with tab(browser, server) as at:
        page = at.page
        assert page.inner_text("#model-chip").startswith("nano · cpu · ")
        assert page.locator("#entries img").count() == 0 and EVIL in page.inner_text("#entries")
        page.set_input_files("#upload", folder.parent / "no_video.mp4")
        page.wait_for_selector(".message.error")
        assert "no_video.mp4" in page.inner_text(".message.error p")
        page.set_input_files("#upload", folder.parent / "sent.mp4")
        at.wait_for_frame()
        assert page.inner_text("#clip-name") == "sent.mp4" and at.session["frames"] == 4
        page.click("#tab-video")
        page.wait_for_selector("#sessions >> text=sent.mp4")
        page.click("#entries >> text=Open as a clip")
        at.wait_for_frame()
        assert at.session["frames"] == 3
        page.go_back()
        page.wait_for_selector("#sessions li:nth-child(2)")
        page.click("#sessions [aria-label='Forget frames']")
        page.click("#ask-yes")
        page.wait_for_selector("#sessions li:nth-child(2)", state="detached")
        page.goto(f"{server.origin}/#/clip/nothing/3")
        page.wait_for_selector("#start:not([hidden])")
        page.wait_for_selector(".message.error >> text=no such session")
        at.check(allowed="Failed to load resource")


def test_a_picture_has_candidates_and_all_masks(browser: Any, server: Server, tmp_path: Path) -> None:
    shots: list[tuple[str, bytes]] = []
    with tab(browser, server) as at:
        page = at.page
        page.click("#tab-picture")
        page.click("#picture-entries >> text=room.png")
        page.wait_for_selector("#picture-name >> text=room.png")
        ball, cat = scene().click(BALL), scene().click(CAT)
        near = (ball[0] + 9, ball[1] + 6)
        plain = at.colour(*near, "#picture-view")
        page.mouse.click(*at.at(*ball, "#picture-view"))
        page.wait_for_selector("#candidates button >> nth=2")
        scores = [float(text.split()[-1]) for text in page.locator("#candidates button").all_inner_texts()]
        best = int(np.argmax(scores))
        assert len(scores) == 3 and page.get_attribute(
            "#candidates [aria-checked=true]", "data-index"
        ) == str(best)
        shots.append(("three candidates", page.screenshot()))
        masks = []
        for k in range(3):
            page.click(f"#candidates button[data-index='{k}']")
            with page.expect_download() as download:
                page.click("#mask-download")
            masks.append(np.asarray(Image.open(download.value.path())) > 0)
            tinted = np.abs(np.subtract(at.colour(*near, "#picture-view"), plain)).max() > 15
            assert masks[k].shape[:2] == (270, 480) and tinted == bool(masks[k][near[1], near[0]].any())
        truth = scene().render(0)[1][BALL]
        assert max((mask & truth).sum() / (mask | truth).sum() for mask in masks) > 0.5
        page.mouse.click(*at.at(*cat, "#picture-view"), button="right")
        page.wait_for_function("() => document.querySelectorAll('#candidates button').length === 1")
        page.keyboard.press("Control+z")
        page.wait_for_selector("#candidates button >> nth=2")
        page.keyboard.press("Control+z")
        page.wait_for_selector("#candidates-none:not([hidden])")
        assert np.abs(np.subtract(at.colour(*near, "#picture-view"), plain)).max() < 3

        page.fill("#points-per-side", "6")
        page.click("#everything")
        page.wait_for_selector("#everything-download:not([hidden])")
        count = int(page.inner_text("#everything-about").split()[0])
        with page.expect_download() as download:
            page.click("#everything-download")
        archive = zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes()))
        assert len([name for name in archive.namelist() if name.endswith(".png")]) == count > 1
        shots.append(("all masks", page.screenshot()))
        page.set_viewport_size({"width": NARROW[0], "height": NARROW[1]})
        page.emulate_media(color_scheme="dark")
        page.wait_for_timeout(100)
        assert at.fits()
        shots.append(("800, dark", page.screenshot()))
        page.reload()
        page.wait_for_selector("#picture-name >> text=room.png")
        at.check()
    sheet(shots, tmp_path / "page_picture.png")


def test_at_800_pixels_in_the_dark(browser: Any, server: Server, tmp_path: Path) -> None:
    """Nothing is wider than the window, with a long name, and all that is needed is inside it."""
    shots: list[tuple[str, bytes]] = []
    with tab(browser, server, NARROW, "dark") as at:
        page = at.page
        assert at.fits()
        shots.append(("start, 800, dark", page.screenshot()))
        at.open(LONG)
        at.click(*scene().click(BALL))
        page.wait_for_selector("#objects .chosen >> text=IoU")
        assert at.fits()
        for selector in ("#export", "#view", "#play", "#timeline", "#add-object", "#track", "#zoom-in"):
            box = page.locator(selector).bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= NARROW[0], selector
            assert box["y"] + box["height"] <= NARROW[1], selector
        shots.append(("clip, 800, dark", page.screenshot()))
        for button, dialog in (
            ("#export", "#export-dialog"),
            ("#help-button", "#help"),
            ("#model-chip", "#models"),
        ):
            page.click(button)
            page.wait_for_selector(f"{dialog}[open]")
            shots.append((f"{dialog[1:]}, 800, dark", page.screenshot()))
            wide, room = (page.evaluate(f"document.querySelector('{dialog}').{side}Width") for side in SIDES)
            assert at.fits() and wide <= room
            page.keyboard.press("Escape")
        at.check()
    sheet(shots, tmp_path / "page_narrow.png")


def test_a_model_is_downloaded_and_used(browser: Any, tmp_path: Path) -> None:
    """Against answers of our own: nothing may be downloaded in a test."""
    state = {"done": 0, "model": "nano", "failed": True}

    def model(name: str, available: bool, **more: Any) -> dict[str, Any]:
        return {
            "name": name,
            "parameters": 39e6,
            "bytes": 1000,
            "licence": "Apache-2.0",
            "available": available,
            "downloading": None,
            "error": None,
        } | more

    def info(request: Any) -> tuple[int, Any]:
        running = 0 < state["done"] < 1000
        if running:
            state["done"] += 400
        large = model("large", False, error="the connection was closed" if state["failed"] else None)
        tiny = model(
            "tiny",
            state["done"] >= 1000,
            downloading={"done": state["done"], "total": 1000} if running else None,
        )
        return 200, {
            "version": "1",
            "model": state["model"],
            "device": "cpu",
            "dtype": "float32",
            "formats": [],
            "memory": {"process_bytes": 4e8, "gpu_bytes": None, "per_object_bytes": 2e6},
            "folder": "/clips",
            "upload_limit": 2e9,
            "models": [model("nano", True), tiny, large],
        }

    def download(request: Any) -> tuple[int, Any]:
        state["done"] = 100
        return 202, {}

    def use(request: Any) -> tuple[int, Any]:
        state["model"] = request.post_data_json["name"]
        return info(request)

    page = static_page(
        browser,
        {
            "/api/info": info,
            "/api/models/tiny/download": download,
            "/api/model": use,
            "/api/files": lambda request: (200, {"path": "", "parent": None, "entries": []}),
            "/api/sessions": lambda request: (200, {"sessions": []}),
        },
    )
    page.click("#model-chip")
    page.wait_for_selector("#device >> text=400 MB")
    page.wait_for_selector("#model-list >> text=the connection was closed")
    page.click("[aria-label='Download: tiny']")
    page.wait_for_selector("#model-list li:nth-child(2) progress")
    assert page.is_disabled("[aria-label='Downloading…: tiny']")
    page.click("[aria-label='Use: tiny']")
    page.wait_for_selector("[aria-label='In use: tiny']")
    assert page.inner_text("#model-chip") == "tiny · cpu · 400 MB"
    page.keyboard.press("Escape")
    page.wait_for_selector("#entries-none:not([hidden])")
    page.wait_for_selector("#sessions-none:not([hidden])")
    page.close()
