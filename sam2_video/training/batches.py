"""Training batches: tensors of clips, made ahead of the loop by worker processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sam2_video.training.clips import ClipConfig, ClipMaker, TrainingClip
from sam2_video.training.settings import Stage, TrainSettings
from sam2_video.training.stills import find_stills
from sam2_video.training.team import Team
from sam2_video.types import DataError

ALONE = Team()
MIX_STREAM = 7  # keeps the choice between real clips and stills apart from every other random stream


class MakesClips(Protocol):
    """Anything that makes clip number `index`, the same one every time."""

    def make(self, index: int, *, frames: int, size: int) -> TrainingClip: ...


@dataclass(frozen=True)
class Batch:
    """B clips of T frames and one object each."""

    pixels: Tensor  # (T, B, 3, S, S) uint8 RGB
    masks: Tensor  # (T, B, S, S) uint8 of 0 and 1
    void: Tensor | None  # (T, B, S, S) bool: label unknown

    def to(self, device: torch.device) -> Batch:
        void = None if self.void is None else self.void.to(device)
        return Batch(self.pixels.to(device), self.masks.to(device), void)


class Mixture:
    """Draws a share of the clips from real videos and the rest from stills."""

    def __init__(self, videos: MakesClips, stills: MakesClips, share: float, seed: int) -> None:
        self.videos, self.stills, self.share, self.seed = videos, stills, share, seed

    def make(self, index: int, *, frames: int, size: int) -> TrainingClip:
        real = np.random.default_rng([self.seed, MIX_STREAM, index]).random() < self.share
        return (self.videos if real else self.stills).make(index, frames=frames, size=size)


class StageBatches(Dataset[Batch]):
    """Item k is this process's part of the batch of step k; clip numbers go on from one stage to the next."""

    def __init__(self, maker: MakesClips, stage: Stage, first_clip: int, team: Team) -> None:
        self.maker, self.stage, self.first_clip = maker, stage, first_clip
        self.share = team.share(stage.batch)

    def __len__(self) -> int:
        return self.stage.steps

    def __getitem__(self, step: int) -> Batch:
        stage = self.stage
        first = self.first_clip + step * stage.batch
        return collate([self.maker.make(first + n, frames=stage.frames, size=stage.size) for n in self.share])


def collate(clips: list[TrainingClip]) -> Batch:
    """Stack clips of equal length and size, time first."""
    pixels = torch.from_numpy(np.stack([clip.frames for clip in clips], axis=1))  # (T, B, S, S, 3)
    masks = torch.from_numpy(np.stack([clip.masks for clip in clips], axis=1))
    void = None
    if any(clip.void is not None for clip in clips):
        blank = np.zeros(clips[0].masks.shape, dtype=bool)
        void = torch.from_numpy(np.stack([blank if c.void is None else c.void for c in clips], axis=1))
    return Batch(pixels.permute(0, 1, 4, 2, 3).contiguous(), masks, void)


def make_clips(settings: TrainSettings) -> MakesClips:
    """Open the data of a run. Raises DataError when a folder holds none."""
    import cv2

    # OpenCV's thread pool does not survive a fork: a worker that touches it waits for ever. It never starts.
    cv2.setNumThreads(0)
    stills: MakesClips | None = None
    videos: MakesClips | None = None
    if settings.stills is not None:
        root = Path(settings.stills)
        inside = [p for p in sorted(root.iterdir()) if p.is_dir() and p.name not in settings.exclude]
        folders = [root] if (root / "images").is_dir() else inside
        found = find_stills(folders)
        if not found:
            raise DataError(
                f"{settings.stills} holds no stills; expected SET/images/X.jpg with SET/masks/X.png"
            )
        maker = ClipMaker(found, ClipConfig(seed=settings.seed))
        maker.preload()  # before workers are forked, so that they share the decoded pictures
        stills = maker
    if settings.clips is not None:
        from sam2_video.training.davis_clips import DavisClips

        videos = DavisClips(Path(settings.clips), seed=settings.seed)
    if stills is not None and videos is not None:
        return Mixture(videos, stills, settings.clips_share, settings.seed)
    only = stills or videos
    assert only is not None  # TrainSettings refuses a run without data
    return only


def load_batches(
    maker: MakesClips, settings: TrainSettings, step: int, team: Team = ALONE
) -> Iterator[Batch]:
    """Yield the batches of one stage from global `step` to the stage's end."""
    index, inside = settings.locate(step)
    stage = settings.stages[index]
    first_clip = sum(s.steps * s.batch for s in settings.stages[:index])
    data = StageBatches(maker, stage, first_clip, team)
    loader = DataLoader(
        data,
        batch_size=None,
        sampler=range(inside, stage.steps),
        num_workers=settings.workers,
        prefetch_factor=4 if settings.workers else None,
        worker_init_fn=_start_worker,
    )
    return iter(loader)


def _start_worker(_: int) -> None:
    torch.set_num_threads(1)
    if hasattr(os, "nice"):  # not on Windows
        os.nice(5)  # the training step comes first: batches are made ahead
