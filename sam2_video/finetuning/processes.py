"""The processes that train one model, and their devices and precision: what `accelerate` does for the loop.

A run without `accelerate launch` is one process. Random choices, resume and files are the loop's own: see
docs/decisions/0018-accelerate-carries-fine-tuning.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn

from sam2_video.finetuning.settings import FinetuneSettings
from sam2_video.types import ConfigError

PATIENCE = timedelta(hours=12)  # how long the others wait while the first process checks data, or scores


class Processes:
    """Rank 0 of `count` leads: it writes files and speaks."""

    def __init__(self, settings: FinetuneSettings) -> None:
        try:
            from accelerate import Accelerator
            from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs
        except ImportError as error:
            raise ConfigError("fine-tuning needs accelerate: pip install 'sam2_video[train]'") from error
        # What a pass does not use (presence on pictures, a candidate that is not asked for) has no gradient.
        unused = DistributedDataParallelKwargs(find_unused_parameters=True)
        try:
            self._accelerator = Accelerator(
                cpu=settings.device == "cpu",
                mixed_precision=settings.mixed_precision,
                gradient_accumulation_steps=settings.schedule.accumulate,
                kwargs_handlers=[unused, InitProcessGroupKwargs(timeout=PATIENCE)],
            )
        except ValueError as error:  # a precision that the device does not have
            raise ConfigError(f"mixed_precision={settings.mixed_precision}: {error}") from error

    @property
    def rank(self) -> int:
        return int(self._accelerator.process_index)

    @property
    def count(self) -> int:
        return int(self._accelerator.num_processes)

    @property
    def leads(self) -> bool:
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        return torch.device(self._accelerator.device)

    @property
    def synchronises(self) -> bool:
        """Is this the last pass of a step, after which gradients are complete?"""
        return bool(self._accelerator.sync_gradients)

    @property
    def scales(self) -> bool:
        """Are gradients scaled (fp16)? Then the scaler leaves out steps that are not finite."""
        return self._accelerator.scaler is not None

    def prepare(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, Any]:
        prepared: tuple[nn.Module, Any] = self._accelerator.prepare(module, optimizer)
        return prepared

    def accumulate(self, module: nn.Module) -> AbstractContextManager[Any]:
        """Around one pass: gradients are exchanged in the last one of a step alone."""
        context: AbstractContextManager[Any] = self._accelerator.accumulate(module)
        return context

    def backward(self, loss: Tensor) -> None:
        self._accelerator.backward(loss)

    def clip(self, weights: Mapping[str, Tensor], norm: float) -> float:
        """Scale gradients down to a norm; returns what it was."""
        found = self._accelerator.clip_grad_norm_(list(weights.values()), norm)
        return math.nan if found is None else float(found)

    def wait(self) -> None:
        """Return when everybody is here."""
        self._accelerator.wait_for_everyone()

    def shared(self, value: Any) -> Any:
        """Return what the first process has."""
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value])[0]

    def scaler_state(self) -> dict[str, Any]:
        return {} if self._accelerator.scaler is None else dict(self._accelerator.scaler.state_dict())

    def load_scaler(self, state: dict[str, Any]) -> None:
        if state and self._accelerator.scaler is not None:
            self._accelerator.scaler.load_state_dict(state)

    def end(self) -> None:
        """Let go of the model; alone, also of settings that the library keeps for all runs of a program."""
        self._accelerator.free_memory()
        if self.count == 1:
            type(self._accelerator.state)._reset_state(reset_partial_state=True)
