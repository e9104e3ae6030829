"""`sam2-video track` on pipes, streams and cameras, from arguments to files."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sam2_video.checkpoint import save_weights
from sam2_video.cli import main
from sam2_video.cli_interrupt import Interrupts, gentle_interrupts
from sam2_video.cli_prompts import gather_prompts
from sam2_video.cli_run import ModelOptions
from sam2_video.cli_stream import LiveRun, LiveSummary, Percentiles, parse_size, track_live
from sam2_video.cli_track import TrackOptions
from sam2_video.sources import VideoFile
from sam2_video.types import PromptError, SinkError
from sam2_video.window import Click
from tests.live_servers import mjpeg_server
from tests.test_cli_window import FakeWindow
from tests.toys import FRAME_SIZE, TOY_OVERRIDES, toy_clip, toy_model

HEIGHT, WIDTH = FRAME_SIZE
CLICK = ("--click", "0:1:12,14")
Run = Callable[..., SimpleNamespace]


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "toy.safetensors"
    header = {"sam2_video.config": "nano", "sam2_video.overrides": json.dumps(TOY_OVERRIDES)}
    save_weights(toy_model(), path, header)
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], model_file: Path, tmp_path: Path) -> Run:
    def call(*arguments: object) -> SimpleNamespace:
        rest = ["--model", model_file, "--out", tmp_path / "out", "--threads", 1]
        with pytest.raises(SystemExit) as left:
            main([str(a) for a in ("track", *arguments, *rest)])
        output = capsys.readouterr()
        return SimpleNamespace(code=left.value.code or 0, out=output.out, err=output.err)

    return call


@contextmanager
def piped(data: bytes, monkeypatch: pytest.MonkeyPatch, endless: bool = False) -> Iterator[None]:
    """Have `data` come through standard input, over and over if it is `endless`."""
    reading, writing = os.pipe()

    def write() -> None:
        with open(writing, "wb") as file:  # noqa: PTH123
            try:
                file.write(data)
                while endless:
                    file.write(data)
            except BrokenPipeError:
                pass

    writer = threading.Thread(target=write)
    writer.start()
    stdin = io.TextIOWrapper(open(reading, "rb"))  # noqa: PTH123
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", stdin)
        try:
            yield
        finally:
            stdin.close()
            writer.join()


def raw(clip: list[NDArray[np.uint8]]) -> bytes:
    return b"".join(frame.tobytes() for frame in clip)


RAW = ("-", "--size", f"{WIDTH}x{HEIGHT}")


def record(out: Path) -> Any:
    return json.loads((out / "run.json").read_text())


def names(out: Path, what: str = "masks") -> list[str]:
    return sorted(file.name for file in (out / what).iterdir())


def test_a_pipe_gives_the_files_that_a_folder_gives(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, out = toy_clip(17), tmp_path / "out"  # long enough for the length to make no difference
    (tmp_path / "clip").mkdir()
    for frame, rgb in enumerate(clip):
        Image.fromarray(rgb).save(tmp_path / "clip" / f"{frame:06d}.png")
    said = (*CLICK, "--box", "4:2:30,10,60,40")
    assert run(tmp_path / "clip", *said).code == 0
    filed = {name: (out / "masks" / name).read_bytes() for name in names(out)}
    objects = (out / "objects.csv").read_text()
    with piped(raw(clip), monkeypatch):
        done = run(*RAW, *said, "--overwrite")
    assert done.code == 0, done.err
    assert {name: (out / "masks" / name).read_bytes() for name in names(out)} == filed and len(filed) == 17
    # A file knows that object 2 is yet to come, a stream does not: the rows of its absence are missing.
    late = [line for line in objects.splitlines() if not re.match(r"[0-3],2,", line)]
    assert (out / "objects.csv").read_text().splitlines() == late
    with VideoFile(out / "overlay.mp4") as overlay:
        assert overlay.count == 17 and overlay.size == FRAME_SIZE
    assert not list(out.rglob(".*"))


def test_run_json_tells_how_it_went(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with piped(raw(toy_clip(6)), monkeypatch):
        done = run(*RAW, *CLICK)
    told = record(tmp_path / "out")
    assert told["status"] == "complete" and told["frames"] == told["decoded"] == 6
    assert told["dropped"] == told["reconnects"] == 0 and told["source"] == "-"
    assert told["prompts"] == [{"frame": 0, "object": 1, "points": [[12.0, 14.0]], "labels": [1]}]
    assert told["options"]["size"] == [HEIGHT, WIDTH]
    for figures in (told["latency_ms"], told["step_ms"]):
        assert 0 < figures["p50"] <= figures["p95"]
    assert told["step_ms"]["p50"] <= told["latency_ms"]["p50"]
    for figures, words in ((told["latency_ms"], "decoded to result"), (told["step_ms"], "step")):
        assert f"{words} p50 {figures['p50']} ms, p95 {figures['p95']} ms" in done.out
    assert "0 of 6 decoded frames dropped" in done.out
    assert "80x48; Ctrl-C ends the run" in done.err
    assert "frames to look at: " in done.out  # what there is to review is said, as for a file


def test_a_network_stream_until_stop(run: Run, tmp_path: Path) -> None:
    with mjpeg_server(toy_clip(20), seconds=0.002, endless=True) as (url, _):
        done = run(url, *CLICK, "--stop", 4, "--save", "masks,rle")
    assert done.code == 0, done.err
    assert names(tmp_path / "out") == [f"{frame:06d}.png" for frame in range(4)]
    assert len((tmp_path / "out" / "masks.jsonl").read_text().splitlines()) == 4
    told = record(tmp_path / "out")
    assert told["source"] == url and told["decoded"] >= 4


def test_it_ends_after_seconds(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with piped(raw(toy_clip(2)), monkeypatch, endless=True):
        done = run(*RAW, *CLICK, "--seconds", 0.4)
    told = record(tmp_path / "out")
    assert done.code == 0 and told["status"] == "complete" and told["frames"] >= 1
    assert len(names(tmp_path / "out")) == told["frames"]


def test_results_begin_with_the_first_object(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with piped(raw(toy_clip(6)), monkeypatch):
        done = run(*RAW, "--click", "3:5:12,14", "--click", "40:1:1,1")
    assert names(tmp_path / "out") == ["000003.png", "000004.png", "000005.png"]
    with (tmp_path / "out" / "objects.csv").open() as file:
        assert [(row["frame"], row["object"], row["prompted"]) for row in csv.DictReader(file)] == [
            ("3", "5", "1"),
            ("4", "5", "0"),
            ("5", "5", "0"),
        ]
    assert "not all prompts were used: frame 40 and later ones did not come" in done.err


def test_a_stream_that_breaks_leaves_whole_files(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with piped(raw(toy_clip(5)) + b"rest", monkeypatch):
        done = run(*RAW, *CLICK)
    assert done.code == 2 and "ended inside a frame, after 4 of its 11520 bytes" in done.err
    out = tmp_path / "out"
    assert record(out)["status"].startswith("failed: the pipe on standard input ended inside")
    assert len(names(out)) == 5 and not list(out.rglob(".*"))
    with VideoFile(out / "overlay.mp4") as overlay:
        assert overlay.count == 5


def test_ctrl_c_leaves_whole_files(model_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "sam2_video.cli", "track", *RAW, *CLICK]
    command += ["--model", str(model_file), "--out", str(out), "--threads", "1"]
    reading, writing = os.pipe()
    process = subprocess.Popen(command, stdin=reading, stdout=subprocess.PIPE, text=True)
    os.close(reading)
    clip = raw(toy_clip(4))

    def feed() -> None:
        try:
            while True:
                os.write(writing, clip)
        except BrokenPipeError:
            os.close(writing)

    feeder = threading.Thread(target=feed)
    feeder.start()
    deadline = time.monotonic() + 60
    while len(list(out.glob("masks/*.png"))) < 8 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    feeder.join()
    assert process.returncode == 130
    told = record(out)
    assert told["status"] == "interrupted" and told["frames"] >= 8
    assert said.startswith("interrupted after") and "p95" in said
    assert "goes on with it" not in said and "files are whole" in said
    assert len(names(out)) == told["frames"] and not list(out.rglob(".*"))
    with VideoFile(out / "overlay.mp4") as overlay:
        assert overlay.count == told["frames"]


def test_a_window_on_a_stream(model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody points at anything on the command line; two objects are clicked, one is dropped, then q."""
    on = Click(12, 14, True)
    window = FakeWindow([], [on], ["2", Click(40, 20, True)], [], ["1", "d"], [], ["q"])
    with piped(raw(toy_clip(3)), monkeypatch, endless=True):
        summary = track_live(
            "-",
            (),
            tmp_path / "out",
            ModelOptions(str(model_file), threads=1),
            TrackOptions(save=("masks", "objects")),
            LiveRun(show=True, size=FRAME_SIZE),
            make_window=lambda name: window,
        )
    assert isinstance(summary, LiveSummary) and summary.frames == 7 and window.closed
    with (tmp_path / "out" / "objects.csv").open() as file:
        found = [(int(row["frame"]), int(row["object"])) for row in csv.DictReader(file)]
    assert found == [(1, 1), (2, 1), (2, 2), (3, 1), (3, 2), (4, 2), (5, 2), (6, 2)]
    told = record(tmp_path / "out")
    assert [(prompt["frame"], prompt["object"]) for prompt in told["prompts"]] == [(1, 1), (2, 2)]
    assert gather_prompts(files=[tmp_path / "out" / "run.json"])[1].frame == 2  # can be given again


def test_show_without_windows_is_an_error_that_helps(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with piped(b"", monkeypatch):
        done = run(*RAW, "--show")
    assert done.code == 2 and "pip install opencv-python" in done.err
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((*RAW,), "no prompt: say what to track with --click"),
        ((*RAW, *CLICK, "--direction", "backward"), "tracked forward"),
        ((*RAW, *CLICK, "--start", 3), "tracked forward"),
        ((*RAW, *CLICK, "--stride", 2), "tracked forward"),
        ((*RAW, *CLICK, "--stop", 0), "--stop 0 is before the first frame"),
        ((*RAW, *CLICK, "--seconds", 0), "--seconds 0: expected more than 0"),
        ((*RAW, "--click", "0:0:1,1"), "object id 0"),
        (("-", "--size", "80", *CLICK), "--size '80': expected WIDTHxHEIGHT"),
        (("97", *CLICK), "camera 97 cannot be opened"),
        (("rtsp://ann:secret@127.0.0.1:9/a", *CLICK), "rtsp://ann:***@127.0.0.1:9/a cannot be opened"),
        ((*RAW, *CLICK, "--patience", 0), "patience more than 0"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_written(
    arguments: tuple[object, ...], words: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with piped(raw(toy_clip(1)), monkeypatch):
        done = run(*arguments)
    assert done.code == 2 and words in done.err, done.err
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_prompts_must_fit_the_stream(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for said, words in (("0:1:500,3", "outside"), ("9:1:5,5", r"outside this clip \(0\.\.5\)")):
        with piped(raw(toy_clip(6)), monkeypatch):
            done = run(*RAW, "--click", said, "--stop", 6)
        assert done.code == 2 and re.search(words, done.err), done.err


def test_live_options_mean_nothing_to_a_file(run: Run, tmp_path: Path) -> None:
    Image.fromarray(toy_clip(1)[0]).save(tmp_path / "a.png")
    done = run(tmp_path / "a.png", *CLICK, "--show", "--drop", "block")
    assert done.code == 2 and "--show and --drop: only for cameras" in done.err


def test_results_of_another_run_are_not_replaced_unasked(
    run: Run, tmp_path: Path, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    for frames in (5, 3):
        with piped(raw(toy_clip(frames)), monkeypatch):
            done = run(*RAW, *CLICK, *(["--overwrite"] if frames == 3 else []))
        assert done.code == 0
    assert len(names(out)) == 3, "masks of the longer run are gone"
    with piped(raw(toy_clip(3)), monkeypatch):
        assert "is not empty" in run(*RAW, *CLICK).err
    other = tmp_path / "other" / ".run"
    other.mkdir(parents=True)
    (other / "command.json").write_text("{}")
    with pytest.raises(SinkError, match="unfinished run"):
        options = TrackOptions(save=("masks",))
        track_live("-", gather_prompts(["0:1:1,1"]), other.parent, ModelOptions(), options, LiveRun())


def test_what_prompts_were_read_from_is_not_replaced(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with piped(raw(toy_clip(3)), monkeypatch):
        assert run(*RAW, *CLICK, "--save", "masks,coco").code == 0
    results = {file: file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file()}
    for prompts in (tmp_path / "out" / "coco.json", tmp_path / "out" / "masks"):
        done = run(*RAW, "--prompts", prompts, "--save", "masks", "--overwrite")
        assert done.code == 2 and "would replace it" in done.err
        assert all(file.read_bytes() == data for file, data in results.items())


# --- the parts ---


def test_percentiles_are_right_to_within_a_percent() -> None:
    rng = np.random.default_rng(0)
    values = np.exp(rng.normal(-4, 1, 5001))
    counted = Percentiles()
    assert counted.record() == {"p50": None, "p95": None}
    for value in values:
        counted.add(float(value))
    for percent in (1, 50, 95, 99.9, 100):
        exact = 1000 * np.percentile(values, percent, method="inverted_cdf")
        assert counted.milliseconds(percent) == pytest.approx(exact, rel=0.0101)
    counted.add(0.0)
    assert counted.milliseconds(0.001) == 0.001


def test_sizes_are_width_by_height() -> None:
    assert parse_size("640x480") == (480, 640)
    for wrong in ("640", "0x3", "640x480x3", "-1x3", "640 x 480", "axb"):
        with pytest.raises(PromptError, match="WIDTHxHEIGHT"):
            parse_size(wrong)


def test_an_interrupt_waits_until_it_is_welcome() -> None:
    with gentle_interrupts() as interrupts:
        signal.raise_signal(signal.SIGINT)  # in the middle of a frame: nothing happens
        with pytest.raises(KeyboardInterrupt), interrupts.welcome():
            raise AssertionError("not reached")
    with gentle_interrupts() as interrupts, pytest.raises(KeyboardInterrupt), interrupts.welcome():
        signal.raise_signal(signal.SIGINT)
    with gentle_interrupts():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):  # a second one does not wait
            signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)  # all is as it was


def test_outside_of_the_main_thread_interrupts_are_left_alone() -> None:
    seen: list[Any] = []

    def elsewhere() -> None:
        with gentle_interrupts() as interrupts, interrupts.welcome():
            seen.append((interrupts, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    ((interrupts, handler),) = seen
    assert isinstance(interrupts, Interrupts) and handler == signal.getsignal(signal.SIGINT)
