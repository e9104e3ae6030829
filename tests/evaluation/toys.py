"""A small evaluation made by hand: sequences in memory, predictions that are wrong in known ways."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sam2_video.evaluation.results import Evaluation, SequenceRun, StageTime
from sam2_video.evaluation.scores import MetricOptions, PredictionReader, Summary, score_objects, summarise
from sam2_video.evaluation.sequences import Bools, DataSet, EvaluatedObject, VosSequence

SIZE = (60, 96)  # H, W


@dataclass(frozen=True)
class ToyClip:
    """Object k is a square that moves to the right in a row of its own; the first frame does not count."""

    name: str
    objects: tuple[EvaluatedObject, ...]
    frames: int = 10
    size: tuple[int, int] = SIZE
    unreadable: frozenset[int] = field(default=frozenset())  # frames whose picture cannot be read

    @property
    def frame_names(self) -> tuple[str, ...]:
        return tuple(f"{frame:05d}" for frame in range(self.frames))

    def image(self, frame: int) -> NDArray[np.uint8]:
        if frame in self.unreadable:
            from sam2_video.types import DataError

            raise DataError(f"cannot read frame {frame} of <b>{self.name}</b>")
        ys, xs = np.mgrid[: self.size[0], : self.size[1]]
        grey = (xs + ys + 5 * frame).astype(np.uint8)  # all colours in a painted picture are those of masks
        return np.stack([grey] * 3, axis=2)

    def masks(self, frame: int) -> Mapping[int, Bools] | None:
        return {one.object_id: self.square(one.object_id, frame) for one in self.objects}

    def void(self, frame: int) -> Bools | None:
        return None

    def square(self, object_id: int, frame: int, shift: int = 0) -> Bools:
        mask = np.zeros(self.size, bool)
        row, x = 14 * ((object_id - 1) % 4) + 2, 4 + 4 * frame + shift
        mask[row : row + 12, x : x + 12] = True
        return mask


def clip(name: str, ids: tuple[int, ...] = (1,), group: str = "", frames: int = 10) -> ToyClip:
    scored = tuple(range(1, frames))
    return ToyClip(name, tuple(EvaluatedObject(k, 0, scored, group) for k in ids), frames)


def drifting(sequence: VosSequence) -> PredictionReader:
    """Object k slides off by k pixels each second frame: the larger its id, the worse."""
    assert isinstance(sequence, ToyClip)

    def read(frame: int) -> Mapping[int, Bools]:
        ids = [one.object_id for one in sequence.objects]
        return {k: sequence.square(k, frame, shift=k * frame // 2) for k in ids}

    return read


def without(read: PredictionReader, *frames: int) -> PredictionReader:
    """The same predictions, but none of some frames."""
    return lambda frame: None if frame in frames else read(frame)


def data_set(*clips: ToyClip, withheld: str = "") -> DataSet:
    return DataSet("toy", "val", "data/toy", clips, rule="all frames but the first", withheld=withheld)


def scored(data: DataSet, *, boundary: bool = True) -> Summary:
    """Scores of predictions that drift."""
    options = MetricOptions(boundary=boundary)
    return summarise(s for one in data.sequences for s in score_objects(one, drifting(one), options))


EVIL = "<script>alert(1)</script>"


def evaluation(data: DataSet, *failed: SequenceRun, summary: Summary | None) -> Evaluation:
    """What a run over a toy data set leaves behind; those that failed stand at its end."""
    stages = {
        name: StageTime(10, 0.1 * k, 8.0 * k, 12.0 * k) for k, name in enumerate(("decode", "track"), 1)
    }
    runs = [SequenceRun(one.name, 10, 0.5, stages, 300.0) for one in data.sequences]
    names = {run.name for run in failed}
    manifest = {
        "began": "2026-01-02T03:04:05+00:00",
        "model": {"name": "nano", "sha256": "f00d" * 16, "device": "cpu", "config": {EVIL: EVIL}},
        "protocol": {"name": "mask", "seed": 7},
        "machine": {"cpu": f"Toy CPU {EVIL}"},
    }
    return Evaluation(manifest, (*(run for run in runs if run.name not in names), *failed), summary)
