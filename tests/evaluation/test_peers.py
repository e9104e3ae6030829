"""J and F next to an installed public implementation: TrackEval's port of the DAVIS 2017 evaluation."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from sam2_video.evaluation.metrics import compare, statistics
from tests.paths import SHARED, needs_shared

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # in pycocotools
]


@pytest.fixture
def peer() -> Any:
    """No extra asks for it: docs/metrics.md says why."""
    pytest.importorskip("trackeval", reason="needs pip install --no-deps trackeval scipy")
    from trackeval.metrics import JAndF

    return JAndF()


def by_peer(peer: Any, predicted: list[np.ndarray], truth: list[np.ndarray]) -> dict[str, float]:
    """What it says of one object on all frames given."""
    from pycocotools import mask as rle

    def encoded(masks: list[np.ndarray]) -> list[list[Any]]:
        return [[rle.encode(np.asfortranarray(mask.astype(np.uint8)))] for mask in masks]

    data = {
        "num_timesteps": len(truth),
        "num_gt_ids": 1,
        "num_tracker_ids": 1,
        "gt_ids": [np.array([0])] * len(truth),
        "tracker_ids": [np.array([0])] * len(truth),
        "gt_dets": encoded(truth),
        "tracker_dets": encoded(predicted),
    }
    return {name: float(value) for name, value in peer.eval_sequence(data).items()}


def ours(predicted: list[np.ndarray], truth: list[np.ndarray]) -> dict[str, float]:
    scores = [compare(a, b) for a, b in zip(predicted, truth, strict=True)]
    j, f = statistics([s.j for s in scores]), statistics([s.f for s in scores])
    found = {"J-Mean": j.mean, "J-Recall": j.recall, "J-Decay": j.decay}
    found |= {"F-Mean": f.mean, "F-Recall": f.recall, "F-Decay": f.decay}
    return {**found, "J&F": (j.mean + f.mean) / 2, "num_gt_tracks": 1}


@needs_shared
@pytest.mark.parametrize("apart", [1, 5])
def test_real_masks_score_the_same(peer: Any, apart: int) -> None:
    """A true mask some frames later is the prediction; the first 12 of the frames that count."""
    folders = sorted((SHARED / "data/davis2016_dev/Annotations/480p").iterdir())
    for folder in folders:
        files = sorted(folder.glob("*.png"))[1 : 13 + apart]
        masks = [cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) > 0 for file in files]
        predicted, truth = masks[apart:], masks[:-apart]
        assert ours(predicted, truth) == pytest.approx(by_peer(peer, predicted, truth), abs=1e-9), folder.name
    assert len(folders) == 16


@pytest.mark.parametrize("seed", range(8))
def test_random_blobs_score_the_same(peer: Any, seed: int) -> None:
    """Clips of 1 to 9 frames, with empty and full masks among them."""
    rng = np.random.default_rng(seed)
    size = (int(rng.integers(100, 300)), int(rng.integers(100, 300)))

    def blobs() -> list[np.ndarray]:
        noise = [cv2.GaussianBlur(rng.standard_normal(size), (0, 0), 5) for _ in range(seed + 1)]
        return [one > rng.choice([-9.0, -0.5, 0.3, 1.0, 9.0]) * one.std() for one in noise]

    predicted, truth = blobs(), blobs()
    assert ours(predicted, truth) == pytest.approx(by_peer(peer, predicted, truth), abs=1e-9)
