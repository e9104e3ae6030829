"""The commands of docs/finetuning.md, at toy size, and `train --check`."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest

from sam2_video.cli import main
from tests.evaluation.datasets.builders import write_labels
from tests.finetuning.drawn import write_clips, write_rgb

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "finetuning.md").read_text(encoding="utf-8")
SMALL = ["schedule.epochs=1", "schedule.batch=2", "data.workers=0", "threads=1", "device=cpu"]


def commands(marker: str) -> list[list[str]]:
    (block,) = re.findall(rf"<!-- commands: {marker} -->\n```console\n(.*?)```", PAGE, re.DOTALL)
    lines = [shlex.split(line) for line in block.splitlines()]
    assert len(lines) == 2 and all(words[0] == "sam2-video" for words in lines)
    return [words[1:] for words in lines]


def run(words: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code in (0, None), words


def draw(root: Path) -> None:
    rng = np.random.default_rng(2)
    names = ["one", "two", "three"]
    for k, name in enumerate(names):
        labels = np.zeros((300, 480), np.uint8)
        cv2.circle(labels, (400 - 20 * k, 240), 50, 1, -1)
        rgb = np.where(labels[..., None] > 0, (220, 80, 40), (50, 60, 70)) + rng.integers(
            0, 20, (300, 480, 3)
        )
        write_rgb(root / f"VOC/JPEGImages/{name}.jpg", rgb.astype(np.uint8))
        write_labels(root / f"VOC/SegmentationObject/{name}.png", labels)
        write_rgb(root / "photo.jpg", rgb.astype(np.uint8))
    lists = root / "VOC/ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("one\ntwo\n")
    (lists / "val.txt").write_text("three\n")


def test_the_two_commands_for_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    draw(tmp_path)
    tune, use = commands("pictures")
    run([*tune, *SMALL])
    run(use)
    assert Path("out/masks/photo.png").is_file()


def test_the_two_commands_for_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_clips(tmp_path / "DAVIS", clips=2, frames=3)
    for frame in sorted((tmp_path / "DAVIS/JPEGImages/480p/clip1").iterdir()):
        (tmp_path / "clip").mkdir(exist_ok=True)
        (tmp_path / "clip" / frame.name).write_bytes(frame.read_bytes())
    tune, use = commands("clips")
    few = [
        "data.frames=2",
        "schedule.accumulate=1",
        "prompts.correction_clicks=1",
        "overrides=['image_size=64']",
    ]
    run([*tune, *SMALL, *few])
    run([word.replace("clip.mp4", "clip").replace("0:1:420,260", "0:1:18,24") for word in use])
    assert len(list(Path("out/masks").iterdir())) == 3


def test_check_says_what_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    draw(tmp_path)
    run(["train", "finetune", "data.folder=VOC", "--check"])
    assert "3 items (2 to train on, 1 to validate on): 0 broken" in capsys.readouterr().out
    Path("VOC/JPEGImages/two.jpg").unlink()
    with pytest.raises(SystemExit) as end:
        main(["train", "finetune", "data.folder=VOC", "--check"])
    told = capsys.readouterr().out
    assert end.value.code == 1 and "two.jpg is missing" in told and "1 broken, 1 errors" in told
    with pytest.raises(SystemExit) as end:
        main(["train", "nano", "stills=.", "--check"])
    assert end.value.code == 2 and "--check is for fine-tuning" in capsys.readouterr().err
