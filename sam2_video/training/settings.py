"""What a training run is made of; `configs/train/*.yaml` fills these classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sam2_video.types import ConfigError


@dataclass(frozen=True)
class Stage:
    """A stretch of the curriculum: how long, on what clips, and how prompts are simulated."""

    name: str
    steps: int
    frames: int  # per clip; 1 = single pictures
    batch: int  # clips in a step
    size: int  # side of the square frames in pixels, a multiple of 32
    mask_prompts: float = 0.5  # share of steps that start from a mask; the rest start from a box or a click
    box_prompts: float = 0.25
    refine_rounds: int = 2  # at most this many correction clicks on a frame prompted by box or click
    correct_frame: float = 0.2  # share of steps in which later frames are corrected by clicks
    correct_frames: int = 1  # at most this many of them
    correct_clicks: int = 1  # at most this many clicks on each
    correct_ahead: float = 0.0  # share of those steps in which all frames are tracked after all corrections
    rate: float = 1.0  # factor on the learning rate: small batches of long clips want a lower one

    def __post_init__(self) -> None:
        if min(self.steps, self.frames, self.batch) < 1 or self.size < 32 or self.size % 32:
            raise ConfigError(
                f"stage {self.name!r}: steps, frames and batch are at least 1, size a multiple of 32"
            )
        if self.frames == 1 and self.mask_prompts > 0:
            raise ConfigError(
                f"stage {self.name!r}: a mask prompt on a single picture leaves nothing to learn"
            )

    @property
    def work(self) -> float:
        """Relative cost in pixels, by which the learning rate is scheduled across stages."""
        return float(self.steps * self.frames * self.batch * self.size**2)


@dataclass(frozen=True)
class TrainSettings:
    """A training run. Every random choice is a function of `seed` and the step, so that resuming is exact."""

    model: str
    stages: tuple[Stage, ...]
    stills: str | None = None  # folder of still sets (images/ + masks/), each a folder
    exclude: tuple[str, ...] = ()  # still sets kept out of training
    clips: str | None = None  # folder of real clips in DAVIS layout
    clips_share: float = 0.5  # of the clips drawn from `clips`, where both are given
    validation: str | None = None  # folder in DAVIS layout
    overrides: tuple[str, ...] = ()
    init: str | None = None  # name or path of weights to start from
    seed: int = 0
    learning_rate: float = 4e-4
    final_rate: float = 0.01  # of the learning rate, reached at the end of the cosine
    warmup_steps: int = 100
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    ema_decay: float = 0.998
    precision: str = "bfloat16"  # of autocast; "float32" switches it off
    device: str = "cpu"
    minutes: float | None = None  # end by the clock: each stage's `steps` are then its share of the time
    threads: int | None = None
    workers: int = 2
    log_every: int = 10
    save_minutes: float = 5.0
    validate_minutes: float = 20.0
    validate_frames: int = 30  # per sequence and validation, from the start
    tensorboard: bool = False
    export_dtype: str | None = None  # number type of exported weights; None keeps float32
    card: dict[str, Any] = field(default_factory=dict)  # goes into the header of the exported weights

    def __post_init__(self) -> None:
        if not self.stages:
            raise ConfigError("a training run needs at least one stage")
        if self.stills is None and self.clips is None:
            raise ConfigError("nothing to train on: give stills=FOLDER or clips=FOLDER")
        for folder in (self.stills, self.clips, self.validation):
            if folder is not None and not Path(folder).is_dir():
                raise ConfigError(f"folder {folder} does not exist")
        if self.precision not in ("float32", "bfloat16"):
            raise ConfigError(f"precision must be float32 or bfloat16, got {self.precision!r}")

    @property
    def total_steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

    def locate(self, step: int) -> tuple[int, int]:
        """Return the stage that global `step` belongs to, and the step within it."""
        for index, stage in enumerate(self.stages):
            if step < stage.steps:
                return index, step
            step -= stage.steps
        raise IndexError("step lies beyond the end of the run")

    def progress(self, step: int) -> float:
        """Share of the run's work done when `step` begins, 0 to 1."""
        total = sum(stage.work for stage in self.stages)
        if step >= self.total_steps:
            return 1.0
        index, inside = self.locate(step)
        done = sum(stage.work for stage in self.stages[:index])
        return (done + self.stages[index].work * inside / self.stages[index].steps) / total


def load_settings(name_or_path: str | Path, overrides: Sequence[str] = ()) -> TrainSettings:
    """Compose a run from a packaged name or a YAML file, with Hydra overrides. Raises ConfigError."""
    from omegaconf import OmegaConf

    from sam2_video.config import compose_config

    values: Any = OmegaConf.to_container(compose_config("train", name_or_path, overrides), resolve=True)
    try:
        stages = tuple(
            Stage(name=name, **stage) for name, stage in (values.pop("stages", None) or {}).items() if stage
        )
        values |= {key: tuple(values.get(key) or ()) for key in ("exclude", "overrides")}
        return TrainSettings(stages=stages, **values)
    except TypeError as error:
        raise ConfigError(f"{name_or_path} does not describe a training run: {error}") from error
