"""The whole network: sizes, the rules of choice, types, gradients, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sam2_video.config import build_model
from sam2_video.model.sam2 import SAM2, best, is_stable, no_prompt
from sam2_video.types import (
    ABSENT_LOGIT,
    ConfigError,
    FrameMemory,
    ImageFeatures,
    MaskCandidates,
    MaskPrediction,
    PromptTensors,
    Recall,
)
from tests.model.conftest import TINY, Draw, tiny_model

ONE_CLICK = PromptTensors(torch.tensor([[[20.0, 30.0]]]), torch.tensor([[1]]))
CPU = torch.device("cpu")


def walk(model: SAM2, pixels: Tensor) -> tuple[MaskPrediction, MaskPrediction, FrameMemory, FrameMemory]:
    """A click on the first of two frames, then tracking: every verb but `mask_as_prediction`."""
    first, second = (model.encode_image(frame[None]) for frame in pixels)
    clicked = best(model.decode(model.attend_memory(first, Recall()), first.fine, ONE_CLICK), multimask=True)
    memory = model.encode_memory(first, clicked, prompted=True)
    recall = Recall(((-1, memory),), ((1, memory),))
    tracked = best(model.decode(model.attend_memory(second, recall), second.fine), multimask=True)
    return clicked, tracked, memory, model.encode_memory(second, tracked, prompted=False)


@pytest.mark.parametrize("side", [64, 96, 128, 256])
@torch.no_grad()
def test_any_multiple_of_32_works(tiny: SAM2, side: int, draw: Draw) -> None:
    """In image and video mode, whatever size the model was built for."""
    pixels = draw(2, 3, side, side)
    features = tiny.encode_image(pixels)
    assert features.coarse.shape == (2, 32, side // 16, side // 16)
    assert [f.shape[1:] for f in features.fine] == [(4, side // 4, side // 4), (8, side // 8, side // 8)]
    clicked, tracked, memory, later = walk(tiny, pixels)
    for found in (clicked, tracked):
        assert found.logits.shape == (1, 1, side // 4, side // 4)
        assert found.pointer.shape == (1, 32)
        assert found.logits.isfinite().all() and found.logits.std() > 0.1
    built_for_it = tiny_model()
    built_for_it.image_size = side
    assert torch.equal(walk(built_for_it, pixels)[1].logits, tracked.logits)
    for kept in (memory, later):
        assert kept.features.shape == (1, 8, side // 16, side // 16)
        assert kept.features.dtype == torch.bfloat16


@torch.no_grad()
def test_pictures_of_a_batch_do_not_mix(tiny: SAM2, draw: Draw) -> None:
    pixels = draw(2, 3, 96, 96)
    together = tiny.encode_image(pixels)
    for k in range(2):
        alone = tiny.encode_image(pixels[k : k + 1])
        for left, right in zip((together.coarse, *together.fine), (alone.coarse, *alone.fine), strict=True):
            torch.testing.assert_close(left[k : k + 1], right, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_several_objects_share_the_features_of_a_frame(tiny: SAM2, draw: Draw) -> None:
    features = tiny.encode_image(draw(1, 3, 64, 64))
    points = torch.tensor([[[5.0, 5.0]], [[50.0, 40.0]], [[30.0, 10.0]]])
    pixels = tiny.attend_memory(features, Recall())
    found = tiny.decode(pixels, features.fine, PromptTensors(points, torch.tensor([[1], [1], [0]])))
    assert found.logits.shape == (3, 4, 16, 16)
    for k in range(3):
        alone = tiny.decode(
            pixels,
            features.fine,
            PromptTensors(points[k : k + 1], torch.tensor([[[1], [1], [0]][k]])),
        )
        torch.testing.assert_close(found.logits[k : k + 1], alone.logits, rtol=1e-4, atol=1e-3)
    assert (found.logits[0] - found.logits[1]).abs().max() > 0.1


# Choosing a mask


def candidates(logits: Tensor, iou: list[float], presence: float = 1.0) -> MaskCandidates:
    pointer = torch.arange(4.0)[None, :, None].expand(1, 4, 3)  # the pointer says whose it is
    return MaskCandidates(logits, torch.tensor([iou]), pointer, torch.tensor([presence]))


def masks(single: Tensor) -> Tensor:
    others = torch.stack([torch.full_like(single, 10.0 + k) for k in range(1, 4)])
    return torch.cat((single[None], others))[None]


STEADY = torch.full((10, 10), 5.0)
SHAKY = torch.cat((torch.full((5, 10), 5.0), torch.full((5, 10), 0.01)))  # half of it within the delta


def test_the_best_alternative_wins() -> None:
    found = best(candidates(masks(STEADY), [0.99, 0.2, 0.7, 0.3]), multimask=True)
    assert found.logits.unique().tolist() == [12.0]
    assert float(found.iou) == pytest.approx(0.7)
    assert found.pointer.unique().tolist() == [2.0]


def test_a_stable_single_mask_is_kept() -> None:
    found = best(candidates(masks(STEADY), [0.1, 0.2, 0.7, 0.3]), multimask=False)
    assert found.logits.unique().tolist() == [5.0]
    assert float(found.iou) == pytest.approx(0.1)
    assert found.pointer.unique().tolist() == [0.0]


def test_an_unstable_single_mask_is_replaced_but_its_pointer_stays() -> None:
    found = best(candidates(masks(SHAKY), [0.9, 0.2, 0.3, 0.8]), multimask=False)
    assert found.logits.unique().tolist() == [13.0]
    assert float(found.iou) == pytest.approx(0.8)
    assert found.pointer.unique().tolist() == [0.0]


def test_an_absent_object_is_blank() -> None:
    for multimask in (True, False):
        found = best(candidates(masks(STEADY), [0.1, 0.2, 0.7, 0.3], presence=0.0), multimask=multimask)
        assert found.logits.unique().tolist() == [ABSENT_LOGIT]
        assert found.candidates is not None and found.candidates.logits.max() > 0


def test_stability_counts_pixels_around_the_threshold() -> None:
    mask = torch.full((3, 10, 10), -5.0)
    mask[:, :5] = 5.0  # 50 pixels
    mask[1, 5, 0] = -0.04  # 50 of 51: 0.9804
    mask[2, 5, :2] = -0.04  # 50 of 52: 0.9615
    assert is_stable(mask).tolist() == [True, True, False]
    nothing = torch.full((1, 10, 10), -5.0)
    assert is_stable(nothing).tolist() == [True]  # nothing at all does not shake
    outside = torch.full((1, 10, 10), -0.06)
    assert is_stable(outside).tolist() == [True]


@torch.no_grad()
def test_an_absent_object_leaves_its_own_pointer(draw: Draw) -> None:
    model = tiny_model()
    features = model.encode_image(draw(1, 3, 64, 64))
    pixels = model.attend_memory(features, Recall())
    present = model.decode(pixels, features.fine, ONE_CLICK)
    model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(-100.0)
    absent = model.decode(pixels, features.fine, ONE_CLICK)
    assert float(present.presence) > 0 > float(absent.presence)
    assert torch.equal(absent.pointer, model.no_obj_ptr.expand(1, 4, 32))
    assert not torch.equal(present.pointer[0, 0], present.pointer[0, 1])
    assert torch.equal(absent.logits, present.logits)  # raw: blanked when one is chosen


# Masks of users


@torch.no_grad()
def test_a_users_mask_is_certain(tiny: SAM2, draw: Draw) -> None:
    features = tiny.encode_image(draw(1, 3, 64, 64))
    mask = torch.zeros(2, 1, 64, 64)
    mask[0, :, 16:48, 8:32] = 1  # the second is empty
    found = tiny.mask_as_prediction(features, mask)
    assert found.logits.shape == (2, 1, 16, 16)
    assert (found.logits.min(), found.logits.max()) == (-10, 10)
    assert torch.equal(found.logits > 0, mask[..., ::4, ::4] > 0)
    assert found.iou.tolist() == [1, 1]
    assert found.presence.tolist() == [10, -10]
    assert torch.equal(found.pointer[1], tiny.no_obj_ptr[0])
    assert not torch.allclose(found.pointer[0], tiny.no_obj_ptr[0], atol=0.1)
    other = tiny.mask_as_prediction(features, mask.roll(16, dims=3))
    assert not torch.allclose(found.pointer[0], other.pointer[0], atol=1e-3)  # the decoder looked at it


# Memories


def prediction_of(logits: Tensor, presence: float) -> MaskPrediction:
    count = len(logits)
    return MaskPrediction(logits, torch.ones(count), torch.zeros(count, 32), torch.full((count,), presence))


@torch.no_grad()
def test_prompted_masks_are_remembered_as_certain(tiny: SAM2, draw: Draw) -> None:
    features = tiny.encode_image(draw(1, 3, 64, 64))
    weak, strong = (prediction_of(scale * draw(1, 1, 16, 16).sign(), 1.0) for scale in (0.5, 1.0))
    strong = replace(strong, logits=100 * weak.logits)

    def memory(found: MaskPrediction, prompted: bool) -> Tensor:
        return tiny.encode_memory(features, found, prompted=prompted).features

    assert torch.equal(memory(weak, True), memory(strong, True))
    assert (memory(weak, False) - memory(strong, False)).abs().max() > 0.05
    assert (memory(weak, True) - memory(weak, False)).abs().max() > 0.05

    seen: list[Tensor] = []
    hook = tiny.memory_encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    for prompted in (True, False):
        memory(weak, prompted)
    hook.remove()
    certain, tracked = seen
    assert certain.shape == (1, 1, 64, 64) and certain.unique().tolist() == [-10, 10]
    upsampled = F.interpolate(weak.logits, size=(64, 64), mode="bilinear", align_corners=False)
    torch.testing.assert_close(tracked, 20 * upsampled.sigmoid() - 10)


@torch.no_grad()
def test_only_absent_objects_carry_the_mark_of_absence(draw: Draw) -> None:
    features = ImageFeatures(draw(1, 32, 4, 4), (draw(1, 4, 16, 16), draw(1, 8, 8, 8)))
    logits = draw(1, 1, 16, 16).expand(2, -1, -1, -1)
    found = replace(prediction_of(logits, 1.0), presence=torch.tensor([0.5, -0.5]))
    for version, marked in (("2.1", True), ("2.0", False)):
        model = tiny_model(version)
        memory = model.encode_memory(features, found, prompted=False).features.float()
        difference = (memory[1] - memory[0]).mean(dim=(1, 2))
        expected = model.no_obj_embed_spatial[0] if marked else torch.zeros(8)
        torch.testing.assert_close(difference, expected, rtol=1e-2, atol=1e-2)
        assert bool(model.no_obj_embed_spatial.any()) is marked


@torch.no_grad()
def test_pointers_carry_time_since_2_1(draw: Draw) -> None:
    for version, matters in (("2.1", True), ("2.0", False)):
        model = tiny_model(version)
        features = model.encode_image(draw(1, 3, 64, 64))
        past = FrameMemory(draw(1, 8, 4, 4).bfloat16(), draw(1, 32))
        near, far = (
            model.attend_memory(features, Recall(((-1, past),), ((d, past),))) for d in (1, 9)
        )  # fmt: skip
        assert bool((near - far).abs().max() > 1e-3) is matters


@torch.no_grad()
def test_time_codes_and_order_of_memories(tiny: SAM2, draw: Draw) -> None:
    features = tiny.encode_image(draw(1, 3, 64, 64))
    one, two = (FrameMemory(draw(1, 8, 4, 4).bfloat16(), draw(1, 32)) for _ in range(2))

    def attend(*masks: tuple[int, FrameMemory]) -> Tensor:
        return tiny.attend_memory(features, Recall(masks))

    base = attend((-1, one), (0, two))
    torch.testing.assert_close(attend((0, two), (-1, one)), base, rtol=1e-4, atol=1e-4)
    assert (attend((0, one), (-1, two)) - base).abs().max() > 1e-3
    assert torch.equal(attend((tiny.memory_slots - 1, one), (0, two)), base)
    assert torch.equal(
        tiny.attend_memory(features, Recall()), features.coarse + tiny.no_mem_embed.view(1, -1, 1, 1)
    )


# Types and gradients


@torch.no_grad()
def test_bfloat16_roughly_agrees(draw: Draw) -> None:
    pixels = draw(2, 3, 64, 64)
    exact, rounded = tiny_model(), tiny_model().bfloat16()
    assert rounded.dtype == torch.bfloat16
    for left, right in zip(walk(exact, pixels)[:2], walk(rounded, pixels)[:2], strict=True):
        assert right.logits.dtype == right.iou.dtype == right.presence.dtype == torch.float32
        off = (left.logits - right.logits).abs().mean() / left.logits.std()
        assert off < 0.06  # two to three digits in each number; errors add up over layers
    back = rounded.float()
    assert torch.equal(
        back._frame_position(4, 4, like=back.no_mem_embed), exact._frame_position(4, 4, like=pixels)
    )


# A leftover in every released file. (The pointer of an absent object, and its mark in memory, get gradients
# where an object is absent.)
UNUSED = {"no_mem_pos_enc"}


def test_gradients_reach_every_parameter(draw: Draw) -> None:
    model = tiny_model().train()
    pixels = draw(2, 3, 64, 64)
    clicked, tracked, _, last = walk(model, pixels)
    features = model.encode_image(pixels[:1])
    box = PromptTensors(
        torch.tensor([[[5.0, 5.0], [30.0, 40.0], [9.0, 9.0]]]),
        torch.tensor([[2, 3, 0]]),
        previous=clicked.logits,
    )
    boxed = best(model.decode(model.attend_memory(features, Recall()), features.fine, box), multimask=False)
    mask = (draw(1, 1, 64, 64) > 0).float()
    drawn = model.mask_as_prediction(features, mask)
    nothing = model.mask_as_prediction(features, torch.zeros_like(mask))
    gone = replace(tracked, presence=torch.tensor([-1.0]))
    outputs = [last.features.float(), model.encode_memory(features, gone, prompted=False).features.float()]
    for found in (clicked, tracked, boxed, drawn, nothing):
        outputs += [found.logits, found.iou, found.presence, found.pointer]
        if found.candidates is not None:
            outputs += [found.candidates.logits, found.candidates.iou, found.candidates.pointer]
    sum((out * draw(*out.shape)).sum() for out in outputs if out.requires_grad).backward()
    without = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert without == UNUSED
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_training_after_inference(draw: Draw) -> None:
    model = tiny_model()
    pixels = draw(2, 3, 64, 64)
    with torch.inference_mode():
        walk(model, pixels)
    walk(model, pixels)[1].logits.sum().backward()


# What it refuses


@pytest.mark.parametrize("side", [0, 16, 100, 250])
def test_sides_that_do_not_fit(side: int) -> None:
    with pytest.raises(ConfigError, match=f"positive multiple of 32, got {side}"):
        build_model("sam2.1_hiera_tiny", [*TINY, f"image_size={side}"])


@pytest.mark.parametrize(
    ("shape", "message"),
    [((1, 3, 64, 96), r"square, got \(64, 96\)"), ((1, 3, 80, 80), "multiple of 32, got 80")],
)
def test_pixels_that_do_not_fit(tiny: SAM2, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny.encode_image(torch.zeros(shape))


def test_no_prompt_is_one_padding_point() -> None:
    prompt = no_prompt(3, CPU)
    assert prompt.points.shape == (3, 1, 2)
    assert prompt.labels.tolist() == [[-1]] * 3
