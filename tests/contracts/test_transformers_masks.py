"""Automatic masks against `transformers`' mask-generation pipeline, with the same random numbers.

An implementation that is not ours from clicks to run lengths, but for two things that it takes from
torchvision: duplicates are found by a plain loop here, and pictures are resized by PIL.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import sam2_video
from sam2_video.checkpoint import load_weights
from sam2_video.key_maps import from_hub_layout
from sam2_video.mask_generator import AutoMask, MaskGenerator
from tests.contracts.test_transformers_sam1 import OVERRIDES, SIDE, hub_model

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.parity

# Random numbers answer with specks all over the picture; at a high threshold they are here and there.
LOOSE: dict[str, Any] = {
    "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "stability_score_offset": 0.2,
    "mask_threshold": 2.0,
}  # fmt: skip


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    assert not idxs.any()  # one class
    kept: list[int] = []
    for row in torch.argsort(-scores, stable=True).tolist():
        if all(box_iou(boxes[row].tolist(), boxes[other].tolist()) <= iou_threshold for other in kept):
            kept.append(row)
    return torch.tensor(kept)


def box_iou(left: list[float], right: list[float]) -> float:
    width = min(left[2], right[2]) - max(left[0], right[0])
    height = min(left[3], right[3]) - max(left[1], right[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (left, right)]
    return shared / (sum(areas) - shared) if sum(areas) > shared else 0.0


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> Any:
    from transformers.models.sam import image_processing_pil_sam as theirs

    modules = {name: ModuleType(name) for name in ("torchvision", "torchvision.ops", "torchvision.ops.boxes")}
    modules["torchvision.ops.boxes"].batched_nms = batched_nms  # type: ignore[attr-defined]
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)

    class Processor(theirs.SamImageProcessorPil):  # type: ignore[misc]
        def post_process_for_mask_generation(self, *args: Any) -> Any:
            return theirs._post_process_for_mask_generation(*args)  # without asking for torchvision

    side = {"height": SIDE, "width": SIDE}
    processor = Processor(size={"longest_edge": SIDE}, pad_size=side)
    model = hub_model()
    with torch.no_grad():
        model.mask_decoder.iou_prediction_head.proj_out.bias += 8.0  # thresholds count above 0 only
    return transformers.MaskGenerationPipeline(model=model, image_processor=processor, device="cpu")


def picture(size: tuple[int, int]) -> Image.Image:
    coarse = np.random.default_rng(4).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC)


def middle(masks: list[AutoMask], name: str, share: float) -> float:
    """A threshold that a share of masks does not pass, in the widest gap near that share."""
    values = np.unique([getattr(mask, name) for mask in masks])
    low, high = int(len(values) * (share - 0.15)), int(len(values) * (share + 0.15))
    k = low + int(np.diff(values[low:high]).argmax())
    return float((values[k] + values[k + 1]) / 2)


@pytest.mark.parametrize("size", [(96, 80), (150, 200)], ids=["smaller than the frame", "larger"])
def test_same_masks_as_the_pipeline(pipeline: Any, size: tuple[int, int]) -> None:
    """The same count, run lengths, boxes and predicted IoUs, in the same order, for the same filters."""
    ours = sam2_video.build_model("sam_vit_b", OVERRIDES)
    load_weights(ours, from_hub_layout(pipeline.model.state_dict()), "transformers")
    image = picture(size)
    every = MaskGenerator(ours, points_per_side=8, box_nms_thresh=1.0, **LOOSE).generate(image)
    given = LOOSE | {"pred_iou_thresh": middle(every, "predicted_iou", 0.2)}
    sure = [mask for mask in every if mask.area and mask.predicted_iou > given["pred_iou_thresh"]]
    given["stability_score_thresh"] = middle(sure, "stability_score", 0.3)

    generator = MaskGenerator(ours, points_per_side=8, box_nms_thresh=0.95, **given)
    found = generator.generate(image)
    theirs = pipeline(
        image, points_per_crop=8, points_per_batch=16, output_rle_mask=True, output_bboxes_mask=True,
        crops_nms_thresh=0.95, **given,
    )  # fmt: skip
    assert min(generator.counts[step] for step in ("predicted_iou", "stability", "duplicate")) > 3
    assert len(found) == len(theirs["masks"]) > 3
    assert [mask.rle for mask in found] == theirs["rle_mask"]
    assert [list(mask.box) for mask in found] == theirs["bounding_boxes"].tolist()
    np.testing.assert_allclose([mask.predicted_iou for mask in found], theirs["scores"], atol=1e-3)
