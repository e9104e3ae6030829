"""Scripts for the reference run once their imports are changed, and give what our own names give."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from sam2_video.image_predictor import ImagePredictor
from sam2_video.sources import read_picture
from sam2_video.types import upsample_logits
from sam2_video.video_predictor import VideoPredictor
from tests.toys import SIDE, toy_clip, toy_model

SCRIPTS = sorted((Path(__file__).parent / "compat_scripts").glob("*.py"))
FRAMES = 6
Arrays = dict[str, NDArray[Any]]
TOY_CONFIG = f"""# @package _global_
defaults: [/model/nano, _self_]
image_size: {SIDE}
width: 64
memory_width: 16
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """frames/*.jpg with other files beside them, photo.jpg, a configuration, a checkpoint as published."""
    (tmp_path / "frames").mkdir()
    for t, rgb in enumerate(toy_clip(FRAMES)):
        Image.fromarray(rgb).save(tmp_path / "frames" / f"{t:05d}.jpg", quality=95)
        Image.new("L", (80, 48)).save(tmp_path / "frames" / f"{t:05d}.png")  # an annotation, not a frame
    Image.fromarray(toy_clip(1)[0]).save(tmp_path / "photo.jpg", quality=95)
    (tmp_path / "toy.yaml").write_text(TOY_CONFIG, encoding="utf-8")
    torch.save({"model": toy_model().state_dict()}, tmp_path / "toy.pt")
    return tmp_path


Run = Callable[[str, str], Arrays]


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a script on a picture, folder or clip; returns what it saved."""

    def run(name: str, data: str) -> Arrays:
        out = folder / f"{name}.npz"
        words = [folder / "toy.yaml", folder / "toy.pt", folder / data, out]
        monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
        runpy.run_path(str(Path(__file__).parent / "compat_scripts" / f"{name}.py"), run_name="__main__")
        with np.load(out) as stored:
            return dict(stored)

    return run


def frames_of(folder: Path) -> list[NDArray[np.uint8]]:
    return [read_picture(file) for file in sorted((folder / "frames").glob("*.jpg"))]


def own_predictor() -> VideoPredictor:
    return VideoPredictor(toy_model(), resize="bicubic_pil")


def test_every_script_is_run_here() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert len(SCRIPTS) == 5
    assert [file.stem for file in SCRIPTS if f'run("{file.stem}"' not in text] == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda file: file.stem)
def test_only_the_imports_name_us(script: Path) -> None:
    lines = [line for line in script.read_text(encoding="utf-8").splitlines() if "sam2_video." in line]
    assert lines
    assert [line for line in lines if not line.startswith("from sam2_video.compat.")] == []


def test_one_object(folder: Path, run: Run) -> None:
    found = run("video_one_object", "frames")

    with own_predictor().open(frames_of(folder)) as session:
        first = session.prompt(frame=0, object_id=0, points=[(13, 16)])
        second = session.prompt(frame=0, object_id=0, points=[(18, 20)])
        before = [result.masks for result in session.propagate(start=0)]
        corrected = session.prompt(frame=3, object_id=0, points=[(30, 30)], labels=[0])
        after = [result.masks for result in session.propagate(start=0)]
    # The scripts' predictor fills holes of up to 8 pixels; that changes masks by little and nothing else.
    for name, own in {"first": first, "second": second, "corrected": corrected}.items():
        assert found[name].dtype == np.bool_ and found[name].shape == (1, 48, 80)
        assert agree(found[name], own.masks), name
    assert agree(found["before"], np.stack(before)) and agree(found["after"], np.stack(after))
    assert not np.array_equal(found["first"], found["second"])
    assert not np.array_equal(found["before"], found["after"])
    assert np.array_equal(found["after"][3], found["corrected"]), "a corrected frame stays as corrected"


def agree(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> bool:
    assert a.shape == b.shape
    return bool((a == b).mean() > 0.98)


def test_many_objects(folder: Path, run: Run) -> None:
    found = run("video_many_objects", "frames")
    mask = np.zeros((48, 80), dtype=bool)
    mask[20:40, 40:70] = True

    with own_predictor().open(frames_of(folder)) as session:
        box = (9, 10, 28, 30)
        session.prompt(frame=2, object_id=0, box=box)
        session.prompt(frame=2, object_id=0, points=[(12, 25)], labels=[0])
        session.prompt(frame=2, object_id=1, mask=mask)
        seen = {result.frame: result.logits for result in session.propagate(start=2)}
        seen |= {r.frame: r.logits for r in session.propagate("backward", start=2)}
        session.remove(0)
        alone = [result.logits for result in session.propagate(start=2)]
        session.reset()
        fresh = session.prompt(frame=0, object_id=0, points=[(13, 16)])

    assert found["both"].shape == (FRAMES, 2, 1, 48, 80) and found["both"].dtype == np.float32
    for t in range(FRAMES):
        assert nearly_equal(found["both"][t, :, 0], seen[t]), t
    assert nearly_equal(found["box"][:, 0], seen[2][:1])
    assert all(nearly_equal(a[:, 0], b) for a, b in zip(found["alone"], alone, strict=True))
    assert nearly_equal(found["fresh"][:, 0], fresh.logits)


def nearly_equal(video_size: NDArray[np.float32], low: torch.Tensor) -> bool:
    """The same logits, but for holes that were filled: those only ever rise."""
    own = upsample_logits(low, (48, 80)).numpy()
    close = np.abs(video_size - own) < 1e-4
    return bool(close.mean() > 0.95 and (video_size >= own - 1e-4).all())


def test_readme(folder: Path, run: Run) -> None:
    found = run("video_readme", "frames")
    assert found["tracked"].shape == (FRAMES, 1, 1, 48, 80)

    with torch.autocast("cpu", dtype=torch.bfloat16), own_predictor().open(frames_of(folder)) as session:
        session.prompt(frame=0, object_id=0, points=[(13, 16)])
        own = [result.logits for result in session.propagate(start=0)]
    for t in range(FRAMES):
        assert nearly_equal(found["tracked"][t, :, 0], own[t]), t
    assert np.array_equal(found["first"], found["tracked"][0]), "a prompted frame is what the prompt said"


def test_image_prompts(folder: Path, run: Run) -> None:
    found = run("image_prompts", "photo.jpg")
    own = ImagePredictor(toy_model())
    own.set_image(folder / "photo.jpg")

    click = own.predict(points=[(20, 24)])
    order = np.argsort(click.iou.numpy())[::-1]
    assert found["masks"].dtype == np.float32 and set(np.unique(found["masks"])) <= {0.0, 1.0}
    assert np.array_equal(found["masks"], click.masks[order])
    assert np.array_equal(found["scores"], click.iou.numpy()[order])
    assert np.array_equal(found["logits"], click.logits.numpy()[order])
    best = click.logits[int(order[0])]
    refined = own.predict(points=[(20, 24), (40, 10)], labels=[1, 0], mask_logits=best, multimask=False)
    assert np.array_equal(found["refined"], refined.masks)
    boxed = own.predict(points=[(18, 18)], labels=[0], box=(8, 9, 30, 33), multimask=False)
    assert np.array_equal(found["boxed"], boxed.masks)
    for k, box in enumerate([(8, 9, 30, 33), (40, 5, 70, 40), (2, 2, 79, 47)]):
        assert np.array_equal(found["many"][k], own.predict(box=box, multimask=False).masks)


def test_image_batch(folder: Path, run: Run) -> None:
    found = run("image_batch", "photo.jpg")
    picture = read_picture(folder / "photo.jpg")
    own = ImagePredictor(toy_model())

    own.set_image(picture)
    clicks = [own.predict(points=[point]) for point in [(20, 24), (50, 30)]]
    assert np.array_equal(found["first"], np.stack([result.masks for result in clicks]))
    assert np.array_equal(found["best"], [r.masks[int(r.iou.argmax())] for r in clicks])
    own.set_image(np.ascontiguousarray(picture[:, ::-1][:40]))
    assert np.array_equal(found["second"], own.predict(box=(50, 9, 72, 33)).masks)
