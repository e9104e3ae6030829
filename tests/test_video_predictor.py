"""The driver on a toy network: what users get, and what goes through the network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import sam2_video
from sam2_video import network, steps
from sam2_video.memory import MemoryPolicy
from sam2_video.network import Network
from sam2_video.transforms import FrameTransform
from sam2_video.types import ABSENT_LOGIT, PromptError, SourceError
from sam2_video.video_predictor import VideoPredictor
from tests.toys import FRAME_SIZE, SIDE, toy_clip, toy_model

CLICK: dict[str, Any] = {"points": [(12, 14)], "labels": [1]}
OTHER: dict[str, Any] = {"box": (30, 10, 60, 40)}


def test_result_has_the_promised_shapes() -> None:
    with VideoPredictor(toy_model()).open(toy_clip(3)) as session:
        session.prompt(frame=0, object_id=9, **CLICK)
        first = session.prompt(frame=0, object_id=4, **OTHER)
        assert first.object_ids == (4,)
        results = list(session.propagate())
    assert [r.frame for r in results] == [0, 1, 2]
    result = results[1]
    assert result.object_ids == (4, 9)
    assert result.logits.shape == (2, SIDE // 4, SIDE // 4)
    assert result.logits.dtype == result.iou.dtype == result.presence.dtype == torch.float32
    assert result.masks.shape == (2, *FRAME_SIZE) and result.masks.dtype == bool
    assert result.iou.shape == result.presence.shape == (2,)
    assert result.boxes.shape == (2, 4)
    assert results[0].prompted == (True, True) and result.prompted == (False, False)
    assert torch.equal(results[0].logits[0], first.logits[0])
    assert not result.logits.is_inference()  # an ordinary tensor: users may train on it


def test_object_to_come_is_reported_absent() -> None:
    with VideoPredictor(toy_model()).open(toy_clip(4)) as session:
        session.prompt(frame=0, object_id=1, **CLICK)
        session.prompt(frame=2, object_id=2, **OTHER)
        results = list(session.propagate())
    assert (results[1].logits[1] == ABSENT_LOGIT).all()
    assert results[1].presence[1] == ABSENT_LOGIT and results[1].iou[1] == 0
    assert not results[1].masks[1].any() and results[2].presence[1] > 0


def test_mask_prompt_comes_back_as_the_mask() -> None:
    mask = np.zeros(FRAME_SIZE, bool)
    mask[9:33, 15:55] = True
    with VideoPredictor(toy_model()).open(toy_clip(2)) as session:
        result = session.prompt(frame=0, object_id=1, mask=mask)
    both, either = (result.masks[0] & mask).sum(), (result.masks[0] | mask).sum()
    assert both / either > 0.8
    assert result.presence[0] == 10


def test_objects_of_one_layout_share_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    real = steps.segment_next

    def counting(model: Any, features: Any, recall: Any) -> Any:
        prediction = real(model, features, recall)
        sizes.append(len(prediction.iou))
        return prediction

    monkeypatch.setattr(steps, "segment_next", counting)
    with VideoPredictor(toy_model()).open(toy_clip(4)) as session:
        for object_id in (1, 2, 3):
            session.prompt(frame=0, object_id=object_id, **CLICK)
        session.prompt(frame=1, object_id=8, **OTHER)
        list(session.propagate())
    assert sizes == [3, 3, 1, 3, 1]  # object 8 is prompted on frame 1, and then has its own layout
    sizes.clear()
    monkeypatch.setattr(network, "MAX_BATCH", 2)
    with VideoPredictor(toy_model()).open(toy_clip(2)) as session:
        for object_id in (1, 2, 3):
            session.prompt(frame=0, object_id=object_id, **CLICK)
        list(session.propagate())
    assert sizes == [2, 1]


def test_how_many_objects_share_a_batch_depends_on_what_they_take() -> None:
    def batch(name: str, size: int, dtype: torch.dtype) -> int:
        with torch.device("meta"):
            model = sam2_video.build_model(name, overrides=[f"image_size={size}"]).to(dtype)
        return Network(model, FrameTransform(size)).batch_size

    assert batch("nano", 256, torch.float32) == network.MAX_BATCH
    large, half = (batch("sam2.1_hiera_large", 1024, dtype) for dtype in (torch.float32, torch.bfloat16))
    assert 1 <= large < half < network.MAX_BATCH
    assert batch("sam2.1_hiera_large", 4096, torch.float32) == 1  # it does not fit, and is tracked


def test_holes_are_filled_in_results_and_not_in_memories() -> None:
    mask = np.zeros(FRAME_SIZE, bool)
    mask[6:42, 10:70] = True
    mask[18:24, 30:40] = False  # two by two low-resolution pixels
    plain, filled = [], []
    for out, holes in ((plain, 0), (filled, 6)):
        with VideoPredictor(toy_model(), fill_holes=holes).open(toy_clip(5)) as session:
            session.prompt(frame=0, object_id=1, mask=mask)
            out.extend(session.propagate())
    assert not plain[0].masks[0, 21, 35] and filled[0].masks[0, 21, 35]
    for a, b in zip(plain, filled, strict=True):
        assert torch.equal(network.fill_holes(a.logits, 6), b.logits)
        assert torch.equal(a.presence, b.presence)


def test_objects_share_no_pixel_if_asked() -> None:
    for alone in (False, True):
        with VideoPredictor(toy_model(), non_overlapping=alone).open(toy_clip(3)) as session:
            session.prompt(frame=0, object_id=1, **CLICK)
            session.prompt(frame=0, object_id=2, **OTHER)
            shared = sum(int((r.masks.sum(axis=0) > 1).sum()) for r in session.propagate())
        assert (shared == 0) == alone


def test_corrections_stay_unless_the_reference_rule_is_asked_for() -> None:
    for keep in (True, False):
        with VideoPredictor(toy_model(), keep_corrections=keep).open(toy_clip(5)) as session:
            session.prompt(frame=0, object_id=1, **CLICK)
            before = {r.frame: r for r in session.propagate()}
            corrected = session.prompt(frame=3, object_id=1, points=[(70, 40)], labels=[0])
            after = {r.frame: r for r in session.propagate()}
        assert torch.equal(after[3].logits, corrected.logits) == keep
        assert torch.equal(after[3].logits, before[3].logits) != keep


def test_memory_policy_reaches_the_bank() -> None:
    with VideoPredictor(toy_model(), memory=MemoryPolicy(recent=2, pointers=3)).open(toy_clip(8)) as session:
        session.prompt(frame=0, object_id=1, **CLICK)
        list(session.propagate())
        recall = session.track(1).bank.read(7)
    assert (len(recall.masks), len(recall.pointers)) == (3, 4)
    with pytest.raises(ValueError, match="recent=7"):
        VideoPredictor(toy_model(), memory=MemoryPolicy(recent=7))


def test_memories_are_bfloat16_and_own_their_storage() -> None:
    with VideoPredictor(toy_model()).open(toy_clip(3)) as session:
        session.prompt(frame=0, object_id=1, **CLICK)
        session.prompt(frame=0, object_id=2, **OTHER)
        list(session.propagate())
        memory = session.track(1).bank.tracked[2]
    assert memory.features.dtype == torch.bfloat16
    assert memory.features.untyped_storage().nbytes() == memory.features.numel() * 2


def test_half_precision_runs() -> None:
    model = toy_model(32)
    try:
        with VideoPredictor(model.to(torch.bfloat16)).open(toy_clip(3)) as session:
            session.prompt(frame=0, object_id=1, **CLICK)
            session.prompt(frame=0, object_id=1, points=[(60, 40)], labels=[0])
            session.prompt(frame=0, object_id=2, mask=np.ones(FRAME_SIZE, bool))
            results = list(session.propagate())
    finally:
        model.to(torch.float32)
    assert results[2].logits.dtype == torch.float32
    assert torch.isfinite(results[2].logits).all()


def test_folder_equals_arrays(tmp_path: Path) -> None:
    clip = toy_clip(4)
    for t, rgb in enumerate(clip):
        cv2.imwrite(str(tmp_path / f"{t:03d}.png"), rgb[..., ::-1])
    runs = []
    for source in (clip, tmp_path):
        with VideoPredictor(toy_model()).open(source) as session:
            session.prompt(frame=0, object_id=1, **CLICK)
            runs.append([r.logits for r in session.propagate()])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_video_size_scales_prompts_and_masks() -> None:
    big = (FRAME_SIZE[0] * 5, FRAME_SIZE[1] * 5)
    predictor = VideoPredictor(toy_model())
    with predictor.open(toy_clip(1)) as session:
        plain = session.prompt(frame=0, object_id=1, **CLICK)
    with predictor.open(toy_clip(1), video_size=big) as session:
        scaled = session.prompt(frame=0, object_id=1, points=[(60, 70)], labels=[1])
    assert torch.allclose(plain.logits, scaled.logits, atol=1e-5)
    assert scaled.masks.shape == (1, *big)
    assert (replace(scaled, size=FRAME_SIZE).masks == plain.masks).all()


def test_bad_sources_and_prompts_raise_before_anything_runs(tmp_path: Path) -> None:
    predictor = VideoPredictor(toy_model())
    for source in ([], tmp_path, tmp_path / "none.mp4"):
        with pytest.raises(SourceError):
            predictor.open(source)
    with predictor.open(toy_clip(2)) as session, pytest.raises(PromptError, match="outside frame 1"):
        session.prompt(frame=1, object_id=1, points=[(80, 3)], labels=[1])
    with pytest.raises(ValueError, match="retain"):
        predictor.open(toy_clip(2), retain="some")  # type: ignore[arg-type]


def test_frames_of_another_size_stop_the_walk_with_a_reason() -> None:
    clip = [*toy_clip(2), *toy_clip(1, size=(40, 40))]
    with VideoPredictor(toy_model()).open(iter(clip)) as session:
        session.prompt(frame=0, object_id=1, **CLICK)
        seen = []
        with pytest.raises(SourceError, match="40x40"):
            for result in session.propagate():
                seen.append(result.frame)
    assert seen == [0, 1]


@pytest.mark.gpu
@pytest.mark.parametrize("retain", ["all", "window"])
def test_gpu_agrees_and_memories_wait_where_they_should(retain: Any) -> None:
    def run(device: str) -> tuple[list[torch.Tensor], str]:
        with VideoPredictor(toy_model().to(device)).open(toy_clip(5), retain=retain) as session:
            session.prompt(frame=0, object_id=1, **CLICK)
            logits = [r.logits for r in session.propagate()]
            return logits, session.track(1).bank.tracked[4].features.device.type

    try:
        there, place = run("cuda")
    finally:
        here, _ = run("cpu")
    assert place == ("cpu" if retain == "all" else "cuda")
    assert all(torch.allclose(a, b, atol=5e-2) for a, b in zip(here, there, strict=True))
