"""A server of the app in a process of its own, its page in a browser, and what a person does there."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

import sam2_video
from sam2_video.demo_clip import Scene

STATIC = Path(sam2_video.__file__).parent / "app" / "static"
TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}
PATIENCE = 60_000  # milliseconds: a machine may be busy
SCREENSHOTS = "SAM2_VIDEO_SCREENSHOTS"  # a folder that contact sheets are copied to, if set
WIDE, NARROW = (1280, 800), (800, 700)


@dataclass
class Server:
    """`sam2-video app` on a folder; `address` holds the token."""

    address: str
    process: subprocess.Popen[str]

    @property
    def origin(self) -> str:
        parts = urlsplit(self.address)
        return f"{parts.scheme}://{parts.netloc}"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)


@contextmanager
def serving(folder: Path, state: Path, port: int = 0) -> Iterator[Server]:
    """A server that ends with the block."""
    command = [sys.executable, "-m", "sam2_video.cli", "app", str(folder), "--state", str(state)]
    command += ["--port", str(port), "--no-browser", "--threads", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), f"the server said {address!r}"
        yield Server(address, process)
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


@dataclass
class Tab:
    """One tab and what happened in it: words of the console, and addresses that were asked for."""

    page: Any
    origin: str
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE)
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda asked: self.asked.append(asked.url))

    def check(self, allowed: str = "") -> None:
        """Nothing was complained of but `allowed`, and nobody else was asked for anything."""
        ours = "Canvas2D: Multiple readback"  # said of the tests' own look at the canvas
        wrong = [text for text in self.said if not text.startswith(ours)]
        assert [text for text in wrong if not allowed or allowed not in text] == []
        elsewhere = [url for url in self.asked if not url.startswith((f"{self.origin}/", "blob:", "data:"))]
        assert self.asked and elsewhere == []

    def open(self, name: str) -> None:
        """Open a clip of the start page and wait for its first frame."""
        self.page.click(f'#entries .open[data-path="{name}"]')
        self.wait_for_frame()

    def wait_for_frame(self) -> None:
        """Wait until the frame that is asked for is on the canvas, with its masks."""
        self.page.wait_for_selector("#view[data-ready=yes]")

    def at(self, x: float, y: float, canvas: str = "#view") -> tuple[float, float]:
        """Where a point of the picture is in the window; the whole picture must be shown."""
        box = self.page.locator(canvas).bounding_box()
        width, height = self.page.evaluate(f"(({SIZE})('{canvas}'))")
        scale = min((box["width"] - 16) / width, (box["height"] - 16) / height)
        left, top = (box["width"] - width * scale) / 2, (box["height"] - height * scale) / 2
        return box["x"] + left + (x + 0.5) * scale, box["y"] + top + (y + 0.5) * scale

    def click(self, x: float, y: float, **more: Any) -> None:
        """Click a point of the picture."""
        self.page.mouse.click(*self.at(x, y), **more)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self.page.mouse.move(*self.at(*start))
        self.page.mouse.down()
        self.page.mouse.move(*self.at(*end), steps=6)
        self.page.mouse.up()

    def colour(self, x: float, y: float, canvas: str = "#view") -> tuple[int, int, int]:
        """The colour of the canvas at a point of the picture."""
        box = self.page.locator(canvas).bounding_box()
        left, top = self.at(x, y, canvas)
        rgba = self.page.evaluate(
            "([id, x, y]) => { const canvas = document.querySelector(id);"
            " const ratio = canvas.width / canvas.clientWidth;"
            " return Array.from(canvas.getContext('2d').getImageData(x * ratio, y * ratio, 1, 1).data); }",
            [canvas, left - box["x"], top - box["y"]],
        )
        return tuple(rgba[:3])

    def api(self, path: str) -> Any:
        """What the server answers to a GET."""
        return self.page.evaluate("path => fetch(path).then((answer) => answer.json())", path)

    @property
    def session(self) -> Any:
        """The open clip as the server has it."""
        return self.api(f"/api/sessions/{self.page.url.split('#/clip/')[1].split('/')[0]}")

    def until(self, true: Callable[[], Any], what: str = "") -> None:
        """Look again and again until `true()`; the page's own rules forbid Playwright to look by itself."""
        end = time.monotonic() + PATIENCE / 1000
        while not true():
            assert time.monotonic() < end, f"still waiting for {what or true}"
            self.page.wait_for_timeout(60)

    def wait_for_task(self, state: str, kind: str = "track") -> None:
        """Wait until the server says so of the clip's task."""

        def told() -> bool:
            task = self.session["task"]
            return task is not None and (task["state"], task["kind"]) == (state, kind)

        self.until(told, f"a task that is {state}")

    @property
    def frame(self) -> int:
        return int(self.page.input_value("#frame-number"))

    def fits(self) -> bool:
        """Is nothing wider than the window?"""
        wide, window = self.page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        return bool(wide <= window)


# The size of what a canvas shows, from the words beside it.
SIZE = (
    "(id) => { const words = document.querySelector(id === '#view' ? '#clip-about' : '#picture-name');"
    " return /(\\d+) \\u00d7 (\\d+)/.exec(words.textContent).slice(1).map(Number); }"
)


@contextmanager
def tab(
    browser: Any, server: Server, size: tuple[int, int] = WIDE, scheme: str = "light", at: str = ""
) -> Iterator[Tab]:
    """A tab of a profile of its own on the start page, or at `at` (`#/...`)."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, accept_downloads=True
    )
    opened = Tab(context.new_page(), server.origin)
    opened.page.goto(server.address + at)
    opened.page.wait_for_selector("#entries li" if not at else "#work:not([hidden])")
    yield opened
    context.close()


def static_page(browser: Any, answers: Mapping[str, Any] | None = None) -> Any:
    """A page at http://page.test/ with the package's files, and `answers` to some /api/ addresses."""
    page = browser.new_page(viewport={"width": WIDE[0], "height": WIDE[1]})

    def answer(route: Any) -> None:
        path = urlsplit(route.request.url).path
        file = STATIC / ("index.html" if path == "/" else path.removeprefix("/static/"))
        if path == "/empty":
            route.fulfill(body="<!doctype html><title>empty</title>", content_type="text/html")
        elif answers and path in answers:
            status, body = answers[path](route.request)
            route.fulfill(status=status, json=body)
        elif file.is_file():
            route.fulfill(body=file.read_bytes(), content_type=TYPES[file.suffix])
        else:
            route.fulfill(status=404, json={"error": f"nothing at {path}"})

    page.route("http://page.test/**", answer)
    page.goto("http://page.test/" if answers else "http://page.test/empty")
    return page


def sheet(shots: Sequence[tuple[str, bytes]], path: Path, columns: int = 3, width: int = 640) -> Path:
    """Put screenshots side by side, each under its title; copied to $SAM2_VIDEO_SCREENSHOTS if set."""
    from PIL import ImageDraw

    bar = 22
    tiles = []
    for title, data in shots:
        picture = Image.open(io.BytesIO(data)).convert("RGB")
        picture = picture.resize((width, round(picture.height * width / picture.width)))
        tile = Image.new("RGB", (width, picture.height + bar), "white")
        tile.paste(picture, (0, bar))
        ImageDraw.Draw(tile).text((6, 5), title, fill="black")
        tiles.append(tile)
    height = max(tile.height for tile in tiles)
    whole = Image.new("RGB", (width * columns, height * -(-len(tiles) // columns)), "white")
    for k, tile in enumerate(tiles):
        whole.paste(tile, (k % columns * width, k // columns * height))
    whole.save(path)
    if folder := os.environ.get(SCREENSHOTS):
        whole.save(Path(folder) / path.name)
    return path


def export(at: Tab, *formats: str) -> zipfile.ZipFile:
    """Have files written by the dialog, and download them."""
    page = at.page
    page.click("#export")
    for box in page.locator("#formats input").all():
        box.set_checked(box.get_attribute("value") in formats)
    page.click("#export-start")
    page.wait_for_selector("#exports a")
    with page.expect_download() as download:
        page.click("#exports li:first-child a")
    page.click("#export-dialog [data-close]")
    return zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes()))


def labels(archive: zipfile.ZipFile) -> list[Any]:
    """The palette pictures of an export, in order."""
    names = sorted(name for name in archive.namelist() if name.endswith(".png"))
    return [np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in names]


def scene() -> Scene:
    """What the demo clips of these tests show."""
    return Scene((270, 480), 24)
