"""Results know what people call their objects."""

from __future__ import annotations

import torch

from sam2_video.types import FrameResult, ObjectInfo


def test_names_belong_to_rows_and_may_be_missing() -> None:
    info = (ObjectInfo("left cup", "cup"), ObjectInfo())
    result = FrameResult(0, (3, 7), torch.zeros(2, 4, 4), torch.zeros(2), torch.zeros(2), (8, 8), info=info)
    assert result.info_of(0) == ObjectInfo("left cup", "cup")
    assert result.info_of(1) == ObjectInfo("", "")
    nameless = FrameResult(0, (3,), torch.zeros(1, 4, 4), torch.zeros(1), torch.zeros(1), (8, 8))
    assert nameless.info_of(0) == ObjectInfo()
