"""On a CUDA device: what the CPU gives, within tolerance; and what graphs replay, exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sam2_video import load_model
from sam2_video.demo_clip import BALL, CAT, Scene
from sam2_video.model import cuda_attention, triton_norm, triton_rotation
from sam2_video.model.layers import LayerNorm2d
from sam2_video.model.position import rotate
from sam2_video.model.sam2 import SAM2
from sam2_video.transforms import FrameTransform
from sam2_video.types import FrameResult, pack_bits, packed_masks, upsampled_masks
from sam2_video.video_predictor import VideoPredictor

pytestmark = pytest.mark.gpu

SCENE = Scene(frames=24)


def nano(dtype: torch.dtype = torch.float32, device: str = "cuda") -> SAM2:
    model = load_model("nano").to(device, dtype)
    assert isinstance(model, SAM2)
    return model


@pytest.fixture(scope="module")
def frames() -> list[Any]:
    return [SCENE.render(frame) for frame in range(SCENE.frames)]


@pytest.fixture(autouse=True)
def exact_products() -> Any:
    """float32 products in float32: the tolerances below are for the order of sums alone."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def iou(a: Any, b: Any) -> float:
    return float((a & b).sum() / max((a | b).sum(), 1))


def track(frames: list[Any], model: SAM2, retain: Any = "all", **options: Any) -> list[FrameResult]:
    """Two objects, one of which comes later, a correction, and the way back."""
    predictor = VideoPredictor(model, **options)
    with predictor.open([rgb for rgb, _ in frames], retain=retain) as session:
        session.prompt(frame=0, object_id=1, mask=frames[0][1][CAT])
        found = list(session.propagate(stop=20))
        session.prompt(frame=19, object_id=2, mask=frames[19][1][BALL])
        found += session.propagate(start=19)
        if retain == "all":
            session.prompt(frame=21, object_id=1, mask=frames[21][1][CAT])
            found += session.propagate("backward", start=21, stop=8)
    assert options.get("graphs") == "off" or predictor._steps.follow.replays > 0
    return found


@pytest.mark.parametrize("size", [(48, 80), (1080, 1920), (256, 256)])
def test_frames_are_resized_as_on_the_cpu(size: tuple[int, int]) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    transform = FrameTransform(256)
    found, expected = transform.pixels(rgb, torch.device("cuda")), transform.pixels(rgb)
    assert found.device.type == "cuda"
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(270, 480), (101, 67)])
def test_masks_made_on_the_device_are_those_of_the_cpu(size: tuple[int, int]) -> None:
    logits = F.avg_pool2d(torch.randn(3, 64, 64), 5, 1, 2)
    found = packed_masks(logits, size, torch.device("cuda"))
    expected = np.stack([np.packbits(mask) for mask in upsampled_masks(logits, size)])
    differing = np.unpackbits(found ^ expected).sum()
    assert differing <= 1e-4 * 3 * size[0] * size[1]  # pixels on the very border may fall either way
    bits = torch.rand(3, *size, device="cuda") > 0.5
    assert np.array_equal(
        pack_bits(bits).cpu().numpy(), np.stack([np.packbits(mask) for mask in bits.cpu().numpy()])
    )


@pytest.mark.parametrize("width", [64, 256])
@pytest.mark.parametrize("objects", [1, 3])
def test_every_way_of_attention_that_is_taken_is_right(width: int, objects: int) -> None:
    draw = torch.Generator("cuda").manual_seed(0)
    q, k = (torch.randn(objects, 1, n, 256, device="cuda", generator=draw).bfloat16() for n in (1024, 4164))
    v = torch.randn(objects, 1, width, 4164, device="cuda", generator=draw).bfloat16().transpose(-2, -1)
    weights = (q.float() @ k.float().transpose(-2, -1) / 16).softmax(dim=-1)
    expected = weights @ v.float()
    taken = []
    for name, way in cuda_attention.WAYS.items():
        if cuda_attention.is_right(way, q, k, v):
            taken.append(name)
            error = (way(q, k, v).float() - expected).norm() / expected.norm()
            assert error < 1e-2, name
    assert "framework" in taken
    out = cuda_attention.attend_on_cuda(q[:1] if objects == 1 else q, k, v)
    assert (out.float() - expected).norm() / expected.norm() < 1e-2


@pytest.mark.parametrize("channels", [4, 16, 64])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last], ids=["planes", "cells"])
def test_narrow_norms_are_those_of_the_framework(channels: int, order: torch.memory_format) -> None:
    x = (torch.randn(2, channels, 37, 29, device="cuda") + 3).bfloat16().contiguous(memory_format=order)
    norm = LayerNorm2d(channels).to("cuda", torch.bfloat16)
    torch.nn.init.normal_(norm.weight)
    with torch.no_grad():
        found = norm(x)
        assert triton_norm.takes(x) and found.is_contiguous(memory_format=torch.channels_last)
    expected = norm.float()(x.float())
    torch.testing.assert_close(found.float(), expected, rtol=1 / 64, atol=1 / 64)


def test_channels_are_turned_as_on_the_cpu() -> None:
    x, table = torch.randn(2, 1, 50, 64), torch.randn(2, 50, 32)
    with torch.no_grad():
        assert triton_rotation.takes(x.cuda().bfloat16())
        found = rotate(x.cuda().bfloat16(), table.cuda().bfloat16())
    torch.testing.assert_close(found.cpu().float(), rotate(x, table), rtol=1 / 32, atol=1 / 16)


def test_tracking_on_the_gpu_is_that_of_the_cpu(frames: list[Any]) -> None:
    found, expected = track(frames, nano()), track(frames, nano(device="cpu"), graphs="off")
    overlaps = [iou(a.masks, b.masks) for a, b in zip(found, expected, strict=True)]
    assert min(overlaps) > 0.97 and np.mean(overlaps) > 0.995, overlaps


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("retain", ["all", "window"])
def test_graphs_give_what_single_operations_give(frames: list[Any], dtype: torch.dtype, retain: Any) -> None:
    model = nano(dtype)
    replayed = track(frames, model, retain)
    plain = track(frames, model, retain, graphs="off")
    for a, b in zip(replayed, plain, strict=True):
        torch.testing.assert_close(a.logits, b.logits, rtol=0, atol=1e-3 if dtype == torch.float32 else 0.25)
        assert iou(a.masks, b.masks) > 0.99
    equal = [torch.equal(a.logits, b.logits) for a, b in zip(replayed, plain, strict=True)]
    print(f"{dtype}, {retain}: {sum(equal)} of {len(equal)} frames equal to the bit")


def test_what_is_kept_in_host_memory_gives_what_is_kept_on_the_device(frames: list[Any]) -> None:
    model = nano(torch.bfloat16)
    clip = [rgb for rgb, _ in frames]
    results = []
    for retain in ("all", "window"):
        with VideoPredictor(model).open(clip, retain=retain) as session:  # type: ignore[arg-type]
            session.prompt(frame=0, object_id=1, mask=frames[0][1][CAT])
            results.append(list(session.propagate()))
            if retain == "all":
                memories = session.track(1).bank.tracked.values()
                assert all(m.features.device.type == "cpu" and not m.features.is_pinned() for m in memories)
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a.logits, b.logits, rtol=0, atol=0.25)


def test_bfloat16_masks_are_those_of_float32(frames: list[Any]) -> None:
    found, expected = track(frames, nano(torch.bfloat16)), track(frames, nano())
    assert np.mean([iou(a.masks, b.masks) for a, b in zip(found, expected, strict=True)]) > 0.98


def test_results_are_on_the_cpu_and_holes_are_filled(frames: list[Any]) -> None:
    with VideoPredictor(nano(), fill_holes=8).open([rgb for rgb, _ in frames[:3]]) as session:
        result = session.prompt(frame=0, object_id=1, mask=frames[0][1][CAT])
        assert result.logits.device.type == "cpu" and result.masks.shape == (1, 270, 480)
        (_, second, _) = session.propagate()
    assert iou(result.masks[0], frames[0][1][CAT]) > 0.7
    assert second.label_map().max() == 1 and second.boxes.shape == (1, 4)


def test_many_objects_share_batches_and_memory_stays(frames: list[Any]) -> None:
    model = nano(torch.bfloat16)
    with VideoPredictor(model).open([rgb for rgb, _ in frames], retain="window") as session:
        for k in range(40):
            session.prompt(frame=0, object_id=k + 1, points=[(100 + 7 * k, 150)], labels=[1])
        for result in session.propagate():
            assert len(result.object_ids) == 40
            if result.frame == 20:
                before = torch.cuda.memory_allocated()
        assert torch.cuda.memory_allocated() <= 1.02 * before
