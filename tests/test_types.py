"""Results: names of objects, and masks at full size without ever holding the logits of all at that size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from sam2_video import types
from sam2_video.types import FrameResult, ObjectInfo, upsample_logits


def result_of(logits: Tensor, size: tuple[int, int], ids: tuple[int, ...] | None = None) -> FrameResult:
    count = len(logits)
    return FrameResult(
        0, ids or tuple(range(1, count + 1)), logits, torch.zeros(count), torch.zeros(count), size
    )


@pytest.mark.parametrize("count", [0, 1, 2, 7])
@pytest.mark.parametrize("size", [(16, 16), (37, 53), (9, 8)])
def test_masks_and_labels_are_those_of_all_logits_at_once(count: int, size: tuple[int, int]) -> None:
    logits = torch.randn(count, 16, 16, generator=torch.Generator().manual_seed(count))
    ids = (9, 2, 300, 4, 5, 77, 8)[:count]
    found = result_of(logits, size, ids)
    full = upsample_logits(logits, size)
    assert np.array_equal(found.masks, (full > 0).numpy())
    expected = np.zeros(size, dtype=np.int32)
    if count:
        top, row = full.max(dim=0)
        expected = torch.where(top > 0, torch.tensor(ids)[row], 0).numpy()
    assert np.array_equal(found.label_map(), expected)
    contested, rows = found.contested()
    assert np.array_equal(contested, (full > 0).sum(dim=0).numpy() > 1)
    assert [ids[row] for row in rows] == expected[contested].tolist()


def test_of_equal_logits_the_earlier_row_wins() -> None:
    logits = torch.tensor([[[1.0, 2.0, 2.0]], [[1.0, 3.0, 1.0]], [[1.0, 3.0, 2.0]]])
    assert result_of(logits, (1, 3)).label_map().tolist() == [[1, 2, 1]]


def test_full_size_logits_are_held_of_one_object_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    known = types.upsample_logits

    def counted(logits: Tensor, size: tuple[int, int]) -> Tensor:
        seen.append(len(logits))
        return known(logits, size)

    monkeypatch.setattr(types, "upsample_logits", counted)
    found = result_of(torch.ones(5, 4, 4), (40, 40))
    assert found.masks.all() and (found.label_map() == 1).all()
    assert seen == [1] * 10


def test_names_belong_to_rows_and_may_be_missing() -> None:
    info = (ObjectInfo("left cup", "cup"), ObjectInfo())
    result = FrameResult(0, (3, 7), torch.zeros(2, 4, 4), torch.zeros(2), torch.zeros(2), (8, 8), info=info)
    assert result.info_of(0) == ObjectInfo("left cup", "cup")
    assert result.info_of(1) == ObjectInfo("", "")
    nameless = FrameResult(0, (3,), torch.zeros(1, 4, 4), torch.zeros(1), torch.zeros(1), (8, 8))
    assert nameless.info_of(0) == ObjectInfo()
