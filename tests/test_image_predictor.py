"""Pictures: one or several, with one prompt or many, for both families of models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import sam2_video
from sam2_video.image_predictor import ImagePredictor, MaskRules
from sam2_video.model.sam1 import ALWAYS_PRESENT, AnyModel
from sam2_video.transforms import PaddedTransform
from sam2_video.types import ConfigError, PromptError, Sam2VideoError, SourceError
from tests.toys import FRAME_SIZE, SAM1_OVERRIDES, SIDE, toy_clip, toy_model, toy_sam1

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


@pytest.mark.parametrize("model", [toy_model(), toy_sam1()], ids=["SAM 2", "SAM 1"])
def test_views_of_pictures_are_taken(model: AnyModel) -> None:
    """Channels turned over, mirrored, cut out: such views have strides that torch does not take."""
    predictor, rgb = ImagePredictor(model), toy_clip(1)[0]
    for view in (rgb[..., ::-1], rgb[:, ::-1], rgb[4:40, 3:70], rgb.transpose(1, 0, 2)):
        predictor.set_image(view)
        found = predictor.predict(points=[(12, 14)]).logits
        predictor.set_image(view.copy())
        assert torch.equal(found, predictor.predict(points=[(12, 14)]).logits)


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


@pytest.mark.parametrize("taker", [ImagePredictor, sam2_video.MaskGenerator, sam2_video.VideoPredictor])
def test_what_is_no_model_is_refused(taker: Any) -> None:
    name = taker.__name__
    for wrong in ("nano", Path("nano")):
        with pytest.raises(
            ConfigError, match=rf"{name} takes a model.* with {name}.from_pretrained\('nano'\)"
        ):
            taker(wrong)
    for other in (None, 3, torch.nn.Linear(1, 1), ImagePredictor(toy_model())):
        with pytest.raises(ConfigError, match=rf"as load_model gives it; got {type(other).__name__}"):
            taker(other)


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
        ({"mask_logits": "abc"}, "mask_logits must be an array of numbers; got 'abc'"),
        ({"mask_logits": [[1, 2], [3]]}, "mask_logits must be an array of numbers; got a list"),
        ({"mask_logits": {}}, "mask_logits must be an array of numbers; got a dict"),
        (
            {"mask_logits": np.zeros(FRAME_SIZE)},
            r"shape \(16, 16\).*the picture's own size is given as mask=",
        ),
        ({"mask": np.ones((16, 16))}, r"shaped \(16, 16\), but the picture is \(48, 80\)"),
        ({"mask": np.zeros(FRAME_SIZE)}, "the mask is empty"),
        ({"mask": "photo.png"}, "a mask must be an array of bool or of numbers"),
        ({"mask": [[1, 2], [3]]}, r"a mask must be an \(H, W\) array"),
        ({"mask": np.eye(48, 80), "mask_logits": torch.ones(16, 16)}, "mask and mask_logits were both given"),
        ({"mask": np.eye(48, 80), "labels": [1]}, "labels were given without points"),
        ({"mask": np.eye(48, 80), "box": (30, 20, 10, 40)}, "swapped"),
    ],
)
def test_bad_prompts_are_refused(predictor: ImagePredictor, given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(PromptError, match=complaint):
        predictor.predict(**given)


@pytest.mark.parametrize(
    "given",
    [
        {"mask_threshold": float("nan")},
        {"mask_threshold": "0"},
        {"max_hole_area": -1},
        {"max_sprinkle_area": -1},
        {"max_hole_area": 1.5},
    ],
)
def test_settings_that_mean_nothing_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(given))} must be"):
        ImagePredictor(toy_model(), **given)


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
        [[1], [2, 3]],
        torch.zeros(4, 4, 3, requires_grad=True),
        None,
        "nowhere.png",
    ):
        with pytest.raises((PromptError, SourceError)):
            predictor.set_image(array)
    assert torch.equal(predictor.predict(**CLICK).logits, before)  # the earlier picture is still there


# Masks of the picture


def disc(size: tuple[int, int] = FRAME_SIZE, centre: tuple[int, int] = (40, 24), radius: int = 15) -> Any:
    y, x = np.mgrid[: size[0], : size[1]]
    return (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2


@pytest.mark.parametrize("model", [toy_model(), toy_sam1()], ids=["SAM 2", "SAM 1"])
def test_a_mask_of_the_picture_is_its_low_resolution_logits(model: AnyModel) -> None:
    """What the decoder is told lies where the mask does: restored, it is the mask again."""
    predictor = ImagePredictor(model)
    predictor.set_image(toy_clip(1)[0])
    told: list[torch.Tensor] = []
    decode = model.decode

    def watched(coarse: Any, fine: Any, prompt: Any, *more: Any) -> Any:
        told.append(prompt.previous)
        return decode(coarse, fine, prompt, *more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "decode", watched)
        found = predictor.predict(mask=disc())
        kinds = (disc().astype(np.uint8) * 255, torch.from_numpy(disc()), disc().astype(float).tolist())
        for same in kinds:
            assert torch.equal(predictor.predict(mask=same).logits, found.logits)
    assert told[0].shape == (1, 1, 16, 16) and -10 <= told[0].min() < -9 and 9 < told[0].max() <= 10
    back = (predictor.transform.restore(told[0][0], FRAME_SIZE)[0] > 0).numpy()
    assert (back & disc()).sum() / (back | disc()).sum() > 0.9
    again = predictor.predict(mask_logits=told[0][0])
    assert torch.equal(again.logits, found.logits)
    if predictor.transform.pads:
        assert (told[0][0, 0, 10:] == -10).all()  # 48 of 80 rows are 9.6 of 16 cells; the rest is padding
        assert (told[0][0, 0, :9] > -10).any()


@pytest.mark.parametrize("model", [toy_model(), toy_sam1()], ids=["SAM 2", "SAM 1"])
def test_masks_go_with_points_and_boxes_and_for_many(model: AnyModel) -> None:
    predictor = ImagePredictor(model)
    predictor.set_image(toy_clip(1)[0])
    other = disc(centre=(20, 20), radius=9)
    said: list[dict[str, Any]] = [
        {"mask": disc()},
        {"mask": other},
        {"mask": disc(), **CLICK},
        {"mask": disc(), "box": (20, 5, 60, 44)},
        {"mask": other, **CLICK, "box": (20, 5, 60, 44)},
        {**CLICK},
    ]
    alone = [predictor.predict(**own) for own in said]
    assert len({tuple(result.logits.flatten().tolist()) for result in alone}) == len(said)
    many = predictor.predict_many(
        masks=[own.get("mask") for own in said],
        points=[own.get("points") for own in said],
        boxes=[own.get("box") for own in said],
    )
    for one, result in zip(alone, many, strict=True):
        torch.testing.assert_close(result.logits, one.logits, rtol=1e-4, atol=1e-4)
    stacked = predictor.predict_many(masks=np.stack([disc(), other]))
    torch.testing.assert_close(stacked[1].logits, alone[1].logits, rtol=1e-4, atol=1e-4)


# Several objects


MANY: dict[str, Any] = {
    "points": [[(12, 14)], [(40, 20), (70, 40)], None, None, [(60, 30)]],
    "labels": [[1], [1, 0], None, None, None],
    "boxes": [None, None, (5, 6, 30, 40), (40, 10, 79, 47), (41, 12, 78, 46)],
    "mask_logits": [None, None, None, torch.ones(16, 16), None],
}


@pytest.mark.parametrize("model", [toy_model(), toy_sam1()], ids=["SAM 2", "SAM 1"])
@pytest.mark.parametrize("multimask", [True, False])
def test_company_changes_nothing(model: AnyModel, multimask: bool) -> None:
    """Objects of unlike prompts, in any order, get what each of them gets alone."""
    predictor = ImagePredictor(model)
    predictor.set_image(toy_clip(1)[0])
    alone = []
    for k in range(5):
        own = {name.removesuffix("es") if name == "boxes" else name: MANY[name][k] for name in MANY}
        alone.append(predictor.predict(**own, multimask=multimask))
    for order in ([0, 1, 2, 3, 4], [4, 2, 0, 3, 1, 0, 2]):
        given = {name: [entries[k] for k in order] for name, entries in MANY.items()}
        together = predictor.predict_many(**given, multimask=multimask)
        for k, result in zip(order, together, strict=True):
            torch.testing.assert_close(result.logits, alone[k].logits, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(result.iou, alone[k].iou, rtol=1e-4, atol=1e-4)
    assert len({tuple(result.logits.flatten().tolist()) for result in alone}) == 5


def test_many_boxes_are_decoded_in_batches(
    predictor: ImagePredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = np.array([(x, 2, x + 20, 40) for x in range(1, 41)])
    asked: list[int] = []
    decode = predictor.model.decode
    monkeypatch.setattr(
        predictor.model, "decode", lambda *args: asked.append(len(args[2].points)) or decode(*args)
    )
    results = predictor.predict_many(boxes=boxes, multimask=False)
    assert len(results) == 40 and asked == [16, 16, 8]
    one = predictor.predict(box=boxes[33], multimask=False)
    torch.testing.assert_close(results[33].logits, one.logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("model", [toy_model(), toy_sam1()], ids=["SAM 2", "SAM 1"])
def test_a_batch_on_the_device_is_the_same_as_many(model: AnyModel) -> None:
    predictor = ImagePredictor(model)
    predictor.set_image(toy_clip(1)[0])
    points = np.array([[(12, 14), (60, 40)], [(40, 20), (70, 4)], [(7, 9), (33, 31)]])
    labels, boxes = np.array([[1, 0]] * 3), np.array([[4, 5, 50, 40]] * 3)
    previous = torch.stack([torch.full((16, 16), value) for value in (1.0, 2.0, 50.0)])
    for given in ({}, {"boxes": boxes}, {"boxes": boxes, "mask_logits": previous}):
        for multimask, count in ((True, 3), (False, 1)):
            batch = predictor.predict_batch(points, labels, **given, multimask=multimask)
            many = predictor.predict_many(points=points, labels=labels, **given, multimask=multimask)
            assert batch.logits.shape == (3, count, 16, 16) and batch.presence.shape == (3,)
            for row, result in enumerate(many):
                torch.testing.assert_close(batch.logits[row], result.raw, rtol=1e-4, atol=1e-4)
                torch.testing.assert_close(batch.iou[row], result.iou, rtol=1e-4, atol=1e-4)
                assert (batch.masks()[row].numpy() == result.masks).mean() > 0.999
    assert predictor.predict_batch(boxes=boxes).logits.shape == (3, 3, 16, 16)
    padded = predictor.predict_batch(points, np.array([[1, -1]] * 3))
    single = predictor.predict_batch(points[:, :1])
    assert not torch.equal(padded.logits, single.logits)  # padding is a token of its own, as in the reference


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"points": [[(1, 1)]], "boxes": [None, None]}, "equal numbers.*'points': 1, 'boxes': 2"),
        ({}, "equal numbers; got nothing"),
        ({"boxes": [(1, 1, 9, 9), (30, 20, 10, 40)]}, r"object 1 \(counted from 0\).*swapped"),
        ({"points": [[(1, 1)], None]}, "object 1.*nothing was given"),
        ({"boxes": 5}, "boxes must be a list .* with an entry for each object; got 5. For a single object"),
        ({"boxes": np.float32(5)}, "boxes must be a list"),
        ({"boxes": torch.tensor(5)}, "boxes must be a list .*; got a Tensor"),
        ({"masks": "abc"}, "masks must be a list .*; got 'abc'"),
        ({"points": iter([[(1, 1)]])}, "points must be a list"),
        ({"points": {3: [(1, 1)]}}, "points must be a list .*; got a dict"),
        ({"boxes": ["abc"]}, "box must be numbers"),
        ({"masks": [np.eye(48, 80), np.zeros((3, 3))]}, "object 1.*the mask is shaped"),
    ],
)
def test_bad_prompts_of_many(predictor: ImagePredictor, given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(PromptError, match=complaint):
        predictor.predict_many(**given)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"points": np.zeros((2, 2))}, r"points of a batch must have shape \(any, any, 2\); got \(2, 2\)"),
        ({"points": np.zeros((2, 1, 2)), "labels": np.zeros((2, 2))}, r"labels.*\(2, 1\); got \(2, 2\)"),
        ({"points": np.zeros((2, 1, 2)), "boxes": np.zeros((3, 4))}, "equal numbers"),
        ({"boxes": np.zeros((3, 4)), "mask_logits": np.zeros((3, 8, 8))}, r"\(any, 16, 16\)"),
        ({}, "equal numbers; got nothing"),
        ({"points": np.zeros((2, 1, 2)), "labels": [[1], [4]]}, r"-1 \(padding\); got \[4.0\]"),
        ({"points": np.zeros((1, 2, 2)), "labels": [[2, 3]]}, "given as boxes="),
        ({"points": np.zeros((1, 1, 2)), "labels": [[0.5]]}, r"got \[0.5\]"),
        ({"points": np.zeros((1, 1, 2)), "labels": [[float("nan")]]}, r"got \[nan\]"),
        ({"points": "abc"}, "points must be an array of numbers; got 'abc'"),
        ({"boxes": [[1, 2, 3, None]]}, "boxes must be an array of numbers; got a list"),
    ],
)
def test_bad_batches(predictor: ImagePredictor, given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(PromptError, match=complaint):
        predictor.predict_batch(**given)


# Several pictures


def test_pictures_of_any_sizes_are_set_at_once() -> None:
    predictor = ImagePredictor(toy_model())
    pictures = [toy_clip(1)[0], toy_clip(1, (64, 64), seed=1)[0], toy_clip(1, (30, 90), seed=2)[0]]
    predictor.set_images(pictures, batch=2)
    assert predictor.count == 3 and predictor.sizes == ((48, 80), (64, 64), (30, 90))
    together = [predictor.predict(**CLICK, picture=k) for k in range(3)]
    for k, picture in enumerate(pictures):
        predictor.set_image(picture)
        alone = predictor.predict(**CLICK)
        assert together[k].masks.shape == (3, *picture.shape[:2])
        torch.testing.assert_close(together[k].logits, alone.logits, rtol=1e-4, atol=1e-4)
    predictor.forget()
    assert predictor.count == 0
    with pytest.raises(Sam2VideoError, match="set_image first"):
        predictor.predict(**CLICK)


def test_numbers_of_pictures_are_checked(predictor: ImagePredictor, tmp_path: Path) -> None:
    for picture in (1, -1, True, "a", 0.0, None):
        with pytest.raises(PromptError, match="1 are set, counted from 0"):
            predictor.predict(**CLICK, picture=picture)
    for wrong in ("photo.jpg", [], toy_clip(1)[0], None):
        with pytest.raises(PromptError, match="set_images takes a list"):
            predictor.set_images(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="batch=0"):
        predictor.set_images(toy_clip(1), batch=0)
    for batch in ("a", 1.5, None):
        with pytest.raises(PromptError, match="batch must be a whole number"):
            predictor.set_images(toy_clip(1), batch=batch)  # type: ignore[arg-type]
    before = predictor.predict(**CLICK).logits
    with pytest.raises(SourceError):
        predictor.set_images([toy_clip(2)[1], tmp_path / "none.png"])
    assert torch.equal(predictor.predict(**CLICK).logits, before)


# How logits become masks


def test_threshold_holes_and_specks(predictor: ImagePredictor) -> None:
    plain = predictor.predict(**CLICK)
    full = plain.full_logits()
    assert np.array_equal(plain.masks, (full > 0).numpy())
    strict = ImagePredictor(predictor.model, mask_threshold=0.4)
    strict.set_image(toy_clip(1)[0])
    assert np.array_equal(strict.predict(**CLICK).masks, (full > 0.4).numpy())
    assert 0 < strict.predict(**CLICK).masks.sum() < plain.masks.sum()

    filled = replace(plain, rules=MaskRules(max_hole_area=10**6))
    assert filled.masks.all() and torch.equal(filled.logits, plain.logits)
    swept = replace(plain, rules=MaskRules(max_sprinkle_area=10**6))
    assert not swept.masks.any()


def test_predictors_are_loaded_with_their_settings(tmp_path: Path) -> None:
    made = ImagePredictor.from_pretrained(
        "nano", mask_threshold=0.5, max_hole_area=3, max_sprinkle_area=4, resize="bicubic_pil"
    )
    assert made.rules == MaskRules(0.5, 3, 4) and made.transform.resize == "bicubic_pil"


# SAM 1


def test_pictures_keep_their_proportions() -> None:
    """What lies outside the picture in SAM 1's square is cut off, before masks are enlarged."""
    predictor = ImagePredictor(toy_sam1())
    picture = toy_clip(1)[0]  # 48 x 80: 38 x 64 in the model frame
    predictor.set_image(picture)
    result = predictor.predict(**CLICK)
    assert result.masks.shape == (3, *FRAME_SIZE) and result.presence == ALWAYS_PRESENT
    square = F.interpolate(result.raw[:, None], size=(64, 64), mode="bilinear", align_corners=False)
    expected = F.interpolate(square[:, :, :38], size=FRAME_SIZE, mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(result.full_logits(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(result.logits_over_picture(1), expected[1], rtol=1e-5, atol=1e-5)

    turned = ImagePredictor(toy_sam1())
    turned.set_image(np.ascontiguousarray(picture.transpose(1, 0, 2)))
    assert turned.predict(points=[(14, 12)]).masks.shape == (3, 80, 48)
    assert ImagePredictor(toy_sam1()).transform == PaddedTransform(SIDE, "bilinear_pil")


@pytest.mark.parametrize(("model", "clamped"), [(toy_sam1(), False), (toy_model(), True)])
def test_what_is_fed_back_is_clamped_for_sam_2_alone(model: AnyModel, clamped: bool) -> None:
    predictor = ImagePredictor(model)
    predictor.set_image(toy_clip(1)[0])
    steep = torch.linspace(-99, 99, 16).expand(16, 16)
    as_it_is, limited = (
        predictor.predict(**CLICK, mask_logits=hint).logits for hint in (steep, steep.clamp(-32, 32))
    )
    assert torch.equal(as_it_is, limited) == clamped
    assert torch.allclose(as_it_is, limited, atol=1e-3) == clamped


def test_another_picture_size_than_the_weights_were_made_for() -> None:
    usual = toy_sam1()
    model = sam2_video.build_model("sam_vit_b", overrides=[*SAM1_OVERRIDES, "image_size=96"])
    model.load_state_dict(usual.state_dict())
    predictor = ImagePredictor(model)
    predictor.set_image(toy_clip(1)[0])
    result = predictor.predict(**CLICK)
    assert result.logits.shape == (3, 24, 24) and result.masks.shape == (3, *FRAME_SIZE)
