"""Where the time of a run goes: measured at the seams, so that neither model nor protocol knows of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam2_video.evaluation.results import StageTime
from sam2_video.evaluation.sequences import Bools, EvaluatedObject, VosSequence
from sam2_video.model.sam1 import AnyModel
from sam2_video.network import Network
from sam2_video.session import Size
from sam2_video.timeline import Outcome
from sam2_video.types import FrameMemory, ImageFeatures, MaskPrediction, Prompt, Recall
from sam2_video.video_predictor import VideoPredictor

STAGES = ("decode", "encode", "track", "write")


@dataclass
class Stopwatch:
    """Durations by stage, in seconds: one for each frame that is read, looked at, tracked or written."""

    durations: dict[str, list[float]] = field(default_factory=lambda: {stage: [] for stage in STAGES})

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.durations[stage].append(time.perf_counter() - began)

    def stages(self) -> dict[str, StageTime]:
        """Sums in seconds and percentiles in milliseconds of every stage that was gone through."""
        out = {}
        for stage, found in self.durations.items():
            if found:
                p50, p95 = np.percentile(found, (50, 95))
                out[stage] = StageTime(len(found), float(sum(found)), 1e3 * float(p50), 1e3 * float(p95))
        return out


@dataclass(frozen=True)
class TimedSequence:
    """A sequence whose frames are timed as they are decoded."""

    inner: VosSequence
    watch: Stopwatch

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def frame_names(self) -> tuple[str, ...]:
        return self.inner.frame_names

    @property
    def size(self) -> tuple[int, int]:
        return self.inner.size

    @property
    def objects(self) -> tuple[EvaluatedObject, ...]:
        return self.inner.objects

    def image(self, frame: int) -> NDArray[np.uint8]:
        with self.watch.measure("decode"):
            return self.inner.image(frame)

    def masks(self, frame: int) -> Mapping[int, Bools] | None:
        return self.inner.masks(frame)

    def void(self, frame: int) -> Bools | None:
        return self.inner.void(frame)


class TimedPredictor(VideoPredictor):
    """A predictor whose sessions time what they ask of the network."""

    def __init__(self, model: AnyModel) -> None:
        super().__init__(model)
        self.watch = Stopwatch()  # may be replaced between sequences

    def _network(self, *, offload: bool = False) -> Network:
        return TimedNetwork(
            self.model,
            self.transform,
            self.fill_holes,
            self.non_overlapping,
            offload,
            self._steps,
            watch=self.watch,
        )


@dataclass(frozen=True)
class TimedNetwork(Network):
    """Encoding a picture is one stage; all that is done with what was seen, for all objects, is the other.

    Results are on the CPU when they are returned. What is seen may still be under way on a GPU: it is waited
    for, or its time would be counted to whoever waits next.
    """

    watch: Stopwatch = field(default_factory=Stopwatch)

    def look(self, rgb: NDArray[np.uint8]) -> ImageFeatures:
        with self.watch.measure("encode"):
            seen = super().look(rgb)
            if self.model.device.type == "cuda":
                torch.cuda.synchronize(self.model.device)
            return seen

    def segment(
        self, features: ImageFeatures, prompt: Prompt, size: Size, previous: Tensor | None, recall: Recall
    ) -> Outcome:
        with self.watch.measure("track"):
            return super().segment(features, prompt, size, previous, recall)

    def follow(self, features: ImageFeatures, recalls: Sequence[Recall]) -> list[Outcome]:
        with self.watch.measure("track"):
            return super().follow(features, recalls)

    def remember(self, features: ImageFeatures, prediction: MaskPrediction, *, prompted: bool) -> FrameMemory:
        with self.watch.measure("track"):
            return super().remember(features, prediction, prompted=prompted)


def peak_mib() -> float:
    """Resident memory of this process at its highest, in MiB; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def peak_gpu_mib(device: torch.device) -> float:
    """What tensors of this process took on a GPU at their highest, in MiB; 0 for other devices."""
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else 0.0
