"""demos/ray_many_clips.py on a Ray of two processes on this machine."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., None]


def prompts(clip: str, x: int = 13) -> None:
    """Say beside a clip what to track."""
    Path(f"{clip}.json").write_text(json.dumps([{"frame": 0, "object": 1, "points": [[x, 16]]}]))


@pytest.mark.slow
def test_many_clips(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Three clips in two processes; one of them cannot be done, another one was done before."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # else Ray leaves a token in the home folder
    monkeypatch.setenv("RAY_worker_niceness", "0")  # else they make no progress beside other work
    for name in ("second", "broken", "before"):
        shutil.copytree("clip", name)
        prompts(name, x=500 if name == "broken" else 13)
    prompts("clip")
    Path("out/before").mkdir(parents=True)
    Path("out/before/objects.csv").write_text("done")
    with pytest.raises(SystemExit) as end:
        run("ray_many_clips", "clip", "second", "broken", "before", "--out", "out", "--processes", "2")
    assert end.value.code == 1
    told = capsys.readouterr().out
    assert "1 of 4 clips are done already" in told
    assert "clip: 3 frames" in told and "second: 3 frames" in told and "broken.json, line 1" in told
    for name in ("clip", "second"):
        assert len(list(Path("out", name, "masks").iterdir())) == 3
        with Path("out", name, "objects.csv").open(newline="") as table:
            assert [row["frame"] for row in csv.DictReader(table)] == ["0", "1", "2"]
    assert not Path("out/broken/objects.csv").exists()
    assert Path("out/before/objects.csv").read_text() == "done"


def test_clips_of_one_name_are_refused(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("ray_many_clips", "a/clip.mp4", "b/clip.mp4", "--out", "out")
    assert "two clips are called clip" in capsys.readouterr().err


def test_nothing_left_starts_nothing(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    Path("out/clip").mkdir(parents=True)
    Path("out/clip/objects.csv").touch()
    run("ray_many_clips", "clip", "--out", "out")
    assert capsys.readouterr().out == "1 of 1 clips are done already\n"


def test_ray_that_is_missing_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SystemExit, match=r"pip install 'sam2_video\[ray\]'"):
        run("ray_many_clips", "clip", "--out", "out")
