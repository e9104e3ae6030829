"""The demos run, from arguments to files, with a small model of random weights."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import sam2_video
from sam2_video.checkpoint import save_weights
from sam2_video.sinks.base import BaseSink
from sam2_video.sinks.registry import SINKS, SinkKind
from sam2_video.sources import VideoFile
from sam2_video.types import FrameResult, ObjectInfo
from tests.evaluation.small import make_davis
from tests.live_servers import mjpeg_server
from tests.toys import FRAME_SIZE, toy_clip

HERE = Path(__file__).resolve().parent
DEMOS = HERE.parent / "demos"
FRAMES = 3
Run = Callable[..., None]


def test_every_demo_is_short_public_told_of_and_tested() -> None:
    files = [*HERE.glob("test_demos*.py"), HERE / "finetuning" / "test_finetune_demo.py"]
    tests = "".join(path.read_text(encoding="utf-8") for path in files)
    table = (HERE.parent / "docs" / "demos.md").read_text(encoding="utf-8")
    demos = {path.stem: path.read_text(encoding="utf-8") for path in sorted(DEMOS.glob("*.py"))}
    assert list(demos) == [
        "click_opencv",
        "depth",
        "evaluate_folder",
        "export_masks",
        "finetune_decoder",
        "ray_many_clips",
        "segment_everything",
        "text_prompt",
        "track_folder",
        "track_video",
        "webcam",
    ]
    assert [name for name in demos if f'run("{name}"' not in tests and f'"{name}.py"' not in tests] == []
    assert [name for name in demos if f"demos/{name}.py" not in table] == []
    assert [name for name, text in demos.items() if len(text.splitlines()) > 120] == []
    for name, words in re.findall(r"^python demos/(\w+)\.py (.*)$", table, re.MULTILINE):
        assert [word for word in re.findall(r"--\w+", words) if f'"{word}"' not in demos[name]] == [], name
    hidden = re.compile(
        r"(from|import) sam2_video[.\w]*\.(_|cli_)|import _|[^_.]\b(session|source|result)\._"
    )
    assert [name for name, text in demos.items() if hidden.search(text)] == []


def test_track_video(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("track_video", "clip", "13", "16", "cut.mp4")
    with VideoFile("cut.mp4") as cut:
        assert cut.count == FRAMES and cut.size == FRAME_SIZE
        assert (cut.read(1) > 240).all(axis=2).any(), "what is not the object is white"
    assert "out of sight on 0 frames" in capsys.readouterr().out


def test_track_video_with_points_off_the_object(run: Run) -> None:
    run("track_video", "clip", "13", "16", "without.mp4")
    run("track_video", "clip", "13", "16", "with.mp4", "--off", "60", "40", "--off", "70", "5")
    with VideoFile("without.mp4") as without, VideoFile("with.mp4") as with_points:
        assert not np.array_equal(without.read(0), with_points.read(0))


@pytest.mark.parametrize("demo", ["track_video", "export_masks"])
def test_a_clip_that_is_not_there_is_named(run: Run, demo: str) -> None:
    with pytest.raises(SystemExit, match=r"^error: .*nowhere.mp4"):
        run(demo, "nowhere.mp4", "13", "16", "out.mp4")
    assert not Path("out.mp4").exists()


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


def test_track_folder_keeps_ids_that_no_palette_has(run: Run) -> None:
    labels = np.zeros(FRAME_SIZE, dtype=np.uint16)
    labels[8:24, 5:21] = 300
    Image.fromarray(labels).save("first.png")
    run("track_folder", "clip", "first.png", "masks")
    with Image.open("masks/00000.png") as picture:
        assert set(np.unique(np.asarray(picture))) == {0, 300}


def test_track_folder_refuses_what_is_no_picture(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    Path("first.png").write_text("no picture")
    with pytest.raises(SystemExit):
        run("track_folder", "clip", "first.png", "masks")
    assert "no picture that can be read" in capsys.readouterr().err


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


@pytest.fixture
def finder(run: Run) -> None:
    """In place of the toy model one that finds something: its weights are as they are begun with."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = sam2_video.build_model("nano", ["image_size=64"])
    torch.nn.init.constant_(model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias, 5.0)
    header = {"sam2_video.config": "nano", "sam2_video.overrides": '["image_size=64"]'}
    save_weights(model, Path("toy.safetensors"), header)


@pytest.mark.usefixtures("finder")
def test_segment_everything_in_a_picture(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("segment_everything", "clip/00001.png", "out", "--points", "3", "--stability", "0")
    records = json.loads(Path("out/masks.json").read_text(encoding="utf-8"))
    pieces = sorted(Path("out/pieces").iterdir())
    assert records and len(pieces) == len(records)
    assert [record["area"] for record in records] == sorted((r["area"] for r in records), reverse=True)
    for record, piece in zip(records, pieces, strict=True):
        with Image.open(piece) as picture:
            width, height = (side + 1 for side in record["bbox"][2:])
            assert picture.mode == "RGBA" and picture.size == (width, height)
            assert np.count_nonzero(np.asarray(picture)[..., 3]) == record["area"]
    with Image.open("out/overlay.png") as overlay:
        assert overlay.size == FRAME_SIZE[::-1]
    assert f"{len(records)} masks in out" in capsys.readouterr().out


@pytest.mark.usefixtures("finder")
def test_segment_everything_in_a_clip(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--points", "3", "--stability", "0", "--every", "2", "--limit", "2")
    run("segment_everything", "clip", "out", *words)
    with VideoFile("out/overlay.mp4") as overlay:
        assert overlay.count == FRAMES
    with Path("out/objects.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert {row["frame"] for row in rows} == {"0", "1", "2"}
    assert "object 1: frame 0 to " in capsys.readouterr().out


def test_segment_everything_where_nothing_passes(run: Run) -> None:
    with pytest.raises(SystemExit, match="no mask passes the filters on frame 0"):
        run("segment_everything", "clip", "out", "--points", "2", "--stability", "1")
    assert not Path("out/overlay.mp4").exists() and not Path("out/objects.csv").exists()


def test_evaluate_folder(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    make_davis(Path("data"), names=("ant", "bee"), frames=4)
    run("evaluate_folder", "data", "out", "--protocol", "mask,click1")
    told = capsys.readouterr().out
    (head,) = (line for line in told.splitlines() if line.startswith("J&F"))
    assert head.split()[3:] == ["mask", "click1"]
    rows = {
        line.split()[0]: line.split()[1:] for line in told.splitlines() if line.startswith(("ant", "bee"))
    }
    assert set(rows) == {"ant", "bee"} and all(0 <= float(v) <= 100 for row in rows.values() for v in row)
    with Path("out/mask/scores.csv").open(newline="") as table:
        scores = {row["sequence"]: row for row in csv.DictReader(table) if row["level"] == "sequence"}
    assert f"{float(scores['ant']['jandf']):.1f}" == rows["ant"][0]
    assert Path("out/click1/report.html").exists() and "mask: worst: J " in told


def test_evaluate_folder_says_what_is_wrong_with_data(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    Path("data").mkdir()
    with pytest.raises(SystemExit, match="error: "):
        run("evaluate_folder", "data", "out")
    assert capsys.readouterr().out.startswith("error: data") and not Path("out").exists()
