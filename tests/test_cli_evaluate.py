"""`sam2-video evaluate` as it is typed: exit codes, what is said, and what survives being killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from sam2_video.cli import main
from sam2_video.cli_evaluate_asked import refuse_out
from sam2_video.types import SinkError
from tests.evaluation.small import NAMES, contents, make_davis, save_toy

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_toy(tmp_path_factory.mktemp("weights") / "toy.safetensors")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_davis(tmp_path / "data")
    return tmp_path


def call(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["evaluate", *words])
    return int(end.value.code or 0)


def test_a_run_says_its_figures(here: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("data", "--model", str(weights), "--out", "out") == 0
    said = capsys.readouterr()
    assert "(8 objects in 4 sequences)" in said.out
    assert "results are in out" in said.out
    assert json.loads((here / "out/manifest.json").read_text())["data"]["is_part"] is False
    assert call("data", "--model", str(weights), "--out", "out") == 0
    assert "4 of 4 sequences are done already" in capsys.readouterr().err


def test_several_protocols_make_an_overview(here: Path, weights: Path) -> None:
    words = ("--protocol", "mask,click1", "--sequences", "ant,bee", "--sequences", "cat", "--no-f")
    assert call("data", "--model", str(weights), *words, "--out", "out") == 0
    lines = (here / "out/overview.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["protocol", "mask", "click1"]
    table = dict(zip(lines[0].split(","), lines[1].split(","), strict=True))
    assert float(table["j"]) > 0
    assert (table["jandf"], table["f"], table["sequences"], table["failed"]) == ("", "", "3", "0")
    assert (here / "out/overview.md").read_text().count("\n") == 4
    assert (here / "out/mask/report.html").is_file()
    assert json.loads((here / "out/mask/manifest.json").read_text())["data"]["is_part"] is True
    assert (here / "out/click1/predictions/cat/00005.png").is_file()


def test_protocols_that_correct_leave_the_curve_of_their_rounds(here: Path, weights: Path) -> None:
    words = ("data", "--model", str(weights), "--sequences", "ant,bee", "--out", "out")
    assert call(*words, "--protocol", "mask,online") == 0
    lines = (here / "out/online/rounds.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == [*"12345678", "mean"]
    jandf = [float(line.split(",")[3]) for line in lines[1:]]
    assert jandf[-1] == pytest.approx(sum(jandf[:-1]) / 8, abs=1e-3) and jandf[0] < jandf[7]
    overview = [line.split(",") for line in (here / "out/overview.csv").read_text().splitlines()]
    place = overview[0].index("jandf_rounds")
    assert overview[1][place] == "" and float(overview[2][place]) == pytest.approx(jandf[-1], abs=0.01)
    assert not (here / "out/mask/rounds.csv").exists()


def test_pictures_are_a_protocol(here: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("data", "--model", str(weights), "--protocol", "image", "--out", "out") == 0
    assert "mIoU over" in capsys.readouterr().out
    assert (here / "out/images.csv").is_file()
    assert json.loads((here / "out/manifest.json").read_text())["pictures"]["objects"] == 48
    assert call("data", "--model", str(weights), "--out", "out") == 2  # another kind of run


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--protocol", "mask,wrong"), "expected some of mask, box"),
        (("--protocol", ""), "expected some of mask, box"),
        (("--shard", "3/2"), "expected NUMBER/COUNT"),
        (("--measures", "wrong"), "no measure wrong"),
        (("--max-frames", "2"), "allow 3 or more"),
        (("--submission", "a.zip", "--shard", "1/2"), "without --shard"),
        (("--submission", "a.zip", "--max-frames", "4"), "whole sequences"),
        (("--submission", "a.zip"), "has no server"),
        (("--submission", "a.zip", "--sequences", "ant"), "leave out --sequences"),
        (("--submission", "a.zip", "--sequences", "ant", "--score-only", "x"), "leave out --sequences"),
        (("--submission", "a.zip", "--max-frames", "4", "--score-only", "x"), "leave out --max-frames"),
        (("--score-only", "x", "--shard", "1/2", "--ray", "local"), "knows no --shard, --ray"),
        (("--sequences", "wrong"), "no sequence wrong"),
        (("--score-only", "nothing"), "not a folder"),
        (("--model", "nothing"), "no known model"),
        (("image_size",), "key=value"),
        (("--protocol", "image", "--sequences", "ant"), "knows no --sequences"),
        (("--protocol", "mask,image", "--max-frames", "4", "--shard", "1/2"), "no --max-frames, --shard"),
        (("--protocol", "image", "--workers", "2", "--no-f"), "no --workers, --no-f"),
        (("--protocol", "mask,image", "--held-out", "0.5"), "goes with --protocol image alone"),
        (("--out", "data/JPEGImages/runs"), "is in a folder of the data"),
        (("--score-only", "pred", "--out", "data"), "is in a folder of the data"),
        (("--protocol", "image", "--dataset", "davis2017", "--split", "all"), "no --dataset, --split"),
    ],
)
def test_what_is_refused(
    here: Path, weights: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    model = () if "--model" in words else ("--model", str(weights))
    out = () if "--out" in words else ("--out", "out")
    assert call("data", *words, *model, *out) == 2
    assert message in capsys.readouterr().err
    assert not list(here.glob("*/**/predictions/*")) and not (here / "data/JPEGImages/runs").exists()


def test_failures_end_with_one(here: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "data/JPEGImages/480p/bee/00003.jpg").write_bytes(b"no picture")
    assert call("data", "--model", str(weights), "--out", "out") == 1
    said = capsys.readouterr()
    assert "1 of 4 sequences failed: bee" in said.err
    assert "not scored: there are no predictions of bee" in said.out
    assert call("data", "--model", str(weights), "--out", "out", "--allow-incomplete") == 1
    assert "8 masks that count had no prediction" in capsys.readouterr().out


def test_shards(here: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("data", "--model", str(weights), "--out", "out", "--shard")
    assert call(*words, "2/2") == 0
    assert "not scored: ant, cat are not there yet" in capsys.readouterr().out
    assert call(*words, "1/2") == 0
    assert "(8 objects in 4 sequences)" in capsys.readouterr().out


def test_checking(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("data", "--check") == 0
    assert "0 errors" in capsys.readouterr().out
    (here / "data/Annotations/480p/ant/00000.png").write_bytes(b"no picture")
    assert call("data", "--check") == 1
    said = capsys.readouterr().out
    assert "error: " in said
    assert "ant/00000.png" in said
    assert not (here / "evaluation").exists()


def spoiled(here: Path, change: Callable[[Path], object]) -> Path:
    """The truth as somebody's predictions, changed."""
    folder = here / "theirs"
    (here / "data/Annotations/480p").rename(here / "kept")
    for file in (here / "kept").rglob("*.png"):
        copy = folder / "deep/480p" / file.parent.name / file.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    (here / "kept").rename(here / "data/Annotations/480p")
    change(folder / "deep/480p")
    return folder


def test_the_truth_as_prediction_scores_100(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoiled(here, lambda _: None)
    assert call("data", "--score-only", "theirs", "--out", "out") == 0
    said = capsys.readouterr()
    assert "J&F 100.00  J 100.00  F 100.00  (8 objects in 4 sequences)" in said.out
    assert said.err.strip() == "found label maps of 4 sequences in theirs/deep/480p"
    assert call("data", "--score-only", "theirs", "--out", "out", "--workers", "2") == 0  # may be repeated
    assert "J&F 100.00" in capsys.readouterr().out
    assert json.loads((here / "out/manifest.json").read_text())["command"] == "score"


def test_what_does_not_fit_is_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def change(folder: Path) -> None:
        labels = np.full((48, 80), 9, np.uint8)
        cv2.imwrite(str(folder / "ant/00002.png"), labels)
        (folder / "bee/00002.png").rename(folder / "bee/frame2.png")
        (folder / "cat").rename(folder / "cow")
        for file in (folder / "dog").glob("*.png"):
            shown = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
            assert shown is not None
            file.unlink()
            cv2.imwrite(str(file), np.zeros((48, 80), np.uint8))

    spoiled(here, change)
    assert call("data", "--score-only", "theirs", "--out", "out") == 1
    said = capsys.readouterr()
    assert "cow in theirs/deep/480p: no sequence of davis2017 is called so" in said.err
    assert "1 of 4 sequences are missing: cat" in said.err
    assert "bee: no frame is called frame2" in said.err
    assert "not scored" in said.out
    assert not (here / "out/scores.csv").exists()
    assert call("data", "--score-only", "theirs", "--out", "out", "--allow-incomplete") == 0
    said = capsys.readouterr()
    assert "ant: ids that are no objects of the truth, and are not scored: 9" in said.err
    assert "dog: objects that no prediction shows on frames that count: 1, 2" in said.err
    assert "10 masks that count had no prediction" in said.out  # 8 of cat, 2 of bee


def test_an_object_that_the_truth_does_not_have_is_named(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for k in (1, 2, 7):
        for file in (here / "data/Annotations/480p/ant").glob("*.png"):
            copy = here / "theirs/ant" / f"{k:03d}" / file.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shown = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
            assert shown is not None
            cv2.imwrite(str(copy), np.zeros_like(shown))
    assert call("data", "--sequences", "ant", "--score-only", "theirs", "--out", "out") == 0
    assert "ant: no object of the truth is called 007" in capsys.readouterr().err


def test_where_all_is_damaged_that_is_the_reason(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoiled(here, lambda folder: (folder / "ant/00002.png").write_bytes(b"no picture"))
    words = ("data", "--sequences", "ant", "--score-only", "theirs", "--out", "out", "--allow-incomplete")
    assert call(*words) == 1
    assert "not scored: ant cannot be scored: " in capsys.readouterr().out


def test_scores_of_others_and_runs_keep_out_of_each_others_folder(here: Path, weights: Path) -> None:
    spoiled(here, lambda _: None)
    assert call("data", "--model", str(weights), "--out", "run") == 0
    before = contents(here / "run")
    assert call("data", "--score-only", "theirs", "--out", "run") == 2
    assert contents(here / "run") == before
    assert call("data", "--score-only", "run/predictions", "--out", "scores") == 0
    assert (here / "scores/scores.csv").read_bytes() == (here / "run/scores.csv").read_bytes()
    assert call("data", "--model", str(weights), "--out", "scores") == 2


def test_masks_of_one_sequence_need_no_folder_of_its_name(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "theirs").mkdir()
    for file in (here / "data/Annotations/480p/ant").glob("*.png"):
        (here / "theirs" / file.name).write_bytes(file.read_bytes())
    assert call("data", "--sequences", "ant", "--score-only", "theirs", "--out", "out") == 0
    assert "J&F 100.00" in capsys.readouterr().out


def test_a_zip_for_the_server(here: Path, weights: Path) -> None:
    lists = here / "data/ImageSets/2017"
    lists.mkdir(parents=True)
    (lists / "test-dev.txt").write_text("ant\nbee\n")
    for name in NAMES:
        for file in sorted((here / "data/Annotations/480p" / name).glob("*.png"))[1:]:
            file.unlink()
    words = ("--split", "test-dev", "--submission", "sent.zip", "--out", "out")
    assert call("data", "--model", str(weights), *words) == 0  # nothing to be scored, and no failure
    with zipfile.ZipFile(here / "sent.zip") as file:
        assert len(file.namelist()) == 12
        assert file.read("bee/00005.png") == (here / "out/predictions/bee/00005.png").read_bytes()


def start(here: Path, weights: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "sam2_video.cli", "evaluate", "data", "--model", str(weights)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, "--out", "out", *words],
        cwd=here,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def wait_for(ready: Callable[[], Any], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 60
    while not ready():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.01)


def children_of(pid: int) -> list[int]:
    return [int(k) for k in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for_the_end(pids: list[int]) -> None:
    until = time.monotonic() + 20
    while any(Path(f"/proc/{pid}/cmdline").exists() for pid in pids):
        assert time.monotonic() < until, "a worker outlives the run"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("words", [(), ("--workers", "2")], ids=["one process", "two workers"])
def test_a_killed_run_loses_only_what_it_was_at(here: Path, weights: Path, words: tuple[str, ...]) -> None:
    """SIGKILL: nothing can be tidied up, and no worker goes on alone."""
    make_davis(here / "long", frames=12)
    (here / "data").rename(here / "short")
    (here / "long").rename(here / "data")
    process = start(here, weights, *words)
    wait_for(lambda: list(here.glob("out/sequences/*.json")), process)
    workers = children_of(process.pid)
    process.kill()
    process.communicate()
    wait_for_the_end(workers)
    done = {path.stem for path in here.glob("out/sequences/*.json")}
    stamps = {name: (here / f"out/sequences/{name}.json").stat().st_mtime_ns for name in done}
    assert call("data", "--model", str(weights), "--out", "out") == 0
    assert all((here / f"out/sequences/{name}.json").stat().st_mtime_ns == stamps[name] for name in done)
    assert call("data", "--model", str(weights), "--out", "whole") == 0
    assert contents(here / "out/predictions") == contents(here / "whole/predictions")
    assert (here / "out/scores.csv").read_bytes() == (here / "whole/scores.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_a_run_with_advice(here: Path, weights: Path, number: int, code: int) -> None:
    make_davis(here / "more", names=[f"s{k}" for k in range(30)], frames=12)
    (here / "data").rename(here / "short")
    (here / "more").rename(here / "data")
    process = start(here, weights, "--workers", "2")
    wait_for(lambda: list(here.glob("out/sequences/*.json")), process)
    workers = children_of(process.pid)
    process.send_signal(number)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == code, said
    assert "the same command goes on with it" in said
    assert "Traceback" not in said
    wait_for_the_end(workers)
    assert json.loads((here / "out/manifest.json").read_text())["status"] == "interrupted"
    assert not list(here.glob("out/predictions/.*"))


def test_results_may_lie_beside_the_folders_of_the_data(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "JPEGImages/ant").mkdir(parents=True)
    (data / "JPEGImages/ant/0.jpg").touch()
    (data / "empty/.run").mkdir(parents=True)
    (data / "runs/mask").mkdir(parents=True)
    (data / "runs/mask/manifest.json").touch()
    for fine in ("new", "new/deeper", "empty", "runs", "runs/box", "../data2", ".."):
        refuse_out(data, data / fine)
    for wrong in (".", "JPEGImages", "JPEGImages/ant", "JPEGImages/new"):
        with pytest.raises(SinkError, match="is in a folder of the data"):
            refuse_out(data, data / wrong)
    refuse_out(data / "file.json", data / "JPEGImages")  # a COCO file says nothing of what lies beside it
