"""The fine-tuning loop: epochs, scores, early stop, exact resume; processes and precision by `accelerate`.

    best = run(load_settings("finetune", ["data.folder=VOC"]), Path("runs/voc"))

A run's folder holds `settings.json`, `check.json`, `log.csv`, `validation.csv`, `last.pt` (all that is needed
to go on), `best.safetensors` and `last.safetensors`, ready for `load_model`.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from sam2_video.checkpoint import load_model
from sam2_video.finetuning.board import Board
from sam2_video.finetuning.data import Data
from sam2_video.finetuning.embeddings import Embeddings
from sam2_video.finetuning.export import export
from sam2_video.finetuning.losses import Terms
from sam2_video.finetuning.prepared import prepared_data
from sam2_video.finetuning.presets import part_of_name, prepare, trained_weights
from sam2_video.finetuning.processes import Processes
from sam2_video.finetuning.samples import Draw, Sample, load_passes, steps_of_epoch
from sam2_video.finetuning.scoring import score
from sam2_video.finetuning.settings import FinetuneSettings
from sam2_video.finetuning.steps import Batch, Pass, draw_plan, join
from sam2_video.model.sam1 import with_memory
from sam2_video.partial_weights import Base
from sam2_video.training.loop import FREE_OF_DECAY, append_row, drop_rows_after, write_json
from sam2_video.types import CheckpointError

log = logging.getLogger(__name__)


class Tuner:
    """One run in one folder."""

    def __init__(self, settings: FinetuneSettings, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        folder.mkdir(parents=True, exist_ok=True)
        if settings.threads:
            torch.set_num_threads(settings.threads)
        self.processes = Processes(settings)
        self.data: Data = prepared_data(settings.data, folder, self.processes)
        model = load_model(settings.model, checkpoint=settings.init, overrides=settings.overrides)
        self.model = with_memory(model, "fine-tuning")
        # An `init` has no name, whatever the model that it takes the place of is called.
        self.base = Base.of("" if settings.init else settings.model, self.model.state_dict())
        frozen = prepare(self.model, settings.preset, settings.seed)
        self.model.to(self.processes.device).train()
        step = Pass(self.model, frozen, settings)
        self.embeddings = self._embeddings(step) if self._keeps_embeddings(frozen.encoder) else None
        optimizer = torch.optim.AdamW(_groups(self.model, settings))
        self.module, self.optimizer = self.processes.prepare(step, optimizer)
        self.draw = Draw(self.data.train, settings, self.model.image_size)
        self.per_epoch = steps_of_epoch(len(self.data.train), settings, self.processes.count)
        self.total = self.per_epoch * settings.schedule.epochs
        self.step, self.validated, self.worse = 0, -1, 0
        self.seconds, self.best = 0.0, -math.inf
        self.over = False
        self._resume()

    def run(self) -> None:
        """Train from the current step to the end, or until nothing gets better."""
        if self.over:
            log.info("this run is over: %s has its results", self.folder)
            return
        leads = self.processes.leads
        if leads:
            write_json(self.folder / "settings.json", asdict(self.settings))
        board = Board(self.settings, self.folder) if leads else None
        bar = tqdm(
            total=self.total, initial=self.step, unit="step", desc="train", disable=None if leads else True
        )
        saved = time.monotonic()
        with bar:
            self._validate_if_due(board)
            while self.step < self.total and not self.over:
                for passes in self._steps():
                    began = time.monotonic()
                    terms, norm = self.advance(passes)
                    self.seconds += time.monotonic() - began
                    bar.update()
                    if leads:
                        self._log(terms, norm, board)
                    self._validate_if_due(board)
                    if leads and time.monotonic() - saved >= 60 * self.settings.schedule.save_minutes:
                        self.save()
                        saved = time.monotonic()
        self.over = True
        if leads:
            self.save()
        if board is not None:
            board.close()
        self.processes.wait()

    def advance(self, passes: list[list[Sample]]) -> tuple[Terms, float]:
        """One optimiser step over several passes; returns losses and the gradient's norm before clipping."""
        settings = self.settings
        plan = draw_plan(settings, self.step)
        if settings.preset.lora is not None and settings.preset.lora.dropout:  # all else draws from its own
            torch.manual_seed(hash((settings.seed, self.step, self.processes.rank)) % 2**63)
        rate = settings.schedule.learning_rate * self._schedule()
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        parts: list[Terms] = []
        norm = math.nan
        for samples in passes:
            with self.processes.accumulate(self.module):
                loss, terms = self.module(self._batch(samples), plan)
                self.processes.backward(loss)
                parts.append(terms)
                if self.processes.synchronises:
                    norm = self.processes.clip(trained_weights(self.model), settings.schedule.clip_norm)
                if math.isfinite(norm) or not self.processes.synchronises or self.processes.scales:
                    self.optimizer.step()
                self.optimizer.zero_grad()
        if not math.isfinite(norm):
            log.warning("step %d: the gradient is not finite; the step is left out", self.step)
        self.step += 1
        return _mean(parts), norm

    def save(self) -> None:
        """Write everything that is needed to go on, aside and then in place."""
        state = {
            "weights": {name: value.detach() for name, value in trained_weights(self.model).items()},
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.processes.scaler_state(),
            "settings": json.dumps(self.settings.record()),
            "base": self.base.weights,
            "processes": self.processes.count,
            **{key: getattr(self, key) for key in _PLAIN},
        }
        aside = self.folder / "last.pt.part"
        torch.save(state, aside)
        export(self.model, self.folder / "last.safetensors", self.settings, self.base, self._card())
        aside.replace(self.folder / "last.pt")

    def _resume(self) -> None:
        path = self.folder / "last.pt"
        if not path.exists():
            return
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            was = json.loads(state["settings"])
        except Exception as error:  # the unpickler's own words advise to load it unsafely: not repeated here
            raise CheckpointError(
                f"{path} is damaged and cannot be read ({type(error).__name__}); remove it to start over"
            ) from error
        now = json.loads(json.dumps(self.settings.record()))
        changed = sorted(key for key in {*was, *now} if was.get(key) != now.get(key))
        if state["base"] != self.base.weights:
            changed.append("the model's weights")
        if state["processes"] != self.processes.count:  # steps, and so the schedule, go by it
            changed.append("the number of processes")
        if changed:
            raise CheckpointError(
                f"{path} belongs to a run with other settings ({', '.join(changed)} changed); "
                "use another folder, or the same settings to go on"
            )
        weights = trained_weights(self.model)
        with torch.no_grad():
            for name, value in state["weights"].items():
                weights[name].copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
        self.processes.load_scaler(state["scaler"])
        for key in _PLAIN:
            setattr(self, key, state[key])
        if self.processes.leads:
            drop_rows_after(self.folder / "log.csv", self.step)  # they will be written again
            drop_rows_after(self.folder / "validation.csv", self.validated)
        log.info("going on from step %d of %d", self.step, self.total)

    def _steps(self) -> Iterator[list[list[Sample]]]:
        """The passes of each step that is left of the epoch, until the run is over."""
        epoch, inside = divmod(self.step, self.per_epoch)
        count = self.settings.schedule.accumulate
        loader = load_passes(
            self.draw,
            epoch,
            inside * count,
            self.per_epoch * count,
            self.processes.rank,
            self.processes.count,
        )
        for _ in range(inside, self.per_epoch):
            if self.over:
                return
            yield [next(loader) for _ in range(count)]

    def _batch(self, samples: list[Sample]) -> Batch:
        device = self.processes.device
        return join(samples, device, self.embeddings.of(samples, device) if self.embeddings else None)

    def _keeps_embeddings(self, encoder_is_frozen: bool) -> bool:
        data = self.settings.data
        return encoder_is_frozen and not self.settings.on_clips and not data.colour and data.cache != "off"

    def _embeddings(self, step: Pass) -> Embeddings:
        data = self.settings.data
        folder = Path(data.cache_folder) if data.cache_folder else self.folder / "embeddings"
        on_disk = folder if data.cache == "disk" else None
        return Embeddings(self.model, step.encode, folder=on_disk, budget=data.cache_gb * 2**30)

    def _schedule(self) -> float:
        """Factor on the learning rate: linear warm-up, then a cosine over the run."""
        schedule = self.settings.schedule
        warm = min(1.0, (self.step + 1) / max(schedule.warmup_steps, 1))
        cosine = 0.5 * (1 + math.cos(math.pi * self.step / self.total))
        return warm * (schedule.final_rate + (1 - schedule.final_rate) * cosine)

    def _validate_if_due(self, board: Board | None) -> None:
        """Score at the start, every few epochs and at the end; keep the best, stop where it gets worse."""
        epoch, inside = divmod(self.step, self.per_epoch)
        is_end = self.step == self.total
        due = not inside and (epoch % self.settings.schedule.validate_every == 0 or is_end)
        if not due or self.validated == self.step or not self.data.validation:
            if is_end and not self.data.validation and self.processes.leads:
                export(self.model, self.folder / "best.safetensors", self.settings, self.base, self._card())
            return
        if self.processes.leads:
            self._validate(epoch, board)
        self.over = self.processes.shared(self.over)
        self.processes.wait()
        self.model.train()

    def _validate(self, epoch: int, board: Board | None) -> None:
        schedule = self.settings.schedule
        found = score(
            self.model, self.data.validation, Path(self.settings.data.folder), schedule.validate_frames
        )
        figures = {name: round(value, 6) for name, value in found.figures.items()}
        row = {"step": self.step, "epoch": epoch, "seconds": round(self.seconds, 1), **figures}
        append_row(self.folder / "validation.csv", row)
        if board is not None:
            board.add("validation", found.figures, self.step)
        log.info("epoch %d: %.2f", epoch, 100 * found.value)
        better = found.value > self.best
        self.worse = 0 if better else self.worse + 1
        if better:
            self.best = found.value
            export(self.model, self.folder / "best.safetensors", self.settings, self.base, self._card())
        self.validated = self.step
        since = self.worse * schedule.validate_every  # epochs without a better score
        self.over = schedule.patience is not None and since >= schedule.patience
        self.save()  # what is the best so far must outlive a kill

    def _card(self) -> dict[str, Any]:
        return {
            **self.settings.card,
            "preset": self.settings.preset.name,
            "steps": self.step,
            "epochs": round(self.step / self.per_epoch, 3),
            "best_score": None if math.isinf(self.best) else round(self.best, 6),
        }

    def _log(self, terms: Terms, norm: float, board: Board | None) -> None:
        if self.step % self.settings.log_every and self.step != self.total:
            return
        values = {"total": float(terms.total(self.settings.losses))}
        values |= {name: float(value) for name, value in vars(terms).items()}
        rate = max(group["lr"] for group in self.optimizer.param_groups)
        append_row(
            self.folder / "log.csv",
            {
                "step": self.step,
                "epoch": round(self.step / self.per_epoch, 3),
                "seconds": round(self.seconds, 1),
                "grad_norm": round(norm, 4),
                "learning_rate": rate,
                **{name: round(value, 6) for name, value in values.items()},
            },
        )
        if board is not None:
            board.add("train", {**values, "learning_rate": rate}, self.step)


_PLAIN = ("step", "validated", "worse", "seconds", "best", "over")


def run(settings: FinetuneSettings, folder: Path) -> Path:
    """See `sam2_video.finetuning.finetune`."""
    tuner = Tuner(settings, folder)
    tuner.run()
    tuner.processes.end()
    return folder / "best.safetensors"


def _groups(model: nn.Module, settings: FinetuneSettings) -> list[dict[str, Any]]:
    """Matrices and kernels decay, and the encoder learns at a rate of its own."""
    schedule = settings.schedule
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, value in trained_weights(model).items():
        is_free = value.ndim < 2 or any(part in name for part in FREE_OF_DECAY)
        is_adapter = ".lora_" in name
        factor = schedule.encoder_rate if part_of_name(name) == "encoder" and not is_adapter else 1.0
        groups.setdefault((factor, 0.0 if is_free else schedule.weight_decay), []).append(value)
    return [
        {"params": values, "factor": factor, "weight_decay": decay, "lr": schedule.learning_rate}
        for (factor, decay), values in groups.items()
    ]


def _mean(parts: list[Terms]) -> Terms:
    names: Mapping[str, Any] = vars(parts[0])
    return Terms(**{name: torch.stack([getattr(part, name) for part in parts]).mean() for name in names})
