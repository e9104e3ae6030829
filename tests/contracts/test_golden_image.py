"""Pictures give what the reference implementation gives (its README says how the numbers were made)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sam2_video.image_predictor import ImagePredictor
from sam2_video.transforms import PIXEL_MEAN, PIXEL_STD
from tests.contracts.golden import SHARED, disc, golden_image_model, golden_names, load_case
from tests.paths import needs_shared

CLOSE, CLOSE_IOU = 2e-4, 1e-3
PICTURE = SHARED / "data" / "clips" / "truck.jpg"
CASES = golden_names("image")


@needs_shared
def test_all_cases_are_here() -> None:
    assert CASES == ["image_sam_vit_b", "image_t", "image_t_1024"]


@needs_shared
@pytest.mark.slow
@pytest.mark.parity
@pytest.mark.parametrize("name", CASES)
def test_picture_agrees(name: str) -> None:
    case = load_case(name)
    predictor = ImagePredictor(golden_image_model(case.meta))
    predictor.set_image(PICTURE)

    embedding = predictor.embedding[0, :, ::4, ::4].numpy()
    assert np.abs(embedding - case.arrays["image_embed"]).max() < CLOSE
    for k, said in enumerate(case.meta["prompts"]):
        logits = None
        if "mask_input" in said:
            side = predictor.model.image_size // 4
            logits = np.where(disc((side, side), *said["mask_input"]), 8.0, -8.0)
        result = predictor.predict(
            points=said.get("point_coords"),
            labels=said.get("point_labels"),
            box=said.get("box"),
            mask_logits=logits,
            multimask=said["multimask"],
        )
        expected = case.arrays[f"prompt{k}/low_res_logits"]
        assert result.logits.shape == expected.shape
        assert np.abs(result.logits.numpy() - expected).max() < CLOSE, said
        assert np.abs(result.iou.numpy() - case.arrays[f"prompt{k}/ious"]).max() < CLOSE_IOU, said
        areas = result.masks.sum(axis=(1, 2))
        assert np.abs(areas - case.arrays[f"prompt{k}/areas"]).max() <= 50, said  # of 2.16 million pixels


@needs_shared
def test_resized_picture_agrees() -> None:
    case = load_case("image_t")
    from sam2_video.sources import read_picture
    from sam2_video.transforms import FrameTransform

    ours = FrameTransform(case.meta["image_size"]).pixels(read_picture(PICTURE))[0]
    ours = ours * torch.tensor(PIXEL_STD)[:, None, None] + torch.tensor(PIXEL_MEAN)[:, None, None]
    assert np.abs(ours.numpy() - case.arrays["input"].astype(np.float32)).max() < 5e-4  # stored as float16
