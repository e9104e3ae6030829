"""64 objects on one clip, in chunks by a budget of memory; no logits of all of them at full size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sam2_video import VideoPredictor, types
from sam2_video.model.sam2 import SAM2
from sam2_video.sinks import ResultLog
from sam2_video.sinks.registry import SINKS, SinkOrder
from sam2_video.types import FrameResult, ObjectInfo
from tests.toys import FRAME_SIZE, toy_clip, toy_model

OBJECTS = 64
FRAMES = 3


def track(monkeypatch: pytest.MonkeyPatch, share: int, objects: range) -> tuple[list[FrameResult], set[int]]:
    """Track with room for `share` objects in the network; results, and the sizes of batches."""
    sizes: set[int] = set()
    attend = SAM2.attend_memory

    def attending(self: SAM2, *arguments: Any, **more: Any) -> torch.Tensor:
        conditioned = attend(self, *arguments, **more)
        sizes.add(len(conditioned))
        return conditioned

    with monkeypatch.context() as patch:
        patch.setattr(SAM2, "attend_memory", attending)
        patch.setattr(SAM2, "object_bytes", property(lambda self: 2**30 // share))
        with VideoPredictor(toy_model()).open(toy_clip(FRAMES), retain="window") as session:
            for k in objects:
                session.prompt(frame=0, object_id=k + 1, points=[(2 + k % 8 * 9, 2 + k // 8 * 5)], labels=[1])
            return list(session.propagate()), sizes


def test_64_objects_are_tracked_in_chunks_as_they_are_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    results, sizes = track(monkeypatch, 10, range(OBJECTS))
    assert sizes == {1, 10, 4}  # prompts one by one; 6 chunks of 10, and what is left
    assert [len(result.object_ids) for result in results] == [OBJECTS] * FRAMES
    for few in (range(17, 20), range(63, 64)):
        alone, _ = track(monkeypatch, 64, few)
        for result, other in zip(results, alone, strict=True):
            torch.testing.assert_close(result.logits[list(few)], other.logits, rtol=1e-3, atol=1e-3)


def crowd(size: tuple[int, int] = FRAME_SIZE) -> FrameResult:
    """A result of 64 masks, many of which overlap."""
    noise = torch.Generator().manual_seed(0)
    logits = torch.nn.functional.avg_pool2d(torch.randn((OBJECTS, 16, 16), generator=noise), 3, 1, 1)
    scores, ids = torch.ones(OBJECTS), tuple(range(1, OBJECTS + 1))
    info = tuple(ObjectInfo(f"object {k}", "thing") for k in ids)
    return FrameResult(0, ids, logits, scores, scores, size, (True,) * OBJECTS, info)


def test_no_sink_enlarges_all_logits_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rows: list[int] = []
    upsample = types.upsample_logits

    def upsampling(logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        rows.append(len(logits))
        return upsample(logits, size)

    monkeypatch.setattr(types, "upsample_logits", upsampling)
    rgb = np.zeros((*FRAME_SIZE, 3), np.uint8)
    for name, kind in SINKS.items():
        with kind.make(SinkOrder(tmp_path / name, "clip", frames=1)) as sink:
            sink.write(rgb, crowd(), "000000")
    assert rows and max(rows) == 1


def test_a_log_gives_back_logits_of_a_byte_a_pixel(tmp_path: Path) -> None:
    result = crowd()
    with ResultLog(tmp_path / "log") as log:
        log.append(result)
        again = log.read(0)
    assert again.logits.element_size() == 1
    assert np.array_equal(again.masks, result.masks)
    assert np.array_equal(again.label_map(), result.label_map())
    assert result.contested()[0].mean() > 0.9, "nothing overlaps here: the test shows nothing"
