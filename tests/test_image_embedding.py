"""What a picture looks like to a model, saved and loaded."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sam2_video.image_embedding import HEADER
from sam2_video.image_predictor import ImagePredictor
from sam2_video.model.sam1 import AnyModel
from sam2_video.types import CheckpointError, DataError, Sam2VideoError, SinkError
from tests.toys import FRAME_SIZE, toy_clip, toy_model, toy_sam1

CLICK: dict[str, Any] = {"points": [(12, 14)], "labels": [1]}
MODELS = pytest.mark.parametrize("model", [toy_model(), toy_sam1()], ids=["SAM 2", "SAM 1"])


def saved(model: AnyModel, path: Path) -> ImagePredictor:
    predictor = ImagePredictor(model)
    predictor.set_image(toy_clip(1)[0])
    predictor.save_embedding(path)
    return predictor


@MODELS
def test_results_are_those_of_the_picture(model: AnyModel, tmp_path: Path) -> None:
    file = tmp_path / "new folder" / "a.safetensors"
    expected = saved(model, file).predict(**CLICK)
    again = ImagePredictor(model)
    again.load_embedding(file)
    result = again.predict(**CLICK)
    assert torch.equal(result.raw, expected.raw) and torch.equal(result.iou, expected.iou)
    assert (result.masks == expected.masks).all() and result.masks.shape == (3, *FRAME_SIZE)
    assert again.sizes == (FRAME_SIZE,)
    again.save_embedding(tmp_path / "b.safetensors")
    assert (tmp_path / "b.safetensors").read_bytes() == file.read_bytes()
    assert sorted(path.name for path in file.parent.iterdir()) == ["a.safetensors"]


def test_one_of_several_pictures_is_saved(tmp_path: Path) -> None:
    predictor = ImagePredictor(toy_model())
    predictor.set_images([toy_clip(1)[0], toy_clip(1, (64, 64), seed=3)[0]])
    predictor.save_embedding(tmp_path / "second.safetensors", picture=1)
    expected = predictor.predict(**CLICK, picture=1)
    predictor.load_embedding(tmp_path / "second.safetensors")
    assert predictor.sizes == ((64, 64),)
    assert torch.equal(predictor.predict(**CLICK).raw, expected.raw)


def test_other_weights_and_other_models_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    saved(toy_model(), file)
    other = copy.deepcopy(toy_model())
    predictor = ImagePredictor(other)
    predictor.load_embedding(file)  # the same weights in another place
    with torch.no_grad():
        other.no_mem_embed.add_(1e-3)
    kept = predictor.predict(**CLICK).raw
    with pytest.raises(CheckpointError, match=r"a\.safetensors was made by other weights of the same arch"):
        predictor.load_embedding(file)
    assert torch.equal(predictor.predict(**CLICK).raw, kept)  # what was loaded before stays

    for model, difference in (
        (toy_sam1(), r"by another model: model 'SAM2' \(here 'SAM1'\)"),
        (toy_model(96), r"by another model: image_size 64 \(here 96\)"),
        (copy.deepcopy(toy_model()).bfloat16(), r"dtype 'float32' \(here 'bfloat16'\)"),
    ):
        with pytest.raises(CheckpointError, match=f"{difference}.*encode the picture again"):
            ImagePredictor(model).load_embedding(file)


def rewritten(file: Path, header: dict[str, Any] | None = None, **tensors: torch.Tensor) -> None:
    """Change what a file says or holds."""
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        said = json.loads(opened.metadata()[HEADER])
    save_file(load_file(file) | tensors, file, metadata={HEADER: json.dumps(said | (header or {}))})


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"header": {"version": 2}}, "version 2; this program reads 1"),
        ({"header": {"format": "something"}}, "no saved embedding"),
        ({"header": {"size": [48, -1]}}, "the size of its picture is"),
        ({"header": {"size": "48x80"}}, "the size of its picture is"),
        ({"header": {"size": [True, 80]}}, "the size of its picture is"),
        ({"header": {"size": [48, 10**9]}}, "the size of its picture is"),
        ({"coarse": torch.zeros(1, 64, 5, 4)}, "is damaged: it holds"),
        ({"extra": torch.zeros(1)}, "is damaged: it holds"),
    ],
)
def test_damaged_files_are_refused(change: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    predictor = saved(toy_model(), file)
    rewritten(file, **change)
    with pytest.raises(DataError, match=complaint):
        predictor.load_embedding(file)
    assert predictor.count == 1


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    predictor = saved(toy_model(), file)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="no saved embedding, or a damaged one"):
        predictor.load_embedding(file)
    file.write_bytes(b"\x80\x04pickle")
    with pytest.raises(DataError, match="no saved embedding, or a damaged one"):
        predictor.load_embedding(file)
    save_file({"coarse": torch.zeros(1)}, file)
    with pytest.raises(DataError, match="its header has no entry"):
        predictor.load_embedding(file)
    for missing in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(DataError, match="there is no saved embedding at"):
            predictor.load_embedding(missing)


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(Sam2VideoError, match="set_image first"):
        ImagePredictor(toy_model()).save_embedding(tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SinkError, match="file"):
        saved(toy_model(), tmp_path / "file" / "a.safetensors")


def test_weights_are_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashing all weights takes seconds in a large model: not once per picture."""
    from sam2_video import image_embedding

    asked: list[int] = []
    real = image_embedding.weights_fingerprint
    monkeypatch.setattr(image_embedding, "weights_fingerprint", lambda m: asked.append(1) or real(m))
    predictor = saved(toy_model(), tmp_path / "a.safetensors")
    for _ in range(3):
        predictor.load_embedding(tmp_path / "a.safetensors")
    assert len(asked) == 1
