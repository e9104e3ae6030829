"""The single-image protocol: where it clicks, what it takes, what it counts; worked out by hand."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import sam2_video
from sam2_video.evaluation.image_clicks import ImageClickReport, evaluate_images
from sam2_video.evaluation.labelled_pictures import find_pictures, is_held_out
from sam2_video.image_predictor import ImageResult
from sam2_video.postprocess import encode_rle
from sam2_video.transforms import FrameTransform
from sam2_video.types import DataError
from tests.evaluation.datasets.builders import davis2016, labels, write_labels, write_picture
from tests.toys import toy_model

SIDE = 40
Answer = Callable[[int], list[tuple[float, np.ndarray]]]  # clicks so far -> (predicted IoU, mask)


def block(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[y0:y1, x0:x1] = True
    return mask


TRUTH = block(10, 10, 21, 21)  # 121 pixels around (15, 15)


class Fake:
    """In place of an `ImagePredictor`: says what it is told to, whatever the object."""

    def __init__(self, answer: Answer) -> None:
        self.answer, self.pictures = answer, 0
        self.asked: list[dict[str, Any]] = []

    def set_image(self, rgb: np.ndarray) -> None:
        assert rgb.shape == (SIDE, SIDE, 3)
        self.pictures += 1

    def predict_many(self, **given: Any) -> list[ImageResult]:
        self.asked.append(deepcopy(given))  # lists of clicks grow
        found = []
        for points in given["points"]:
            iou, masks = zip(*self.answer(len(points)), strict=True)
            assert len(masks) == (3 if given["multimask"] else 1)
            logits = torch.from_numpy(np.stack(masks)).float() * 10 - 5
            frame = FrameTransform(4 * SIDE)
            found.append(ImageResult(logits, torch.tensor(iou), 1.0, (SIDE, SIDE), frame))
        return found


def still(folder: Path, name: str = "a", *, void: np.ndarray | None = None, **objects: np.ndarray) -> Path:
    values = np.zeros((SIDE, SIDE), np.uint8)
    for key, mask in (objects or {"k5": TRUTH}).items():
        values[mask] = int(key[1:])
    if void is not None:
        values[void] = 255
    write_picture(folder / "images" / f"{name}.jpg", (SIDE, SIDE))
    write_labels(folder / "masks" / f"{name}.png", values)
    return folder


def evaluate(fake: Fake, folder: Path, **options: Any) -> ImageClickReport:
    return evaluate_images(fake, folder, **options)  # type: ignore[arg-type]


def test_the_first_answer_is_the_one_the_model_thinks_best_and_later_ones_refine_it(tmp_path: Path) -> None:
    """After one click: 6 rows of 11 although the whole was offered. Then 9 columns, then all."""
    top, nine = block(10, 10, 21, 16), block(10, 10, 19, 21)

    def answer(clicks: int) -> list[tuple[float, np.ndarray]]:
        return {
            1: [(0.5, TRUTH), (0.9, top), (0.7, block(0, 0, 5, 5))],
            2: [(0.1, nine)],
            3: [(0.1, TRUTH)],
        }[clicks]

    fake = Fake(answer)
    report = evaluate(fake, still(tmp_path))
    assert report.means() == pytest.approx({"iou_1": 6 / 11, "oracle_1": 1, "iou_3": 1, "iou_5": 1})
    # The middle; then the 5 rows that are missed, 3 deep, first column of those; then 2 columns, 1 deep.
    assert [call["points"] for call in fake.asked] == [
        [[(15, 15)]], [[(15, 15), (12, 18)]], [[(15, 15), (12, 18), (19, 10)]],
    ]  # fmt: skip
    assert [call["labels"] for call in fake.asked] == [[[1]], [[1, 1]], [[1, 1, 1]]]
    assert fake.asked[0]["mask_logits"] is None and fake.pictures == 1
    assert torch.equal(fake.asked[1]["mask_logits"][0] > 0, torch.from_numpy(top))
    # Nothing was wrong after three clicks: there was no fourth, and the score stands.
    assert len(fake.asked) == 3


def test_a_fingerprint_tells_pictures_and_masks_apart(tmp_path: Path) -> None:
    def fingerprint(folder: Path) -> str:
        return evaluate(Fake(lambda clicks: [(0.5, TRUTH)] * (3 if clicks == 1 else 1)), folder).fingerprint

    one, same = (fingerprint(still(tmp_path / name)) for name in ("one", "same"))
    other_mask = fingerprint(still(tmp_path / "mask", k5=block(10, 10, 21, 20)))
    other_name = fingerprint(still(tmp_path / "name", "b"))
    void = fingerprint(still(tmp_path / "void", void=block(0, 0, 2, 2)))
    assert one == same and len({one, other_mask, other_name, void}) == 4


def test_surplus_is_clicked_off_and_void_is_neither_clicked_nor_counted(tmp_path: Path) -> None:
    surplus = TRUTH | block(25, 25, 36, 36)
    folder = still(tmp_path, void=block(25, 25, 34, 36))  # 9 of 11 columns of the surplus
    fake = Fake(lambda clicks: [(0.5, surplus)] * (3 if clicks == 1 else 1))
    report = evaluate(fake, folder, clicks=(2, 1))
    assert report.clicks == (1, 2) and report.means()["iou_2"] == pytest.approx(121 / (121 + 22))
    assert fake.asked[1]["labels"] == [[1, 0]]
    ((_, (x, y)),) = fake.asked[1]["points"]
    assert 34 <= x < 36 and 25 <= y < 36


def test_objects_and_pictures_are_averaged_apart(tmp_path: Path) -> None:
    """a: two objects of which one is found; b: one object that is found."""
    other = block(30, 30, 35, 35)
    still(tmp_path, "a", k1=TRUTH, k2=other)
    still(tmp_path, "b", k1=TRUTH)
    fake = Fake(lambda clicks: [(0.5, TRUTH)] * (3 if clicks == 1 else 1))
    report = evaluate(fake, tmp_path, clicks=(1,))
    assert report.means() == pytest.approx({"iou_1": 2 / 3, "oracle_1": 2 / 3})
    assert report.means(by_picture=True) == pytest.approx({"iou_1": 3 / 4, "oracle_1": 3 / 4})
    assert [p.object_ids for p in report.pictures] == [(1, 2), (1,)] and report.objects == 3
    assert fake.pictures == 2 and [len(call["points"]) for call in fake.asked] == [2, 1]
    assert "66.67" in report.table() and "3 objects in 2 pictures" in report.table()


def test_one_bad_picture_is_named_and_the_others_are_scored(tmp_path: Path) -> None:
    still(tmp_path, "good")
    still(tmp_path, "small")
    write_labels(tmp_path / "masks/small.png", np.ones((20, SIDE), np.uint8))
    still(tmp_path, "broken")
    (tmp_path / "images/broken.jpg").write_bytes(b"not a picture")
    still(tmp_path, "=lonely")
    (tmp_path / "masks/=lonely.png").unlink()
    still(tmp_path, "blank", k0=TRUTH)
    seen: list[tuple[int, int]] = []
    fake = Fake(lambda clicks: [(0.5, TRUTH)] * (3 if clicks == 1 else 1))
    report = evaluate(fake, tmp_path, progress=lambda *at: seen.append(at))
    assert [p.name for p in report.pictures] == ["good.jpg"] and report.without_objects == ("blank.jpg",)
    why = dict(report.failed)
    assert (
        set(why) == {"small.jpg", "broken.jpg", "=lonely.jpg"}
        and "is 40x20, but small.jpg" in why["small.jpg"]
    )
    assert seen == [(k, 5) for k in range(1, 6)]
    table = report.write(tmp_path / "out/images.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(table.splitlines()))
    assert [row["level"] for row in rows] == ["objects", "pictures", "picture", "object", *["failed"] * 3]
    assert rows[0]["iou_5"] == "100.0000" and rows[3]["object"] == "5"
    assert [row["picture"] for row in rows[4:]] == ["'=lonely.jpg", "broken.jpg", "small.jpg"]
    assert all(row["error"] for row in rows[4:]) and "failed: broken.jpg: SourceError" in report.table()


def test_nothing_to_score_is_an_error_that_says_why(tmp_path: Path) -> None:
    fake = Fake(lambda clicks: [])
    with pytest.raises(DataError, match=r"none of the 1 pictures of .* shows an object"):
        evaluate(fake, still(tmp_path / "white", k255=TRUTH))
    with pytest.raises(DataError, match=r"none of the 1 pictures of .* could be scored; a.jpg: ValueError"):
        evaluate(fake, still(tmp_path / "dumb"))
    with pytest.raises(DataError, match="no pictures to score"):
        evaluate(fake, tmp_path / "dumb", held_out=0.0)
    with pytest.raises(DataError, match="neither a folder nor a COCO file"):
        evaluate(fake, tmp_path / "nowhere")
    with pytest.raises(DataError, match="from 1 on"):
        evaluate(fake, tmp_path / "dumb", clicks=(0, 1))


def test_what_is_held_out_depends_on_the_name_alone(tmp_path: Path) -> None:
    names = [f"picture{k}" for k in range(400)]
    held = {name for name in names if is_held_out(name, 0.25)}
    assert 70 < len(held) < 130
    assert held < {name for name in names if is_held_out(name, 0.5)}
    assert held != {name for name in names if is_held_out(name, 0.25, seed=1)}
    assert is_held_out("picture0", 1.0) and not is_held_out("picture0", 0.0)
    for name in names[:12]:
        still(tmp_path / "set", name)
    fake = Fake(lambda clicks: [(0.5, TRUTH)] * (3 if clicks == 1 else 1))
    report = evaluate(fake, tmp_path / "set", held_out=0.25, clicks=(1,))
    assert {p.name for p in report.pictures} == {f"{name}.jpg" for name in names[:12] if name in held}


def test_folders_of_stills_and_frames_of_clips(tmp_path: Path) -> None:
    still(tmp_path / "stills/one", "x10")
    still(tmp_path / "stills/one", "x9")
    still(tmp_path / "stills/two", "x")
    assert [p.name for p in find_pictures(tmp_path / "stills")] == ["one/x9.jpg", "one/x10.jpg", "two/x.jpg"]
    davis2016(tmp_path / "davis")
    frames = find_pictures(tmp_path / "davis")
    assert frames[0].name == "bear/00000" and {p.key for p in frames} == {"bear"}
    read = frames[2].read()
    assert list(read.masks) == [1] and np.array_equal(read.masks[1], labels(2, [1]) > 0)


def coco(root: Path, **changes: Any) -> Path:
    """Two pictures; a polygon, a crowd in runs, a box alone."""
    runs = {k: v if k == "size" else [int(n) for n in v] for k, v in encode_rle(block(0, 0, 8, 40)).items()}
    data = {
        "images": [{"id": 7, "file_name": "a.jpg"}, {"id": 8, "file_name": "b.jpg"}],
        "annotations": [
            {"id": 70, "image_id": 7, "segmentation": [[10, 10, 21, 10, 21, 21, 10, 21]], "iscrowd": 0},
            {"id": 71, "image_id": 7, "segmentation": runs, "iscrowd": 1},
            {"id": 72, "image_id": 7, "bbox": [1, 1, 5, 5]},
            {"id": 80, "image_id": 8, "segmentation": [[1, 2]]},
        ],
    }
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    path = root / "annotations/instances_val2017.json"
    path.write_text(json.dumps({**data, **changes}))
    for name in ("a", "b"):
        write_picture(root / "val2017" / f"{name}.jpg", (SIDE, SIDE))
    return path


def test_coco_files(tmp_path: Path) -> None:
    path = coco(tmp_path)
    first, second = find_pictures(path)
    found = first.read()
    assert list(found.masks) == [70] and np.array_equal(found.masks[70], TRUTH)
    assert found.void is not None and np.array_equal(found.void, block(0, 0, 8, 40))
    with pytest.raises(DataError, match=r"annotation 80 of b.jpg: .*1 points"):
        second.read()
    with pytest.raises(DataError, match=r"no picture a.jpg in .*elsewhere"):
        find_pictures(path, images=tmp_path / "elsewhere")[0].read()
    fake = Fake(lambda clicks: [(0.5, TRUTH)] * (3 if clicks == 1 else 1))
    report = evaluate(fake, path)
    assert report.means()["iou_1"] == 1 and [name for name, _ in report.failed] == ["b.jpg"]
    for outside in ("../a.jpg", "/a.jpg", "C:\\a.jpg", "..\\a.jpg", "x/../../a.jpg"):
        with pytest.raises(DataError, match="leads out of the folder"):
            find_pictures(coco(tmp_path, images=[{"id": 7, "file_name": outside}]))
    for changes in ({"images": {}}, {"annotations": [{"image_id": 9}]}, {"images": [{"id": "x"}]}):
        with pytest.raises(DataError, match="as a COCO file"):
            find_pictures(coco(tmp_path, **changes))
    path.write_text("[" * 100_000)
    with pytest.raises(DataError, match="as a COCO file"):
        find_pictures(path)


def test_a_network_is_asked_the_same_as_by_hand(tmp_path: Path) -> None:
    """Object by object through `predict`, as one would type it; twenty objects make two batches."""
    values = np.zeros((60, 90), np.uint8)
    for k in range(20):
        values[10 * (k // 5) : 10 * (k // 5) + 8, 15 * (k % 5) : 15 * (k % 5) + 12] = k + 1
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    assert cv2.imwrite(str(tmp_path / "images/p.png"), rng.integers(0, 255, (60, 90, 3), dtype=np.uint8))
    write_labels(tmp_path / "masks/p.png", values)
    predictor = sam2_video.ImagePredictor(toy_model())
    report = evaluate_images(predictor, tmp_path, clicks=(1, 2))
    again = evaluate_images(predictor, tmp_path, clicks=(1, 2))
    (score,), (same,) = report.pictures, again.pictures
    assert np.array_equal(score.iou, same.iou) and np.array_equal(score.oracle, same.oracle)
    predictor.set_image(tmp_path / "images/p.png")
    for row, k in enumerate(score.object_ids):
        truth = values == k
        y, x = np.argwhere(truth)[0] + (3, 3)  # the first pixel that is 4 deep in 8 rows of 12
        three = predictor.predict(points=[(x, y)], labels=[1])
        overlaps = [(mask & truth).sum() / (mask | truth).sum() for mask in three.masks]
        assert score.iou[row, 0] == pytest.approx(overlaps[int(three.iou.argmax())], abs=0.02)
        assert (
            score.oracle[row] == pytest.approx(max(overlaps), abs=0.02)
            and score.oracle[row] >= score.iou[row, 0]
        )
