"""demos/text_prompt.py and demos/depth.py with tiny models of `transformers`, and some made to order."""

from __future__ import annotations

import builtins
import csv
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sam2_video.sources import VideoFile
from tests.tiny_hub import save_depth_anything, save_dpt, save_grounding_dino, save_owlv2
from tests.toys import FRAME_SIZE

Run = Callable[..., None]
Model = Callable[..., Any]
HEIGHT, WIDTH = FRAME_SIZE


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of models, by what they are."""
    makers = {
        "dino": save_grounding_dino,
        "owl": save_owlv2,
        "dpt": save_dpt,
        "anything": save_depth_anything,
    }
    folder = tmp_path_factory.mktemp("hub")
    return {name: make(folder / name) for name, make in makers.items()}


def answering(patch: pytest.MonkeyPatch, model: Model, **config: Any) -> None:
    """Have `transformers.pipeline` return this model."""
    model.model = SimpleNamespace(config=SimpleNamespace(**config))  # type: ignore[attr-defined]
    patch.setattr("transformers.pipeline", lambda task, **settings: model)


def objects(path: str = "out/coco.json") -> tuple[dict[int, str], list[tuple[int, int]]]:
    """The categories of tracks in a COCO file, and (image, track) of all annotations."""
    found = json.loads(Path(path).read_text(encoding="utf-8"))
    names = {category["id"]: category["name"] for category in found["categories"]}
    rows = found["annotations"]
    return {row["track_id"]: names[row["category_id"]] for row in rows}, [
        (row["image_id"], row["track_id"]) for row in rows
    ]


# --- words ---


@pytest.mark.parametrize("detector", ["dino", "owl"])
def test_words_through_a_real_detector(
    run: Run, hub: dict[str, str], detector: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--words", "Red Ball, cat", "--threshold", "0", "--detector", hub[detector])
    run("text_prompt", "clip", "out", *words)
    told = capsys.readouterr().out
    assert sum(line.startswith("frame 0: ") and ", score " in line for line in told.splitlines()) >= 1
    categories, rows = objects()
    assert categories and set(categories.values()) <= {"Red Ball", "cat"}
    assert {image for image, _ in rows} <= {1, 2, 3} and len(list(Path("out/masks").iterdir())) == 3
    with VideoFile("out/overlay.mp4") as overlay:
        assert overlay.count == 3


def test_words_on_a_picture(run: Run, hub: dict[str, str]) -> None:
    words = ("--words", "cat", "--threshold", "0", "--detector", hub["dino"])
    run("text_prompt", "clip/00001.png", "out", *words)
    assert sorted(path.name for path in Path("out").iterdir()) == ["coco.json", "masks", "overlay.png"]
    with Image.open("out/masks/00001.png") as picture:
        assert picture.size == (WIDTH, HEIGHT) and np.asarray(picture).any()
    assert set(objects()[0].values()) == {"cat"}


def test_words_that_are_not_found(run: Run, hub: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="error: none of the words was found: red ball, cat"):
        run(
            "text_prompt",
            "clip",
            "out",
            "--words",
            "red ball,cat",
            "--threshold",
            "1",
            "--detector",
            hub["dino"],
        )
    assert "frame 0: no red ball, cat; a lower --threshold" in capsys.readouterr().out
    assert not Path("out").exists()


def test_no_words_are_refused(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("text_prompt", "clip", "out", "--words", " , ")
    assert "--words names nothing to look for" in capsys.readouterr().err


def detection(label: str, score: float, *box: int) -> dict[str, Any]:
    return {
        "label": label,
        "score": score,
        "box": dict(zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)),
    }


def test_each_thing_once_under_its_best_name(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []

    def detect(picture: Image.Image, candidate_labels: list[str], threshold: float) -> list[dict[str, Any]]:
        asked.append((picture.size, candidate_labels, threshold))
        return [
            detection("ball.", 0.8, 4, 7, 22, 25),
            detection("square.", 0.9, 5, 8, 21, 24),
            detection("ball.", 0.5, 50, 30, 200, 47),  # reaches out of the picture
            detection("ball.", 0.4, 90, 10, 99, 20),  # is outside of it
        ]

    answering(monkeypatch, detect, model_type="grounding-dino")
    run("text_prompt", "clip", "out", "--words", "Ball,square", "--detector", "hub/name")
    assert asked == [((WIDTH, HEIGHT), ["ball.", "square."], 0.3)], "small letters, a full stop, one look"
    assert capsys.readouterr().out.splitlines() == [
        "frame 0: square 1, score 0.90",
        "frame 0: Ball 1, score 0.50",
    ]
    assert objects()[0] == {1: "square", 2: "Ball"}


def test_another_look_finds_what_is_new(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []

    def detect(picture: Image.Image, candidate_labels: list[str], threshold: float) -> list[dict[str, Any]]:
        looks.append(1)
        old, new = detection("thing", 0.9, 0, 0, 79, 47), detection("thing", 0.6, 50, 30, 75, 44)
        return [old] if len(looks) == 1 else [old, new]

    answering(monkeypatch, detect, model_type="owlv2")
    boxes = "sam2_video.types.FrameResult.boxes"
    monkeypatch.setattr(boxes, property(lambda result: np.array([[0, 0, 79, 47]] * len(result.object_ids))))
    run("text_prompt", "clip", "out", "--words", "thing", "--every", "2", "--detector", "hub/name")
    masks = {}
    for frame in range(3):
        with Image.open(f"out/masks/{frame:05d}.png") as picture:
            masks[frame] = set(np.unique(np.asarray(picture)).tolist()) - {0}
    assert len(looks) == 2 and 2 in masks[2] and 2 not in masks[0] | masks[1]


# --- depth ---


def depths() -> tuple[list[str], np.ndarray]:
    with Path("out/depth.csv").open(newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    return head, np.array(rows, dtype=float)


@pytest.mark.parametrize(
    ("model", "unit", "most"),
    [("dpt", "share of other pixels that are farther away", 1.0), ("anything", "metres", 20.0)],
)
def test_depth_through_a_real_model(
    run: Run, hub: dict[str, str], model: str, unit: str, most: float
) -> None:
    run("depth", "clip", "13", "16", "out", "--depth", hub[model])
    head, rows = depths()
    assert head[1] == unit and rows[:, 0].tolist() == [0, 1, 2]
    known = rows[~np.isnan(rows[:, 1]), 1:]
    assert len(known) >= 1 and (0 <= known).all() and (known <= most).all()
    assert (known[:, 1] <= known[:, 0]).all() and (known[:, 0] <= known[:, 2]).all()
    with VideoFile("out/depth.mp4") as video:
        assert video.count == 3 and video.size == (HEIGHT, 2 * WIDTH)
    with Image.open("out/plot.png") as plot:
        assert plot.size == (960, 420)


def test_depth_of_a_picture(run: Run, hub: dict[str, str]) -> None:
    run("depth", "clip/00000.png", "13", "16", "out", "--depth", hub["dpt"])
    assert sorted(path.name for path in Path("out").iterdir()) == ["depth.csv", "depth.png"]
    with Image.open("out/depth.png") as picture:
        assert picture.size == (2 * WIDTH, HEIGHT)


@pytest.mark.parametrize("metric", [False, True])
def test_what_depth_means(run: Run, monkeypatch: pytest.MonkeyPatch, metric: bool) -> None:
    """Depth grows to the right, one a column, and the mask has the columns 20 to 30."""

    def estimate(picture: Image.Image) -> dict[str, Any]:
        return {"predicted_depth": torch.arange(WIDTH).expand(HEIGHT, WIDTH).float()}

    kind = {"depth_estimation_type": "metric" if metric else "relative"}
    answering(monkeypatch, estimate, model_type="depth_anything", **kind)
    mask = np.zeros((1, HEIGHT, WIDTH), dtype=bool)
    mask[:, 10:20, 20:31] = True
    monkeypatch.setattr(
        "sam2_video.types.FrameResult.masks", property(lambda result: mask & (result.frame != 1))
    )
    run("depth", "clip", "13", "16", "out", "--depth", "hub/name")
    _, rows = depths()
    assert np.isnan(rows[1, 1:]).all(), "absent from frame 1"
    others = np.sort(np.broadcast_to(np.arange(WIDTH), (HEIGHT, WIDTH))[~mask[0]])
    share = np.searchsorted(others, 25) / len(others)
    assert rows[0, 1] == pytest.approx(25 if metric else share) and 0.3 < share < 0.35
    with VideoFile("out/depth.mp4") as video:
        right = video.read(0)[:, WIDTH:].astype(int).sum(axis=2)
    bright, dark = (0, -1) if metric else (-1, 0)
    assert right[:, bright].mean() > 400 > 100 > right[:, dark].mean(), "what is near is bright"


# --- what is missing ---


@pytest.mark.parametrize("demo", ["text_prompt", "depth"])
def test_a_model_that_is_not_there_is_named(run: Run, demo: str) -> None:
    words = {"text_prompt": ("--words", "cat", "--detector"), "depth": ("--depth",)}[demo]
    where = ("clip", "out") if demo == "text_prompt" else ("clip", "13", "16", "out")
    with pytest.raises(SystemExit, match=r"the (detector|depth model) nobody/nothing cannot be loaded: "):
        run(demo, *where, *words, "nobody/nothing")
    assert not Path("out").exists()


@pytest.mark.parametrize("demo", ["text_prompt", "depth"])
def test_the_extra_that_is_missing_is_named(run: Run, monkeypatch: pytest.MonkeyPatch, demo: str) -> None:
    find = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("transformers"):
            raise ImportError("No module named 'transformers'")
        return find(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    where = ("clip", "out", "--words", "cat") if demo == "text_prompt" else ("clip", "13", "16", "out")
    with pytest.raises(SystemExit, match=r"pip install 'sam2_video\[demos\]'"):
        run(demo, *where)
