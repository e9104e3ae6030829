"""Training batches: tensors of clips, made ahead of the loop by worker processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
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

    pixels: Tensor  # (T, B, S, S, 3) uint8 RGB
    masks: Tensor  # (T, B, S, S) uint8 of 0 and 1
    void: Tensor | None  # (T, B, S, S) bool: label unknown

    def to(self, device: torch.device) -> Batch:
        """Move the batch; from pinned memory without waiting for it."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """Move the batch to memory that a graphics card copies from by itself."""
        return self._map(Tensor.pin_memory)

    def parts(self, count: int) -> list[Batch]:
        """Cut the batch into `count` of nearly equal size, or into single clips where there are fewer."""
        bounds = torch.linspace(0, self.masks.shape[1], min(count, self.masks.shape[1]) + 1).long().tolist()
        return [
            self._map(lambda tensor, part=slice(*pair): tensor[:, part])  # type: ignore[misc]
            for pair in pairwise(bounds)
        ]

    def _map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        void = None if self.void is None else change(self.void)
        return Batch(change(self.pixels), change(self.masks), void)


class Mixture:
    """Draws a share of the clips from real videos and the rest from stills."""

    def __init__(self, videos: MakesClips, stills: MakesClips, share: float, seed: int) -> None:
        self.videos, self.stills, self.share, self.seed = videos, stills, share, seed

    def make(self, index: int, *, frames: int, size: int) -> TrainingClip:
        real = np.random.default_rng([self.seed, MIX_STREAM, index]).random() < self.share
        return (self.videos if real else self.stills).make(index, frames=frames, size=size)


class AskedBatches(Dataset[Batch]):
    """Item (stage, first) is this process's part of the batch of a stage whose clips are `first` and on."""

    def __init__(self, maker: MakesClips, stages: Sequence[Stage], team: Team) -> None:
        self.maker, self.stages = maker, stages
        self.shares = [team.share(stage.batch) for stage in stages]

    def __getitem__(self, asked: tuple[int, int]) -> Batch:
        index, first = asked
        stage = self.stages[index]
        clips = (first + n for n in self.shares[index])
        return collate([self.maker.make(n, frames=stage.frames, size=stage.size) for n in clips])


def collate(clips: list[TrainingClip]) -> Batch:
    """Stack clips of equal length and size, time first."""
    pixels = torch.from_numpy(np.stack([clip.frames for clip in clips], axis=1))  # (T, B, S, S, 3)
    masks = torch.from_numpy(np.stack([clip.masks for clip in clips], axis=1))
    void = None
    if any(clip.void is not None for clip in clips):
        blank = np.zeros(clips[0].masks.shape, dtype=bool)
        void = torch.from_numpy(np.stack([blank if c.void is None else c.void for c in clips], axis=1))
    return Batch(pixels, masks, void)


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
    """Yield the batches of one stage from global `step` to the stage's end.

    Clip numbers go on from one stage to the next.
    """
    index, inside = settings.locate(step)
    stage = settings.stages[index]
    first_clip = sum(s.steps * s.batch for s in settings.stages[:index])
    asked = [(index, first_clip + k * stage.batch) for k in range(inside, stage.steps)]
    return stream_batches(maker, settings, asked, team, ahead=4)


def stream_batches(
    maker: MakesClips, settings: TrainSettings, asked: Iterable[tuple[int, int]], team: Team, *, ahead: int
) -> Iterator[Batch]:
    """Yield the batches that are asked for as (stage, first clip), each worker `ahead` of them ahead."""
    loader = DataLoader(
        AskedBatches(maker, settings.stages, team),
        batch_size=None,
        sampler=asked,
        num_workers=settings.workers,
        prefetch_factor=ahead if settings.workers else None,
        worker_init_fn=_start_worker,
        pin_memory=settings.device.startswith("cuda"),
    )
    return iter(loader)


def _start_worker(_: int) -> None:
    torch.set_num_threads(1)
    if hasattr(os, "nice"):  # not on Windows
        os.nice(5)  # the training step comes first: batches are made ahead
