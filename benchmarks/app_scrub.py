"""Does the app stay responsive, and its memory flat, while it tracks a long clip of large frames?

Draws a clip (1,000 frames of 1920 x 1080, H.264 with a key frame every 250), starts `sam2-video app` on it,
tracks one object from a click and scrubs at random meanwhile: each scrub asks for picture and masks of one
frame at once, as the page does, and ends when both are there. Now and then it clicks, too. Beside the
figures of scrubbing it prints those of tracking and what the server's process holds over time.

    python benchmarks/app_scrub.py --clip large.mp4 --draw-only
    python benchmarks/app_scrub.py --clip large.mp4
"""

from __future__ import annotations

import argparse
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import cv2
import httpx
import numpy as np

from sam2_video.sinks.video import VideoWriter

WIDTH = 960  # of the pictures that a page scrubs through
PAUSE = 0.05  # seconds between the end of a scrub and the next one: nobody drags faster


def draw(path: Path, frames: int, size: tuple[int, int]) -> None:
    """A textured room that the camera pans over, and a ball that bounces in it."""
    height, width = size
    rng = np.random.default_rng(0)
    coarse = rng.integers(40, 200, (height // 40, width // 20, 3), dtype=np.uint8)
    room = cv2.resize(coarse, (2 * width, height), interpolation=cv2.INTER_CUBIC)
    writer = VideoWriter(path, 25.0)
    for t in range(frames):
        left = round((0.5 - 0.5 * np.cos(t / 90)) * width)
        frame = np.ascontiguousarray(room[:, left : left + width])
        x, y = centre(t, size)
        cv2.circle(frame, (x, y), height // 9, (235, 60, 40), -1, cv2.LINE_AA)
        cv2.circle(
            frame, (x - height // 30, y - height // 30), height // 40, (255, 220, 210), -1, cv2.LINE_AA
        )
        writer.write(frame, t)
    writer.close()


def centre(t: int, size: tuple[int, int]) -> tuple[int, int]:
    height, width = size
    return (
        round(width * (0.5 + 0.35 * np.sin(t / 37))),
        round(height * (0.75 - 0.5 * abs(np.sin(t / 19)))),
    )


@contextmanager
def server(folder: Path, state: Path, options: list[str]) -> Iterator[httpx.Client]:
    command = [
        sys.executable,
        "-m",
        "sam2_video.cli",
        "app",
        str(folder),
        "--state",
        str(state),
        "--no-browser",
    ]
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        found = re.fullmatch(r"(http://\S+)/\?token=(\S+)\n", process.stdout.readline())
        if found is None:
            raise SystemExit("the server did not start")
        headers = {"X-Sam2-Token": found[2]}
        with httpx.Client(base_url=found[1], headers=headers, timeout=60) as client:
            yield client
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


class Scrubber:
    """Asks for frames, and notes how long the answers take."""

    def __init__(self, client: httpx.Client, session: str, frames: int) -> None:
        self._client, self._at, self._frames = client, f"/api/sessions/{session}", frames
        self._pool, self._random = ThreadPoolExecutor(2), random.Random(0)
        self.times: list[tuple[float, float, int]] = []  # when, how long, which frame

    def scrub(self, began: float) -> None:
        frame = self._random.randrange(self._frames)
        start = time.perf_counter()
        asked = [
            self._pool.submit(self._client.get, f"{self._at}/frames/{frame}.jpg?width={WIDTH}"),
            self._pool.submit(self._client.get, f"{self._at}/masks/{frame}"),
        ]
        for answer in asked:
            answer.result().raise_for_status()
        self.times.append((start - began, time.perf_counter() - start, frame))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--clip", type=Path, help="drawn there unless it is there; left out: drawn and removed"
    )
    parser.add_argument("--draw-only", action="store_true")
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--size", type=int, nargs=2, default=(1080, 1920), metavar=("H", "W"))
    parser.add_argument(
        "--limit", type=float, default=80.0, help="seconds of tracking after which it is cancelled"
    )
    parser.add_argument(
        "--clicks", type=float, default=5.0, help="seconds between clicks while tracking; 0: none"
    )
    options, more = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as room:
        clip = options.clip or Path(room) / "large.mp4"
        size = (options.size[0], options.size[1])
        if not clip.is_file():
            draw(clip, options.frames, size)
        if not options.draw_only:
            measure(clip, Path(room) / "state", size, options, more)


def measure(
    clip: Path, state: Path, size: tuple[int, int], options: argparse.Namespace, more: list[str]
) -> None:
    with server(clip.parent, state, more) as client:
        began = time.perf_counter()
        opened = client.post("/api/sessions", json={"path": clip.name}).json()
        session, frames = opened["id"], opened["frames"]
        at = f"/api/sessions/{session}"
        x, y = centre(0, size)
        prompt = {"frame": 0, "object": 1, "points": [[x, y]], "labels": [1]}
        client.post(f"{at}/prompts", json=prompt).raise_for_status()
        print(f"{frames} frames of {opened['width']}x{opened['height']}; open and clicked after "
              f"{time.perf_counter() - began:.2f} s")  # fmt: skip
        client.post(f"{at}/track", json={"direction": "forward"}).raise_for_status()
        began = time.perf_counter()
        scrubber, clicks, memory = Scrubber(client, session, frames), [], []
        clicked, asked = began, 0.0
        while True:
            now = time.perf_counter()
            scrubber.scrub(began)
            if now - asked > 2:
                task = client.get(at).json()["task"]
                held = client.get("/api/info").json()["memory"]["process_bytes"] / 2**20
                memory.append((task["done"], held))
                asked = now
                if task["state"] != "running":
                    break
                if now - began > options.limit:
                    client.post(f"{at}/cancel")
            if options.clicks and now - clicked > options.clicks:
                other = {"frame": 0, "object": 2, "points": [[30 + len(clicks), 30]], "replace": True}
                start = time.perf_counter()
                client.post(f"{at}/prompts", json=other).raise_for_status()
                clicks.append(time.perf_counter() - start)
                clicked = now
            time.sleep(PAUSE)
        report(scrubber.times, clicks, memory, task, time.perf_counter() - began, state)


def report(
    times: list[tuple[float, float, int]],
    clicks: list[float],
    memory: list[tuple[int, float]],
    task: dict[str, object],
    seconds: float,
    state: Path,
) -> None:
    took = np.array([1000 * spent for _, spent, _ in times])
    early = np.array([1000 * spent for at, spent, _ in times if at < 20])
    late = np.array([1000 * spent for at, spent, _ in times if at >= 20])
    done = memory[-1][0]
    print(f"tracking: {done} frames in {seconds:.1f} s ({done / seconds:.1f} frames/s), {task['state']}")
    for name, values in (("all", took), ("first 20 s", early), ("after that", late)):
        if len(values):
            p50, p95 = np.percentile(values, [50, 95])
            print(f"scrub, {name}: {len(values)} answers, p50 {p50:.0f} ms, p95 {p95:.0f} ms, "
                  f"most {values.max():.0f} ms")  # fmt: skip
    if clicks:
        print(f"clicks while tracking: {len(clicks)}, p50 {1000 * np.median(clicks):.0f} ms, "
              f"most {1000 * max(clicks):.0f} ms")  # fmt: skip
    shown = [memory[k] for k in sorted({round(k) for k in np.linspace(0, len(memory) - 1, 8)})]
    print("memory: " + ", ".join(f"{held:.0f} MiB at {frame}" for frame, held in shown))
    print(f"kept on disk: {sum(f.stat().st_size for f in state.rglob('work.log')) / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
