"""Masks that are kept as bits are the masks; large ones are never all there at once."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sam2_video import types
from sam2_video.host import HostCopies
from sam2_video.model.triton_attention import parts_of
from sam2_video.types import FrameResult, pack_bits, packed_masks, unpacked_mask, upsampled_masks


def result(count: int, size: tuple[int, int], side: int = 32) -> FrameResult:
    """Blobs that overlap."""
    noise = torch.randn(count, side, side, generator=torch.Generator().manual_seed(3))
    logits = F.avg_pool2d(noise, 5, 1, 2)
    return FrameResult(4, tuple(range(1, count + 1)), logits, torch.ones(count), torch.ones(count), size)


@pytest.mark.parametrize("size", [(16, 24), (7, 11), (1, 1), (45, 80)])
@pytest.mark.parametrize("count", [1, 3])
def test_bits_are_those_of_numpy_and_come_back(size: tuple[int, int], count: int) -> None:
    masks = torch.rand(count, *size, generator=torch.Generator().manual_seed(0)) > 0.5
    bits = pack_bits(masks).numpy()
    assert np.array_equal(bits, np.stack([np.packbits(mask) for mask in masks.numpy()]))
    for row, mask in zip(bits, masks.numpy(), strict=True):
        assert np.array_equal(unpacked_mask(row, size), mask)


def test_no_masks_are_no_bits() -> None:
    assert pack_bits(torch.zeros(0, 4, 4, dtype=torch.bool)).shape == (0, 2)
    assert packed_masks(torch.zeros(0, 4, 4), (8, 8)).shape == (0, 8)


@pytest.mark.parametrize("device", [None, torch.device("cpu")], ids=["row by row", "on a device"])
def test_packed_masks_are_thresholded_logits(
    device: torch.device | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(types, "BATCH_PIXELS", 2 * 50 * 70)  # two at once
    logits = result(5, (50, 70)).logits
    bits = packed_masks(logits, (50, 70), device)
    expected = upsampled_masks(logits, (50, 70))
    assert np.array_equal(np.stack([unpacked_mask(row, (50, 70)) for row in bits]), expected)


def test_a_result_that_packs_its_masks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, packed = result(4, (50, 70)), result(4, (50, 70))
    expected = plain.masks, plain.boxes, plain.label_map(), plain.contested()
    monkeypatch.setattr(types, "PLAIN_BYTES", 0)
    assert np.array_equal(packed.label_map(), expected[2])
    for found, known in zip(packed.contested(), expected[3], strict=True):
        assert np.array_equal(found, known)
    assert np.array_equal(packed.boxes, expected[1])
    assert "masks" not in packed.__dict__  # none of these needed all of them
    assert np.array_equal(packed.masks, expected[0]) and packed.masks.dtype == np.bool_


def test_who_does_not_claim_a_pixel_never_wins_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another device's masks may differ from the CPU's logits at the border: masks decide who takes part."""
    found = result(3, (40, 40))
    claims = np.zeros((3, 40, 40), dtype=bool)
    claims[1:] = True
    claims[0, :, :10] = True
    object.__setattr__(found, "logits", torch.stack([torch.full((32, 32), v) for v in (9.0, -0.1, -0.2)]))
    found.__dict__["masks"] = claims
    contested, rows = found.contested()
    winners = rows.reshape(40, 40)
    assert contested.all() and (winners[:, :10] == 0).all() and (winners[:, 10:] == 1).all()


@pytest.mark.slow
def test_many_objects_on_a_frame_of_4k_take_little_memory() -> None:
    found = result(64, (2160, 3840), side=64)
    tracemalloc.start()
    labels = found.label_map()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert labels.shape == (2160, 3840) and len(np.unique(labels)) > 10
    bits, one = 64 * 2160 * 3840 / 8, 2160 * 3840
    # The bits, labels of 4 bytes, and a few single masks; all masks as bytes would be 531 MB.
    assert peak < bits + 4 * one + 60 * one


def test_copies_are_copies() -> None:
    source = torch.arange(4.0)
    (copy,) = HostCopies([source]).arrived()
    source.zero_()
    assert copy.tolist() == [0, 1, 2, 3]
    assert HostCopies([]).arrived() == []


@pytest.mark.parametrize(
    ("blocks", "keys", "parts"),
    [(32, 28736, 4), (64, 28736, 2), (512, 28736, 1), (32, 4096, 4), (1, 300, 1), (16, 28736, 8)],
)
def test_keys_are_dealt_out_until_all_multiprocessors_have_work(blocks: int, keys: int, parts: int) -> None:
    assert parts_of(blocks, keys, 132) == parts
