"""Pixels, coordinates and the checks of prompts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sam2_video.transforms import (
    PIXEL_MEAN,
    PIXEL_STD,
    FrameTransform,
    PaddedTransform,
    Resize,
    _sent,
    check_integer,
    make_prompt,
    merge_prompts,
)
from sam2_video.types import Prompt, PromptError

SIZE = (48, 80)  # (H, W)


def frame(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def denormalised(pixels: torch.Tensor) -> torch.Tensor:
    return pixels[0] * torch.tensor(PIXEL_STD)[:, None, None] + torch.tensor(PIXEL_MEAN)[:, None, None]


def test_frame_of_model_size_is_only_normalised() -> None:
    rgb = frame(64, 64)
    out = FrameTransform(64).pixels(rgb)
    assert out.shape == (1, 3, 64, 64)
    assert out.dtype == torch.float32
    assert torch.allclose(denormalised(out), torch.from_numpy(rgb).permute(2, 0, 1) / 255, atol=1e-6)


def test_squash_averages_what_it_shrinks() -> None:
    rgb = np.zeros((128, 256, 3), dtype=np.uint8)
    rgb[:, 1::2] = 200  # columns thinner than a target pixel
    middle = denormalised(FrameTransform(64).pixels(rgb))[:, 8:-8, 8:-8]
    assert torch.allclose(middle, torch.full_like(middle, 100 / 255), atol=0.03)


def test_bicubic_is_that_of_pil() -> None:
    rgb = frame(90, 50)
    expected = np.asarray(Image.fromarray(rgb).resize((64, 64), Image.Resampling.BICUBIC))
    out = denormalised(FrameTransform(64, "bicubic_pil").pixels(rgb))
    assert torch.allclose(out, torch.tensor(expected).permute(2, 0, 1) / 255, atol=1e-6)


def test_frame_is_left_as_it_was() -> None:
    rgb = frame(64, 64)
    rgb.flags.writeable = False
    before = rgb.copy()
    FrameTransform(64).pixels(rgb)
    assert (rgb == before).all()


@pytest.mark.parametrize(
    "bad", [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8)]
)
def test_other_arrays_are_no_frames(bad: Any) -> None:
    with pytest.raises(ValueError, match="uint8 RGB"):
        FrameTransform(64).pixels(bad)


def test_unknown_resize_is_refused() -> None:
    with pytest.raises(ValueError, match="bicubic_pil"):
        FrameTransform(64, "nearest")  # type: ignore[arg-type]


def test_coordinates_are_squashed_as_the_frame_is() -> None:
    points = torch.tensor([[0.0, 0.0], [40.0, 12.0], [80.0, 48.0]])
    inside = FrameTransform(64).to_model(points, SIZE)
    assert torch.allclose(inside, torch.tensor([[0.0, 0.0], [32.0, 16.0], [64.0, 64.0]]))


def test_box_corners_come_before_clicks() -> None:
    prompt = Prompt(points=((40, 24), (8, 8)), labels=(1, 0), box=(0, 0, 80, 48))
    made = FrameTransform(64).prompt_tensors(prompt, SIZE)
    assert made.labels.tolist() == [[2, 3, 1, 0]]
    assert torch.allclose(
        made.points[0], torch.tensor([[0.0, 0.0], [64.0, 64.0], [32.0, 32.0], [6.4, 32 / 3]])
    )
    assert made.mask is None and made.previous is None


def test_previous_logits_are_clamped() -> None:
    previous = torch.tensor([-1024.0, 3.0, 50.0, -32.0]).view(1, 1, 2, 2)
    made = FrameTransform(64).prompt_tensors(Prompt(points=((1, 1),), labels=(1,)), SIZE, previous)
    assert made.previous is not None
    assert made.previous.flatten().tolist() == [-32.0, 3.0, 32.0, -32.0]


def test_mask_of_model_size_is_taken_as_it_is() -> None:
    mask = np.random.default_rng(1).random((64, 64)) > 0.5
    made = FrameTransform(64).prompt_tensors(Prompt(mask=mask), (64, 64))
    assert made.mask is not None and made.points.shape == (1, 0, 2)
    assert (made.mask[0, 0].numpy() == mask).all()


def test_mask_of_frame_size_is_resized() -> None:
    mask = np.zeros(SIZE, dtype=bool)
    mask[:, :40] = True
    out = FrameTransform(64).mask_tensor(mask)[0, 0]
    assert out[:, :32].min() == 1 and out[:, 32:].max() == 0


def test_good_prompts_pass() -> None:
    assert make_prompt(SIZE, points=np.array([[3, 4.5]]), labels=np.array([True])).points == ((3.0, 4.5),)
    assert make_prompt(SIZE, points=[(79, 47)]).labels == (1,)
    assert make_prompt(SIZE, box=torch.tensor([0, 0, 80, 48])).box == (0, 0, 80, 48)
    mask = np.zeros(SIZE, np.uint8)
    mask[3, 4] = 255
    made = make_prompt(SIZE, mask=mask)
    assert made.mask is not None and made.mask.dtype == bool and made.mask.sum() == 1


LABELS = np.zeros(SIZE, int)
LABELS[0, 0], LABELS[1, 1] = 1, 2
BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "nothing was given"),
    ({"points": []}, "list of"),
    ({"points": (3, 4), "labels": [1]}, "pairs"),
    ({"points": [(3, 4, 5)], "labels": [1]}, "pairs"),
    ({"points": [(float("nan"), 4)], "labels": [1]}, "finite"),
    ({"points": [(3, float("inf"))], "labels": [1]}, "finite"),
    ({"points": [("a", "b")], "labels": [1]}, "numbers"),
    ({"points": [(80, 4)], "labels": [1]}, r"\(80, 4\) is outside frame 7, which is 80 wide and 48 high"),
    ({"points": [(3, 48)], "labels": [1]}, "outside"),
    ({"points": [(-1, 4)], "labels": [1]}, "outside"),
    ({"points": [(3, 4)], "labels": [2]}, "1 .on the object. or 0"),
    ({"points": [(3, 4)], "labels": [float("nan")]}, "finite"),
    ({"points": [(3, 4)], "labels": [1, 0]}, "1 points need 1 labels"),
    ({"points": [(3, 4)], "labels": 1}, "labels shaped"),
    ({"labels": [1]}, "without points"),
    ({"box": (1, 2, 3)}, "four numbers"),
    ({"box": (1, 2, float("nan"), 4)}, "finite"),
    ({"box": (30, 20, 10, 40)}, r"swapped.*\(10, 20, 30, 40\)"),
    ({"box": (10, 20, 10, 40)}, "empty"),
    ({"box": (10, 20, 81, 40)}, "reaches out"),
    ({"mask": np.zeros(SIZE, bool)}, "empty"),
    ({"mask": np.ones((80, 48), bool)}, r"shaped \(80, 48\).*\(48, 80\)"),
    ({"mask": np.ones((1, 48, 80), bool)}, "shaped"),
    ({"mask": "mask.png"}, "bool or of numbers; got str"),
    ({"mask": LABELS}, "several values"),
    ({"mask": np.full(SIZE, np.nan)}, "several values"),
    ({"mask": np.ones(SIZE, bool), "points": [(1, 1)], "labels": [1]}, "mask says everything"),
    ({"mask": np.ones(SIZE, bool), "box": (1, 1, 2, 2)}, "mask says everything"),
]


@pytest.mark.parametrize(
    ("given", "complaint"), BAD, ids=[f"{i}-{text[:12]}" for i, (_, text) in enumerate(BAD)]
)
def test_bad_prompts_are_refused_with_a_reason(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(PromptError, match=complaint):
        make_prompt(SIZE, where="frame 7", **given)


def test_clicks_add_up_and_a_box_replaces_the_box() -> None:
    first = Prompt(points=((1, 1),), labels=(1,), box=(0, 0, 5, 5))
    second = Prompt(points=((2, 2),), labels=(0,))
    assert merge_prompts(None, first) == first
    assert merge_prompts(first, second) == Prompt(((1, 1), (2, 2)), (1, 0), (0, 0, 5, 5))
    assert merge_prompts(first, Prompt(box=(1, 1, 9, 9))).box == (1, 1, 9, 9)


def test_a_mask_replaces_everything_and_is_replaced() -> None:
    clicks, mask = Prompt(points=((1, 1),), labels=(1,)), Prompt(mask=np.ones(SIZE, bool))
    assert merge_prompts(clicks, mask) is mask
    assert merge_prompts(mask, clicks) is clicks


@pytest.mark.parametrize("bad", [-1, 1.0, "1", None, True])
def test_numbers_of_frames_and_objects_are_whole(bad: Any) -> None:
    with pytest.raises(PromptError, match="object_id must be a whole number from 0 on"):
        check_integer(bad, "object_id")
    assert check_integer(np.int64(3), "object_id") == 3


@pytest.mark.parametrize(
    ("size", "extent"),
    [
        ((48, 80), (38, 64)),
        ((80, 48), (64, 38)),
        ((64, 64), (64, 64)),
        ((30, 30), (64, 64)),
        ((1, 400), (1, 64)),
    ],
)
def test_padding_keeps_proportions(size: tuple[int, int], extent: tuple[int, int]) -> None:
    """SAM 1: the longer side is S, the other is rounded, and zeros lie to the right and below."""
    transform = PaddedTransform(64)
    assert transform.extent(size) == extent
    rgb = np.full((*size, 3), 200, dtype=np.uint8)
    pixels = transform.pixels(rgb)
    height, width = extent
    assert pixels.shape == (1, 3, 64, 64)
    inside = (200 / 255 - torch.tensor(PIXEL_MEAN)) / torch.tensor(PIXEL_STD)
    torch.testing.assert_close(
        pixels[0, :, :height, :width], inside[:, None, None].expand(3, height, width), rtol=1e-4, atol=1e-4
    )
    assert (pixels[..., height:, :] == 0).all() and (pixels[..., width:] == 0).all()
    corner = transform.to_model(torch.tensor([[float(size[1]), float(size[0])]]), size)
    assert corner.tolist() == [[width, height]]  # the picture's end, not the square's


def test_padding_is_cut_off_before_logits_are_enlarged() -> None:
    """A picture's own part of the square reaches its edges, and the padding reaches nowhere."""
    logits = torch.full((1, 16, 16), -5.0)
    logits[:, :8] = 5.0  # 16 x 16 low-resolution pixels for 64 x 64; the picture fills 32 x 64
    full = PaddedTransform(64).restore(logits, (50, 100))
    assert full.shape == (1, 50, 100)
    assert (full > 0).all()
    assert (full[:, :46] == 5).all()  # the last rows lean towards the padding, as in the reference
    assert FrameTransform(64).restore(logits, (50, 100))[0, 40, 0] < 0


@pytest.mark.parametrize("resize", ["bilinear_pil", "bicubic_pil"])
def test_padding_with_pil(resize: Resize) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (50, 100, 3), dtype=np.uint8)
    kind = {"bilinear_pil": Image.Resampling.BILINEAR, "bicubic_pil": Image.Resampling.BICUBIC}[resize]
    expected = np.asarray(Image.fromarray(rgb).resize((64, 32), kind))
    found = denormalised(PaddedTransform(64, resize).pixels(rgb))[:, :32]
    assert np.abs(found.permute(1, 2, 0).numpy() * 255 - expected).max() < 1e-2


def test_prompts_of_one_shape_become_a_batch() -> None:
    points, labels = torch.tensor([[[10.0, 20.0]], [[30.0, 5.0]]]), torch.tensor([[1.0], [0.0]])
    boxes, previous = (
        torch.tensor([[1.0, 2.0, 30.0, 40.0], [4.0, 5.0, 60.0, 45.0]]),
        torch.full((2, 16, 16), 99.0),
    )
    made = FrameTransform(64).batch_tensors(points, labels, boxes, previous, SIZE)
    for row in range(2):
        (x, y), box = points[row, 0].tolist(), tuple(boxes[row].tolist())
        prompt = Prompt(((x, y),), (int(labels[row, 0]),), box)  # type: ignore[arg-type]
        alone = FrameTransform(64).prompt_tensors(prompt, SIZE, previous[row : row + 1, None])
        assert torch.equal(made.points[row : row + 1], alone.points)
        assert torch.equal(made.labels[row : row + 1], alone.labels) and made.labels.dtype == torch.int64
        assert made.previous is not None and alone.previous is not None
        assert torch.equal(made.previous[row : row + 1], alone.previous) and made.previous.max() == 32


@pytest.mark.parametrize("transform", [FrameTransform(64), PaddedTransform(64)])
def test_small_masks_are_shares_of_cells(transform: FrameTransform) -> None:
    mask = np.zeros((64, 64), dtype=bool)
    mask[8:24, 16:40] = True  # whole cells of 4 x 4
    expected = torch.zeros(16, 16)
    expected[2:6, 4:10] = 1
    small = transform.small_mask(mask)
    assert small.shape == (1, 1, 16, 16) and torch.equal(small[0, 0] > 0.5, expected > 0.5)
    thin = np.zeros((640, 640), dtype=bool)
    thin[:, 333] = True  # a fortieth of a cell
    line = transform.small_mask(thin)[0, 0]
    assert line.max() == 1 and (line.argmax(dim=1) == 333 // 40).all() and line.mean() < 0.1


def test_small_masks_of_padded_frames_lie_where_the_frame_does() -> None:
    mask = np.zeros((32, 128), dtype=bool)  # 16 x 64 in the square, 4 x 16 cells
    mask[:, 64:] = True
    small = PaddedTransform(64).small_mask(mask)[0, 0]
    assert (small[:3, 9:] > 0.9).all() and (small[5:] == 0).all() and (small[:, :7] == 0).all()


def test_a_frame_that_is_sent_elsewhere_is_the_frame() -> None:
    """Turned and read-only frames, too; on a CUDA device the same function sends them from pinned memory."""
    turned = np.random.default_rng(0).integers(0, 256, (6, 4, 3), dtype=np.uint8)[::-1, ::-1]
    turned.flags.writeable = False
    assert np.array_equal(_sent(turned, torch.device("cpu")).numpy(), turned)
