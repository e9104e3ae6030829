"""Where figures of a run go beside its CSV files: TensorBoard, Weights & Biases. Both are optional."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sam2_video.finetuning.settings import FinetuneSettings
from sam2_video.training.loop import open_board
from sam2_video.types import ConfigError


class Board:
    """Takes figures by step; writes them nowhere unless it was asked to."""

    def __init__(self, settings: FinetuneSettings, folder: Path) -> None:
        """Raises ConfigError where a package that is asked for is not there."""
        self._tensorboard = open_board(folder) if settings.tensorboard else None
        self._wandb = _open_wandb(settings, folder) if settings.wandb != "off" else None

    def add(self, group: str, figures: Mapping[str, float], step: int) -> None:
        """Write figures as group/name."""
        named = {f"{group}/{name}": value for name, value in figures.items()}
        if self._tensorboard is not None:
            for name, value in named.items():
                self._tensorboard.add_scalar(name, value, step)
        if self._wandb is not None:
            self._wandb.log(named, step=step)

    def close(self) -> None:
        if self._tensorboard is not None:
            self._tensorboard.close()
        if self._wandb is not None:
            self._wandb.finish()


def _open_wandb(settings: FinetuneSettings, folder: Path) -> Any:
    try:
        import wandb
    except ImportError as error:
        raise ConfigError(f"wandb={settings.wandb} needs Weights & Biases: pip install wandb") from error
    # The name of the folder as the run's id: a resumed training goes on with the same curves.
    return wandb.init(
        project=settings.wandb_project,
        id=folder.resolve().name,
        dir=str(folder),
        mode=settings.wandb,
        resume="allow",
        config=settings.record(),
    )
