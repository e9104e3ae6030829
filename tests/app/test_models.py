"""Models of the app: what is told of them, downloads with progress, switching; and the picture tab."""

from __future__ import annotations

import hashlib
import io
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from sam2_video.image_predictor import ImagePredictor
from sam2_video.registry import ModelInfo, list_models
from sam2_video.types import CheckpointError
from tests.app.served import WAIT, Page, error_of, mask_of
from tests.toys import toy_model

BODY = bytes(range(256)) * 800


@dataclass
class Slow:
    """A server of weights that waits in the middle of them."""

    address: str = ""
    go_on: threading.Event = field(default_factory=threading.Event)
    body: bytes = BODY


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Slow]:
    """The registry with a model that comes from there."""
    slow = Slow()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(slow.body[: len(BODY) // 2])
            self.wfile.flush()
            slow.go_on.wait(WAIT)
            self.wfile.write(slow.body[len(BODY) // 2 :])

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("SAM2_VIDEO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SAM2_VIDEO_OFFLINE", raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        digest = hashlib.sha256(BODY).hexdigest()
        address = f"http://127.0.0.1:{http.server_port}/toy.pt"
        toy = ModelInfo("toy", address, None, None, len(BODY), 1, "Apache-2.0", digest, False)
        monkeypatch.setattr("sam2_video.app.models.list_models", lambda: (*list_models(), toy))
        yield slow
        slow.go_on.set()
        http.shutdown()
        thread.join()


def listed(page: Page, name: str) -> dict[str, object]:
    found: dict[str, object] = next(m for m in page.get("/api/info")["models"] if m["name"] == name)
    return found


def downloaded(page: Page) -> dict[str, object]:
    end = time.monotonic() + WAIT
    while (now := listed(page, "toy"))["downloading"] is not None and time.monotonic() < end:
        time.sleep(0.01)
    return now


def test_a_download_tells_how_far_it_is(slow: Slow, page: Page, tmp_path: Path) -> None:
    assert listed(page, "toy")["available"] is False
    assert "download it first" in error_of(page.client.post("/api/model", json={"name": "toy"}), 409)
    page.post("/api/models/toy/download")
    thread = page.desk.models._downloads["toy"]
    page.post("/api/models/toy/download")  # a second click changes nothing
    assert page.desk.models._downloads["toy"] is thread
    end = time.monotonic() + WAIT
    while (now := listed(page, "toy")["downloading"]) != {"done": len(BODY) // 2, "total": len(BODY)}:
        assert time.monotonic() < end, now
        time.sleep(0.01)
    slow.go_on.set()
    after = downloaded(page)
    assert after["available"] is True and after["error"] is None
    assert (tmp_path / "cache" / "toy.pt").read_bytes() == BODY
    assert error_of(page.client.post("/api/models/none/download"), 404)


def test_a_download_of_something_else_is_refused(slow: Slow, page: Page, tmp_path: Path) -> None:
    slow.body = BODY[::-1]
    slow.go_on.set()
    page.post("/api/models/toy/download")
    after = downloaded(page)
    assert after["available"] is False and "another file" in str(after["error"])
    assert not (tmp_path / "cache" / "toy.pt").exists()


def test_information(page: Page, folder: Path) -> None:
    info = page.get("/api/info")
    assert info["model"] == "nano" and info["device"] in ("cpu", "cuda") and info["folder"] == str(folder)
    assert info["memory"]["process_bytes"] > 2**20 and info["memory"]["per_object_bytes"] > 0
    names = [model["name"] for model in info["models"]]
    assert names[0] == "nano" and "sam2.1_hiera_large" in names and "sam_vit_b" not in names
    assert listed(page, "nano")["available"] is True


def test_work_stays_with_its_model(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    from sam2_video.video_predictor import VideoPredictor

    session = page.open("clip.mp4")["id"]
    page.desk.models.put("sam2.1_hiera_tiny", VideoPredictor(toy_model(128)))
    assert page.post("/api/model", name="sam2.1_hiera_tiny")["model"] == "sam2.1_hiera_tiny"
    assert page.get(f"/api/sessions/{session}")["model"] == "nano"
    assert page.open("pictures")["model"] == "sam2.1_hiera_tiny"
    assert error_of(page.client.post("/api/model", json={"name": "unheard of"}), 404)

    def broken(*_: object, **__: object) -> None:
        raise CheckpointError("the file is damaged")

    monkeypatch.setattr("sam2_video.app.models.load_model", broken)
    monkeypatch.setattr("sam2_video.app.models.is_available", lambda info: True)
    assert "damaged" in error_of(page.client.post("/api/model", json={"name": "sam2_hiera_tiny"}), 409)
    assert page.get("/api/info")["model"] == "sam2.1_hiera_tiny"


# --- pictures ---


def test_candidates_are_those_of_the_package(page: Page, folder: Path) -> None:
    opened = page.post("/api/pictures", path="photo.png")
    assert (opened["height"], opened["width"]) == (90, 120)
    at = f"/api/pictures/{opened['id']}"
    found = page.post(f"{at}/predict", points=[[13, 16]], labels=[1])["candidates"]
    own = ImagePredictor(toy_model())
    own.set_image(folder / "photo.png")
    expected = own.predict(points=[(13, 16)], labels=[1])
    np.testing.assert_array_equal([mask_of(mask) for mask in found], expected.masks)
    assert [mask["iou"] for mask in found] == pytest.approx(expected.iou.tolist(), abs=1e-3)
    png = page.client.get(f"{at}/mask.png", params={"candidate": 2})
    whole = cv2.imdecode(np.frombuffer(png.content, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(whole > 0, expected.masks[2])
    refined = page.post(f"{at}/predict", points=[[13, 16], [60, 60]], labels=[1, 0], mask_from=1)[
        "candidates"
    ]
    better = own.predict(
        points=[(13, 16), (60, 60)], labels=[1, 0], mask_logits=expected.logits[1], multimask=False
    )
    np.testing.assert_array_equal([mask_of(mask) for mask in refined], better.masks)
    assert len(page.post(f"{at}/predict", box=[5, 5, 40, 40])["candidates"]) == 1
    assert error_of(page.client.get(f"{at}/mask.png", params={"candidate": 5}), 404)
    assert "nothing was given" in error_of(page.client.post(f"{at}/predict", json={}), 400)
    assert page.client.get(f"{at}.jpg", params={"width": 60}).headers["content-type"] == "image/jpeg"


def test_everything_in_a_picture(page: Page) -> None:
    opened = page.post("/api/pictures", path="photo.png")
    at = f"/api/pictures/{opened['id']}/everything"
    assert error_of(page.client.get(f"{at}.zip"), 404)
    assert "1 to 64" in error_of(page.client.post(at, json={"points_per_side": 1000}), 400)
    page.post(at, points_per_side=4)
    end = time.monotonic() + WAIT
    while (now := page.get(at))["task"]["state"] == "running" and time.monotonic() < end:
        time.sleep(0.01)
    assert now["task"]["state"] == "done", now
    picture = page.client.get(f"{at}.zip")
    if now["masks"]:
        with zipfile.ZipFile(io.BytesIO(picture.content)) as archive:
            assert len(archive.namelist()) == len(now["masks"])
    assert error_of(page.client.get("/api/pictures/nothing/everything"), 404)
