"""The command line, from arguments to files, with a small model of random weights."""

from __future__ import annotations

import csv
import json
import re
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from sam2_video import __version__, checkpoint, cli_demo
from sam2_video.checkpoint import list_models, save_weights
from sam2_video.cli import main
from sam2_video.cli_journal import _differences
from sam2_video.cli_prompts import PlacedPrompt, gather_prompts
from sam2_video.cli_run import ModelOptions
from sam2_video.cli_segment import predict
from sam2_video.cli_track import TrackOptions, TrackRun, expected_frames
from sam2_video.cli_write import RunSummary, Writers
from sam2_video.config import build_model
from sam2_video.image_predictor import ImagePredictor
from sam2_video.sinks import MaskPngSink, ObjectsCsvSink, OverlaySink
from sam2_video.sinks.registry import SINKS
from sam2_video.types import Prompt, PromptError, SinkError, SourceError
from tests.clips import write_clip
from tests.contracts.golden import disc
from tests.toys import SAM1_OVERRIDES, toy_sam1

FRAMES, HEIGHT, WIDTH = 6, 48, 64
Run = Callable[..., SimpleNamespace]


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "toy.safetensors"
    torch.manual_seed(0)
    model = build_model("nano", ["image_size=64"])
    # Random weights see nothing anywhere; this bias of the presence head makes every object present.
    torch.nn.init.constant_(model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias, 5.0)
    save_weights(model, path, {"sam2_video.config": "nano", "sam2_video.overrides": '["image_size=64"]'})
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    folder = tmp_path / "clip"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for frame in range(FRAMES):
        picture = rng.integers(0, 80, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        picture[10:30, 10 + frame : 30 + frame] = 220
        Image.fromarray(picture).save(folder / f"{frame:05d}.png")
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> SimpleNamespace:
        with pytest.raises(SystemExit) as left:
            main([str(a) for a in arguments])
        output = capsys.readouterr()
        return SimpleNamespace(code=left.value.code or 0, out=output.out, err=output.err)

    return call


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "objects.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def frames_in(video: Path) -> int:
    reader = cv2.VideoCapture(str(video))
    count = 0
    while reader.read()[0]:
        count += 1
    reader.release()
    return count


def no_rests(out: Path) -> bool:
    """Are there no unfinished files? What the run needs to go on may be there."""
    return not [p for p in out.rglob(".*") if p.name != ".run"]


def record(out: Path) -> Any:
    return json.loads((out / "run.json").read_text())


def test_track_writes_all_that_it_promises(run: Run, clip: Path, model_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run(
        *(
            "track",
            clip,
            "--click",
            "0:1:20,20",
            "--box",
            "2:7:5,5,40,40",
            "--model",
            model_file,
            "--out",
            out,
        ),
        *("--save", "masks,overlay,objects,rle", "--threads", 1),
    )
    assert done.code == 0, done.err
    assert sorted(p.name for p in (out / "masks").iterdir()) == [f"{k:05d}.png" for k in range(FRAMES)]
    with Image.open(out / "masks" / "00003.png") as mask:
        assert mask.mode == "P" and mask.size == (WIDTH, HEIGHT)
    assert frames_in(out / "overlay.mp4") == FRAMES
    rows = rows_of(out)
    assert [(int(r["frame"]), int(r["object"])) for r in rows] == [
        (f, o) for f in range(FRAMES) for o in (1, 7)
    ]
    assert [(r["frame"], r["object"]) for r in rows if r["prompted"] == "1"] == [("0", "1"), ("2", "7")]
    assert len((out / "masks.jsonl").read_text().splitlines()) == 2 * FRAMES
    assert not (out / ".run").exists()
    said = record(out)
    assert said["status"] == "complete" and said["frames"] == FRAMES
    assert said["source"] == str(clip.resolve())
    assert said["versions"]["sam2_video"] == __version__
    assert re.fullmatch(r"[0-9a-f]{64}", said["model"]["sha256"])
    assert re.search(rf"{FRAMES} frames in .* frames/s", done.out)


def test_a_run_can_be_repeated_from_its_record(
    run: Run, clip: Path, model_file: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    common = ("--model", model_file, "--save", "masks")
    assert (
        run("track", clip, "--click", "0:3:20,20", "--click", "2:3:50,40:-", *common, "--out", first).code
        == 0
    )
    assert run("track", clip, "--prompts", first / "run.json", *common, "--out", second).code == 0
    masks = sorted((first / "masks").iterdir())
    assert len(masks) == FRAMES
    for mask in masks:
        assert mask.read_bytes() == (second / "masks" / mask.name).read_bytes()
    assert record(second)["prompts"] == record(first)["prompts"]


@pytest.mark.parametrize(
    ("direction", "frames"),
    [("forward", [3, 4, 5]), ("backward", [0, 1, 2, 3]), ("both", [0, 1, 2, 3, 4, 5])],
)
def test_directions_and_frame_order(
    run: Run, clip: Path, model_file: Path, tmp_path: Path, direction: str, frames: list[int]
) -> None:
    out = tmp_path / "out"
    done = run(
        "track", clip, "--click", "3:1:20,20", "--direction", direction, "--model", model_file, "--out", out
    )
    assert done.code == 0, done.err
    assert [int(r["frame"]) for r in rows_of(out)] == frames
    assert frames_in(out / "overlay.mp4") == len(frames)
    assert sorted(int(p.stem) for p in (out / "masks").iterdir()) == frames
    expected = expected_frames(FRAMES, TrackOptions(direction), gather_prompts(["3:1:20,20"]))  # type: ignore[arg-type]
    assert expected == len(frames)


def test_stop_stride_and_overrides(run: Run, clip: Path, model_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run(
        *("track", clip, "image_size=96", "--click", "1:1:20,20", "--stop", 5, "--stride", 2),
        *("--model", model_file, "--save", "objects", "--out", out),
    )
    assert done.code == 0, done.err
    assert [int(r["frame"]) for r in rows_of(out)] == [1, 3]
    assert record(out)["model"]["overrides"] == ["image_size=96"]
    assert not (out / "masks").exists() and not (out / "overlay.mp4").exists()


def test_results_are_not_overwritten_unasked(run: Run, clip: Path, model_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = (
        "track",
        clip,
        "--click",
        "0:1:20,20",
        "--model",
        model_file,
        "--save",
        "masks",
        "--out",
        out,
    )
    assert run(*arguments).code == 0
    (out / "mine.txt").write_text("keep")
    again = run(*arguments)
    assert again.code == 2 and "--overwrite" in again.err
    assert run(*arguments, "--overwrite", "--stop", 2).code == 0
    assert len(list((out / "masks").iterdir())) == 2, "masks of the longer run are still there"
    assert (out / "mine.txt").read_text() == "keep"


def test_overwrite_removes_nothing_from_a_folder_that_no_run_filled(
    run: Run, clip: Path, model_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "masks").mkdir(parents=True)
    (out / "masks" / "mine.png").write_bytes(b"keep")
    done = run(
        *("track", clip, "--click", "0:1:20,20", "--model", model_file, "--save", "masks"),
        *("--out", out, "--overwrite"),
    )
    assert done.code == 0, done.err
    assert (out / "masks" / "mine.png").read_bytes() == b"keep"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--click", "0:1:64,20"], "outside frame 0, which is 64 wide and 48 high"),
        (["--box", "2:1:5,5,99,40"], "reaches out of frame 2, which is 64 wide"),
        (["--box", "0:1:40,40,5,5"], "swapped"),
        (["--click", "6:1:20,20"], r"outside this clip (0..5)"),
        (["--click", "0:1:nan,20"], "finite"),
        (["--click", "0:0:20,20"], "0 is background"),
        (["--click", "0:70000:20,20"], "65535"),
        ([], "no prompt"),
        (["stray", "--click", "0:1:20,20"], "'stray'"),
        (["--click", "0:1000:20,20", "--save", "objects,mots"], "object id 1000 does not fit MOTS"),
        (["--click", "0:1:20,20", "--save", "masks,films"], "films"),
        (["--prompts", "missing.json"], "missing.json"),
        (["--mask", "0:missing.png"], "missing.png"),
    ],
)
@pytest.mark.usefixtures("no_model")
def test_what_is_wrong_is_said_before_the_model_is_loaded(
    run: Run, clip: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = run("track", clip, *arguments, "--out", tmp_path / "out")
    assert done.code == 2
    assert done.err.startswith("error: ") and done.err.count("\n") == 1, done.err
    assert message in done.err


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("save", ["objects,mots", "masks"])
@pytest.mark.usefixtures("no_model")
def test_objects_that_do_not_fit_are_refused_before_anything_is_made(
    run: Run, clip: Path, tmp_path: Path, save: str, live: bool
) -> None:
    source = "-" if live else clip
    fits = ["--click", "0:1:20,20", "--name", "1:one:car"]
    done = run("track", source, *fits, "--click", "0:70000:20,20", "--save", save, "--out", tmp_path / "out")
    assert done.code == 2 and "object id 70000 does not fit" in done.err
    assert not (tmp_path / "out").exists()
    names = [word for k in range(1, 11) for word in ("--name", f"{k}::class{k}")]
    clicks = [word for k in range(1, 11) for word in ("--click", f"{k % 3}:{k}:20,20")]
    done = run("track", source, *clicks, *names, "--save", "mots", "--out", tmp_path / "out")
    assert done.code == 2 and "MOTS has 9 classes; 'class" in done.err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(checkpoint, "load_model", refuse)


@pytest.mark.parametrize("filled_by_a_run", [True, False])
@pytest.mark.parametrize(
    "arguments",
    [
        ["track", "{out}/masks", "--click", "0:1:20,20"],
        ["track", "{out}/overlay.mp4", "--click", "0:1:20,20"],
        ["track", "{clip}", "--mask", "0:{out}/masks/00000.png"],
        ["track", "{clip}", "--prompts", "{out}/prompts.json"],
        ["segment", "{out}/masks/00000.png", "--click", "20,20"],
        ["segment", "{out}/overlay.png", "--click", "20,20"],
    ],
)
@pytest.mark.usefixtures("no_model")
def test_overwriting_spares_what_the_run_needs(
    run: Run, clip: Path, tmp_path: Path, arguments: list[str], filled_by_a_run: bool
) -> None:
    out = tmp_path / "out"
    (out / "masks").mkdir(parents=True)
    for k in range(2):
        Image.fromarray(np.full((HEIGHT, WIDTH), k < 1, np.uint8)).save(out / "masks" / f"{k:05d}.png")
    (out / "overlay.png").write_bytes((clip / "00000.png").read_bytes())
    (out / "overlay.mp4").write_bytes(b"a clip")
    (out / "prompts.json").write_text(json.dumps([{"frame": 0, "mask": "masks/00000.png"}]))
    if filled_by_a_run:
        (out / "run.json").write_text("{}")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    words = [word.format(out=out, clip=clip) for word in arguments]
    done = run(*words, "--out", tmp_path / "clip" / ".." / "out", "--overwrite")
    assert done.code == 2 and "is needed by this run" in done.err, done.err
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_run_may_replace_the_one_whose_prompts_it_takes(
    run: Run, clip: Path, model_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    common = ("track", clip, "--model", model_file, "--save", "objects", "--out", out)
    assert run(*common, "--click", "1:3:20,20").code == 0
    before = record(out)["prompts"], (out / "objects.csv").read_bytes()
    done = run(*common, "--prompts", out / "run.json", "--overwrite")
    assert done.code == 0, done.err
    assert (record(out)["prompts"], (out / "objects.csv").read_bytes()) == before


@pytest.mark.usefixtures("no_model")
def test_a_folder_without_permission_is_found_before_the_model_is_loaded(
    run: Run, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sam2_video.sinks.base.os.access", lambda *_: False)
    done = run("track", clip, "--click", "0:1:20,20", "--out", tmp_path / "out")
    assert done.code == 2 and "no permission to write there" in done.err


def test_bad_sources_and_folders_are_one_line(run: Run, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video" * 100)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for source, out in [
        ("missing.mp4", "a"),
        ("broken.mp4", "b"),
        ("empty", "c"),
        ("clip", "file"),
        ("clip", "file/below"),
    ]:
        done = run("track", tmp_path / source, "--click", "0:1:1,1", "--out", tmp_path / out)
        assert done.code == 2
        assert "error: " in done.err and "Traceback" not in done.err


def test_an_unknown_model_is_named(run: Run, clip: Path, tmp_path: Path) -> None:
    done = run("track", clip, "--click", "0:1:1,1", "--model", "sam9", "--out", tmp_path / "out")
    assert done.code == 2 and "'sam9'" in done.err and "nano" in done.err


def test_traceback_on_demand(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["track", str(clip), "--out", str(tmp_path / "out")]
    with pytest.raises(PromptError):
        main(["--traceback", *arguments])
    monkeypatch.setenv("SAM2_VIDEO_TRACEBACK", "1")
    with pytest.raises(PromptError):
        main(arguments)


def test_ctrl_c_leaves_whole_files(
    run: Run, clip: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = MaskPngSink.write

    def interrupt(self: MaskPngSink, rgb: Any, result: Any, name: str) -> None:
        if result.frame == 3:
            raise KeyboardInterrupt
        written(self, rgb, result, name)

    monkeypatch.setattr(MaskPngSink, "write", interrupt)
    out = tmp_path / "out"
    done = run("track", clip, "--click", "0:1:20,20", "--model", model_file, "--out", out)
    assert done.code == 130 and "interrupted after 3 frames" in done.out
    assert sorted(int(p.stem) for p in (out / "masks").iterdir()) == [0, 1, 2]
    assert frames_in(out / "overlay.mp4") == 3 and len(rows_of(out)) == 3
    assert record(out)["status"] == "interrupted"
    assert no_rests(out)


def test_a_frame_that_cannot_be_read_ends_the_run_but_keeps_the_rest(
    run: Run, clip: Path, model_file: Path, tmp_path: Path
) -> None:
    (clip / "00004.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    done = run("track", clip, "--click", "0:1:20,20", "--model", model_file, "--out", out)
    assert done.code == 2 and "00004.png" in done.err
    assert frames_in(out / "overlay.mp4") == 4 and len(rows_of(out)) == 4
    assert record(out)["status"].startswith("failed") and "00004.png" in record(out)["status"]


@pytest.mark.parametrize("full", [MaskPngSink, OverlaySink])
def test_a_full_disk_is_told_and_what_is_whole_stays(
    run: Run, clip: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: Any
) -> None:
    written = full.write

    def fail(self: Any, rgb: Any, result: Any, name: str) -> None:
        if result.frame == 3:
            raise SinkError("the disk is full")
        written(self, rgb, result, name)

    monkeypatch.setattr(full, "write", fail)
    out = tmp_path / "out"
    done = run("track", clip, "--click", "0:1:20,20", "--model", model_file, "--out", out)
    assert done.code == 2 and done.err.endswith("error: the disk is full\n")
    assert record(out)["status"] == "failed: the disk is full" and record(out)["frames"] == 3
    assert len(list((out / "masks").iterdir())) == (3 if full is MaskPngSink else 4)
    assert len(rows_of(out)) == 3
    assert (out / "overlay.mp4").exists() == (full is MaskPngSink)
    assert no_rests(out)


@pytest.mark.parametrize(
    ("reason", "code", "status"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (SourceError("gone"), 2, "failed: gone"),
        (RuntimeError("no memory"), 1, "failed: no memory"),
    ],
)
def test_what_ends_the_second_pass_of_a_backward_run_is_told(
    run: Run,
    clip: Path,
    model_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reason: BaseException,
    code: int,
    status: str,
) -> None:
    write = Writers.write

    def fail(self: Writers, sinks: Any, result: Any) -> None:
        if result.frame == 3 and any(isinstance(sink, ObjectsCsvSink) for sink in sinks):
            raise reason
        write(self, sinks, result)

    monkeypatch.setattr(Writers, "write", fail)
    out = tmp_path / "out"
    arguments = ("track", clip, "--click", "5:1:20,20", "--direction", "backward", "--model", model_file)
    if code == 1:
        with pytest.raises(RuntimeError, match="no memory"):
            main([str(a) for a in (*arguments, "--out", out)])
    else:
        assert run(*arguments, "--out", out).code == code
    assert record(out)["status"] == status
    assert len(list((out / "masks").iterdir())) == FRAMES
    assert frames_in(out / "overlay.mp4") == 3 and [r["frame"] for r in rows_of(out)] == ["0", "1", "2"]
    assert no_rests(out)


def test_results_set_aside_are_those_of_a_forward_run(
    run: Run, clip: Path, model_file: Path, tmp_path: Path
) -> None:
    # From the first frame on "both" has nothing to do backward: only the way of writing differs.
    for direction in ("forward", "both"):
        done = run(
            *("track", clip, "--click", "0:1:20,20", "--box", "0:2:5,5,40,40", "--model", model_file),
            *("--direction", direction, "--save", "masks,overlay,objects,rle", "--out", tmp_path / direction),
        )
        assert done.code == 0, done.err
    files = [p for p in (tmp_path / "forward").rglob("*") if p.is_file() and p.name != "run.json"]
    assert len(files) == FRAMES + 3
    for file in files:
        other = tmp_path / "both" / file.relative_to(tmp_path / "forward")
        assert file.read_bytes() == other.read_bytes(), file.name
    assert any(int(row["area"]) for row in rows_of(tmp_path / "both"))


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_no_result_stays_in_memory(
    run: Run, clip: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direction: str
) -> None:
    write, seen, alive = Writers.write, [], []

    def watch(self: Writers, sinks: Any, result: Any) -> None:
        seen.append(weakref.ref(result.logits))  # copies of a result share it
        write(self, sinks, result)
        alive.append(sum(reference() is not None for reference in seen))

    monkeypatch.setattr(Writers, "write", watch)
    done = run(
        *("track", clip, "--click", "3:1:20,20", "--direction", direction, "--model", model_file),
        *("--out", tmp_path / "out"),
    )
    assert done.code == 0, done.err
    assert max(alive) <= 2 and len(alive) >= 3


def test_each_frame_is_read_once_on_a_forward_run(
    run: Run, clip: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sam2_video.sources import folder

    reads: list[str] = []
    name = "load_picture" if hasattr(folder, "load_picture") else "read_picture"
    decode = getattr(folder, name)

    def count(path: Path) -> Any:
        reads.append(path.name)
        return decode(path)

    monkeypatch.setattr(folder, name, count)
    out = tmp_path / "out"
    assert run("track", clip, "--click", "0:1:20,20", "--model", model_file, "--out", out).code == 0
    assert set(reads) == {f"{k:05d}.png" for k in range(FRAMES)}
    assert len(reads) <= FRAMES + 1  # the first one also tells the size


def test_segment_a_picture(run: Run, clip: Path, model_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run(
        *("segment", clip / "00002.png", "--click", "20,20", "--click", "50,40:-"),
        *("--box", "9:5,5,30,30", "--model", model_file, "--out", out),
    )
    assert done.code == 0, done.err
    assert [line.split(":")[0] for line in done.out.splitlines()[:2]] == ["object 1", "object 9"]
    with Image.open(out / "masks" / "00002.png") as mask, Image.open(out / "overlay.png") as overlay:
        assert mask.size == overlay.size == (WIDTH, HEIGHT)
        assert set(np.unique(np.asarray(mask))) <= {0, 1, 9}
    first, second = record(out)["prompts"]
    assert first == {"frame": 0, "object": 1, "points": [[20.0, 20.0], [50.0, 40.0]], "labels": [1, 0]}
    assert second == {"frame": 0, "object": 9, "box": [5.0, 5.0, 30.0, 30.0]}


@pytest.fixture
def sam1_file(tmp_path: Path) -> Path:
    path = tmp_path / "sam1.safetensors"
    header = {"sam2_video.config": "sam_vit_b", "sam2_video.overrides": json.dumps(SAM1_OVERRIDES)}
    save_weights(toy_sam1(), path, header)
    return path


def test_segment_with_sam_1(run: Run, clip: Path, sam1_file: Path, tmp_path: Path) -> None:
    """Masks are those of the predictor: what lies in the padding of its square is not squashed into them."""
    out, picture = tmp_path / "out", clip / "00002.png"
    prompts = ("--click", "20,20", "--box", "9:5,5,30,30", "--click", "4:40,30")
    done = run("segment", picture, *prompts, "--model", sam1_file, "--out", out)
    assert done.code == 0, done.err
    predictor = ImagePredictor(toy_sam1())
    predictor.set_image(picture)
    expected = {
        1: predictor.predict(points=[(20, 20)]),
        9: predictor.predict(box=(5, 5, 30, 30), multimask=False),
        4: predictor.predict(points=[(40, 30)]),
    }
    for line in done.out.splitlines()[:3]:
        result = expected.pop(int(line.split()[1].rstrip(":")))
        best = int(result.iou.argmax())
        assert f" {result.masks[best].sum()} pixels" in line and f"IoU {result.iou[best]:.2f}" in line
    assert not expected


def test_videos_need_a_model_with_memory(run: Run, clip: Path, sam1_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("track", clip, "--click", "0:1:20,20", "--model", sam1_file, "--out", out)
    assert done.code == 2 and "SAM 1 has none" in done.err and "sam2-video segment" in done.err
    assert not any(out.rglob("*.*"))


def labels_of(path: Path, spots: dict[int, tuple[int, int, int, int]]) -> Path:
    """A label picture of boxes."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    for value, (x0, y0, x1, y1) in spots.items():
        labels[y0:y1, x0:x1] = value
    Image.fromarray(labels).save(path)
    return path


def test_segment_refines_masks(run: Run, clip: Path, sam1_file: Path, tmp_path: Path) -> None:
    """Every value of a label picture is an object, which the model is shown with its box."""
    out, picture = tmp_path / "out", clip / "00002.png"
    boxes = {3: (5, 6, 25, 20), 8: (30, 10, 55, 41)}
    file = labels_of(tmp_path / "a:b.png", boxes)  # a colon: there is no FRAME to cut off
    words = ("--mask", file, "--click", "4:40,30", "--model", sam1_file, "--out", out)
    done = run("segment", picture, *words)
    assert done.code == 0, done.err
    predictor = ImagePredictor(toy_sam1())
    predictor.set_image(picture)
    labels = np.asarray(Image.open(file))
    assert [line.split(":")[0] for line in done.out.splitlines()[:3]] == ["object 3", "object 4", "object 8"]
    for line in done.out.splitlines()[:3]:
        if (k := int(line.split()[1].rstrip(":"))) in boxes:
            result = predictor.predict(mask=labels == k, box=boxes[k], multimask=False)
            assert f": {result.masks[0].sum()} pixels" in line and f"IoU {result.iou[0]:.2f}" in line
    assert record(out)["prompts"][0] == {"frame": 0, "object": 3, "mask": str(file)}

    inside = out / "masks" / "00002.png"  # what a run reads must not give its place to what it writes
    again = run("segment", picture, "--mask", inside, "--model", sam1_file, "--out", out, "--overwrite")
    assert again.code == 2 and "is needed by this run" in again.err


def test_segment_with_nano_keeps_to_the_mask(tmp_path: Path) -> None:
    predictor = ImagePredictor.from_pretrained("nano")
    rgb = np.full((48, 80, 3), 90, np.uint8)
    wanted = [disc((48, 80), *centre, 14) for centre in ((20, 20), (58, 28))]
    rgb[wanted[0] | wanted[1]] = (240, 60, 40)
    predictor.set_image(rgb)
    results = predict(predictor, [PlacedPrompt(0, k, Prompt(mask=mask)) for k, mask in enumerate(wanted)])
    for mask, result in zip(wanted, results, strict=True):
        found = result.masks[0]
        assert (found & mask).sum() / (found | mask).sum() > 0.75


@pytest.mark.parametrize(
    ("mask", "complaint"),
    [
        (None, "no prompt: say what to cut out with --click X,Y"),
        ("none.png", "none.png"),
        ("small", "the mask is shaped (3, 3), but frame 0 is"),
        ("empty", "every pixel is 0"),
    ],
)
def test_segment_refuses_masks_that_do_not_fit(
    run: Run, clip: Path, tmp_path: Path, mask: str | None, complaint: str
) -> None:
    files = {"small": tmp_path / "small.png", "empty": labels_of(tmp_path / "empty.png", {})}
    Image.fromarray(np.ones((3, 3), np.uint8)).save(files["small"])
    words = () if mask is None else ("--mask", files.get(mask, mask))
    done = run("segment", clip / "00000.png", *words, "--out", tmp_path / "out")
    assert done.code == 2 and complaint in done.err, done.err


@pytest.mark.parametrize("click", ["x,y", "1:2", "1:64,2", "0:5,5"])
def test_segment_refuses_prompts_that_do_not_fit(run: Run, clip: Path, tmp_path: Path, click: str) -> None:
    done = run("segment", clip / "00000.png", "--click", click, "--out", tmp_path / "out")
    assert done.code == 2 and done.err.startswith("error: ")


def test_demo_draws_tracks_and_compares(
    run: Run, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_demo.demo, "__defaults__", (4,))
    out = tmp_path / "out"
    done = run("demo", "--model", model_file, "--out", out)
    assert done.code == 0, done.err
    assert frames_in(out / "clip.mp4") == frames_in(out / "overlay.mp4") == 4
    assert done.out.count("mean IoU") == 3 and "over 3 frames" in done.out
    assert run("demo", "--model", model_file, "--out", out).code == 2


def test_demo_interrupted_says_so(
    run: Run, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_demo.demo, "__defaults__", (4,))
    written = MaskPngSink.write

    def interrupt(self: MaskPngSink, rgb: Any, result: Any, name: str) -> None:
        if result.frame == 2:
            raise KeyboardInterrupt
        written(self, rgb, result, name)

    monkeypatch.setattr(MaskPngSink, "write", interrupt)
    done = run("demo", "--model", model_file, "--out", tmp_path / "out")
    assert done.code == 130 and "interrupted after 2 frames" in done.out and "mean IoU" not in done.out


def test_demo_measures_agreement_with_the_truth(tmp_path: Path) -> None:
    ball, hidden = np.zeros((4, 8), dtype=bool), np.zeros((4, 8), dtype=bool)
    ball[:, :4] = True
    truths = [{1: ball}, {1: ball}, {1: hidden}, {1: hidden}]
    answers = [hidden, np.roll(ball, 2, axis=1), hidden, ball]  # not scored, 1/3, right, wrong
    for frame, answer in enumerate(answers):
        Image.fromarray(answer.astype(np.uint8)).save(tmp_path / f"{frame}.png")
    clip = SimpleNamespace(clicks={1: (0, 0)}, masks=lambda frame: truths[frame])
    scores = cli_demo.compare(clip, tmp_path)  # type: ignore[arg-type]
    assert scores[1].overlaps == [pytest.approx(1 / 3)]
    assert (scores[1].hidden, scores[1].left_out) == (2, 1)


def test_models_lists_every_name(run: Run) -> None:
    done = run("models")
    assert [line.split()[0] for line in done.out.splitlines()[1:]] == [info.name for info in list_models()]


def test_download_says_where(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def download(name: str, cache_dir: Path | None = None) -> Path:
        asked.update(name=name, cache_dir=cache_dir)
        return tmp_path / "weights.pt"

    monkeypatch.setattr(checkpoint, "download_model", download)
    done = run("download", "sam2.1_hiera_tiny", "--cache-dir", tmp_path)
    assert done.out.strip() == str(tmp_path / "weights.pt")
    assert asked == {"name": "sam2.1_hiera_tiny", "cache_dir": tmp_path}


def test_train_hands_settings_and_folder_on(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    loop = SimpleNamespace(train=lambda settings, folder: calls.append((settings, folder)) or folder / "best")
    settings = SimpleNamespace(load_settings=lambda name, overrides: (name, list(overrides)))
    monkeypatch.setitem(sys.modules, "sam2_video.training.loop", loop)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "sam2_video.training.settings", settings)  # type: ignore[arg-type]
    done = run("train", "nano", "stills=pictures", "--out", tmp_path)
    assert done.code == 0 and str(tmp_path / "best") in done.out
    assert calls == [(("nano", ["stills=pictures"]), tmp_path)]


def test_names_and_classes_reach_every_record(run: Run, clip: Path, model_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run(
        *("track", clip, "--click", "0:1:20,20", "--click", "2:1:22,20", "--box", "0:7:5,5,40,40"),
        *("--name", "1:left cup:cup", "--name", "7::dog", "--model", model_file, "--out", out),
        *("--save", "objects,rle,coco,review"),
    )
    assert done.code == 0, done.err
    named = {(r["object"], r["name"], r["class"]) for r in rows_of(out)}
    assert named == {("1", "left cup", "cup"), ("7", "", "dog")}
    said = [(p["object"], p.get("name"), p.get("category")) for p in record(out)["prompts"]]
    assert said == [(1, "left cup", "cup"), (7, None, "dog"), (1, "left cup", "cup")]
    categories = json.loads((out / "coco.json").read_text())["categories"]
    assert {c["name"] for c in categories} == {"cup", "dog"}
    again = tmp_path / "again"
    assert run("track", clip, "--prompts", out / "run.json", "--model", model_file, "--out", again).code == 0
    assert record(again)["prompts"] == record(out)["prompts"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("1", "does not read as"),
        ("1:", "does not read as"),
        ("x:cup", "whole numbers"),
        ("3:cup", "object 3"),
    ],
)
@pytest.mark.usefixtures("no_model")
def test_names_that_are_no_names(run: Run, clip: Path, tmp_path: Path, name: str, message: str) -> None:
    done = run("track", clip, "--click", "0:1:20,20", "--name", name, "--out", tmp_path / "out")
    assert done.code == 2 and done.err.startswith("error: ") and message in done.err


def test_a_frame_rate_makes_another_clip(run: Run, model_file: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", 12)  # 25 frames a second
    (tmp_path / "prompts.json").write_text('[{"frame": 3, "object": 1, "points": [[20, 20]]}]')
    out = tmp_path / "out"
    common = ("--model", model_file, "--save", "masks,objects", "--fps", 12.5)
    done = run("track", tmp_path / "clip.mp4", "--click", "1:1:20,20", *common, "--out", out)
    assert done.code == 0, done.err
    assert [r["frame"] for r in rows_of(out)] == ["1", "2", "3", "4", "5"]
    names = [f"{k:06d}.png" for k in (2, 4, 6, 8, 10)]  # those of the frames of the file
    assert sorted(p.name for p in (out / "masks").iterdir()) == names
    file = ("--prompts", tmp_path / "prompts.json")
    assert run("track", tmp_path / "clip.mp4", *file, *common, "--out", tmp_path / "file").code == 0
    assert [r["frame"] for r in rows_of(tmp_path / "file")] == ["3", "4", "5"]
    late = run("track", tmp_path / "clip.mp4", "--click", "6:1:2,2", *common, "--out", tmp_path / "no")
    assert late.code == 2 and "(0..5)" in late.err


def test_prompts_of_annotation_tools(run: Run, clip: Path, model_file: Path, tmp_path: Path) -> None:
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[10:30, 10:30], labels[35:45, 40:60] = 3, 9
    (tmp_path / "labels").mkdir()
    for frame in (0, 2):
        Image.fromarray(labels).save(tmp_path / "labels" / f"{frame:05d}.png")
    common = ("--prompts", tmp_path / "labels", "--model", model_file, "--save", "objects")
    for frames, prompted in (
        ("first", {("0", "3"), ("0", "9")}),
        ("all", {(f, o) for f in "02" for o in "39"}),
    ):
        out = tmp_path / frames
        done = run(
            *("track", clip, *common, "--prompts-frames", frames, "--prompts-format", "png", "--out", out)
        )
        assert done.code == 0, done.err
        assert {(r["frame"], r["object"]) for r in rows_of(out) if r["prompted"] == "1"} == prompted
    wrong = run("track", clip, *common, "--prompts-format", "cvat", "--out", tmp_path / "no")
    assert wrong.code == 2 and wrong.err.startswith("error: ")


def test_one_of_several_clips_in_a_file_of_prompts(
    run: Run, clip: Path, model_file: Path, tmp_path: Path
) -> None:
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[10:30, 10:30] = 1
    for name, value in (("cups", 3), ("hands", 9)):
        folder = tmp_path / "davis" / "Annotations" / "480p" / name
        folder.mkdir(parents=True)
        Image.fromarray(labels * value).save(folder / "00000.png")
    out = tmp_path / "out"
    common = ("track", clip, "--prompts", tmp_path / "davis", "--model", model_file, "--save", "objects")
    several = run(*common, "--out", out)
    assert several.code == 2 and "several of sequences: cups, hands" in several.err
    assert "--prompts-sequence NAME" in several.err and "sequence=" in several.err
    assert run(*common, "--prompts-sequence", "hands", "--out", out).code == 0
    assert {r["object"] for r in rows_of(out)} == {"9"}
    assert json.loads((out / "run.json").read_text())["options"]["prompts_sequence"] == "hands"


def test_another_clip_of_a_file_of_prompts_is_another_command() -> None:
    network = ModelOptions()
    hands, cups = (
        TrackRun("a.mp4", (), Path("out"), network, TrackOptions(prompts_sequence=name)).command()
        for name in ("hands", "cups")
    )
    assert list(_differences(hands, hands)) == []
    (difference,) = _differences(hands, cups)
    assert difference == "--prompts-sequence differs: 'hands' then, 'cups' now"


@pytest.mark.usefixtures("no_model")
def test_a_file_of_prompts_is_wrong_before_the_clip_is_opened(run: Run, tmp_path: Path) -> None:
    (tmp_path / "prompts.json").write_text('[\n{"frame": -1, "object": 1}\n]')
    done = run("track", tmp_path / "no clip.mp4", "--prompts", tmp_path / "prompts.json", "--out", tmp_path)
    assert done.code == 2 and "prompts.json" in done.err and "line 2" in done.err


def test_prompts_that_results_would_replace(run: Run, clip: Path, model_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("track", clip, "--model", model_file, "--save", "coco", "--out", out)
    assert run(*arguments, "--click", "0:1:20,20").code == 0
    done = run(*arguments, "--prompts", out / "coco.json", "--overwrite")
    assert done.code == 2 and "coco.json is needed by this run" in done.err
    assert (out / "coco.json").exists()


def test_frames_to_look_at_are_said_at_the_end(
    run: Run, clip: Path, model_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    Image.new("RGB", (WIDTH, HEIGHT), (250, 40, 0)).save(clip / "00003.png")  # another scene
    for direction in ("forward", "backward"):
        arguments = ("track", clip, "--click", "0:1:20,20", "--click", "5:1:25,20", "--direction", direction)
        done = run(*arguments, "--model", model_file, "--out", out, "--overwrite")
        assert done.code == 0, done.err
        assert "frames to look at: " in done.out and "scene cut 2x" in done.out
        with (out / "review.csv").open(newline="") as file:
            assert [r["frame"] for r in csv.DictReader(file) if r["kind"] == "cut"] == ["3", "4"]
    quiet = run(*arguments, "--model", model_file, "--save", "masks", "--out", out, "--overwrite")
    assert quiet.code == 0 and "to look at" not in quiet.out and not (out / "review.csv").exists()


def test_every_kind_of_result_is_in_the_help(run: Run) -> None:
    text = re.sub(r"[\s│]", "", run("track", "--help").out)  # however its lines are broken
    for name, kind in SINKS.items():
        assert f"{name}({kind.note})".replace(" ", "") in text


def test_help_names_every_promised_option(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    commands = run("--help").out
    assert all(name in commands for name in ("track", "demo", "segment", "models", "download", "train"))
    options = (
        "click box mask prompts prompts-format prompts-sequence prompts-frames name model direction "
        "start stop stride fps device dtype save out threads overwrite show seconds size pixels drop patience"
    )
    text = run("track", "--help").out
    assert all(f"--{name}" in text for name in options.split())
    assert "Examples" in text
    assert run("--version").out.strip() == f"sam2-video {__version__}"


def test_progress_total_is_unknown_for_a_clip_without_length() -> None:
    assert expected_frames(None, TrackOptions(), gather_prompts(["0:1:1,1"])) is None
    assert RunSummary(3, 1.5, SourceError("gone")).status == "failed: gone"
