"""Automatic masks against the straightforward algorithm, on the same networks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.profiler import ProfilerActivity, profile

import sam2_video
from sam2_video import compat, mask_generator
from sam2_video.image_predictor import ImagePredictor
from sam2_video.mask_generator import AutoMask, MaskGenerator
from sam2_video.mask_options import MaskOptions
from sam2_video.model.sam1 import SAM1
from sam2_video.types import PromptError, SourceError
from tests import naive_masks
from tests.contracts.golden import SHARED, golden_image_model, golden_model, load_case
from tests.paths import needs_shared
from tests.spots import PaddedSpots, Spots
from tests.toys import SAM1_OVERRIDES, toy_model, toy_sam1

SIZE = (72, 96)
BROAD: dict[str, Any] = {"points_per_side": 5, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
PLAIN = MaskOptions().record() | BROAD  # for networks whose own defaults are other ones


def picture(size: tuple[int, int] = SIZE) -> np.ndarray:
    """Soft blobs, which masks follow."""
    rng = np.random.default_rng(4)
    coarse = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8))
    return np.asarray(coarse.resize(size[::-1], Image.Resampling.BICUBIC))


def quantile(masks: list[AutoMask], name: str, share: float) -> float:
    """A threshold that lets a share of masks pass, and that no mask lies on."""
    values = np.unique([getattr(mask, name) for mask in masks])
    k = int(len(values) * share)
    return float((values[k - 1] + values[k]) / 2)


def assert_same(ours: list[AutoMask], theirs: list[naive_masks.Record]) -> None:
    assert [mask.rle for mask in ours] == [naive_masks.runs(record) for record in theirs]
    for mask, record in zip(ours, theirs, strict=True):
        assert mask.box == record["box"] or not mask.area
        assert mask.point == pytest.approx(record["point"]) and mask.crop == record["crop"]
        assert mask.predicted_iou == pytest.approx(record["iou"], rel=1e-5, abs=1e-5)
        # sums in another order: one pixel in a thousand may lie on the other side of a shifted threshold
        assert mask.stability_score == pytest.approx(record["stability"], abs=2e-3, nan_ok=True)


CASES: dict[str, dict[str, Any]] = {
    "all that is found": {"box_nms_thresh": 1.0},
    "duplicates": {"box_nms_thresh": 0.5},
    "one mask a click": {"multimask_output": False},
    "crops": {"crop_n_layers": 1, "crop_n_points_downscale_factor": 2, "crop_nms_thresh": 0.6},
    "two layers": {"crop_n_layers": 2, "points_per_side": 3, "crop_overlap_ratio": 0.2},
    "grids": {"points_per_side": None, "point_grids": [[(0.1, 0.9), (0.5, 0.25)], [(0.3, 0.6)]],
              "crop_n_layers": 1},
    "refined": {"use_m2m": True},
    "threshold": {"mask_threshold": 0.4, "stability_score_offset": 0.2},
    "low resolution": {"max_hole_area": 5, "max_sprinkle_area": 8},
    "low resolution and threshold": {"max_hole_area": 5, "max_sprinkle_area": 8, "mask_threshold": 0.6},
    "regions": {"min_mask_region_area": 60, "box_nms_thresh": 0.9},
    "regions and crops": {"min_mask_region_area": 300, "crop_n_layers": 1},
}  # fmt: skip
MODELS: dict[str, Callable[[], Any]] = {"squashed": Spots, "padded": PaddedSpots}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("model", MODELS)
def test_same_masks_as_the_straightforward_way(model: str, case: str) -> None:
    network, options = MODELS[model](), BROAD | CASES[case]
    every = MaskGenerator(network, **options).generate(picture())
    assert_same(every, naive_masks.generate(network, picture(), **options))
    assert len(every) > 3
    # and with thresholds that some masks pass
    for name, threshold, share in (
        ("predicted_iou", "pred_iou_thresh", 0.5),
        ("stability_score", "stability_score_thresh", 0.3),
    ):
        options |= {threshold: quantile(every, name, share)}
    some = MaskGenerator(network, **options).generate(picture())
    assert_same(some, naive_masks.generate(network, picture(), **options))
    assert 0 < len(some) < len(every)


@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize("model", [toy_model, toy_sam1])
def test_same_masks_of_real_networks(model: Callable[[], Any], refine: bool) -> None:
    options = PLAIN | {"box_nms_thresh": 1.0, "use_m2m": refine, "stability_score_offset": 0.1}
    every = MaskGenerator(model(), **options).generate(picture())
    options |= {
        "pred_iou_thresh": quantile(every, "predicted_iou", 0.4),
        "stability_score_thresh": quantile(every, "stability_score", 0.4),
    }
    found = MaskGenerator(model(), **options).generate(picture())
    assert_same(found, naive_masks.generate(model(), picture(), **options))
    assert 10 < len(found) < len(every)


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    options = BROAD | {"use_m2m": True}
    whole = MaskGenerator(Spots(), **options).generate(picture())
    for change in ({"points_per_batch": 3}, {"memory_mb": 1}):
        parts = MaskGenerator(Spots(), **options, **change)
        assert [m.rle for m in parts.generate(picture())] == [m.rle for m in whole]
    sizes = []
    batches = MaskGenerator(Spots(), **BROAD, memory_mb=1)
    monkeypatch.setattr(mask_generator, "MAPS", 10**4)
    predict = batches.predictor.predict_batch
    batches.predictor.predict_batch = lambda points, **more: (
        sizes.append(len(points)) or predict(points, **more)
    )
    batches.generate(picture())
    assert sum(sizes) == 25 and 1 <= max(sizes) < 25  # a budget of 1 MiB is not enough for all at once


def peak_memory(work: Callable[[], Any], trace: Path) -> int:
    """The most bytes that tensors hold at once on top of what was there; RSS would count other tests."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    profiler.export_chrome_trace(str(trace))
    events = json.loads(trace.read_text())["traceEvents"]
    moves = sorted((e["ts"], e["args"]["Bytes"]) for e in events if e["name"] == "[memory]")
    return int(np.cumsum([size for _, size in moves]).max())


@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize(("name", "least"), [("nano", 5.5), ("sam_vit_b", 4.5)])
def test_a_point_takes_as_much_memory_as_is_reckoned(
    name: str, least: float, refine: bool, tmp_path: Path
) -> None:
    """`MAPS` decides how many points are decoded at once: above what is needed, and not by far."""
    overrides = [o for o in SAM1_OVERRIDES if "image_encoder" in o] if name == "sam_vit_b" else []
    model = sam2_video.build_model(name, overrides=[*overrides, "image_size=256"])
    generator = MaskGenerator(model, **PLAIN | {"use_m2m": refine, "multimask_output": False})
    generator.predictor.set_image(picture())
    peaks = []
    for count in (16, 48):
        points = np.random.default_rng(0).random((count, 2)) * SIZE[::-1]
        peaks.append(peak_memory(lambda points=points: generator._decode(points), tmp_path / "trace.json"))
    maps = (peaks[1] - peaks[0]) / 32 / (generator.predictor.embedding.numel() * 4)
    assert least < maps < mask_generator.MAPS


def test_holes_and_specks_of_low_resolution() -> None:
    plain = MaskGenerator(Spots(), **BROAD, box_nms_thresh=1.0).generate(picture())
    cleaned = MaskGenerator(
        Spots(), **BROAD, box_nms_thresh=1.0, max_hole_area=6, max_sprinkle_area=6
    ).generate(picture())
    assert {m.point for m in cleaned} == {m.point for m in plain}
    assert [m.area for m in cleaned] != [m.area for m in plain]
    assert sum(len(m.runs.starts) for m in cleaned) < sum(len(m.runs.starts) for m in plain)


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # pycocotools and NumPy 2
def test_forms_of_a_mask(tmp_path: Path) -> None:
    from pycocotools import mask as coco

    Image.fromarray(picture()).save(tmp_path / "a.png")
    masks = MaskGenerator(Spots(), **BROAD).generate(tmp_path / "a.png")
    assert len(masks) > 2 and all(m.crop == (0, 0, 96, 72) for m in masks)
    for mask in masks:
        assert mask.mask.shape == SIZE and mask.mask.dtype == bool and mask.area == mask.mask.sum()
        assert (coco.decode(mask.coco_rle).astype(bool) == mask.mask).all()
        x0, y0, x1, y1 = mask.box
        record = mask.record("binary_mask")
        assert record["segmentation"] is mask.mask and record["bbox"] == [x0, y0, x1 - x0, y1 - y0]
        assert mask.record("uncompressed_rle")["segmentation"] == mask.rle
        assert mask.record()["segmentation"] == mask.coco_rle and record["crop_box"] == [0, 0, 96, 72]
    assert [m.predicted_iou for m in masks] == sorted((m.predicted_iou for m in masks), reverse=True)
    with pytest.raises(PromptError, match="output_mode is 'png'"):
        masks[0].record("png")  # type: ignore[arg-type]


def test_nothing_passes_and_nothing_is_there() -> None:
    assert MaskGenerator(Spots(), points_per_side=3, pred_iou_thresh=1.0).generate(picture()) == []
    assert MaskGenerator(
        Spots(), points_per_side=3, pred_iou_thresh=1.0, crop_n_layers=1, min_mask_region_area=9
    ).generate(picture()) == []  # fmt: skip


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("model", [toy_model, toy_sam1])
def test_what_is_given_up_early_is_what_does_not_pass(model: Callable[[], Any], multimask: bool) -> None:
    predictor = ImagePredictor(model())
    predictor.set_image(picture())
    points = torch.rand(12, 1, 2) * torch.tensor([96.0, 72.0])
    whole = predictor.predict_batch(points, multimask=multimask)
    assert whole.rows.tolist() == list(range(12))
    least = float(whole.iou.amax(dim=1).median())
    left = predictor.predict_batch(points, multimask=multimask, least_iou=least)
    passing = (whole.iou > least).any(dim=1)
    assert 0 < passing.sum() < 12 and set(passing.nonzero()[:, 0].tolist()) <= set(left.rows.tolist())
    assert len(left.rows) < 12 or not multimask
    torch.testing.assert_close(left.logits, whole.logits[left.rows], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(left.iou, whole.iou[left.rows], rtol=1e-4, atol=1e-4)
    nothing = predictor.predict_batch(points, multimask=multimask, least_iou=99.0)
    assert nothing.logits.shape[0] == nothing.iou.shape[0] == len(nothing.rows) == 0


def test_what_is_refused(tmp_path: Path) -> None:
    generator = MaskGenerator(Spots(), points_per_side=4, crop_n_layers=2)
    with pytest.raises(PromptError, match="too small for 2 crop layers"):
        generator.generate(picture((3, 90)))
    with pytest.raises(PromptError, match="uint8 RGB"):
        generator.generate(np.zeros((4, 4)))
    with pytest.raises(SourceError):
        generator.generate(tmp_path / "none.png")
    with pytest.raises(PromptError, match="is no option"):
        MaskGenerator(Spots(), points=3)
    with pytest.raises(PromptError, match="memory_mb"):
        MaskGenerator(Spots(), memory_mb=0)


def test_each_model_gets_what_suits_it() -> None:
    assert MaskGenerator(toy_sam1()).options == MaskOptions.sam1()
    assert MaskGenerator(sam2_video.load_model("nano")).options == MaskOptions.nano()
    big = sam2_video.build_model("sam2.1_hiera_tiny", overrides=["image_size=64"])
    assert sam2_video.MaskGenerator(big, pred_iou_thresh=0.7).options == MaskOptions(pred_iou_thresh=0.7)


def test_large_pictures_are_never_whole_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    """No tensor of a picture's size is made once it is in the network: masks are windows and blocks."""
    generator = MaskGenerator(Spots(), **BROAD | {"points_per_side": 3})
    rgb = np.repeat(np.repeat(picture(), 12, axis=0), 12, axis=1)
    pixels = rgb.shape[0] * rgb.shape[1]
    largest = 0
    product = torch.Tensor.__matmul__

    def watched(left: Any, right: Any) -> Any:
        nonlocal largest
        out = product(left, right)
        largest = max(largest, out.numel())
        return out

    monkeypatch.setattr(torch.Tensor, "__matmul__", watched)
    assert len(generator.generate(rgb)) > 2
    assert 0 < largest < pixels / 8


# The reference's names


def test_compat_has_the_references_options() -> None:
    generator = compat.SAM2AutomaticMaskGenerator(
        Spots(),
        points_per_side=5,
        pred_iou_thresh=0.0,
        stability_score_thresh=0.0,
        output_mode="coco_rle",
    )
    ours = MaskGenerator(Spots(), **BROAD).generate(picture())
    assert repr(generator.generate(picture())) == repr([mask.record("coco_rle") for mask in ours])
    assert set(generator.generate(picture())[0]) == {
        "segmentation", "area", "bbox", "predicted_iou", "point_coords", "stability_score", "crop_box",
    }  # fmt: skip
    # nano's own defaults must not reach scripts that were written for the reference
    assert compat.SAM2AutomaticMaskGenerator(toy_model()).options == MaskOptions()
    small = compat.SAM2AutomaticMaskGenerator(toy_model(), min_mask_region_area=7).options
    assert (small.max_hole_area, small.max_sprinkle_area, small.min_mask_region_area) == (7, 7, 0)
    with pytest.raises(compat.CompatError, match="output_mode is 'png'"):
        compat.SAM2AutomaticMaskGenerator(toy_model(), output_mode="png")  # type: ignore[arg-type]
    with pytest.raises(AttributeError, match=r"docs/compat\.md"):
        _ = generator.point_grids


@needs_shared
@pytest.mark.slow
@pytest.mark.parity
def test_released_architecture_with_stand_in_weights() -> None:
    """The goldens' weights on the goldens' picture: count, boxes and run lengths are the same."""
    model = golden_model(load_case("image_t").meta)
    rgb = np.asarray(Image.open(SHARED / "data" / "clips" / "truck.jpg").resize((450, 300)))
    options = BROAD | {"points_per_side": 4, "stability_score_offset": 0.05, "box_nms_thresh": 0.99}
    every = MaskGenerator(model, **options).generate(rgb)
    options |= {
        "pred_iou_thresh": quantile(every, "predicted_iou", 0.3),
        "stability_score_thresh": quantile(every, "stability_score", 0.3),
        "crop_n_layers": 1,
        "crop_n_points_downscale_factor": 2,
        "crop_nms_thresh": 0.97,
    }
    found = MaskGenerator(model, **options).generate(rgb)
    assert_same(found, naive_masks.generate(model, rgb, **options))
    assert len(found) > 2


@needs_shared
@pytest.mark.slow
@pytest.mark.parity
@pytest.mark.parametrize("refine", [False, True])
def test_released_sam_1_architecture_with_stand_in_weights(refine: bool) -> None:
    """The same for SAM 1 at a smaller size: padding, its own logits fed back as they are, and crops."""
    model = golden_image_model(load_case("image_sam_vit_b").meta | {"image_size": 128})
    assert isinstance(model, SAM1)
    rgb = np.asarray(Image.open(SHARED / "data" / "clips" / "truck.jpg").resize((225, 150)))
    # Stand-in weights answer with specks everywhere; at this threshold masks of many sizes are left.
    options = BROAD | {"points_per_side": 4, "stability_score_offset": 0.05, "mask_threshold": 1.3}
    options |= {"box_nms_thresh": 1.0, "use_m2m": refine}
    every = [mask for mask in MaskGenerator(model, **options).generate(rgb) if mask.area]
    options |= {
        "pred_iou_thresh": quantile([m for m in every if m.predicted_iou > 0], "predicted_iou", 0.2),
        "stability_score_thresh": quantile(every, "stability_score", 0.3),
        "box_nms_thresh": 0.8,
        "crop_n_layers": 1,
        "crop_n_points_downscale_factor": 2,
        "crop_nms_thresh": 0.9,
    }
    generator = MaskGenerator(model, **options)
    found = generator.generate(rgb)
    assert_same(found, naive_masks.generate(model, rgb, **options))
    assert len(found) > 4 and len({mask.crop for mask in found}) > 1
    assert min(generator.counts[step] for step in ("predicted_iou", "stability", "edge")) > 0
