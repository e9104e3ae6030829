from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from sam2_video.training.stills import Still, StillLibrary, find_stills, read_still
from sam2_video.types import DataError


def test_folders_and_folders_of_folders_are_found_in_order(stills_folder: Path) -> None:
    stills = find_stills([stills_folder])
    assert [s.dataset for s in stills] == ["discs"] * 4 + ["pairs"] * 2
    assert stills == find_stills([stills_folder / "discs", stills_folder / "pairs"])


def test_an_instance_has_its_box_and_share(stills_folder: Path) -> None:
    picture = read_still(find_stills([stills_folder / "pairs"])[0])
    assert picture.image.shape == (120, 90, 3)
    assert [(i.label, i.box, i.truncated) for i in picture.instances] == [
        (3, (20, 40, 45, 80), False),
        (7, (45, 45, 70, 85), False),
    ]  # neither void nor the single pixel
    assert picture.instances[0].share == pytest.approx(25 * 40 / (120 * 90))
    assert not read_still(find_stills([stills_folder / "pairs"])[0], min_share=0.1).instances


def test_images_come_as_rgb(tmp_path: Path) -> None:
    red = np.zeros((40, 40, 3), np.uint8)
    red[..., 2] = 255  # OpenCV writes BGR
    cv2.imwrite(str(tmp_path / "red.png"), red)
    cv2.imwrite(str(tmp_path / "mask.png"), np.ones((40, 40), np.uint8))
    picture = read_still(Still(tmp_path / "red.png", tmp_path / "mask.png"))
    assert picture.image[0, 0].tolist() == [255, 0, 0]
    assert picture.instances[0].truncated


def test_the_library_stops_keeping_at_its_budget(stills_folder: Path) -> None:
    stills = find_stills([stills_folder])
    one = 90 * 120 * 4
    library = StillLibrary(stills, budget=2 * one)
    library.preload()
    assert library.bytes_kept == 2 * one
    assert library.load(0) is library.load(0)
    assert library.load(5) is not library.load(5)


def test_missing_parts_are_named(stills_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pictures in"):
        find_stills([tmp_path])
    shutil.copytree(stills_folder / "discs", tmp_path / "discs")
    (tmp_path / "discs" / "masks" / "2.png").unlink()
    with pytest.raises(DataError, match=r"2\.jpg has no mask"):
        find_stills([tmp_path])


def test_a_mask_of_another_size_is_refused(stills_folder: Path) -> None:
    discs, pairs = stills_folder / "discs", stills_folder / "pairs"
    with pytest.raises(DataError, match=r"0\.png is \(90, 120\) but its image is \(120, 90\)"):
        read_still(Still(discs / "images" / "0.jpg", pairs / "masks" / "0.png"))


def test_a_corrupt_image_is_named(stills_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"bad\.jpg"):
        read_still(Still(tmp_path / "bad.jpg", stills_folder / "discs" / "masks" / "0.png"))
