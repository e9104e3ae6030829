"""One picture for each object: overlaps survive, and names become folders that every system takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam2_video.sinks import ObjectMaskSink
from sam2_video.sinks.object_masks import folder_name
from sam2_video.types import ObjectInfo
from tests.sinks.story import files, story, write


def test_every_pixel_of_every_object(tmp_path: Path) -> None:
    with ObjectMaskSink(tmp_path) as sink:
        write(sink, story())
    count = 0
    for result in story():
        for row, object_id in enumerate(result.object_ids):
            folder = tmp_path / folder_name(object_id, result.info_of(row))
            with Image.open(folder / f"{result.frame:05d}.png") as picture:
                assert picture.mode == "L" and picture.size == (56, 40)
                values = np.asarray(picture)
            assert np.array_equal(values == 255, result.masks[row]) and set(np.unique(values)) <= {0, 255}
            count += 1
    assert len(files(tmp_path)) == count == 14
    folders = {name.split("/")[0] for name in files(tmp_path)}
    assert folders == {"1_left_cup", "4", "9_ghost", "70000_Größe_猫"}


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("", "7"),
        ("../../etc", "7_etc"),
        ("..", "7"),
        ("CON", "7_CON"),
        ("a/b\\c:d*e?", "7_a_b_c_d_e"),
        ("tab\tline\n", "7_tab_line"),
        ("\ud800", "7"),
        ("x" * 300, "7_" + "x" * 60),
        ("猫" * 300, "7_" + "猫" * 60),
        ("naïve + 1st", "7_naïve_1st"),
    ],
)
def test_names_of_folders(name: str, folder: str, tmp_path: Path) -> None:
    assert folder_name(7, ObjectInfo(name)) == folder
    (tmp_path / folder).mkdir()
    assert len(folder.encode()) < 255
