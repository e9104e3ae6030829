"""`sam2-video masks`: pictures, folders with broken ones among them, and clips."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from sam2_video import cli_masks_pictures
from sam2_video.checkpoint import save_weights
from sam2_video.cli import main
from sam2_video.config import build_model
from sam2_video.mask_generator import AutoMask, MaskGenerator
from sam2_video.mask_pictures import Cell, contact_sheet, label_map, paint_masks
from sam2_video.mask_runs import Runs
from sam2_video.sinks.overlay import object_colour

Run = Callable[..., SimpleNamespace]
FEW = ("--points-per-side", 3, "--stability-score-thresh", 0, "--box-nms-thresh", 1, "--threads", 1)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "toy.safetensors"
    torch.manual_seed(0)
    model = build_model("nano", ["image_size=64"])
    torch.nn.init.constant_(model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias, 5.0)
    save_weights(model, path, {"sam2_video.config": "nano", "sam2_video.overrides": '["image_size=64"]'})
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], model_file: Path) -> Run:
    def call(*words: object) -> SimpleNamespace:
        with pytest.raises(SystemExit) as left:
            main(["masks", *(str(word) for word in words), "--model", str(model_file)])
        output = capsys.readouterr()
        return SimpleNamespace(code=left.value.code or 0, out=output.out, err=output.err)

    return call


def draw(path: Path, seed: int = 0, size: tuple[int, int] = (48, 64)) -> Path:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (5, 6, 3), dtype=np.uint8))
    path.parent.mkdir(exist_ok=True)
    coarse.resize(size[::-1], Image.Resampling.BICUBIC).save(path)
    return path


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def files_in(out: Path) -> list[str]:
    return sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())


def test_one_picture(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run(draw(tmp_path / "a.b.png"), *FEW, "--out", out)
    assert done.code == 0, done.err
    assert files_in(out) == ["json/a.b.json", "labels/a.b.png", "overlays/a.b.jpg", "run.json"]
    found = read(out / "json" / "a.b.json")
    assert found["image"] | {"crc32": 0} == {"file_name": "a.b.png", "width": 64, "height": 48, "crc32": 0}
    areas = [mask["area"] for mask in found["annotations"]]
    assert areas == sorted(areas, reverse=True) and len(areas) > 1
    labels = np.asarray(Image.open(out / "labels" / "a.b.png"))
    assert labels.shape == (48, 64) and set(np.unique(labels)) <= {
        0,
        *(m["id"] for m in found["annotations"]),
    }
    x, y, width, height = found["annotations"][-1]["bbox"]
    assert labels[y : y + height, x : x + width].any()
    assert cv2.imread(str(out / "overlays" / "a.b.jpg")).shape == (48, 64, 3)
    said = read(out / "run.json")
    assert said["status"] == "complete" and said["options"]["points_per_side"] == 3


def test_a_folder_with_broken_pictures(run: Run, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    for k in range(12):
        draw(folder / f"p{k}.png", k)
    (folder / "p3.png").write_bytes(b"not a picture")
    (folder / "p7.png").write_bytes(b"")
    whole = (folder / "p10.png").read_bytes()
    (folder / "p10.png").write_bytes(whole[: len(whole) // 2])
    draw(folder / "p4.bmp", 4)  # a name that is taken
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.png").write_bytes(b"")
    done = run(folder, *FEW, "--out", out)
    broken = [name for name in ("p3.png", "p7.png", "p10.png") if name in done.err]
    assert done.code == 1 and broken[:2] == ["p3.png", "p7.png"]
    said = read(out / "run.json")
    assert said["pictures"] == 13 and list(said["broken"]) == broken
    assert said["status"] == f"complete, but for {len(broken)} pictures"
    expected = {"p4.png", "p4.bmp", *(f"p{k}" for k in range(12) if k != 4)} - {n[:-4] for n in broken}
    assert {path.name[:-5] for path in (out / "json").iterdir()} == expected
    assert cv2.imread(str(out / "contact_sheet_01.jpg")) is not None
    assert f"{13 - len(broken)} of 13 pictures" in done.out


def test_finished_pictures_are_not_done_again(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    for k in range(4):
        draw(folder / f"{k}.png", k)
    words = (folder, *FEW, "--out", out)
    looked: list[Any] = []
    generate = MaskGenerator.generate

    def stopped(self: MaskGenerator, image: Any) -> list[AutoMask]:
        if len(looked) == 2:
            raise KeyboardInterrupt
        looked.append(image)
        return generate(self, image)

    monkeypatch.setattr(MaskGenerator, "generate", stopped)
    first = run(*words)
    assert first.code == 130 and read(out / "run.json")["status"] == "interrupted"
    assert "2 of 4 pictures" in first.out and not list(out.rglob(".*part*"))
    monkeypatch.setattr(MaskGenerator, "generate", lambda s, i: looked.append(i) or generate(s, i))
    assert run(*words).code == 0 and len(looked) == 4
    before = {name: (out / name).read_bytes() for name in files_in(out)}
    again = run(*words)
    assert again.code == 0 and len(looked) == 4 and "4 were done before" in again.out
    assert {name: (out / name).read_bytes() for name in files_in(out)} == before
    # what changed, was lost or is new is done
    draw(folder / "1.png", 9)
    (out / "overlays" / "2.jpg").unlink()
    draw(folder / "5.png", 5)
    run(*words)
    assert len(looked) == 7
    # a picture that broke since leaves no old results behind
    (folder / "0.png").write_bytes(b"")
    assert run(*words).code == 1 and not (out / "json" / "0.json").exists()


def test_other_settings_are_refused(run: Run, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    draw(folder / "1.png")
    assert run(folder, *FEW, "--out", out).code == 0
    before = {name: (out / name).read_bytes() for name in files_in(out)}
    for other in (("--mask-threshold", 0.1), ("--save", "json"), ("--crop-n-layers", 1)):
        refused = run(folder, *FEW, *other, "--out", out)
        assert refused.code == 2 and other[0] in refused.err and "--overwrite" in refused.err
    draw(tmp_path / "other" / "1.png")
    assert "SOURCE" in run(tmp_path / "other", *FEW, "--out", out).err
    assert {name: (out / name).read_bytes() for name in files_in(out)} == before
    assert run(folder, *FEW, "--points-per-batch", 2, "--out", out).code == 0  # says nothing about results
    (out / "mine.txt").write_text("stays")
    assert run(folder, *FEW, "--save", "json", "--out", out, "--overwrite").code == 0
    assert files_in(out) == ["json/1.json", "mine.txt", "run.json"]


def test_what_is_refused_at_once(run: Run, tmp_path: Path) -> None:
    picture, out = draw(tmp_path / "a.png"), tmp_path / "out"
    grids = tmp_path / "grids.json"
    grids.write_text("[[[0.5, 7]]]")
    for words, complaint in (
        ((tmp_path / "none.png",), "does not exist"),
        ((tmp_path / "out2",), "does not exist"),
        ((picture, "--save", "masks"), "expected some of json, labels"),
        ((picture, "--save", "labels"), "json must be among them"),
        ((picture, "--save", "json,sheet"), "add overlays"),
        ((picture, "--points-per-side", 0), "points_per_side must be at least 1"),
        ((picture, "--point-grids", grids), "from 0 to 1"),
        ((picture, "--point-grids", tmp_path / "no.json"), "cannot read the point grids"),
        ((picture, "--clip", "--limit", 0), "limit must be at least 1"),
        ((picture, "--every", 3, "--least", 0.1), "--every, --least are for clips"),
        ((picture, "--stop", 1), "--stop are for clips"),
    ):
        done = run(*words, "--out", out)
        assert done.code == 2 and complaint in done.err, done.err
    (tmp_path / "empty").mkdir()
    assert "holds no pictures" in run(tmp_path / "empty", "--out", out).err
    draw(out / "mine.png")
    assert "not empty" in run(picture, *FEW, "--out", out).err
    inside = draw(tmp_path / "o" / "x.png").parent / "overlays"
    cv2.imwrite(str(draw(inside / "x.jpg")), np.zeros((48, 64, 3), np.uint8))
    kept = run(inside, *FEW, "--out", tmp_path / "o", "--overwrite")
    assert kept.code == 2 and "is needed by this run" in kept.err


def test_masks_without_pixels_are_not_written(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reference keeps them where no stability is asked for; theirs is no number, and no JSON."""
    generate = MaskGenerator.generate

    def with_nothing(self: MaskGenerator, image: Any) -> list[AutoMask]:
        nothing = Runs.of_mask(np.zeros((48, 64), dtype=bool))
        return [AutoMask(nothing, 0.9, float("nan"), (1.0, 1.0), (0, 0, 64, 48)), *generate(self, image)]

    out = tmp_path / "out"
    picture = draw(tmp_path / "a.png")
    without = run(picture, *FEW, "--out", tmp_path / "before")
    monkeypatch.setattr(MaskGenerator, "generate", with_nothing)
    done = run(picture, *FEW, "--out", out)
    assert done.code == 0 and done.out.split(";")[0] == without.out.split(";")[0]
    assert (out / "json" / "a.json").read_bytes() == (tmp_path / "before" / "json" / "a.json").read_bytes()
    assert all(mask["area"] for mask in read(out / "json" / "a.json")["annotations"])


def test_point_grids_from_a_file(run: Run, tmp_path: Path) -> None:
    grids = tmp_path / "grids.json"
    grids.write_text("[[[0.5, 0.5], [0.25, 0.75]]]")
    words = (draw(tmp_path / "a.png"), *FEW[2:], "--point-grids", grids, "--out", tmp_path / "out")
    assert run(*words, "--multimask-output").code == 0
    found = read(tmp_path / "out" / "json" / "a.json")["annotations"]
    assert {tuple(mask["point_coords"][0]) for mask in found} <= {(32.0, 24.0), (16.0, 36.0)}
    assert len(found) == 6


def test_everything_in_a_clip(run: Run, tmp_path: Path) -> None:
    for k in range(5):
        draw(tmp_path / "clip" / f"{k:03d}.png", k // 3)
    out = tmp_path / "out"
    words = (tmp_path / "clip", "--clip", *FEW, "--every", 2, "--limit", 3, "--same", 0.95, "--out", out)
    done = run(*words, "--save", "masks,objects,rle", "--start", 1)
    assert done.code == 0, done.err
    assert sorted(p.name for p in (out / "masks").iterdir()) == [f"{k:03d}.png" for k in range(1, 5)]
    said = read(out / "run.json")
    assert said["status"] == "complete" and said["frames"] == 4 and said["rules"]["every"] == 2
    assert said["objects"][0]["born"] == 1 and said["objects"][0]["object_id"] == 1
    lines = [json.loads(line) for line in (out / "masks.jsonl").read_text().splitlines()]
    assert {line["frame"] for line in lines} == {1, 2, 3, 4}
    assert max(sum(line["frame"] == k for line in lines) for k in range(1, 5)) <= 3
    # no mask passes: what is there stays
    before = {name: (out / name).read_bytes() for name in files_in(out)}
    none = run(*words[:2], *FEW, "--pred-iou-thresh", 2, "--out", out, "--overwrite")
    assert none.code == 2 and "no mask passes the filters" in none.err
    assert {name: (out / name).read_bytes() for name in files_in(out)} == before
    assert "not empty" in run(*words).err
    assert "is live" in run("0", "--out", tmp_path / "live").err


# Pictures of masks


def auto(mask: np.ndarray) -> AutoMask:
    return AutoMask(Runs.of_mask(mask), 0.9, 0.9, (0, 0), (0, 0, mask.shape[1], mask.shape[0]))


def test_small_masks_lie_on_large_ones() -> None:
    large, small = np.zeros((40, 60), bool), np.zeros((40, 60), bool)
    large[5:35, 5:55] = True
    small[15:25, 20:40] = True
    masks = [auto(large), auto(small), auto(np.zeros((40, 60), bool))]
    labels = label_map(masks, (40, 60))
    assert np.unique(labels).tolist() == [0, 1, 2] and (labels == 2).sum() == small.sum()
    rgb = np.full((40, 60, 3), 100, np.uint8)
    painted = paint_masks(rgb, masks)
    assert (rgb == 100).all() and (painted[0, 0] == 100).all()
    for number, (y, x) in ((1, (10, 10)), (2, (20, 30))):
        expected = 0.55 * 100 + 0.45 * np.array(object_colour(number))
        assert np.abs(painted[y, x] - expected).max() <= 1
    assert np.abs(painted[15, 30].astype(int) - object_colour(2)).max() < 16  # its outline


def test_contact_sheet(tmp_path: Path) -> None:
    wide = draw(tmp_path / "wide.png", size=(20, 200))
    sheet = contact_sheet(
        [Cell(wide, "wide"), Cell(None, "broken.png: not readable"), Cell(wide, "b" * 99)], 2
    )
    assert sheet.shape == (2 * 258, 2 * 240, 3)
    assert (sheet[100, 300] == 70).all() and sheet[120, 120].std() > 0
    assert (sheet[258 + 100, 300] == 24).all()  # no fourth


def test_many_pictures_need_several_sheets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sam2_video import mask_pictures

    monkeypatch.setattr(mask_pictures, "PER_SHEET", 2)
    files = {str(k): draw(tmp_path / "overlays" / f"{k}.jpg", k) for k in range(3)}
    run = cli_masks_pictures.PictureRun(4, broken={"x.png": "bad"})
    (tmp_path / "contact_sheet_09.jpg").write_bytes(b"old")
    cli_masks_pictures._write_sheets(tmp_path, {**files, "x": tmp_path / "x.png"}, run)
    assert sorted(p.name for p in tmp_path.glob("contact*")) == [f"contact_sheet_0{k}.jpg" for k in (1, 2)]


def test_only_numbered_sheets_are_replaced(run: Run, tmp_path: Path) -> None:
    """A file that somebody named after a sheet is not one: it is kept, with and without --overwrite."""
    folder, out = tmp_path / "in", tmp_path / "out"
    draw(folder / "a.png")
    words = (folder, *FEW, "--out", out)
    assert run(*words).code == 0
    own = [out / f"contact_sheet_{name}.jpg" for name in ("01_marked", "final", "v2", "1")]
    for file in own:
        file.write_bytes(b"mine")
    for number in ("07", "123"):
        (out / f"contact_sheet_{number}.jpg").write_bytes(b"old")
    draw(folder / "b.png", 1)
    assert run(*words).code == 0
    assert run(*words, "--min-mask-region-area", 4, "--overwrite").code == 0
    assert sorted(out.glob("contact_sheet_*.jpg")) == sorted([out / "contact_sheet_01.jpg", *own])
    assert all(file.read_bytes() == b"mine" for file in own)
