"""Readers give the masks that were drawn, whatever the layout; the checker names all that is broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from sam2_video.evaluation.datasets import Clip
from sam2_video.evaluation.labelled_pictures import LabelledPicture
from sam2_video.finetuning.check import check_data
from sam2_video.finetuning.data import open_data
from sam2_video.finetuning.samples import Draw
from sam2_video.finetuning.settings import DataSettings
from sam2_video.postprocess import encode_rle
from sam2_video.sinks.tables import compress_runs
from sam2_video.types import ConfigError, DataError
from tests.evaluation.datasets.builders import davis2017, write_json, write_labels
from tests.finetuning.conftest import Settings
from tests.finetuning.drawn import SIZE, write_rgb

Masks = dict[int, np.ndarray]
HEIGHT, WIDTH = SIZE


def boxes() -> list[tuple[int, int, int, int]]:
    """x0, y0, x1, y1, the last two excluded: polygons fill these to the pixel."""
    return [(5, 8, 30, 33), (40, 20, 70, 50)]


def truth() -> list[np.ndarray]:
    out = []
    for x0, y0, x1, y1 in boxes():
        mask = np.zeros(SIZE, bool)
        mask[y0:y1, x0:x1] = True
        out.append(mask)
    return out


def ring(k: int) -> list[list[int]]:
    x0, y0, x1, y1 = boxes()[k]
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]


def runs(mask: np.ndarray) -> dict[str, Any]:
    coded = encode_rle(mask)
    return {"size": list(SIZE), "counts": compress_runs(coded)}


def photo(path: Path) -> None:
    write_rgb(path, np.full((*SIZE, 3), (30, 90, 150), np.uint8))


def voc(root: Path) -> DataSettings:
    labels = np.zeros(SIZE, np.uint8)
    for k, mask in enumerate(truth(), start=1):
        labels[mask] = k
    labels[0] = 255
    for name in ("a", "b"):
        photo(root / f"JPEGImages/{name}.jpg")
        write_labels(root / f"SegmentationObject/{name}.png", labels)
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    (root / "ImageSets/Segmentation/train.txt").write_text("a\n")
    (root / "ImageSets/Segmentation/val.txt").write_text("b\n")
    return DataSettings("voc", str(root), split="train", validation_split="val")


def coco(root: Path) -> DataSettings:
    photo(root / "pictures/a.jpg")
    flat = [[v for point in ring(0) for v in point]]
    write_json(
        root / "instances.json",
        {
            "images": [{"id": 1, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH}],
            "categories": [{"id": 3, "name": "cat"}],
            "annotations": [
                {"id": 1, "image_id": 1, "category_id": 3, "segmentation": flat, "bbox": [0, 0, 1, 1]},
                {"id": 2, "image_id": 1, "category_id": 3, "segmentation": runs(truth()[1])},
            ],
        },
    )
    return DataSettings("coco", str(root / "pictures"), annotations=str(root / "instances.json"))


def labelme(root: Path) -> DataSettings:
    photo(root / "in/a.jpg")
    shapes = [{"label": "cat", "points": ring(k), "shape_type": "polygon"} for k in (0, 1)]
    shapes.append({"label": "cat", "points": [[0, 0], [5, 5]], "shape_type": "rectangle"})
    data = {"imagePath": "a.jpg", "imageHeight": HEIGHT, "imageWidth": WIDTH, "shapes": shapes}
    write_json(root / "in/a.json", data)
    return DataSettings("labelme", str(root))


def yolo(root: Path) -> DataSettings:
    photo(root / "images/train/a.jpg")
    photo(root / "images/val/b.jpg")
    lines = [" ".join(["0", *(f"{x / WIDTH:.8f} {y / HEIGHT:.8f}" for x, y in ring(k))]) for k in range(2)]
    for place in ("train/a", "val/b"):
        (root / f"labels/{place}.txt").parent.mkdir(parents=True, exist_ok=True)
        (root / f"labels/{place}.txt").write_text("\n".join(lines) + "\n")
    (root / "data.yaml").write_text("names: [cat]\n")
    return DataSettings("yolo", str(root), split="train", validation_split="val")


def sa1b(root: Path) -> DataSettings:
    photo(root / "sa_1.jpg")
    entries = [{"id": k + 1, "segmentation": runs(mask)} for k, mask in enumerate(truth())]
    write_json(root / "sa_1.json", {"image": {"file_name": "sa_1.jpg"}, "annotations": entries})
    return DataSettings("sa1b", str(root))


def folder(root: Path) -> DataSettings:
    photo(root / "images/a.jpg")
    labels = np.zeros(SIZE, np.uint8)
    for k, mask in enumerate(truth(), start=1):
        labels[mask] = k
    write_labels(root / "masks/a.png", labels)
    return DataSettings("folder", str(root))


def youtubevis(root: Path) -> DataSettings:
    for t in range(3):
        photo(root / f"frames/clip/{t:05d}.jpg")
    video = {"id": 4, "height": HEIGHT, "width": WIDTH}
    video["file_names"] = [f"clip/{t:05d}.jpg" for t in range(3)]  # type: ignore[assignment]
    tracks = [[runs(mask), runs(mask), None] for mask in truth()]
    entries = [
        {"id": k + 1, "video_id": 4, "category_id": 1, "segmentations": track}
        for k, track in enumerate(tracks)
    ]
    data = {"videos": [video], "categories": [{"id": 1, "name": "cat"}], "annotations": entries}
    write_json(root / "instances.json", data)
    return DataSettings(
        "youtubevis", str(root / "frames"), annotations=str(root / "instances.json"), frames=2
    )


def first_masks(settings: DataSettings) -> Masks:
    item = open_data(settings).train[0]
    return dict(item.masks(0) or {}) if isinstance(item, Clip) else dict(item.read().masks)


@pytest.mark.parametrize("build", [voc, coco, labelme, yolo, sa1b, folder, youtubevis])
def test_a_format_gives_the_masks_that_were_drawn(
    build: Callable[[Path], DataSettings], tmp_path: Path
) -> None:
    settings = build(tmp_path / "data")
    masks = first_masks(settings)
    assert sorted(masks) == [1, 2]
    for k, mask in enumerate(truth(), start=1):
        assert (masks[k] == mask).all()
    checked = check_data(settings)
    assert checked.findings == () and checked.broken == ()
    if settings.validation_split is not None:
        assert [item.name for item in checked.data.validation] != [i.name for i in checked.data.train]


def test_video_sets_are_clips_or_pictures(tmp_path: Path) -> None:
    davis2017(tmp_path)
    settings = DataSettings("davis2017", str(tmp_path), split="train", validation_split="val", frames=2)
    clips = open_data(settings)
    assert [clip.name for clip in clips.train] == ["tennis"]
    assert [clip.name for clip in clips.validation] == ["bear", "dog"]
    single = open_data(DataSettings("davis2017", str(tmp_path), split="train", frames=1)).train
    assert len(single) == 6 and not isinstance(single[0], Clip)


def test_held_out_items_are_not_trained_on(tmp_path: Path) -> None:
    for k in range(30):
        photo(tmp_path / f"images/{k}.jpg")
        write_labels(tmp_path / f"masks/{k}.png", truth()[0].astype(np.uint8))
    data = open_data(DataSettings("folder", str(tmp_path), held_out=0.3))
    train, validation = ({one.name for one in part} for part in (data.train, data.validation))
    assert len(train | validation) == 30 and not train & validation and 3 < len(validation) < 16


def broken_voc(root: Path) -> DataSettings:
    """a is whole; others lack a picture, a mask, the size, an object, their end; or hold colours, classes."""
    settings = voc(root)
    names = ["a", "missing", "nomask", "size", "empty", "cut", "colour", "ids"]
    for name in names[2:]:
        photo(root / f"JPEGImages/{name}.jpg")
    masks = root / "SegmentationObject"
    write_labels(masks / "missing.png", truth()[0].astype(np.uint8))
    write_labels(masks / "size.png", np.ones((HEIGHT, WIDTH - 1), np.uint8))
    write_labels(masks / "empty.png", np.zeros(SIZE, np.uint8))
    write_labels(masks / "cut.png", truth()[0].astype(np.uint8))
    data = (masks / "cut.png").read_bytes()
    (masks / "cut.png").write_bytes(data[:-12])  # decoders do not miss the end
    assert cv2.imwrite(str(masks / "colour.png"), np.zeros((*SIZE, 3), np.uint8))
    write_labels(masks / "ids.png", 15 * truth()[0].astype(np.uint8))
    (root / "ImageSets/Segmentation/train.txt").write_text("\n".join(names) + "\n")
    return settings


def test_the_checker_names_everything_that_is_broken(tmp_path: Path) -> None:
    checked = check_data(broken_voc(tmp_path))
    told = {Path(one.path).stem: f"{one.severity}: {one.message}" for one in checked.findings}
    expected = {
        "missing": "missing.jpg is missing",
        "nomask": "cannot read the label map",
        "size": "79x60, but size.jpg is 80x60",
        "empty": "the mask is empty",
        "cut": "is cut off",
        "colour": "true-colour",
        "ids": "warning: ids are 15",
    }
    assert set(told) == set(expected)
    for name, words in expected.items():
        assert words in told[name], told[name]
    assert {Path(name).stem for name in checked.broken} == set(expected) - {"ids"}
    with pytest.raises(DataError, match=r"6 problems make 6 of 9 items unusable(.|\n)*skip_broken=true"):
        checked.usable(skip_broken=False)
    assert [Path(one.name).stem for one in checked.usable(skip_broken=True).train] == ["a", "ids"]


def test_a_run_says_what_it_skips(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from sam2_video.finetuning import finetune

    broken_voc(tmp_path / "VOC")
    more = (f"data.folder={tmp_path / 'VOC'}", "data.validation_split=null", "schedule.epochs=1")
    with pytest.raises(DataError, match="6 problems"):
        finetune(settings(*more), tmp_path / "run")
    assert not (tmp_path / "run/last.pt").exists()
    finetune(settings(*more, "data.skip_broken=true"), tmp_path / "run")
    assert "6 broken" in caplog.text and "training on 2" in caplog.text
    assert (tmp_path / "run/last.safetensors").is_file()


@pytest.mark.parametrize(
    ("build", "spoil", "words"),
    [
        (coco, lambda d: d["annotations"][0].update(image_id=9), "annotation 1 is of image 9"),
        (coco, lambda d: d["annotations"][0].update(category_id=9), "category_id 9 of annotation 1"),
        (coco, lambda d: d["annotations"][0].update(segmentation=[[1, 1, 1, 1, 1, 1]]), "covers no pixel"),
        (coco, lambda d: d["annotations"][1]["segmentation"].update(size=[9, 9]), "the runs of segmentation"),
        (youtubevis, lambda d: d["annotations"][0].update(video_id=9), "video_id 9 of annotation 1"),
        (youtubevis, lambda d: d["annotations"][0].update(segmentations=[None] * 3), "on any frame"),
    ],
)
def test_ids_out_of_range_and_empty_masks_are_found(
    build: Callable[[Path], DataSettings], spoil: Callable[[Any], None], words: str, tmp_path: Path
) -> None:
    settings = build(tmp_path)
    file = Path(str(settings.annotations))
    data = json.loads(file.read_text())
    spoil(data)
    file.write_text(json.dumps(data))
    try:
        found = "\n".join(str(one) for one in check_data(settings).findings if one.severity == "error")
    except DataError as error:  # the file as a whole cannot be read
        found = str(error)
    assert words in found


def test_a_class_of_yolo_that_has_no_name_is_found(tmp_path: Path) -> None:
    settings = yolo(tmp_path)
    file = tmp_path / "labels/train/a.txt"
    file.write_text(file.read_text().replace("0 ", "7 ", 1))
    assert "class 7 has no name" in str(check_data(settings).findings[0])


def test_a_damaged_frame_of_a_clip_is_found(tmp_path: Path) -> None:
    davis2017(tmp_path)
    settings = DataSettings("davis2017", str(tmp_path), split="all", frames=2)
    (tmp_path / "JPEGImages/480p/dog/00003.jpg").write_bytes(b"not a picture")
    checked = check_data(settings)
    assert checked.broken == ("dog",) and len(checked.usable(skip_broken=True).train) == 3


def test_unknown_formats_and_clips_of_pictures_are_refused(tmp_path: Path) -> None:
    voc(tmp_path)
    with pytest.raises(ConfigError, match="no data format 'cvat'"):
        open_data(DataSettings("cvat", str(tmp_path)))
    with pytest.raises(ConfigError, match="single pictures"):
        open_data(DataSettings("voc", str(tmp_path), frames=8))
    with pytest.raises(ConfigError, match=r"data\.annotations"):
        open_data(DataSettings("coco", str(tmp_path)))
    with pytest.raises(DataError, match=r"lists there: train, val"):
        open_data(DataSettings("voc", str(tmp_path), split="test"))


def test_draws_are_repeated_and_mirrored(settings: Settings) -> None:
    chosen = settings("data.flip=1.0", "data.objects=1")
    items = open_data(chosen.data).train
    draw, plain = Draw(items, chosen, 64), Draw(items, settings("data.flip=0.0", "data.objects=1"), 64)
    one, again, straight = draw(1, 2), draw(1, 2), plain(1, 2)
    assert (one.pixels == again.pixels).all() and one.entropy == again.entropy and one.mirrored
    assert len(one.masks) == 1 and (one.pixels.flip(-1) == straight.pixels).all()
    assert one.void is not None and straight.void is not None and (one.void.flip(-1) == straight.void).all()
    names = {draw(0, place).name for place in range(6)}
    assert len(names) == 6, "an epoch sees every picture once"


def test_what_is_too_small_is_not_trained_on(settings: Settings) -> None:
    chosen = settings("data.min_pixels=5000")
    items: tuple[LabelledPicture | Clip, ...] = open_data(chosen.data).train
    with pytest.raises(DataError, match=r"min_pixels=5000"):
        Draw(items, chosen, 64)(0, 0)
