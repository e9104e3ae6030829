"""Predictions on disk: what is written is what is read, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from sam2_video.evaluation.predictions import (
    PredictionWriter,
    SequencePredictions,
    is_whole,
    read_predictions,
    remove_unfinished,
    write_prediction,
)
from sam2_video.evaluation.protocols import FramePrediction
from sam2_video.evaluation.sequences import Bools
from sam2_video.types import DataError
from tests.evaluation.toys import SIZE, clip


def box(x: int, y: int, side: int = 10) -> Bools:
    mask = np.zeros(SIZE, np.bool_)
    mask[y : y + side, x : x + side] = True
    return mask


@pytest.mark.parametrize("overlapping", [False, True])
def test_what_is_written_is_read(tmp_path: Path, overlapping: bool) -> None:
    sequence = clip("dog", (1, 7))
    masks = {1: box(0, 0), 7: box(5, 5) if overlapping else box(30, 5)}
    write_prediction(tmp_path, sequence, FramePrediction(3, masks), overlapping=overlapping)
    read = read_predictions(tmp_path, sequence)
    found = read(3)
    assert found is not None
    assert found.keys() == masks.keys()
    assert all((found[k] == masks[k]).all() for k in masks)
    assert read(4) is None


def test_layouts_are_those_of_davis_and_sav(tmp_path: Path) -> None:
    sequence = clip("dog", (1, 7))
    write_prediction(tmp_path / "a", sequence, FramePrediction(3, {1: box(0, 0)}))
    write_prediction(tmp_path / "b", sequence, FramePrediction(3, {7: box(0, 0)}), overlapping=True)
    assert (tmp_path / "a/dog/00003.png").read_bytes()[25] == 3  # a palette
    white = cv2.imread(str(tmp_path / "b/dog/007/00003.png"), cv2.IMREAD_UNCHANGED)
    assert set(np.unique(white)) == {0, 255}


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({1: box(0, 0), 2: box(5, 5)}, "overlap"),
        ({255: box(0, 0)}, "id 255"),
        ({0: box(0, 0)}, "id 0"),
        ({1: np.zeros((4, 4), np.bool_)}, r"\(4, 4\)"),
    ],
)
def test_what_a_palette_has_no_place_for_is_refused(
    tmp_path: Path, masks: dict[int, Bools], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        write_prediction(tmp_path, clip("dog", (1, 2)), FramePrediction(0, masks))


def test_a_folder_that_is_there_is_whole(tmp_path: Path) -> None:
    sequence = clip("dog", (1,), frames=2)
    with pytest.raises(RuntimeError), PredictionWriter(tmp_path, sequence) as writer:
        writer.write(FramePrediction(0, {1: box(0, 0)}))
        assert not (tmp_path / "dog").exists()
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with PredictionWriter(tmp_path, sequence) as writer:
        for frame in range(2):
            writer.write(FramePrediction(frame, {1: box(frame, 0)}))
        written = writer.close()
    assert [path.name for path in tmp_path.iterdir()] == ["dog"]
    assert is_whole(tmp_path, "dog", written)
    with PredictionWriter(tmp_path, sequence) as writer:  # once more, and the same
        for frame in range(2):
            writer.write(FramePrediction(frame, {1: box(frame, 0)}))
        assert writer.close() == written
    (tmp_path / "dog/00001.png").write_bytes(b"")
    assert not is_whole(tmp_path, "dog", written)
    (tmp_path / "dog/00001.png").unlink()
    assert not is_whole(tmp_path, "dog", written)


@pytest.mark.parametrize("name", ["../dog", ".dog", "a/b", ".."])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="cannot be called"):
        PredictionWriter(tmp_path, clip(name))


def test_only_what_is_left_of_ones_own_sequences_is_removed(tmp_path: Path) -> None:
    for name in (".dog.0123abcd.part", ".cat.0123abcd.part", ".dog", "dog"):
        (tmp_path / name).mkdir()
    remove_unfinished(tmp_path, {"dog"})
    assert {path.name for path in tmp_path.iterdir()} == {".cat.0123abcd.part", ".dog", "dog"}


def test_white_is_the_only_object(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "00001.png"), box(3, 3).view(np.uint8) * 255)
    found = SequencePredictions(tmp_path, clip("dog", (4,)))(1)
    assert found is not None
    assert (found[4] == box(3, 3)).all()
    several = SequencePredictions(tmp_path, clip("dog", (1, 4)))(1)
    assert several is not None
    assert set(several) == {255}


def test_all_objects_are_one_where_the_data_says_so(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "00001.png"), box(3, 3).view(np.uint8) * 3 + box(30, 3).view(np.uint8))
    found = SequencePredictions(tmp_path, clip("dog"), single=True)(1)
    assert found is not None
    assert set(found) == {1}
    assert (found[1] == (box(3, 3) | box(30, 3))).all()


def test_an_object_without_a_file_is_not_an_empty_one(tmp_path: Path) -> None:
    sequence = clip("dog", (1, 2))
    write_prediction(tmp_path, sequence, FramePrediction(1, {1: box(0, 0)}), overlapping=True)
    found = read_predictions(tmp_path, sequence)(1)
    assert found is not None
    assert (found[1] == box(0, 0)).all() and found[2] is None
    assert read_predictions(tmp_path, sequence)(2) is None
    (tmp_path / "dog/2").mkdir()  # not padded
    cv2.imwrite(str(tmp_path / "dog/2/00001.png"), box(0, 0).view(np.uint8))
    found = read_predictions(tmp_path, sequence)(1)
    assert found is not None and found[2] is not None
    assert found[2].sum() == 100


def test_another_size_is_refused_even_where_nothing_is_shown(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "00001.png"), np.zeros((10, 20), np.uint8))
    with pytest.raises(DataError, match=r"20x10, the frames are 96x60"):
        SequencePredictions(tmp_path, clip("dog"))(1)
