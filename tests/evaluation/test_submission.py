"""Zips for servers: the right files at the right place, complete or not written at all."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from sam2_video.evaluation.datasets import open_dataset
from sam2_video.evaluation.sequences import DataSet
from sam2_video.evaluation.submission import write_submission
from sam2_video.types import DataError, SinkError
from tests.evaluation.datasets.builders import davis2017, labels, lvos, mose, write_labels, youtube_vos


def predict(data: DataSet, folder: Path) -> Path:
    """Something for each frame of each sequence."""
    for sequence in data.sequences:
        for frame, name in enumerate(sequence.frame_names):
            write_labels(folder / sequence.name / f"{name}.png", labels(frame, [1, 3]))
    return folder


def names_in(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None
        return file.namelist()


def test_youtube_vos_wants_the_frames_of_its_list_in_a_folder(tmp_path: Path) -> None:
    youtube_vos(tmp_path / "2019")
    expected = [f"Annotations/0a49f5265b/{t:05d}.png" for t in range(0, 30, 5)]
    for every_frame in (False, True):
        data = open_dataset(tmp_path / "2019", every_frame=every_frame)
        folder = predict(data, tmp_path / f"out{every_frame}")
        assert names_in(write_submission(data, folder, tmp_path / "s.zip")) == expected


def test_others_want_all_frames_at_the_top(tmp_path: Path) -> None:
    davis2017(tmp_path / "DAVIS")
    mose(tmp_path / "MOSEv2")
    lvos(tmp_path / "LVOS")
    for root, split, name, count in (
        ("DAVIS", "test-dev", "aerobatics", 6),
        ("MOSEv2", "valid", "002b4dce", 7),
        ("LVOS", "test", "0f2D", 10),
    ):
        data = open_dataset(tmp_path / root, split=split)
        folder = predict(data, tmp_path / f"out_{root}")
        names = names_in(write_submission(data, folder, tmp_path / f"{root}.zip"))
        assert names == [f"{name}/{frame}.png" for frame in data.sequences[0].frame_names]
        assert len(names) == count


def test_pictures_have_palettes_and_keep_their_values(tmp_path: Path) -> None:
    mose(tmp_path / "MOSE")
    data = open_dataset(tmp_path / "MOSE")
    folder = predict(data, tmp_path / "out")
    grey = folder / "002b4dce/00002.png"
    assert cv2.imwrite(str(grey), labels(2, [1, 3]))
    path = write_submission(data, folder, tmp_path / "s.zip")
    with zipfile.ZipFile(path) as file:
        assert {info.date_time for info in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}  # not that of writing
        for frame in (1, 2):
            picture = Image.open(io.BytesIO(file.read(f"002b4dce/{frame:05d}.png")))
            assert picture.mode == "P" and np.array_equal(np.asarray(picture), labels(frame, [1, 3]))
    again = write_submission(data, folder, tmp_path / "again.zip")
    assert again.read_bytes() == path.read_bytes()


def test_incomplete_predictions_make_no_zip(tmp_path: Path) -> None:
    mose(tmp_path / "MOSE")
    data = open_dataset(tmp_path / "MOSE")
    folder = predict(data, tmp_path / "out") / "002b4dce"
    (folder / "00001.png").unlink()
    write_labels(folder / "00002.png", labels(0, [1], (10, 10)))
    (folder / "00003.png").write_bytes(b"nothing")
    out = tmp_path / "s.zip"
    with pytest.raises(DataError) as error:
        write_submission(data, folder.parent, out)
    for part in ("3 problems", "00001.png: is missing", "is 10x10, the frames are 32x24", "not a PNG"):
        assert part in str(error.value)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []


def test_only_sets_with_a_server(tmp_path: Path) -> None:
    davis2017(tmp_path)
    with pytest.raises(DataError, match=r"davis2017 val has no server .* these have: davis2017 test-dev, "):
        write_submission(open_dataset(tmp_path), tmp_path, tmp_path / "s.zip")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    mose(tmp_path / "MOSE")
    data = open_dataset(tmp_path / "MOSE")
    folder = predict(data, tmp_path / "out")
    with pytest.raises(SinkError, match="cannot write"):
        write_submission(data, folder, tmp_path / "nowhere/s.zip")
