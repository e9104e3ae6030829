"""The training loop: steps, schedule, running average, exact resume, validation.

    settings = load_settings("nano", ["stills=data/stills", "validation=data/davis"])
    train(settings, Path("runs/nano"))   # call again after a kill: it goes on from the last checkpoint

A run's folder holds `settings.json`, `log.csv`, `validation.csv`, `last.pt` (everything needed to go on),
`best.safetensors` and `last.safetensors` (the running average of the weights, ready for `load_model`).
"""

from __future__ import annotations

import csv
import json
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from sam2_video.config import build_model
from sam2_video.model.sam1 import with_memory
from sam2_video.model.sam2 import SAM2
from sam2_video.training.batches import Batch, MakesClips, load_batches, make_clips
from sam2_video.training.identity import fingerprint, what_changed
from sam2_video.training.initial import give_sense_of_place
from sam2_video.training.losses import Losses, average
from sam2_video.training.prompting import Dice
from sam2_video.training.rollout import Plan, draw_plan, roll_out
from sam2_video.training.settings import Stage, TrainSettings
from sam2_video.training.team import join_team
from sam2_video.types import CheckpointError, ConfigError

log = logging.getLogger(__name__)

# Random streams apart from that of the clips: one the whole team shares, and one for each process.
PLAN_STREAM, PROMPT_STREAM = 1, 2
# Learned codes and tokens: like norms and biases they are not pulled to zero.
FREE_OF_DECAY = (
    *("pos_embed", "maskmem_tpos_enc", "no_mem_", "no_obj_", "point_embeddings", "not_a_point_embed"),
    *("no_mask_embed", "iou_token", "mask_tokens", "obj_score_token"),
)
# A second moment of a hundred steps: a thousand would outlast what a new stage changes.
BETAS = (0.9, 0.99)


class Trainer:
    """One run in one folder."""

    def __init__(self, settings: TrainSettings, folder: Path) -> None:
        self.settings = settings
        self.folder = folder
        self.team = join_team()
        folder.mkdir(parents=True, exist_ok=True)
        if settings.threads:
            torch.set_num_threads(settings.threads)
        if settings.precision == "bfloat16":
            torch.set_float32_matmul_precision("high")  # the few products that autocast leaves in float32
        torch.manual_seed(settings.seed)
        self.model = _start(settings).to(settings.device).train()
        # The running average of the weights is what is validated and shipped.
        self.average = _start(settings).to(settings.device).eval()
        self.average.load_state_dict(self.model.state_dict())
        groups = parameter_groups(self.model, settings.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, betas=BETAS, fused=True)
        self.step = 0
        self.seconds = 0.0
        self.best = -math.inf
        self._waited = 0.0  # seconds without a batch since the last row of the log
        self._last_stage = settings.stages[0].name
        self.cuts = 1  # parts that a batch is taken in, where the device's memory is short
        self.score: float | None = None  # of the last validation, J&F in 0..1
        self._board = open_board(folder) if settings.tensorboard and self.team.leads else None
        self._resume()

    def run(self, clips: MakesClips) -> None:
        """Train from the current step to the end of the last stage."""
        settings = self.settings
        if self.is_over:
            log.info("this run is over: %s has its results", self.folder)
            return
        if self.team.leads:
            write_json(self.folder / "settings.json", asdict(settings))
        clock = saved = validated = time.monotonic()
        recent: list[Losses] = []
        self._waited = 0.0
        with tqdm(
            total=None if settings.minutes else settings.total_steps,
            initial=self.step,
            unit="step",
            desc="train",
            disable=None if self.team.leads else True,
        ) as bar:
            for batch in self._timed(self._batches(clips)):
                losses, norm = self.advance(batch.to(torch.device(settings.device)))
                bar.update()
                now = time.monotonic()
                self.seconds += now - clock
                clock = now
                if not self.team.leads:
                    continue
                recent.append(losses)
                if self.step % settings.log_every == 0:
                    self._log(recent, norm, bar)
                    recent, self._waited = [], 0.0
                if now - validated > 60 * settings.validate_minutes:
                    self.validate()
                    self.save()  # what is the best so far must outlive a kill
                    clock = validated = saved = time.monotonic()
                if now - saved > 60 * settings.save_minutes:
                    self.save()
                    clock = saved = time.monotonic()
        if self.team.leads:
            self.validate()
            self.save()
            if self._board is not None:
                self._board.close()
        self.team.wait()

    def advance(self, batch: Batch) -> tuple[Losses, Tensor]:
        """One optimiser step on one batch; returns the losses and the gradient's norm before clipping.

        A step whose gradient is not finite changes nothing. Nothing here asks the device for a number: it
        would have to finish first, and idle until it is told what comes next.
        """
        settings = self.settings
        stage = self.stage
        self._last_stage = stage.name
        plan = draw_plan(stage, np.random.default_rng([settings.seed, PLAN_STREAM, self.step]))
        rng = np.random.default_rng([settings.seed, PROMPT_STREAM, self.step, self.team.rank])
        rate = settings.learning_rate * stage.rate * self._schedule()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        losses = self._add_gradients(batch, plan, int(rng.integers(2**62)))
        self.team.average(parameter.grad for parameter in self.model.parameters())
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip_norm)
        # What PyTorch's gradient scaler sets, too: a fused step is left out where it is not zero.
        self.optimizer.found_inf = (~norm.isfinite()).float()  # type: ignore[attr-defined]
        self.optimizer.step()
        self._update_average()
        self.step += 1
        return losses.detach(), norm.detach()

    def _add_gradients(self, batch: Batch, plan: Plan, seed: int) -> Losses:
        """Losses and gradients of a batch, in as many parts as have been found to fit into memory."""
        device = torch.device(self.settings.device)
        while True:
            self.optimizer.zero_grad(set_to_none=True)
            try:
                found = []
                for number, part in enumerate(batch.parts(self.cuts)):
                    share = part.masks.shape[1] / batch.masks.shape[1]
                    lower = self.settings.precision == "bfloat16"
                    with torch.autocast(device.type, torch.bfloat16, enabled=lower):
                        losses = roll_out(self.model, part, plan, Dice(seed + number, device))
                    (losses.total * share).backward()  # type: ignore[no-untyped-call]
                    found.append(losses.detach())
                return average(found)
            except torch.cuda.OutOfMemoryError:
                if self.cuts >= batch.masks.shape[1]:
                    raise
            # Outside the handler: the error's traceback keeps what filled the memory.
            self.cuts *= 2
            torch.cuda.empty_cache()
            log.warning("out of memory: each batch is taken in %d parts from now on", self.cuts)

    @property
    def is_over(self) -> bool:
        return self.step >= self.settings.total_steps

    @property
    def stage(self) -> Stage:
        """The stage that the next step belongs to."""
        return self.settings.stages[self.settings.locate(self.step)[0]]

    def validate(self) -> None:
        """Score the running average on the validation folder, and keep it if it is the best so far."""
        settings = self.settings
        score = math.nan
        if settings.validation is not None:
            from sam2_video.evaluation.datasets import open_dataset
            from sam2_video.evaluation.in_memory import track_and_score
            from sam2_video.video_predictor import VideoPredictor

            clips = open_dataset(Path(settings.validation), "davis2017", "all").sequences
            predictor = VideoPredictor(self.average)
            means = track_and_score(predictor, clips, max_frames=settings.validate_frames).overall
            score = means.jandf
            append_row(
                self.folder / "validation.csv",
                {
                    "step": self.step,
                    "seconds": round(self.seconds),
                    "jandf": score,
                    "j": means.j.mean,
                    "f": means.f.mean,
                },
            )
            log.info("step %d: J&F %.1f", self.step, 100 * score)
        self.score = None if math.isnan(score) else score
        if math.isnan(score) or score > self.best:
            self.best = self.best if math.isnan(score) else score
            self.export(self.folder / "best.safetensors")

    def export(self, path: Path) -> None:
        """Write the running average as weights that `load_model` reads."""
        from sam2_video.weight_files import CARD_KEY, CONFIG_KEY, OVERRIDES_KEY, save_weights

        settings = self.settings
        card = {
            **settings.card,
            "steps": self.step,
            "hours": round(self.seconds / 3600, 2),
            "validation_jandf": self.score,
        }
        metadata = {
            CONFIG_KEY: settings.model,
            OVERRIDES_KEY: json.dumps(list(settings.overrides)),
            CARD_KEY: json.dumps(card, default=str),
        }
        save_weights(self.average, path, metadata, settings.export_dtype)

    def save(self) -> None:
        """Write everything that is needed to go on, aside and then in place."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
            "score": self.score,
            "team": self.team.size,
            "settings": json.dumps(fingerprint(self.settings)),
        }
        aside = self.folder / "last.pt.part"
        torch.save(state, aside)
        aside.replace(self.folder / "last.pt")
        self.export(self.folder / "last.safetensors")

    def _resume(self) -> None:
        path = self.folder / "last.pt"
        if not path.exists():
            return
        try:
            state = torch.load(path, map_location=self.settings.device, weights_only=True)
        except Exception as error:  # the unpickler's own words advise to load it unsafely: not repeated here
            raise CheckpointError(
                f"{path} is damaged and cannot be read ({type(error).__name__}); remove it to start over"
            ) from error
        changed = what_changed(json.loads(state["settings"]), self.settings, state["step"])
        if changed:
            raise CheckpointError(
                f"{path} belongs to a run with other settings ({', '.join(changed)} changed); "
                "use another folder, or the same settings to go on"
            )
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds, self.best = state["step"], state["seconds"], state["best"]
        self.score = state["score"]
        if state["team"] != self.team.size:
            log.warning(
                "a team of %d goes on where one of %d was: not bit for bit", self.team.size, state["team"]
            )
        if self.team.leads:
            for name in ("log.csv", "validation.csv"):
                drop_rows_after(self.folder / name, self.step)  # they will be written again
        log.info("going on from step %d of %d", self.step, self.settings.total_steps)

    def _batches(self, clips: MakesClips) -> Iterator[Batch]:
        while self.step < self.settings.total_steps:
            yield from load_batches(
                clips, self.settings, self.step, self.team
            )  # to the end of the stage; `advance` moves the step

    def _timed(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Count the seconds that the loop waits for batches."""
        while True:
            asked = time.monotonic()
            batch = next(batches, None)
            self._waited += time.monotonic() - asked
            if batch is None:
                return
            yield batch

    @property
    def progress(self) -> float:
        """Share of the run that lies behind, 0 to 1."""
        return self.settings.progress(self.step)

    def _schedule(self) -> float:
        """Factor on the learning rate: linear warm-up, then a cosine over the run's work."""
        settings = self.settings
        warm = min(1.0, (self.step + 1) / max(settings.warmup_steps, 1))
        cosine = 0.5 * (1 + math.cos(math.pi * self.progress))
        return warm * (settings.final_rate + (1 - settings.final_rate) * cosine)

    @torch.no_grad()
    def _update_average(self) -> None:
        # A young average follows the weights closely; it grows slower to the configured decay.
        decay = min(self.settings.ema_decay, (1 + self.step) / (10 + self.step))
        mine: list[Tensor] = list(self.average.parameters())
        theirs: list[Tensor] = list(self.model.parameters())
        torch._foreach_lerp_(mine, theirs, 1 - decay)

    def _log(self, recent: list[Losses], norm: Tensor, bar: tqdm[Any]) -> None:
        mean = average(recent)
        if not norm.isfinite():
            log.warning("step %d: the gradient is not finite; the step is left out", self.step - 1)
        values = {name: round(value, 5) for name, value in mean.numbers().items()}
        row = {
            "step": self.step,
            "stage": self._last_stage,
            "seconds": round(self.seconds, 1),
            "grad_norm": round(float(norm), 3),
        }
        row |= {"learning_rate": self.optimizer.param_groups[0]["lr"], **values}
        row["waited"] = round(self._waited, 2)
        append_row(self.folder / "log.csv", row)
        log.info("%s", row)
        bar.set_postfix(stage=self._last_stage, loss=values["total"], refresh=False)
        if self._board is not None:
            self._board.add_scalars("train", values, self.step)


def open_board(folder: Path) -> Any:
    """Open a TensorBoard log; needs the `train` extra."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError("tensorboard=true needs TensorBoard: pip install 'sam2_video[train]'") from error
    return SummaryWriter(str(folder))


def train(settings: TrainSettings, folder: Path) -> Path:
    """Run or resume a training; returns the best weights."""
    if settings.minutes is None:
        trainer = Trainer(settings, folder)
    else:
        from sam2_video.training.by_clock import ClockTrainer

        trainer = ClockTrainer(settings, folder)
    trainer.run(make_clips(settings))
    return folder / "best.safetensors"


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices and kernels decay; norms, biases and embeddings do not."""
    decay: list[Tensor] = []
    free: list[Tensor] = []
    for name, parameter in model.named_parameters():
        is_free = parameter.ndim < 2 or any(part in name for part in FREE_OF_DECAY)
        (free if is_free else decay).append(parameter)
    return [{"params": decay, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Add a row to a CSV file, with a header when the file is new."""
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(row), lineterminator="\n")
        if fresh:
            writer.writeheader()
        writer.writerow(row)


def drop_rows_after(path: Path, step: int) -> None:
    """Forget the rows of a CSV file whose `step` lies beyond `step`."""
    if not path.exists():
        return
    lines = path.read_text().splitlines(keepends=True)
    aside = path.with_name(path.name + ".part")
    aside.write_text("".join(lines[:1] + [row for row in lines[1:] if int(row.split(",")[0]) <= step]))
    aside.replace(path)


def write_json(path: Path, value: Any) -> None:
    aside = path.with_name(path.name + ".part")
    aside.write_text(json.dumps(value, indent=2, default=str) + "\n")
    aside.replace(path)


def _start(settings: TrainSettings) -> SAM2:
    if settings.init is not None:
        from sam2_video.checkpoint import load_model

        loaded = load_model(settings.model, checkpoint=settings.init, overrides=settings.overrides)
        return with_memory(loaded, "training")
    model = with_memory(build_model(settings.model, settings.overrides), "training")
    give_sense_of_place(model)
    return model
