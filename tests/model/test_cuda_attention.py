"""Which way of attention is asked for first, and what becomes of ways that fail."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sam2_video.model import cuda_attention
from sam2_video.model.cuda_attention import PREFERRED, WAYS, is_right, padded, preferred


@pytest.mark.parametrize(
    ("objects", "width", "first"),
    [(1, 64, "triton"), (4, 64, "triton"), (16, 64, "cudnn"), (1, 256, "flash"), (16, 256, "cudnn")],
)
def test_what_was_fastest_is_tried_first(objects: int, width: int, first: str) -> None:
    q, v = torch.empty(objects, 1, 4096, 256), torch.empty(objects, 1, 8, width)
    assert preferred(q, v, 132)[0] == first


def test_every_way_that_is_preferred_exists() -> None:
    assert {name for order in PREFERRED.values() for name in order} <= WAYS.keys()


def test_what_fails_or_is_wrong_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Tensor) -> Tensor:
        raise RuntimeError("no compiler")

    def wrong(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return padded(q, k, v) * 1.2

    def empty(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return torch.full_like(padded(q, k, v), float("nan"))

    q, k, v = torch.randn(1, 1, 20, 16), torch.randn(1, 1, 30, 16), torch.randn(1, 1, 30, 4)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    assert [is_right(way, q, k, v) for way in (broken, wrong, empty, padded)] == [False, False, False, True]

    asked: dict[str, Any] = {"triton": broken, "cudnn": wrong, "flash": padded, "framework": padded}
    monkeypatch.setattr(cuda_attention, "WAYS", asked)
    monkeypatch.setattr(cuda_attention, "multiprocessors", lambda device: 132)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.setattr(cuda_attention, "_chosen", {})
    assert cuda_attention.chosen_way(q, k, v) == "flash"


def test_narrow_values_are_padded_and_come_back_narrow() -> None:
    q, k, v = torch.randn(2, 1, 5, 16), torch.randn(2, 1, 9, 16), torch.randn(2, 1, 4, 9).transpose(-2, -1)
    expected = (q @ k.transpose(-2, -1) / 4).softmax(dim=-1) @ v
    torch.testing.assert_close(padded(q, k, v), expected, rtol=1e-4, atol=1e-5)
