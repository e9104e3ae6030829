"""One picture: what is kept, what is doubted, and that every candidate is accounted for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sam2_video.annotation import Annotator, Ask, Settings
from sam2_video.annotation.annotator import REASONS, Findings
from sam2_video.image_predictor import ImagePredictor
from sam2_video.mask_generator import MaskGenerator
from sam2_video.types import PromptError
from tests.annotation.toys import picture
from tests.spots import PaddedSpots, Spots
from tests.toys import toy_model

SIZE = (72, 96)
MASKS: dict[str, Any] = {"points_per_side": 6, "pred_iou_thresh": 0.3, "stability_score_thresh": 0.5}


def assert_accounted(findings: Findings) -> None:
    counts = findings.counts
    left_out = sum(counts[word] for word in REASONS)
    assert counts["candidates"] == left_out + len(findings.kept) + len(findings.doubted)
    assert set(counts) <= {"candidates", *REASONS}


@pytest.mark.parametrize("model", [Spots, PaddedSpots])
@pytest.mark.parametrize("more", [{}, {"crop_n_layers": 1, "min_mask_region_area": 30, "use_m2m": True}])
def test_automatic_masks_are_those_of_the_generator(model: Any, more: dict[str, Any]) -> None:
    rgb = picture(4, SIZE)
    findings = Annotator(model(), Settings(masks=MASKS | more)).annotate(rgb)
    expected = MaskGenerator(model(), **MASKS, **more).generate(rgb)
    assert [found.mask.coco_rle for found in findings.kept] == [mask.coco_rle for mask in expected]
    assert findings.kept and not findings.doubted
    assert_accounted(findings)
    some = {"predicted_iou", "stability", "duplicate"} | ({"edge"} if more else set())
    assert some <= {word for word, n in findings.counts.items() if n}


def test_what_the_model_is_not_sure_of_is_for_a_person() -> None:
    rgb = picture(4, SIZE)
    everything = Annotator(Spots(), Settings(masks=MASKS)).annotate(rgb).kept
    iou = float(np.quantile([f.mask.predicted_iou for f in everything], 0.4))
    firm = float(np.quantile([f.mask.stability_score for f in everything], 0.4))
    findings = Annotator(Spots(), Settings("semi", MASKS, iou, firm)).annotate(rgb)
    assert len(findings.kept) + len(findings.doubted) == len(everything)
    assert all(f.mask.predicted_iou >= iou and f.mask.stability_score >= firm for f in findings.kept)
    for found in findings.doubted:
        low = {
            "predicted_iou": found.mask.predicted_iou < iou,
            "stability": found.mask.stability_score < firm,
        }
        assert found.doubts == tuple(word for word, is_low in low.items() if is_low) != ()
    assert findings.kept and {f.doubts for f in findings.doubted} == {
        ("predicted_iou",),
        ("stability",),
        ("predicted_iou", "stability"),
    }
    assert findings.reasons() == ["predicted_iou", "stability"]
    assert_accounted(findings)


def test_each_model_has_its_own_measure_of_being_sure() -> None:
    semi = Settings("semi")
    assert (semi.sure(256), semi.sure(64)) == ((0.88, 0.95), (0.0, 0.5))
    assert Settings("assisted").sure(256) == (0.7, 0.8)
    assert Settings("semi", sure_iou=0.5).sure(256) == (0.5, 0.95)
    assert Annotator(Spots(), semi).generator.options.pred_iou_thresh == 0.6  # more is looked at than kept
    assert Annotator(Spots()).generator.options.pred_iou_thresh == 0.8
    assert Annotator(toy_model(), semi).generator.options.stability_score_thresh == 0.4


def test_too_small_and_too_large_is_left_out() -> None:
    rgb = picture(4, SIZE)
    areas = sorted(f.mask.area for f in Annotator(Spots(), Settings(masks=MASKS)).annotate(rgb).kept)
    assert len(set(areas)) > 3
    share = (areas[-1] - 0.5) / (SIZE[0] * SIZE[1])
    rules = {"min_area": areas[0] + 1, "max_area_share": share}
    findings = Annotator(Spots(), Settings(masks=MASKS, **rules)).annotate(rgb)
    expected = [area for area in areas if areas[0] < area < areas[-1]]
    assert sorted(f.mask.area for f in findings.kept) == expected
    assert findings.counts["size"] == len(areas) - len(expected) >= 2
    assert_accounted(findings)


@pytest.mark.parametrize("model", [Spots, PaddedSpots, toy_model])
def test_assisted_masks_are_those_of_the_predictor(model: Any) -> None:
    rgb = picture(7, SIZE)
    network = model()
    plain = {"max_hole_area": 0, "max_sprinkle_area": 0, "stability_score_offset": 0.1}
    asks = [
        Ask(box=(10, 20, 40, 60), category="cup", score=0.5),
        Ask(points=((50, 30),), labels=(1,)),
        Ask(points=((50, 30), (10, 10)), labels=(1, 0)),
        Ask(box=(0.5, 0.5, 0.75, 0.75), relative=True),
        Ask(box=(10, 20, 40, 61), points=((20, 30),), labels=(1,)),
    ]
    findings = Annotator(network, Settings("assisted", plain)).annotate(rgb, asks)
    predictor = ImagePredictor(network)
    predictor.set_image(rgb)
    assert len(findings.kept) == len(asks)
    for found, ask in zip(findings.kept, asks, strict=True):
        prompt = ask.prompt(SIZE)
        said = {"points": prompt.points or None, "labels": prompt.labels or None, "box": prompt.box}
        result = predictor.predict(**said, multimask=ask is asks[1])
        row = int(result.iou.argmax())
        assert found.ask == ask
        assert found.mask.predicted_iou == pytest.approx(float(result.iou[row]), abs=1e-5)
        assert (found.mask.mask != result.masks[row]).mean() < 0.001  # of pixels on the very threshold
        full = result.full_logits()[row]
        stability = float((full > 0.1).sum() / (full > -0.1).sum())
        assert found.mask.stability_score == pytest.approx(stability, abs=1e-3)
    assert_accounted(findings)


def test_prompts_that_lead_nowhere_are_told() -> None:
    asks = [
        Ask(box=(10, 20, 40, 60), score=0.4),
        Ask(box=(200, 20, 240, 60), score=0.9),
        Ask(points=((500, 3),), labels=(1,)),
        Ask(box=(10, 20, 40, 60), score=0.6),
    ]
    findings = Annotator(Spots(), Settings("assisted", min_score=0.5)).annotate(picture(1, SIZE), asks)
    assert (findings.counts["score"], findings.counts["prompt"], len(findings.kept)) == (1, 2, 1)
    assert [text.split(":")[0] for text in findings.remarks] == ["object 2 of 4", "object 3 of 4"]
    assert "prompt" in findings.reasons()
    assert_accounted(findings)
    assert Annotator(Spots(), Settings("assisted")).annotate(picture(1, SIZE)).reasons() == ["no prompt"]


def test_a_mask_without_pixels_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Spots()
    nothing = torch.full((1, 1, 16, 16), -9.0), torch.ones(1, 1)
    monkeypatch.setattr(model, "answers", lambda candidates, multimask: nothing)
    asks = [Ask(box=(10, 20, 40, 60))]
    findings = Annotator(model, Settings("assisted")).annotate(picture(1, SIZE), asks)
    assert (findings.counts["empty"], findings.kept) == (1, [])
    assert findings.remarks == ["nothing was found in the box 10, 20, 40, 60"]
    assert findings.reasons() == ["empty", "no mask"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"mode": "manual"}, "choose one of assisted, semi, auto"),
        ({"max_area_share": 0.0}, "above 0 to 1"),
        ({"min_area": -1}, "min_area"),
        ({"min_score": float("nan")}, "min_score must be a finite number"),
        ({"sure_iou": 0.5}, "for the modes semi and assisted"),
    ],
)
def test_settings_that_mean_nothing(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(PromptError, match=words):
        Settings(**wrong)


def test_a_wrong_picture_is_refused() -> None:
    with pytest.raises(PromptError, match="uint8 RGB"):
        Annotator(Spots()).annotate(np.zeros((4, 4)))


def test_what_is_too_small_is_for_a_person_in_semi_mode() -> None:
    rgb = picture(4, SIZE)
    everything = Annotator(Spots(), Settings(masks=MASKS)).annotate(rgb).kept
    least = sorted(found.mask.area for found in everything)[2]
    rules = Settings("semi", MASKS, sure_iou=0.0, sure_stability=0.0, min_area=least)
    findings = Annotator(Spots(), rules).annotate(rgb)
    small = [found.mask.area for found in everything if found.mask.area < least]
    assert small and sorted(f.mask.area for f in findings.doubted) == sorted(small)
    assert {f.doubts for f in findings.doubted} == {("size",)}
    assert_accounted(findings)
