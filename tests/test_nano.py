"""The bundled model does its job. Thresholds lie far below what was measured: only damage fails."""

from __future__ import annotations

import numpy as np
import pytest

import sam2_video
from sam2_video.demo_clip import BALL, CAT, Scene
from sam2_video.evaluation.datasets import open_dataset
from sam2_video.evaluation.metrics import region_similarity
from sam2_video.model.sam2 import SAM2
from sam2_video.registry import find_model

from .paths import SHARED, needs_shared


@pytest.fixture(scope="module")
def nano() -> SAM2:
    return sam2_video.load_model("nano")


def test_it_is_small_enough_to_ship() -> None:
    path = find_model("nano").path
    assert path is not None and path.stat().st_size <= 16_000_000


def test_a_mask_is_followed_through_the_drawn_clip(nano: SAM2) -> None:
    scene = Scene()
    frames, truth = zip(*(scene.render(t) for t in range(12)), strict=True)
    overlaps = {BALL: [], CAT: []}
    with sam2_video.VideoPredictor(nano).open(list(frames)) as session:
        for object_id in overlaps:
            session.prompt(frame=0, object_id=object_id, mask=truth[0][object_id])
        for result in session.propagate(start=0):
            for object_id, mask in zip(result.object_ids, result.masks, strict=True):
                overlaps[object_id].append(region_similarity(mask, truth[result.frame][object_id]))
    for object_id, values in overlaps.items():
        assert len(values) == 12
        assert np.mean(values[1:]) > 0.5, object_id


@needs_shared
@pytest.mark.parametrize(("kind", "least"), [("mask", 0.7), ("box", 0.4), ("click1", 0.4)])
def test_a_bear_is_followed(nano: SAM2, kind: str, least: float) -> None:
    from sam2_video.evaluation.in_memory import track_and_score

    (bear,) = open_dataset(SHARED / "data" / "davis2016_dev", sequences=["bear"]).sequences
    summary = track_and_score(sam2_video.VideoPredictor(nano), [bear], kind, max_frames=10)
    assert len(summary.objects[0].frames) == 8 and summary.overall.j.mean > least
