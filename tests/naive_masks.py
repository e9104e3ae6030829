"""The reference's automatic masks the straightforward way: whole float maps, loops, one thing at a time.

Written from its description, with nothing of `sam2_video.mask_*`: the two must agree.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import torch

from sam2_video.image_predictor import ImagePredictor
from sam2_video.postprocess import encode_rle

Record = dict[str, Any]


def generate(model: Any, rgb: np.ndarray, **given: Any) -> list[Record]:
    options: dict[str, Any] = {
        "points_per_side": 32, "pred_iou_thresh": 0.8, "stability_score_thresh": 0.95,
        "stability_score_offset": 1.0, "mask_threshold": 0.0, "box_nms_thresh": 0.7, "crop_n_layers": 0,
        "crop_nms_thresh": 0.7, "crop_overlap_ratio": 512 / 1500, "crop_n_points_downscale_factor": 1,
        "point_grids": None, "min_mask_region_area": 0, "use_m2m": False, "multimask_output": True,
        "max_hole_area": 0, "max_sprinkle_area": 0,
    }  # fmt: skip
    options |= given
    boxes = [(0, (0, 0, rgb.shape[1], rgb.shape[0]))]
    for layer in range(options["crop_n_layers"]):
        boxes += [
            (layer + 1, box) for box in layer_boxes(rgb.shape[:2], layer, options["crop_overlap_ratio"])
        ]
    found: list[Record] = []
    for layer, box in boxes:
        found += in_crop(model, rgb, box, layer, options)
    if len(boxes) > 1:
        found = suppressed(found, [1 / area(r["crop"]) for r in found], options["crop_nms_thresh"])
    if options["min_mask_region_area"]:
        found = cleaned(found, options)
    return found


def layer_boxes(size: tuple[int, ...], layer: int, ratio: float) -> list[tuple[int, int, int, int]]:
    count = 2 ** (layer + 1)
    overlap = int(ratio * min(size) * (2 / count))
    height, width = (math.ceil((overlap * (count - 1) + side) / count) for side in size)
    out = []
    for i in range(count):
        for j in range(count):
            x, y = i * (width - overlap), j * (height - overlap)
            out.append((x, y, min(x + width, size[1]), min(y + height, size[0])))
    return out


def in_crop(model: Any, rgb: np.ndarray, box: Any, layer: int, options: dict[str, Any]) -> list[Record]:
    x0, y0, x1, y1 = box
    predictor = ImagePredictor(model)
    predictor.set_image(rgb[y0:y1, x0:x1])
    found: list[Record] = []
    for x, y in points_of(layer, options):
        point = (x * (x1 - x0), y * (y1 - y0))
        answer = predictor.predict(points=[point], multimask=options["multimask_output"])
        for row in range(len(answer.iou)):
            logits, iou = answer.raw[row], answer.iou[row]
            if options["use_m2m"]:
                again = predictor.predict(points=[point], mask_logits=logits, multimask=False)
                logits, iou = again.raw[0], again.iou[0]
            record = judged(predictor, logits, float(iou), box, rgb.shape[:2], options)
            if record is not None:
                found.append(record | {"point": (point[0] + x0, point[1] + y0), "crop": box})
    return suppressed(found, [r["iou"] for r in found], options["box_nms_thresh"])


def points_of(layer: int, options: dict[str, Any]) -> list[tuple[float, float]]:
    if options["point_grids"] is not None:
        return [tuple(point) for point in options["point_grids"][layer]]
    count = int(options["points_per_side"] / options["crop_n_points_downscale_factor"] ** layer)
    return [((i + 0.5) / count, (j + 0.5) / count) for j in range(count) for i in range(count)]


def judged(
    predictor: ImagePredictor, logits: torch.Tensor, iou: float, crop: Any, size: Any, options: dict[str, Any]
) -> Record | None:
    if options["pred_iou_thresh"] > 0 and not iou > options["pred_iou_thresh"]:
        return None
    logits = swept(logits, options["max_hole_area"], options["max_sprinkle_area"])
    full = predictor.transform.restore(logits[None], predictor.sizes[0])[0]
    threshold, offset = options["mask_threshold"], options["stability_score_offset"]
    inner, outer = (int((full > threshold + sign * offset).sum()) for sign in (1, -1))
    stability = inner / outer if outer else float("nan")
    if options["stability_score_thresh"] > 0 and not stability >= options["stability_score_thresh"]:
        return None
    x0, y0, x1, y1 = crop
    mask = np.zeros(size, dtype=bool)
    mask[y0:y1, x0:x1] = (full > threshold).numpy()
    box = box_of(mask[y0:y1, x0:x1])
    box = tuple(side + shift for side, shift in zip(box, (x0, y0, x0, y0), strict=True))
    picture = (0, 0, size[1], size[0])
    for side, edge, limit in zip(box, crop, picture, strict=True):
        if abs(side - edge) <= 20 and not abs(side - limit) <= 20:
            return None
    return {"mask": mask, "box": box, "iou": iou, "stability": stability}


def swept(logits: torch.Tensor, hole: int, speck: int) -> torch.Tensor:
    """The reference's generator cleans in its predictor, whose threshold it leaves at 0."""
    out = logits.clone()
    for limit, side, value in ((hole, logits <= 0, 10.0), (speck, logits > 0, -10.0)):
        count, labels = cv2.connectedComponents(side.numpy().astype(np.uint8), connectivity=8)
        for k in range(1, count):
            if (labels == k).sum() <= limit:
                out[torch.from_numpy(labels == k)] = value
    return out


def box_of(mask: np.ndarray) -> tuple[int, ...]:
    ys, xs = mask.nonzero()
    return (int(xs.min()), int(ys.min()), int(xs.max()), int(ys.max())) if len(ys) else (0, 0, 0, 0)


def suppressed(records: list[Record], scores: list[float], threshold: float) -> list[Record]:
    order = sorted(range(len(records)), key=lambda k: -scores[k])
    kept: list[int] = []
    for k in order:
        if not any(iou(records[k]["box"], records[other]["box"]) > threshold for other in kept):
            kept.append(k)
    return [records[k] for k in kept]


def iou(a: Any, b: Any) -> float:
    inner = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    either = area(a) + area(b) - inner
    return float(np.float32(inner) / np.float32(either)) if either else float("nan")  # as torchvision does


def area(box: Any) -> int:
    return int((box[2] - box[0]) * (box[3] - box[1]))


def cleaned(found: list[Record], options: dict[str, Any]) -> list[Record]:
    out, scores = [], []
    for record in found:
        mask = without_small(record["mask"], options["min_mask_region_area"])
        changed = mask is not record["mask"]
        out.append(record | {"mask": mask, "box": box_of(mask) if changed else record["box"]})
        scores.append(0.0 if changed else 1.0)
    return suppressed(out, scores, max(options["box_nms_thresh"], options["crop_nms_thresh"]))


def without_small(mask: np.ndarray, least: int) -> np.ndarray:
    """Whole pictures; the very same mask where nothing is small."""
    for holes in (True, False):
        count, labels, stats, _ = cv2.connectedComponentsWithStats(
            (mask ^ holes).astype(np.uint8), connectivity=8
        )
        sizes = stats[1:, cv2.CC_STAT_AREA]
        small = [k + 1 for k, pixels in enumerate(sizes) if pixels < least]
        if not small:
            continue
        if holes:
            mask = mask | np.isin(labels, small)
        else:
            large = [k for k in range(1, count) if k not in small] or [int(np.argmax(sizes)) + 1]
            mask = np.isin(labels, large)
    return mask


def runs(record: Record) -> Any:
    return encode_rle(record["mask"])
