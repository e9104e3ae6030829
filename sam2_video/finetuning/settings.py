"""What a fine-tuning is made of; `configs/train/finetune.yaml` and the groups beside it fill this."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sam2_video.config import compose_config
from sam2_video.types import ConfigError

PACKAGED = ("finetune", "finetune_video")
PARTS = ("encoder", "prompts", "decoder", "memory")  # what a preset may train
# These decide where and how a run executes, not what it computes: a resumed run may change them.
RUN_ONLY = ("device", "threads", "log_every", "tensorboard", "wandb", "wandb_project", "export_dtype", "card")
DATA_RUN_ONLY = ("cache", "cache_gb", "cache_folder", "workers")
SCHEDULE_RUN_ONLY = ("save_minutes",)


@dataclass(frozen=True)
class DataSettings:
    """Where the data lies and how it is drawn from; configs/train/data/base.yaml says what each means."""

    format: str
    folder: str
    annotations: str | None = None
    split: str | None = None
    validation_split: str | None = None
    validation_folder: str | None = None
    validation_annotations: str | None = None
    held_out: float = 0.0
    frames: int = 1
    max_stride: int = 1
    objects: int = 8
    min_pixels: int = 16
    flip: float = 0.5
    colour: float = 0.0
    cache: str = "auto"
    cache_gb: float = 4.0
    cache_folder: str | None = None
    skip_broken: bool = False
    workers: int = 2

    def __post_init__(self) -> None:
        if min(self.frames, self.max_stride, self.objects, self.min_pixels) < 1:
            raise ConfigError("data: frames, max_stride, objects and min_pixels are at least 1")
        if not 0 <= self.held_out < 1 or not 0 <= self.flip <= 1 or not 0 <= self.colour <= 1:
            raise ConfigError("data: held_out, flip and colour are shares from 0 to 1, held_out below 1")
        if self.cache not in ("auto", "off", "memory", "disk"):
            raise ConfigError(f"data.cache is auto, off, memory or disk; got {self.cache!r}")
        if self.colour > 0 and self.cache in ("memory", "disk"):
            raise ConfigError(
                "changed colours give every look at a picture an embedding of its own, so none can be kept: "
                "take data.colour=0 (mirrored pictures are kept, too) or data.cache=off"
            )


@dataclass(frozen=True)
class PicturePrompts:
    """Prompts drawn from the mask of an object on a picture."""

    drop_points: float = 0.3
    drop_box: float = 0.5
    drop_negative: float = 0.5
    centre: float = 0.5
    box_noise: float = 0.1


@dataclass(frozen=True)
class ClipPrompts:
    """Prompts of a simulated user on a clip."""

    mask: float = 0.5
    box: float = 0.25
    correct: int = 2
    correction_clicks: int = 7


@dataclass(frozen=True)
class LossSettings:
    """Factors of the parts of the loss; 0 leaves one out."""

    bce: float = 0.0
    focal: float = 0.0
    dice: float = 1.0
    iou: float = 0.0
    presence: float = 0.0

    def __post_init__(self) -> None:
        if min(asdict(self).values()) < 0 or self.bce + self.focal + self.dice <= 0:
            raise ConfigError("losses are not negative, and one of bce, focal and dice is above 0")


@dataclass(frozen=True)
class Schedule:
    """How long, in steps of how many pictures or clips, and at which rate."""

    epochs: int = 20
    batch: int = 4
    accumulate: int = 1
    learning_rate: float = 1e-4
    encoder_rate: float = 0.1
    final_rate: float = 0.01
    warmup_steps: int = 10
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    patience: int | None = None
    save_minutes: float = 5.0
    validate_every: int = 1
    validate_frames: int | None = None

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch, self.accumulate, self.validate_every) < 1:
            raise ConfigError("schedule: epochs, batch, accumulate and validate_every are at least 1")


@dataclass(frozen=True)
class LoraSettings:
    """Low-rank adapters (arXiv 2106.09685): `targets` are "encoder", "decoder", or regular expressions."""

    rank: int = 8
    alpha: int = 16
    dropout: float = 0.0
    targets: tuple[str, ...] = ("encoder", "decoder")

    def __post_init__(self) -> None:
        if self.rank < 1 or not 0 <= self.dropout < 1 or not self.targets:
            raise ConfigError("preset.lora: rank is at least 1, dropout below 1, and there are targets")


@dataclass(frozen=True)
class Preset:
    """What is trained: whole parts of the network, or adapters in it."""

    name: str
    parts: tuple[str, ...] = ()
    lora: LoraSettings | None = None
    checkpointing: bool = False

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.parts) - set(PARTS)):
            raise ConfigError(f"preset.parts knows {', '.join(PARTS)}; got {', '.join(unknown)}")
        if bool(self.parts) == (self.lora is not None):
            raise ConfigError("a preset trains parts of the network or adapters (lora), one of both")


@dataclass(frozen=True)
class FinetuneSettings:
    """A fine-tuning. Every random choice is a function of `seed` and the place in the run."""

    data: DataSettings
    prompts: PicturePrompts | ClipPrompts
    losses: LossSettings
    schedule: Schedule
    preset: Preset
    model: str = "nano"
    init: str | None = None
    overrides: tuple[str, ...] = ()
    seed: int = 0
    device: str = "auto"
    mixed_precision: str = "no"
    threads: int | None = None
    log_every: int = 10
    tensorboard: bool = False
    wandb: str = "off"
    wandb_project: str = "sam2-video"
    export_dtype: str | None = None
    card: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value, known in (
            ("device", self.device, ("auto", "cpu")),
            ("mixed_precision", self.mixed_precision, ("no", "bf16", "fp16")),
            ("wandb", self.wandb, ("off", "offline", "online")),
        ):
            if value not in known:
                raise ConfigError(f"{name} is one of {', '.join(known)}; got {value!r}")
        if self.on_clips and not isinstance(self.prompts, ClipPrompts):
            raise ConfigError(
                f"data.frames={self.data.frames} trains on clips: take finetune_video instead of finetune, "
                "or data.frames=1 to train on single pictures"
            )
        if not self.on_clips and isinstance(self.prompts, ClipPrompts):
            raise ConfigError("single pictures want prompts=pictures losses=bce_dice: take `train finetune`")
        if not self.on_clips and self.preset.name == "decoder+memory":
            raise ConfigError("a single picture teaches nothing about memory: train on clips, or the decoder")

    @property
    def on_clips(self) -> bool:
        return self.data.frames > 1

    @property
    def trains_encoder(self) -> bool:
        return self.preset.lora is not None or "encoder" in self.preset.parts

    def record(self) -> dict[str, Any]:
        """Return what decides the outcome: a resumed run must have the same."""
        values = {key: value for key, value in asdict(self).items() if key not in RUN_ONLY}
        values["data"] = {k: v for k, v in values["data"].items() if k not in DATA_RUN_ONLY}
        values["schedule"] = {k: v for k, v in values["schedule"].items() if k not in SCHEDULE_RUN_ONLY}
        return values


def is_finetuning(name_or_path: str | Path) -> bool:
    """Is this a packaged fine-tuning, or a YAML file whose defaults begin with one?"""
    import yaml  # type: ignore[import-untyped, unused-ignore]

    if str(name_or_path) in PACKAGED:
        return True
    path = Path(name_or_path).expanduser()
    if path.suffix != ".yaml" or not path.is_file():
        return False
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return False
    defaults = values.get("defaults") if isinstance(values, dict) else None
    return isinstance(defaults, list) and any(one in PACKAGED for one in defaults if isinstance(one, str))


def load_settings(name_or_path: str | Path, overrides: Sequence[str] = ()) -> FinetuneSettings:
    """Compose a fine-tuning from a packaged name or a YAML file, with Hydra overrides. Raises ConfigError."""
    from omegaconf import OmegaConf

    if not is_finetuning(name_or_path):
        known = " and ".join(PACKAGED)
        raise ConfigError(f"{name_or_path} is no fine-tuning; {known} are, and files whose defaults name one")
    composed: Any = OmegaConf.to_container(
        compose_config("train", name_or_path, overrides, flat=True), resolve=True
    )
    values = {str(key): value for key, value in composed.items()}
    if not values["data"].get("folder") and not values["data"].get("annotations"):
        raise ConfigError("nothing to train on: give data.folder=FOLDER")
    try:
        return _filled(values)
    except TypeError as error:
        raise ConfigError(f"{name_or_path} does not describe a fine-tuning: {error}") from error


def _filled(values: dict[str, Any]) -> FinetuneSettings:
    data, preset = dict(values.pop("data")), dict(values.pop("preset"))
    data["folder"] = str(data.get("folder") or Path(data["annotations"]).parent)
    prompts = values.pop("prompts")
    lora = preset.pop("lora", None)
    if lora is not None:
        lora = LoraSettings(**{**lora, "targets": tuple(lora.get("targets") or ())})
    return FinetuneSettings(
        data=DataSettings(**data),
        prompts=ClipPrompts(**prompts) if "correct" in prompts else PicturePrompts(**prompts),
        losses=LossSettings(**values.pop("losses")),
        schedule=Schedule(**values.pop("schedule")),
        preset=Preset(**{**preset, "parts": tuple(preset.get("parts") or ()), "lora": lora}),
        **{**values, "overrides": tuple(values.get("overrides") or ())},
    )
