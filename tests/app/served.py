"""A server of the app for tests: in this process through Starlette's client, or one of its own."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from starlette.testclient import TestClient

from sam2_video.app.desk import Desk
from sam2_video.app.server import build_app
from sam2_video.app.settings import AppSettings
from sam2_video.mask_runs import Runs
from sam2_video.video_predictor import VideoPredictor
from tests.toys import toy_model

TOKEN = "t0ken"
HOST, PORT = "127.0.0.1", 8765
WAIT = 120.0  # seconds that anything may take here


class Page:
    """What a page does, and waits for."""

    def __init__(self, client: httpx.Client, desk: Desk | None = None) -> None:
        self.client = client
        self._desk = desk

    @property
    def desk(self) -> Desk:
        """What a server in this process works on."""
        assert self._desk is not None
        return self._desk

    def get(self, path: str, /, **params: Any) -> Any:
        return answered(self.client.get(path, params=params))

    def post(self, path: str, /, **said: Any) -> Any:
        return answered(self.client.post(path, json=said))

    def open(self, path: str) -> dict[str, Any]:
        session: dict[str, Any] = self.post("/api/sessions", path=path)
        return session

    def click(self, session: str, frame: int, x: float, y: float, object_id: int = 1, label: int = 1) -> Any:
        return self.post(
            f"/api/sessions/{session}/prompts", frame=frame, object=object_id, points=[[x, y]], labels=[label]
        )

    def track(self, session: str, direction: str = "forward", **said: Any) -> dict[str, Any]:
        """Track to the end."""
        self.post(f"/api/sessions/{session}/track", direction=direction, **said)
        return self.wait(session)

    def wait(self, session: str, until: Callable[[dict[str, Any]], bool] | None = None) -> dict[str, Any]:
        """Wait until the task of a session is over, or as told; returns the session."""
        until = until or (lambda now: now["task"]["state"] != "running")
        end = time.monotonic() + WAIT
        while time.monotonic() < end:
            now: dict[str, Any] = self.get(f"/api/sessions/{session}")
            if until(now):
                return now
            time.sleep(0.01)
        raise AssertionError(f"waited in vain; the session is {now}")

    def masks(self, session: str, frames: int) -> list[dict[str, Any]]:
        return [self.get(f"/api/sessions/{session}/masks/{frame}") for frame in range(frames)]


def answered(response: httpx.Response) -> Any:
    """The JSON of an answer that is no error."""
    assert response.status_code < 300, f"{response.status_code}: {response.text[:500]}"
    return response.json()


def error_of(response: httpx.Response, status: int) -> str:
    """The message of an answer that is an error of this kind."""
    assert response.status_code == status, f"{response.status_code}: {response.text[:500]}"
    message: str = response.json()["error"]
    assert "Traceback" not in message
    return message


def mask_of(shown: dict[str, Any]) -> NDArray[np.bool_]:
    """The mask of an object as it is sent."""
    return Runs.of_lengths({"size": shown["size"], "counts": shown["counts"]}).mask()


@contextmanager
def served(folder: Path, state: Path, **settings: Any) -> Iterator[Page]:
    """A server of a toy model in this process."""
    desk = Desk(AppSettings(folder, state, **settings))
    desk.models.put("nano", VideoPredictor(toy_model()))
    client = TestClient(
        build_app(desk, TOKEN, HOST, PORT),
        base_url=f"http://{HOST}:{PORT}",
        headers={"X-Sam2-Token": TOKEN},
        raise_server_exceptions=False,
    )
    with client:
        yield Page(client, desk)


@contextmanager
def server_process(folder: Path, state: Path, *options: str) -> Iterator[tuple[Page, subprocess.Popen[str]]]:
    """A server of its own process, with the bundled model; it is ended by Ctrl-C unless it has ended."""
    command = [sys.executable, "-m", "sam2_video.cli", "app", str(folder), "--state", str(state)]
    process = subprocess.Popen(
        [*command, "--no-browser", "--threads", "1", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.fullmatch(r"(http://\S+)/\?token=(\S+)\n", line)
        assert found, line + process.stdout.read()
        with httpx.Client(base_url=found[1], headers={"X-Sam2-Token": found[2]}, timeout=WAIT) as client:
            yield Page(client), process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(WAIT)
            except subprocess.TimeoutExpired:
                process.kill()
        process.stdout.close()
        process.wait()
