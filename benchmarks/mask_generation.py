"""How fast are automatic masks, next to the mask-generation pipeline of transformers?

    python benchmarks/mask_generation.py PICTURE [--family sam2|sam1] [--points 16] [--side 1024]

Both hold the same random weights (`sam2.1_hiera_tiny`, or SAM 1's ViT-B cut to two blocks) and look at the
same square cut of the picture with the same options, in turns; medians over the rounds, and the ratio of each
round's pair. `--share`: thresholds are set so that this share of masks passes the predicted IoU, and of these
again the stability. Both must find the same number of masks.

The pipeline is transformers' own. Where torchvision is not installed its `batched_nms` is replaced by ours,
and pictures are resized by PIL; the rest of its work does not change.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from torch import Tensor

import sam2_video
from sam2_video.checkpoint import load_weights
from sam2_video.key_maps import from_hub_layout
from sam2_video.mask_filters import nms
from sam2_video.mask_generator import MaskGenerator


def provide_nms() -> None:
    """Stand in for torchvision's `batched_nms` where there is no torchvision."""
    try:
        import torchvision  # noqa: F401
    except ImportError:

        def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
            return torch.from_numpy(nms(boxes.numpy(), scores.numpy(), iou_threshold))

        names = ("torchvision", "torchvision.ops", "torchvision.ops.boxes")
        modules = {name: ModuleType(name) for name in names}
        modules["torchvision.ops.boxes"].batched_nms = batched_nms  # type: ignore[attr-defined]
        sys.modules.update(modules)


@torch.no_grad()
def randomise(model: torch.nn.Module) -> None:
    """Numbers that keep signals alive through all layers."""
    source = torch.Generator().manual_seed(0)
    for name, value in model.state_dict().items():
        noise = torch.randn(value.shape, generator=source)
        if value.dim() > 1:
            value.copy_(noise / value[0].numel() ** 0.5)
        else:
            value.copy_(0.1 * noise + float("norm" in name and name.endswith("weight")))
    matrix = model.prompt_encoder.shared_embedding.positional_embedding
    model.shared_image_embedding.positional_embedding.copy_(matrix)


def pair(family: str, side: int) -> tuple[Any, Any, Any]:
    """Our model, theirs with the same weights, and its image processor."""
    from transformers.models.sam import image_processing_pil_sam as theirs_pil

    class Padded(theirs_pil.SamImageProcessorPil):
        def post_process_for_mask_generation(self, *args: Any) -> Any:
            return theirs_pil._post_process_for_mask_generation(*args)  # without asking for torchvision

    class Squashed(Padded):  # SAM 2's processor needs torchvision; these are its two steps
        def __call__(self, images: Any, **_: Any) -> Any:
            squares = [Image.fromarray(self._hwc(image)).resize((side, side)) for image in images]
            pixels = torch.stack([torch.from_numpy(np.array(square)) for square in squares])
            pixels = pixels.permute(0, 3, 1, 2).float().div(255)
            mean, std = (torch.tensor(v).view(3, 1, 1) for v in (self.image_mean, self.image_std))
            sizes = torch.tensor([self._hwc(image).shape[:2] for image in images])
            data = {"pixel_values": (pixels - mean) / std, "original_sizes": sizes}
            return transformers.BatchFeature(data)

        @staticmethod
        def _hwc(image: Any) -> Any:
            array = np.asarray(image)
            return array.transpose(1, 2, 0) if array.shape[0] == 3 else array

        def post_process_masks(self, masks: Any, original_sizes: Any, **_: Any) -> Any:
            return [
                torch.nn.functional.interpolate(mask, size, mode="bilinear", align_corners=False)
                for mask, size in zip(masks, original_sizes, strict=True)
            ]

    if family == "sam1":
        vision = {"image_size": side, "num_hidden_layers": 2, "global_attn_indexes": [1]}
        prompt = {"image_size": side, "image_embedding_size": side // 16}
        theirs = transformers.SamModel(
            transformers.SamConfig(vision_config=vision, prompt_encoder_config=prompt)
        )
        overrides = ["model.image_encoder.depth=2", "model.image_encoder.global_att_blocks=[1]"]
        overrides.append(f"model.image_encoder.grid={side // 16}")
        ours = sam2_video.build_model("sam_vit_b", overrides=[*overrides, f"image_size={side}"])
        processor = Padded(size={"longest_edge": side}, pad_size={"height": side, "width": side})
    else:
        config = transformers.Sam2Config()
        config.vision_config.backbone_config.image_size = [side, side]
        sizes = [[side // step, side // step] for step in (4, 8, 16)]
        config.vision_config.backbone_feature_sizes = sizes
        config.prompt_encoder_config.image_size = side
        theirs = transformers.Sam2Model(config)
        ours = sam2_video.build_model("sam2.1_hiera_tiny", overrides=[f"image_size={side}"])
        processor = Squashed(size={"longest_edge": side})
    randomise(theirs)
    weights = from_hub_layout(theirs.state_dict())
    if family == "sam2":  # a picture needs no memory: those parts keep their own random numbers
        weights = {**ours.state_dict(), **weights}
    load_weights(ours, weights, "transformers")
    return ours.eval(), theirs.eval(), processor


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    out = work()
    return time.perf_counter() - began, out


def between(values: list[float], share: float) -> float:
    """A threshold that this share of values lies above, and none on it."""
    found = np.unique(np.float32(values))
    k = min(max(int(len(found) * (1 - share)), 1), len(found) - 1)
    return float((found[k - 1] + found[k]) / 2)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("picture", type=Path)
    parser.add_argument("--family", choices=["sam2", "sam1"], default="sam2")
    parser.add_argument("--points", type=int, default=16, help="per side")
    parser.add_argument("--side", type=int, default=1024, help="of the model frame")
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    provide_nms()
    ours, theirs, processor = pair(args.family, args.side)
    picture = Image.open(args.picture).convert("RGB")
    edge = min(picture.size)
    picture = picture.crop((0, 0, edge, edge))

    options: dict[str, Any] = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "max_hole_area": 0}
    options |= {"max_sprinkle_area": 0, "multimask_output": True, "stability_score_offset": 0.2}
    few = min(args.points, 8)
    every = MaskGenerator(ours, points_per_side=few, box_nms_thresh=1.0, **options).generate(picture)
    options["pred_iou_thresh"] = between([m.predicted_iou for m in every], args.share)
    sure = [m.stability_score for m in every if m.predicted_iou > options["pred_iou_thresh"]]
    options["stability_score_thresh"] = between(sure, args.share)
    generator = MaskGenerator(ours, points_per_side=args.points, box_nms_thresh=0.7, **options)
    pipeline = transformers.MaskGenerationPipeline(model=theirs, image_processor=processor, device="cpu")
    names = ("pred_iou_thresh", "stability_score_thresh", "stability_score_offset")
    given = {name: options[name] for name in names}

    slow, fast, found = [], [], (0, 0)
    for _ in range(args.rounds + 1):  # the first round warms up
        theirs_took, answer = timed(lambda: pipeline(picture, points_per_crop=args.points, **given))
        ours_took, masks = timed(lambda: generator.generate(picture))
        slow.append(theirs_took), fast.append(ours_took)
        found = len(answer["masks"]), len(masks)
    ratios = [a / b for a, b in zip(slow[1:], fast[1:], strict=True)]
    print(f"{args.family}, {edge}x{edge} picture, {args.points}x{args.points} points, frame of {args.side}")
    print(
        f"{torch.get_num_threads()} threads, {args.rounds} rounds; candidates and losses: {generator.counts}"
    )
    print(f"transformers  {median(slow[1:]):8.2f} s  {found[0]} masks")
    print(f"sam2_video    {median(fast[1:]):8.2f} s  {found[1]} masks")
    print(f"ratio         {median(ratios):8.2f}    ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
