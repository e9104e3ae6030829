"""What a run does with every sequence: plain values that travel to workers and into the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2_video.evaluation.sequences import Bools, DataSet, EvaluatedObject, VosSequence
from sam2_video.types import DataError


@dataclass(frozen=True)
class ModelSetup:
    """Which model runs, and how. `device`: None means a CUDA GPU where there is one.

    `threads` are those of the CPU in each process. Another number rounds differently: the same number gives
    the same results in one process, in many, and on a cluster, so it is 1 wherever nothing else is said.
    """

    model: str = "nano"
    checkpoint: str | None = None
    device: str | None = None
    dtype: str = "float32"
    threads: int = 1
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """Everything that decides what is predicted of a sequence."""

    model: ModelSetup = field(default_factory=ModelSetup)
    protocol: str = "mask"
    seed: int = 0
    max_frames: int | None = None  # of each sequence: a quicker, easier measure
    overlapping: bool = False  # as `DataSet.overlapping`

    def settings(self) -> dict[str, Any]:
        """What must be the same for results to be the same, apart from weights and data."""
        model = asdict(self.model) | {"overrides": list(self.model.overrides)}
        del model["checkpoint"]  # a path; what lies there is told by its hash
        # cuda:1 computes what cuda:0 does.
        return asdict(self) | {"model": model | {"device": device_kind(self.model)}}


def device_of(setup: ModelSetup) -> str:
    """The device that a model runs on."""
    import torch

    return setup.device or ("cuda" if torch.cuda.is_available() else "cpu")


def device_kind(setup: ModelSetup) -> str:
    """cpu, cuda, mps."""
    return device_of(setup).partition(":")[0]


@dataclass(frozen=True)
class ShortSequence:
    """The first frames of a sequence, as a `VosSequence`."""

    whole: VosSequence
    count: int

    @property
    def name(self) -> str:
        return self.whole.name

    @property
    def frame_names(self) -> tuple[str, ...]:
        return self.whole.frame_names[: self.count]

    @property
    def size(self) -> tuple[int, int]:
        return self.whole.size

    @property
    def objects(self) -> tuple[EvaluatedObject, ...]:
        """The objects that begin early enough. Raises DataError where there are none."""
        found = tuple(
            EvaluatedObject(
                one.object_id,
                one.first,
                tuple(frame for frame in one.scored if frame < self.count),
                one.group,
                one.category,
            )
            for one in self.whole.objects
            if one.first < self.count
        )
        if not found:
            raise DataError(
                f"sequence {self.name}: no object begins in its first {self.count} frames; allow more of them"
            )
        return found

    def image(self, frame: int) -> NDArray[np.uint8]:
        return self.whole.image(frame)

    def masks(self, frame: int) -> Mapping[int, Bools] | None:
        return self.whole.masks(frame)

    def void(self, frame: int) -> Bools | None:
        return self.whole.void(frame)


def shorten(data: DataSet, max_frames: int | None) -> DataSet:
    """Cut every sequence that has more frames. Raises DataError for fewer than 2 frames."""
    if max_frames is None:
        return data
    if max_frames < 2:
        raise DataError(f"--max-frames {max_frames}: at least 2, one to begin with and one to be scored")
    sequences = tuple(
        ShortSequence(one, max_frames) if len(one.frame_names) > max_frames else one for one in data.sequences
    )
    return replace(data, sequences=sequences)
