"""What a run does with every sequence: plain values that travel to workers and into the manifest."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sam2_video.evaluation.in_memory import Beginning
from sam2_video.evaluation.sequences import DataSet
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


def shorten(data: DataSet, max_frames: int | None) -> DataSet:
    """Cut every sequence that has more frames. Raises DataError for less than 3: the ends do not count."""
    if max_frames is None:
        return data
    if max_frames < 3:
        raise DataError(f"at most {max_frames} frames of a sequence leave none to be scored; allow 3 or more")
    return replace(data, sequences=tuple(Beginning(one, max_frames) for one in data.sequences))
