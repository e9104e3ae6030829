"""The command: what it takes, what it says, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sam2_video.cli import main
from sam2_video.cli_annotate import split_sources
from sam2_video.prompts.shapes import run_lengths
from sam2_video.sinks.video import VideoWriter
from tests.annotation.toys import make_pictures
from tests.evaluation.small import save_toy
from tests.toys import toy_clip

FAST = ["--points-per-side", "2", "--pred-iou-thresh", "0", "--stability-score-thresh", "0"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_toy(tmp_path_factory.mktemp("weights") / "toy.safetensors")


def call(*words: object) -> int:
    with pytest.raises(SystemExit) as end:
        main(["annotate", *map(str, words)])
    return int(end.value.code or 0)


def test_two_hundred_pictures_five_of_them_broken(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = [f"broken{k}.png" for k in range(5)]
    make_pictures(tmp_path / "pics", [*broken, *(f"{k}.png" for k in range(195))], (24, 40))
    assert call(tmp_path / "pics", "--model", weights, *FAST, "--out", tmp_path / "out") == 1
    told = capsys.readouterr()
    assert "195 done;" in told.out
    assert f"5 could not be annotated: {', '.join(broken)}; the same command tries again" in told.err
    assert all(f"{name}: " in told.err for name in broken)
    assert len(list((tmp_path / "out/annotations").iterdir())) == 195
    assert {p.name for p in (tmp_path / "out").glob("*.html")} == {
        *("review.html", "review-2.html", "review-3.html", "review-4.html")
    }
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert (manifest["status"], sorted(manifest["failed"])) == ("failed", broken)


def test_a_run_without_failures_ends_well(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_pictures(tmp_path / "pics", ["a.png"])
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.4 0.4 0.875\n")
    words = ["--mode", "assisted", "--prompts", tmp_path / "a.txt", "--outlines", "polygons"]
    assert call(tmp_path / "pics/a.png", "--model", weights, *words, "--out", tmp_path / "out") == 0
    (entry,) = json.loads((tmp_path / "out/coco.json").read_text())["annotations"]
    assert entry["score"] == 0.875 and isinstance(entry["segmentation"], list)
    assert "1 done; 1 masks in" in capsys.readouterr().out


def test_what_is_wrong_is_said_before_anything_is_written(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(tmp_path / "nothing", "--out", tmp_path / "out") == 2
    assert "does not exist" in capsys.readouterr().err
    make_pictures(tmp_path / "pics", ["a.png"])
    assert call(tmp_path / "pics", "--mode", "assisted", "--out", tmp_path / "out") == 2
    assert "needs prompts" in capsys.readouterr().err
    assert call(tmp_path / "pics", "--workers", "0", "--out", tmp_path / "out") == 2
    assert not (tmp_path / "out").exists()
    words = ["--model", weights, "--points-per-side", "0", "--out", tmp_path / "out"]
    assert call(tmp_path / "pics", *words) == 2
    assert "points_per_side must be at least 1" in capsys.readouterr().err
    assert not (tmp_path / "out/annotations").exists()


def test_overrides_are_told_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x=1.png").touch()
    found = split_sources(["pics", "image_size=512", "x=1.png", "model.width=48", "+a=b", "a b.png"])
    assert found == (["pics", "x=1.png", "a b.png"], ("image_size=512", "model.width=48", "+a=b"))


def test_clips_become_masklets(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_space = tmp_path / "my clip.mp4"
    with VideoWriter(with_space, 25.0) as video:
        for frame in toy_clip(5):
            video.write(frame)
    (tmp_path / "no.mp4").write_bytes(b"no video")
    more = ["--multimask-output", "--points-per-side", "4", "--limit", "3", "--least", "0"]
    words = ["--model", weights, *FAST, *more, "--out", tmp_path / "out"]
    assert call(with_space, tmp_path / "no.mp4", *words) == 1
    told = capsys.readouterr()
    assert "no.mp4: " in told.err and "masklets in" in told.out
    found = json.loads((tmp_path / "out/masklets/my_clip_1_auto.json").read_text())
    assert (len(found["masklet"]), found["video_frame_count"]) == (5, 5)
    assert 1 <= found["masklet_num"] <= 3
    assert set(found["masklet_type"]) == {"auto"}
    assert found["masklet_num"] == len(found["masklet"][0])
    area = sum(run_lengths(found["masklet"][0][0], "a mask")["counts"][1::2])
    assert 0 < area <= np.prod(found["masklet"][0][0]["size"])
    assert "1 done" in told.out
    again = call(with_space, *words)
    assert again == 0 and "0 done, 1 were done before" in capsys.readouterr().out
    assert call(with_space, "--mode", "semi", *words) == 2
    assert "is a clip: those are annotated in the mode auto" in capsys.readouterr().err
