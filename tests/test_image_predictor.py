"""One picture at a time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from sam2_video.image_predictor import ImagePredictor
from sam2_video.types import PromptError, Sam2VideoError, SourceError
from tests.toys import FRAME_SIZE, SIDE, toy_clip, toy_model

CLICK: dict[str, Any] = {"points": [(12, 14)], "labels": [1]}


@pytest.fixture
def predictor() -> ImagePredictor:
    made = ImagePredictor(toy_model())
    made.set_image(toy_clip(1)[0])
    return made


def test_three_alternatives_or_one_mask(predictor: ImagePredictor) -> None:
    three, one = predictor.predict(**CLICK), predictor.predict(**CLICK, multimask=False)
    for result, count in ((three, 3), (one, 1)):
        assert result.logits.shape == (count, SIDE // 4, SIDE // 4)
        assert result.masks.shape == (count, *FRAME_SIZE) and result.masks.dtype == bool
        assert result.iou.shape == (count,)
    assert not torch.equal(three.logits[0], three.logits[1])
    assert three.presence == one.presence


def test_picture_may_be_an_array_a_file_or_pil(predictor: ImagePredictor, tmp_path: Path) -> None:
    rgb = toy_clip(1)[0]
    expected = predictor.predict(**CLICK).logits
    file = tmp_path / "a.png"
    cv2.imwrite(str(file), rgb[..., ::-1])
    for picture in (file, str(file), Image.fromarray(rgb)):
        predictor.set_image(toy_clip(2)[1])
        assert not torch.equal(predictor.predict(**CLICK).logits, expected)
        predictor.set_image(picture)
        assert torch.equal(predictor.predict(**CLICK).logits, expected)


def test_earlier_logits_refine(predictor: ImagePredictor) -> None:
    first = predictor.predict(**CLICK)
    refined = predictor.predict(**CLICK, mask_logits=first.logits[0], multimask=False)
    assert not torch.equal(refined.logits, predictor.predict(**CLICK, multimask=False).logits)
    again = predictor.predict(**CLICK, mask_logits=first.logits[:1].numpy(), multimask=False)
    assert torch.equal(refined.logits, again.logits)
    assert predictor.predict(mask_logits=first.logits[0]).logits.shape[0] == 3  # a mask alone is a prompt too


def test_logits_are_clamped(predictor: ImagePredictor) -> None:
    huge = predictor.predict(**CLICK, mask_logits=torch.full((16, 16), 1e6)).logits
    limited = predictor.predict(**CLICK, mask_logits=torch.full((16, 16), 32.0)).logits
    assert torch.equal(huge, limited)
    loud = replace(predictor.predict(**CLICK), raw=torch.full((3, 16, 16), -99.0))
    assert (loud.logits == -32).all()
    assert loud.full_logits().max() < -98  # what is shown is not clamped, as in the reference


def test_doubted_object_is_shown_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = toy_model()
    head = model.sam_mask_decoder.pred_obj_score_head.layers[-1]
    predictor = ImagePredictor(model)
    predictor.set_image(toy_clip(1)[0])
    certain = predictor.predict(**CLICK, multimask=False)
    with torch.no_grad():
        head.bias -= 100
        try:
            doubted = predictor.predict(**CLICK, multimask=False)
        finally:
            head.bias += 100
    assert doubted.presence < 0 < certain.presence
    assert torch.equal(doubted.logits, certain.logits)


def test_nothing_to_look_at_is_an_error() -> None:
    with pytest.raises(Sam2VideoError, match="set_image first"):
        ImagePredictor(toy_model()).predict(**CLICK)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({}, "nothing was given"),
        ({"points": [(80, 0)], "labels": [1]}, "outside the picture, which is 80 wide and 48 high"),
        ({"points": [(float("nan"), 0)], "labels": [1]}, "finite"),
        ({"box": (30, 20, 10, 40)}, "swapped"),
        ({**CLICK, "mask_logits": torch.zeros(3, 16, 16)}, r"one mask of shape \(16, 16\)"),
        ({**CLICK, "mask_logits": torch.full((16, 16), torch.nan)}, "not finite"),
    ],
)
def test_bad_prompts_are_refused(predictor: ImagePredictor, given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(PromptError, match=complaint):
        predictor.predict(**given)


def test_bad_pictures_are_refused(predictor: ImagePredictor, tmp_path: Path) -> None:
    before = predictor.predict(**CLICK).logits
    (tmp_path / "bad.png").write_bytes(b"no picture")
    for file in (tmp_path / "bad.png", tmp_path / "none.png"):
        with pytest.raises(SourceError):
            predictor.set_image(file)
    for array in (
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 3)),
        np.zeros((0, 4, 3), np.uint8),
        "nowhere.png",
    ):
        with pytest.raises((PromptError, SourceError)):
            predictor.set_image(array)
    assert torch.equal(predictor.predict(**CLICK).logits, before)  # the earlier picture is still there
