"""The checker names every defect of a data set, at its place, without stopping at the first."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from sam2_video.evaluation.check import check_dataset
from sam2_video.evaluation.datasets import Finding
from tests.evaluation.datasets.builders import (
    BUILDERS,
    SIZE,
    davis2017,
    labels,
    plain,
    plain_video,
    sav,
    sav_train,
    vost,
    write_labels,
    write_picture,
    write_text,
    youtube_vos,
)
from tests.paths import SHARED, needs_shared


def check(root: Path, name: str = "auto", split: str | None = None, deep: bool = False) -> list[Finding]:
    """Findings, without the one that a miniature has fewer sequences than its authors say."""
    found = check_dataset(root, name, split, deep=deep)
    return [one for one in found if "cannot be compared" not in one.message]


@pytest.mark.parametrize("folder", BUILDERS)
def test_what_is_whole_has_no_findings(folder: str, tmp_path: Path) -> None:
    build, _, split = BUILDERS[folder]
    build(tmp_path / folder)
    assert check(tmp_path / folder, split=split) == []
    found = check(tmp_path / folder, split=split, deep=True)
    # VOST's border of 255, and an object whose only frame is the one where it is given.
    assert [one.severity for one in found] == (["note"] if folder == "VOST" else [])


@needs_shared
def test_real_data_has_no_findings() -> None:
    assert check(SHARED / "data/davis2016_dev") == []


def test_all_defects_are_named(tmp_path: Path) -> None:
    davis2017(tmp_path)
    frames, masks = tmp_path / "JPEGImages/480p", tmp_path / "Annotations/480p"
    (frames / "bear/00002.jpg").unlink()  # 00002.png stays
    (frames / "bear/00004.jpg").write_bytes(b"\xff\xd8 cut off")
    write_picture(frames / "dog/00001.jpg", (20, 30))
    write_labels(masks / "dog/00002.png", labels(2, [1], (20, 30)))
    (masks / "dog/00003.png").write_bytes(b"no picture")
    write_text(tmp_path / "ImageSets/2017/val.txt", "bear\ndog\nlost\nempty\ntennis\n")
    (frames / "empty").mkdir()
    write_labels(masks / "tennis/00000.png", labels(0, []))
    expected = [
        ("error", "val.txt", "names the sequence lost"),
        ("error", "bear/00002.png", "is a mask without a frame"),
        ("error", "480p/empty", "holds no frames"),
        ("error", "bear/00004.jpg", "is not a readable picture"),
        ("warning", "bear/00001.jpg", "followed by a gap"),
        ("error", "dog/00001.jpg", "is 30x20, most frames of the sequence are 32x24"),
        ("error", "dog/00002.png", "is 30x20, the frames are 32x24"),
        ("error", "dog/00003.png", "is not a PNG file"),
        ("error", "tennis/00000.png", "its first mask shows no object"),
    ]
    found = check(tmp_path)
    assert len(found) == len(expected)
    for one, (severity, path, message) in zip(found, expected, strict=True):
        assert one.severity == severity and one.path.endswith(path) and message in one.message, one
    assert [one.sequence for one in found[:2]] == ["lost", "bear"]
    assert str(found[0]).startswith("error: ") and str(found[0]).endswith(found[0].message)


def test_the_number_of_sequences_is_compared_with_the_authors(tmp_path: Path) -> None:
    davis2017(tmp_path)
    (only,) = check_dataset(tmp_path)
    assert only.severity == "warning" and "val has 30 sequences, 2 can be used here" in only.message
    assert check_dataset(tmp_path, sequences=["bear"]) == []


def test_gaps_in_ids(tmp_path: Path) -> None:
    davis2017(tmp_path)
    for t in range(6):
        write_labels(tmp_path / f"Annotations/480p/bear/{t:05d}.png", labels(t, [1, 4]))
    (only,) = check(tmp_path)
    assert only.severity == "warning" and "ids go up to 4 and leave out 2, 3" in only.message


def test_objects_that_do_not_begin_where_they_should(tmp_path: Path) -> None:
    youtube_vos(tmp_path)
    write_labels(tmp_path / "valid/Annotations/0a49f5265b/00010.png", labels(2, [2]))
    (only,) = check(tmp_path, "youtubevos2019")
    assert only.severity == "error" and only.path.endswith("00010.png")
    assert "shows 2 and not object 3, which begins on frame 00010" in only.message


def test_deep_looks_at_every_mask_and_frame(tmp_path: Path) -> None:
    davis2017(tmp_path)
    masks = tmp_path / "Annotations/480p"
    write_labels(masks / "bear/00003.png", labels(3, [1, 2, 7]))
    values = labels(1, [1, 2, 3])
    values[-1] = 255
    write_labels(masks / "dog/00001.png", values)
    for t in range(1, 5):
        write_labels(masks / f"bear/{t:05d}.png", labels(t, [1, 7] if t == 3 else [1]))
    frame = tmp_path / "JPEGImages/480p/dog/00004.jpg"
    assert cv2.imwrite(str(frame.with_suffix(".png")), np.zeros((*SIZE, 3), np.uint8))
    frame.unlink()
    damage(frame.with_suffix(".png"))
    damage(masks / "dog/00005.png")
    assert check(tmp_path) == []
    found = {(f.severity, Path(f.path).name, f.sequence): f.message for f in check(tmp_path, deep=True)}
    assert found["warning", "00003.png", "bear"] == "shows 7, but only 1, 2 can be tracked"
    assert found["note", "00000.png", "bear"] == "object 2 is on none of the 4 frames that count"
    assert "they are background, as in the published" in found["note", "00001.png", "dog"]
    assert "cannot read a frame" in found["error", "00004.png", "dog"]
    assert "damaged" in found["error", "00005.png", "dog"] and len(found) == 5


def damage(path: Path) -> None:
    """Break the pixels of a PNG and leave its header and its end."""
    data = bytearray(path.read_bytes())
    at = data.index(b"IDAT") + 6
    data[at : at + 8] = bytes(8)
    path.write_bytes(bytes(data))


def test_files_that_are_cut_off(tmp_path: Path) -> None:
    davis2017(tmp_path)
    files = [tmp_path / "JPEGImages/480p/bear/00001.jpg", tmp_path / "Annotations/480p/bear/00001.png"]
    for file in files:
        file.write_bytes(file.read_bytes()[:-20])
    assert [(Path(f.path), "is cut off" in f.message) for f in check(tmp_path)] == [(f, True) for f in files]


def test_void_of_a_plain_folder(tmp_path: Path) -> None:
    plain(tmp_path)
    values = labels(0, [1])
    values[-1] = 255
    write_labels(tmp_path / "masks/a/frame0.png", values)
    (only,) = check(tmp_path, deep=True)
    assert only.severity == "note" and only.message.endswith("they do not count")


def test_pictures_for_each_object(tmp_path: Path) -> None:
    sav(tmp_path)
    base = tmp_path / "sav_val/Annotations_6fps/sav_000262"
    (base / "hand").mkdir()
    (base / "002").mkdir()
    write_labels(base / "001/00008.png", np.zeros((10, 10), np.uint8))
    found = check(tmp_path)
    assert [(Path(one.path).name, one.severity) for one in found] == [
        ("hand", "error"),
        ("002", "error"),
        ("00008.png", "error"),
    ]
    assert f"is 10x10, the frames are {SIZE[1]}x{SIZE[0]}" in found[2].message


def test_videos(tmp_path: Path) -> None:
    sav_train(tmp_path / "sav")
    path = tmp_path / "sav/sav_000/sav_000001_manual.json"
    data = json.loads(path.read_text())
    data["masklet"][2][1]["size"] = [27, 48]
    path.write_text(json.dumps(data))
    (only,) = check(tmp_path / "sav", deep=True)
    assert only.severity == "error" and "masklet 1 at entry 2 is damaged" in only.message
    plain_video(tmp_path / "clip")
    (tmp_path / "clip/juggle.mp4").write_bytes(b"no video")
    (only,) = check(tmp_path / "clip")
    assert only.severity == "error" and only.path.endswith("juggle.mp4")


def test_what_cannot_be_opened_is_a_finding(tmp_path: Path) -> None:
    vost(tmp_path)
    for found in (
        check_dataset(tmp_path / "nowhere"),
        check_dataset(tmp_path, "coco"),
        check_dataset(tmp_path, split="test"),
    ):
        assert [one.severity for one in found] == ["error"]


def test_progress_names_sequences(tmp_path: Path) -> None:
    davis2017(tmp_path)
    seen: list[str] = []
    check_dataset(tmp_path, progress=seen.append)
    assert seen == ["bear", "dog"]
