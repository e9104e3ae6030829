"""SAM 1's verbs, and what differs from SAM 2 in them."""

from __future__ import annotations

import pytest
import torch

import sam2_video
from sam2_video.model.sam1 import ALWAYS_PRESENT, SAM1, with_memory
from sam2_video.types import (
    ConfigError,
    FrameMemory,
    ImageFeatures,
    MaskCandidates,
    PromptTensors,
    Recall,
)
from sam2_video.video_predictor import VideoPredictor
from tests.model.conftest import Draw
from tests.toys import SAM1_OVERRIDES, toy_model, toy_sam1

CLICK = PromptTensors(torch.tensor([[[20.0, 30.0]]]), torch.tensor([[1]]))
BOX = PromptTensors(torch.tensor([[[4.0, 6.0], [40.0, 50.0]]]), torch.tensor([[2, 3]]))


def test_padding_follows_clicks_and_no_box() -> None:
    encoder = toy_sam1().prompt_encoder
    padding = encoder.not_a_point_embed.weight[0]
    clicked = encoder.sparse(CLICK.points, CLICK.labels, 64)
    boxed = encoder.sparse(BOX.points, BOX.labels, 64)
    both = encoder.sparse(
        torch.cat((BOX.points, CLICK.points), 1), torch.cat((BOX.labels, CLICK.labels), 1), 64
    )
    assert clicked.shape == (1, 2, 32) and torch.equal(clicked[0, 1], padding)
    assert boxed.shape == (1, 2, 32) and not torch.equal(boxed[0, 1], padding)
    assert torch.equal(both[:, :2], boxed) and torch.equal(both[:, 2:], clicked[:, :1])
    assert encoder.sparse(CLICK.points[:, :0], CLICK.labels[:, :0], 64).shape == (1, 0, 32)


@torch.no_grad()
def test_a_picture_is_decoded_for_many_prompts(draw: Draw) -> None:
    model = toy_sam1()
    features = model.encode_image(draw(1, 3, 64, 64))
    pixels = model.attend_memory(features, Recall())
    assert [pixels.shape] == list(map(torch.Size, model.feature_shapes(64))) and features.fine == ()
    two = PromptTensors(torch.cat((CLICK.points, CLICK.points + 9)), CLICK.labels.expand(2, 1))
    found = model.decode(pixels, features.fine, two)
    assert found.logits.shape == (2, 4, 16, 16) and found.iou.shape == (2, 4)
    assert found.pointer.shape == (2, 4, 0) and found.presence.tolist() == [ALWAYS_PRESENT] * 2
    alone = model.decode(pixels, (), CLICK)
    torch.testing.assert_close(found.logits[:1], alone.logits, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found.logits[0], found.logits[1], atol=1e-2)


def test_the_single_mask_is_shown_as_it_is() -> None:
    """SAM 2 falls back to an alternative where the single mask is unstable; SAM 1 does not."""
    logits = torch.zeros(1, 4, 4, 4)
    logits[0, 0] = 0.01  # as unstable as can be
    logits[0, 1:] = 8.0
    candidates = MaskCandidates(logits, torch.tensor([[0.1, 0.2, 0.9, 0.3]]), logits, torch.ones(1))
    for model, expected in ((toy_sam1(), 0), (toy_model(), 2)):
        shown, iou = model.answers(candidates, multimask=False)
        assert torch.equal(shown, logits[:, expected : expected + 1]) and iou == candidates.iou[0, expected]
        shown, iou = model.answers(candidates, multimask=True)
        assert torch.equal(shown, logits[:, 1:]) and torch.equal(iou, candidates.iou[:, 1:])


def test_memories_are_refused() -> None:
    memory = FrameMemory(torch.zeros(1, 4, 4, 4), torch.zeros(1, 8))
    with pytest.raises(ValueError, match="no memory"):
        toy_sam1().attend_memory(ImageFeatures(torch.zeros(1), ()), Recall(masks=((0, memory),)))


def test_videos_are_told_so() -> None:
    with pytest.raises(ConfigError, match=r"tracking needs a model with memory, and SAM 1 has none.*sam2"):
        VideoPredictor(toy_sam1())
    assert with_memory(toy_model(), "tracking") is toy_model()


@pytest.mark.parametrize("side", [0, 40])
def test_sizes_that_are_no_multiple_of_a_patch(side: int) -> None:
    with pytest.raises(ConfigError, match="multiple of 16"):
        sam2_video.build_model("sam_vit_b", overrides=[*SAM1_OVERRIDES, f"image_size={side}"])
    if side:
        with pytest.raises(ValueError, match="multiple of 16"):
            toy_sam1().encode_image(torch.zeros(1, 3, side, side))
    with pytest.raises(ValueError, match="square"):
        toy_sam1().encode_image(torch.zeros(1, 3, 64, 32))


@torch.no_grad()
def test_half_precision_stays_close(draw: Draw) -> None:
    whole = toy_sam1()
    state = {name: value.clone() for name, value in whole.state_dict().items()}
    half = sam2_video.build_model("sam_vit_b", overrides=SAM1_OVERRIDES)
    assert isinstance(half, SAM1)
    half.load_state_dict(state)
    half.to(torch.bfloat16)
    pixels = draw(1, 3, 64, 64)
    expected = whole.decode(whole.encode_image(pixels).coarse, (), CLICK)
    found = half.decode(half.encode_image(pixels).coarse, (), CLICK)
    assert found.logits.dtype == torch.float32
    assert (found.logits - expected.logits).abs().mean() < 0.1 * expected.logits.abs().mean()
