"""The demos run, from arguments to files, with a small model of random weights."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sam2_video.checkpoint import save_weights
from sam2_video.sinks.base import BaseSink
from sam2_video.sinks.registry import SINKS, SinkKind
from sam2_video.sources import VideoFile
from sam2_video.types import FrameResult, ObjectInfo
from tests.live_servers import mjpeg_server
from tests.toys import FRAME_SIZE, TOY_OVERRIDES, toy_clip, toy_model

DEMOS = Path(__file__).resolve().parents[1] / "demos"
FRAMES = 3
Run = Callable[..., None]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a demo beside clip/, a folder of three pictures, with the toy model."""
    monkeypatch.chdir(tmp_path)
    header = {"sam2_video.config": "nano", "sam2_video.overrides": json.dumps(TOY_OVERRIDES)}
    save_weights(toy_model(), Path("toy.safetensors"), header)
    Path("clip").mkdir()
    for frame, rgb in enumerate(toy_clip(FRAMES)):
        Image.fromarray(rgb).save(f"clip/{frame:05d}.png")

    def run(demo: str, *words: str) -> None:
        monkeypatch.setattr(sys, "argv", [demo, *words, "--model", "toy.safetensors"])
        runpy.run_path(str(DEMOS / f"{demo}.py"), run_name="__main__")

    return run


def test_every_demo_is_short_and_tested_here() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    elsewhere = DEMOS / "finetune_decoder.py"  # tests/finetuning/test_finetune_demo.py
    demos = sorted(set(DEMOS.glob("*.py")) - {elsewhere})
    assert [demo.stem for demo in demos if f'run("{demo.stem}"' not in text] == []
    assert [demo.stem for demo in demos] == ["export_masks", "track_folder", "track_video", "webcam"]
    assert all(len(demo.read_text(encoding="utf-8").splitlines()) <= 120 for demo in demos)


def test_track_video(run: Run) -> None:
    run("track_video", "clip", "13", "16", "cut.mp4")
    with VideoFile("cut.mp4") as cut:
        assert cut.count == FRAMES and cut.size == FRAME_SIZE
        assert (cut.read(1) > 240).all(axis=2).any(), "what is not the object is white"


def test_track_folder(run: Run) -> None:
    labels = np.zeros(FRAME_SIZE, dtype=np.uint8)
    labels[8:24, 5:21], labels[30:45, 50:75] = 3, 7
    Image.fromarray(labels).save("first.png")
    run("track_folder", "clip", "first.png", "masks")
    made = sorted(Path("masks").glob("*.png"))
    assert [file.name for file in made] == [f"{frame:05d}.png" for frame in range(FRAMES)]
    with Image.open(made[0]) as picture:
        assert picture.mode == "P"
        first = np.asarray(picture)
    assert set(np.unique(first)) == {0, 3, 7}
    assert (first == labels).mean() > 0.95, "the first frame is what the annotation says"


def test_track_folder_refuses_a_mask_without_objects(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("L", FRAME_SIZE[::-1]).save("first.png")
    with pytest.raises(SystemExit):
        run("track_folder", "clip", "first.png", "masks")
    assert "at least one object" in capsys.readouterr().err and not Path("masks").exists()


def test_webcam_falls_back_to_a_file(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("webcam", "97", "seen.mp4", "--fallback", "clip", "--seconds", "60")
    told = capsys.readouterr().out
    assert "camera 97 cannot be opened" in told and "playing clip instead" in told
    assert f"{FRAMES} frames, 0 dropped" in told
    with VideoFile("seen.mp4") as seen:
        assert seen.count == FRAMES and seen.size == FRAME_SIZE


def test_webcam_on_a_stream(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with mjpeg_server(toy_clip(20), seconds=0.005, endless=True) as (url, _):
        run("webcam", url, "seen.mp4", "--seconds", "0.5")
    told = capsys.readouterr().out
    with VideoFile("seen.mp4") as seen:
        assert seen.count >= 1 and told.startswith(f"{seen.count} frames, ")


def test_webcam_without_a_camera_or_a_file(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("webcam", "97", "seen.mp4")
    assert "camera 97 cannot be opened" in capsys.readouterr().err and not Path("seen.mp4").exists()


class Listener(BaseSink):
    """Keeps what it is told about the first object."""

    heard: ClassVar[list[ObjectInfo]] = []

    def write(self, frame_rgb: NDArray[np.uint8], result: FrameResult, frame_name: str) -> None:
        self.heard.append(result.info_of(0))


def test_export_masks(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(SINKS, "listener", SinkKind(lambda order: Listener(), files=()))
    words = ("--save", "masks,objects,rle,overlay,listener", "--name", "bright square", "--category", "toy")
    run("export_masks", "clip", "13", "16", "out", *words)
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "masks", "masks.jsonl", "objects.csv", "overlay.mp4",
    ]  # fmt: skip
    assert len(list(Path("out/masks").iterdir())) == FRAMES
    assert len(Path("out/objects.csv").read_text(encoding="utf-8").splitlines()) == 1 + FRAMES
    assert len(Path("out/masks.jsonl").read_text(encoding="utf-8").splitlines()) >= FRAMES
    with VideoFile("out/overlay.mp4") as overlay:
        assert overlay.count == FRAMES
    assert f"{FRAMES} x out/masks/*.png" in capsys.readouterr().out
    assert Listener.heard == [ObjectInfo("bright square", "toy")] * FRAMES


def test_export_masks_knows_its_formats(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("export_masks", "clip", "13", "16", "out", "--save", "masks,gif")
    assert "does not know gif; choose from masks" in capsys.readouterr().err and not Path("out").exists()
