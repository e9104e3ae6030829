"""Two tabs of a browser on one clip: one change at a time, and whoever is behind is told."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from sam2_video.app.worker import Worker
from tests.app.served import WAIT, Page, error_of, served, server_process


def test_of_two_who_saw_the_same_one_is_behind(page: Page) -> None:
    session = page.open("clip.mp4")
    at = f"/api/sessions/{session['id']}/prompts"

    def click(k: int) -> httpx.Response:
        said = {"frame": 0, "object": 1, "points": [[10 + k, 20]], "revision": session["revision"]}
        return page.client.post(at, json=said)

    with ThreadPoolExecutor(6) as tabs:
        answers = list(tabs.map(click, range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 5
    behind = next(answer for answer in answers if answer.status_code == 409)
    assert "another window" in error_of(behind, 409)
    now = page.get(f"/api/sessions/{session['id']}")
    assert now["revision"] == session["revision"] + 1 and len(now["prompts"][0]["points"]) == 1


def test_many_at_once_leave_one_history(folder: Path, tmp_path: Path) -> None:
    """Clicks, names, passes and removals by several clients; what is kept is what the last one saw."""
    with served(folder, tmp_path / "state") as page:
        session = page.open("clip.mp4")["id"]
        at = f"/api/sessions/{session}"
        page.click(session, 0, 13, 16)

        def tab(k: int) -> list[int]:
            said: list[tuple[str, str, Any]] = [
                ("POST", "/prompts", {"frame": k, "object": k + 2, "points": [[20 + k, 30]]}),
                ("POST", "/track", {"direction": "forward"}),
                ("PATCH", f"/objects/{k + 2}", {"name": f"tab {k}"}),
                ("POST", "/prompts", {"frame": k + 1, "object": 1, "points": [[30, 20 + k]]}),
                ("GET", "/masks/3", None),
                ("GET", "/timeline", None),
                ("POST", "/undo", {}),
                ("POST", "/cancel", {}),
            ]
            return [page.client.request(m, at + path, json=body).status_code for m, path, body in said]

        with ThreadPoolExecutor(4) as tabs:
            codes = {code for found in tabs.map(tab, range(4)) for code in found}
        assert codes <= {200, 202, 404, 409}  # one pass at a time, and an undo may take another tab's object
        after = page.wait(session, lambda now: now["task"] is None or now["task"]["state"] != "running")
        masks, timeline = page.masks(session, 10), page.get(f"{at}/timeline")
    with served(folder, tmp_path / "state") as page:
        again = page.get(at)
        for key in ("revision", "objects", "prompts", "known"):
            assert again[key] == after[key], key
        assert page.masks(session, 10) == masks and page.get(f"{at}/timeline") == timeline


def test_a_clip_may_be_forgotten_while_others_look_at_it(page: Page) -> None:
    session = page.open("clip.mp4")["id"]
    at, over = f"/api/sessions/{session}", threading.Event()

    def look(path: str) -> set[int]:
        codes = set()
        while not over.is_set():
            codes.add(page.client.get(f"{at}/{path}").status_code)
        return codes

    paths = ["masks/0", "frames/7.jpg", "frames/3.jpg?width=50", "timeline", ""]
    with ThreadPoolExecutor(len(paths)) as tabs:
        looking = [tabs.submit(look, path) for path in paths]
        for _ in range(8):
            page.open("clip.mp4")
            page.click(session, 0, 13, 16)
            page.client.delete(at)
        over.set()
        codes = {code for looked in looking for code in looked.result(WAIT)}
    assert codes <= {200, 307, 404, 409} and 200 in codes


def test_short_jobs_go_before_long_ones_and_between_their_frames() -> None:
    worker, order = Worker(), []
    gate = threading.Event()
    worker.ask(gate.wait)

    def long(name: str) -> None:
        for frame in range(2):
            order.append(f"{name}{frame}")
            if name == "a" and frame == 0:
                asked.append(worker.ask(lambda: order.append("click")))
            worker.give_way()

    asked = [worker.ask(lambda: long("a"), long=True), worker.ask(lambda: long("b"), long=True)]
    asked.append(worker.ask(lambda: order.append("first")))
    gate.set()
    for job in list(asked):
        job.result(WAIT)
    worker.close()
    assert order == ["first", "a0", "click", "a1", "b0", "b1"]


def test_a_job_that_fails_fails_alone() -> None:
    worker = Worker()
    with pytest.raises(ZeroDivisionError):
        worker.do(lambda: 1 // 0)
    assert worker.do(lambda: 5) == 5
    worker.close()
    with pytest.raises(Exception, match="shut down"):
        worker.do(lambda: 5)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="interrupts as POSIX does")
def test_a_server_from_start_to_end(folder: Path, tmp_path: Path) -> None:
    """One process: its address, news while it tracks, clicks that are answered meanwhile, and Ctrl-C."""
    state = tmp_path / "state"
    with server_process(folder, state) as (page, process):
        with socket.create_connection((page.client.base_url.host, page.client.base_url.port)) as raw:
            raw.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert b"421" in raw.recv(100)
        session = page.open("clip.mp4")["id"]
        page.click(session, 0, 13, 16)
        kinds: dict[str, list[Any]] = {"session": [], "task": [], "frame": []}
        with page.client.stream("GET", f"/api/sessions/{session}/events") as news:
            lines = news.iter_lines()
            told = next_news(lines)
            assert told[0] == "session" and told[1]["id"] == session
            page.post(f"/api/sessions/{session}/track", direction="forward")
            page.click(session, 0, 60, 60, object_id=2)
            while not kinds["task"] or kinds["task"][-1]["state"] == "running":
                kind, content = next_news(lines)
                kinds[kind].append(content)
        assert kinds["task"][-1]["state"] == "done" and kinds["task"][-1]["done"] == 10
        assert {"frame": 9} in kinds["frame"]
        assert any(len(told["objects"]) == 2 for told in kinds["session"])
        other = subprocess.run(
            [
                sys.executable,
                "-m",
                "sam2_video.cli",
                "app",
                str(folder),
                "--state",
                str(state),
                "--no-browser",
            ],
            capture_output=True,
            text=True,
            timeout=WAIT,
        )
        assert other.returncode == 2 and "another server" in other.stderr
        with page.client.stream("GET", f"/api/sessions/{session}/events") as news:
            lines = news.iter_lines()
            assert next_news(lines)[0] == "session"
            page.client.delete(f"/api/sessions/{session}")
            assert all("event: " not in line for line in lines)  # and they come to an end
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=WAIT)[0]
    assert process.returncode == 0 and "Traceback" not in rest


def next_news(lines: Any) -> tuple[str, Any]:
    """The kind and the content of the next news of a server."""
    kind = ""
    for line in lines:
        if line.startswith("event: "):
            kind = line[7:]
        elif line.startswith("data: "):
            return kind, json.loads(line[6:])
    raise AssertionError("the news ended")
