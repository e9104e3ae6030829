"""Tracking one sequence from beginning to end: what every worker does, wherever it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from sam2_video.evaluation.done import Done, write_done
from sam2_video.evaluation.machine import made_by
from sam2_video.evaluation.plan import ModelSetup, Plan, device_of
from sam2_video.evaluation.predictions import PredictionWriter, Written
from sam2_video.evaluation.protocols import Protocol, make_protocol
from sam2_video.evaluation.results import SequenceRun
from sam2_video.evaluation.sequences import VosSequence
from sam2_video.evaluation.timing import Stopwatch, TimedPredictor, TimedSequence, peak_gpu_mib, peak_mib
from sam2_video.model.sam1 import AnyModel
from sam2_video.types import DataError, SinkError

Advance = Callable[[int], object]  # told of frames as they are predicted


class Worker:
    """What a process keeps from one job to the next: the model, loaded for the first of them."""

    def __init__(self, device: str | None = None) -> None:
        self._device = device  # of this worker; None: what the plan says
        self._loaded: tuple[ModelSetup, AnyModel] | None = None
        self._predictor: TimedPredictor | None = None

    def predictor(self, setup: ModelSetup) -> TimedPredictor:
        """The predictor of a model. Raises CheckpointError, ConfigError."""
        model = self.model(setup)
        if self._predictor is None:
            self._predictor = TimedPredictor(model)
        return self._predictor

    def model(self, setup: ModelSetup) -> AnyModel:
        """A model, loaded unless it is the one before. Raises CheckpointError, ConfigError."""
        from sam2_video.checkpoint import load_model

        torch.set_num_threads(setup.threads)
        if self._loaded is None or self._loaded[0] != setup:
            self._loaded = self._predictor = None  # before the next one is loaded: two may not fit
            model = load_model(
                setup.model,
                checkpoint=setup.checkpoint,
                device=self._device or device_of(setup),
                dtype=setup.dtype,
                overrides=setup.overrides,
                progress=False,
            )
            self._loaded = setup, model
        return self._loaded[1]

    @cached_property
    def made_by(self) -> Mapping[str, Any]:
        """Versions and machine; asked for when the model is there."""
        return made_by(None if self._loaded is None else self._loaded[1].device)


@dataclass(frozen=True)
class TrackJob:
    """One sequence to be tracked, and where its results go."""

    sequence: VosSequence
    plan: Plan
    out: Path
    made_of: str  # see `done.Done`
    data: Mapping[str, Any]

    @property
    def name(self) -> str:
        return self.sequence.name

    @property
    def frames(self) -> int:
        return len(self.sequence.frame_names)

    def run(self, worker: Worker, advance: Advance) -> SequenceRun:
        """Track the sequence, write its predictions, then its done-file; say how it went.

        An error ends only this sequence, and is in the answer. Raises what would end all others, too:
        CheckpointError and ConfigError for the model and the protocol, SinkError for the disk.
        """
        began = time.perf_counter()
        predictor = worker.predictor(self.plan.model)
        protocol = make_protocol(self.plan.protocol, overlapping=self.plan.overlapping)
        predictor.watch = watch = Stopwatch()
        written, error = None, ""
        try:
            written = self._track(protocol, predictor, watch, advance)
        except SinkError:
            raise
        except Exception as problem:
            error = _words(problem)
        run = SequenceRun(
            self.name,
            len(watch.durations["write"]),
            time.perf_counter() - began,
            watch.stages(),
            peak_mib(),
            tuple(protocol.rounds),
            error,
            peak_gpu_mib(predictor.model.device),
        )
        self._note(run, written, worker.made_by)
        return run

    def failed(self, error: str) -> SequenceRun:
        """Note that the sequence could not be tracked, for a reason that its worker could not report."""
        run = SequenceRun(self.name, 0, 0.0, error=error)
        self._note(run, None, {})
        return run

    def _track(
        self, protocol: Protocol, predictor: TimedPredictor, watch: Stopwatch, advance: Advance
    ) -> Written:
        done = 0
        folder, overlapping = self.out / "predictions", self.plan.overlapping
        with PredictionWriter(folder, self.sequence, overlapping=overlapping) as writer:
            for prediction in protocol.run(predictor, TimedSequence(self.sequence, watch), self.plan.seed):
                if prediction.frame != done:
                    raise DataError(f"protocol {protocol.name}: frame {prediction.frame} came, not {done}")
                with watch.measure("write"):
                    writer.write(prediction)
                done += 1
                advance(1)
            if done != self.frames:
                raise DataError(f"protocol {protocol.name}: {done} of {self.frames} frames were predicted")
            return writer.close()

    def _note(self, run: SequenceRun, written: Written | None, by: Mapping[str, Any]) -> None:
        write_done(self.out / "sequences", Done(run, written, self.made_of, self.data, by))


def _words(error: Exception) -> str:
    """An error of this package says what is wrong; of others the name of their class helps."""
    own = isinstance(error, DataError)
    return str(error) if own else f"{type(error).__name__}: {error}"
