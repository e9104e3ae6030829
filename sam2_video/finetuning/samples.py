"""What one pass of training sees: pictures or windows of clips, with a few of their objects.

Every draw is a function of the seed, the epoch and a place in the epoch, whatever the number of processes: so
several train on the same batches as one, and a resumed run on the same as one that was not broken off.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sam2_video.evaluation.datasets import Clip
from sam2_video.evaluation.datasets.frames import close_videos
from sam2_video.evaluation.labelled_pictures import LabelledPicture
from sam2_video.evaluation.sequences import Bools
from sam2_video.finetuning.data import Item
from sam2_video.finetuning.settings import FinetuneSettings
from sam2_video.transforms import FrameTransform, resize_antialiased
from sam2_video.types import DataError

ORDER, DRAW = 11, 12  # random streams: the order of an epoch, what is drawn of an item
ATTEMPTS = 20
Rgb = NDArray[np.uint8]


@dataclass(frozen=True)
class Sample:
    """T frames, and N objects on them."""

    name: str
    pixels: Tensor  # (T, 3, S, S) float32, normalised
    masks: Tensor  # (N, T, S, S) bool
    void: Tensor | None  # (T, S, S) bool: label unknown
    entropy: tuple[int, ...] = ()  # what all random choices about this sample are drawn from
    item: int = 0
    mirrored: bool = False


@dataclass(frozen=True)
class Draw:
    """Draws samples of a list of items."""

    items: Sequence[Item]
    settings: FinetuneSettings
    size: int  # side of the square that the model sees

    def __call__(self, epoch: int, place: int) -> Sample:
        """Return what is trained on at a place of an epoch. Raises DataError where no object can be found."""
        data = self.settings.data
        order = np.random.default_rng([self.settings.seed, ORDER, epoch]).permutation(len(self.items))
        for attempt in range(ATTEMPTS):
            index = int(order[(place + attempt) % len(order)])
            entropy = (self.settings.seed, DRAW, epoch, place, attempt)
            rng = np.random.default_rng(entropy)
            item = self.items[index]
            mirrored = bool(rng.random() < data.flip)
            sample = self._of_clip(item, rng) if isinstance(item, Clip) else self._of_picture(item, rng)
            if sample is None:
                continue
            sample = _chosen(sample, data.objects, data.min_pixels)
            if sample is not None:
                sample = replace(sample, entropy=entropy, item=index)
                return _mirror(sample) if mirrored else sample
        raise DataError(
            f"no object of {ATTEMPTS} items from {self.items[index].name} on has data.min_pixels="
            f"{data.min_pixels} pixels at {self.size} x {self.size}"
            + (f", or no clip {data.frames} annotated frames" if data.frames > 1 else "")
        )

    def _of_picture(self, picture: LabelledPicture, rng: np.random.Generator) -> Sample | None:
        labelled = picture.read()
        ids = [int(k) for k in rng.permutation(sorted(labelled.masks))][: self._spare]
        if not ids:
            return None
        pixels = self._pixels(_tones(rng, self.settings.data.colour)(labelled.rgb))
        void = None if labelled.void is None else self._void(labelled.void)[None]
        masks = torch.stack([self._mask(labelled.masks[k]) for k in ids])[:, None]
        return Sample(picture.name, pixels, masks, void)

    def _of_clip(self, clip: Clip, rng: np.random.Generator) -> Sample | None:
        """Cut a window out of a clip, in either direction of time; None where it is too short."""
        data = self.settings.data
        window = draw_window(rng, clip.annotated, data.frames, data.max_stride)
        ids = sorted(clip.masks(window[0]) or {}) if window else []
        if not ids:
            return None
        ids = [int(k) for k in rng.permutation(ids)][: self._spare]
        masks = torch.zeros(len(ids), data.frames, self.size, self.size, dtype=torch.bool)
        pixels, void = [], []
        tones = _tones(rng, data.colour)
        for t, frame in enumerate(window):
            pixels.append(self._pixels(tones(clip.image(frame))))
            there = clip.masks(frame) or {}
            for row, k in enumerate(ids):
                if k in there:
                    masks[row, t] = self._mask(there[k])
            unknown = clip.void(frame)
            void.append(torch.zeros_like(masks[0, 0]) if unknown is None else self._void(unknown))
        unlabelled = torch.stack(void)
        return Sample(clip.name, torch.cat(pixels), masks, unlabelled if unlabelled.any() else None)

    @property
    def _spare(self) -> int:
        """How many objects are looked at: twice as many as are wanted, for some may be too small."""
        return 2 * self.settings.data.objects

    def _pixels(self, rgb: Rgb) -> Tensor:
        return FrameTransform(self.size).pixels(rgb)

    def _mask(self, mask: Bools) -> Tensor:
        return FrameTransform(self.size).mask_tensor(mask)[0, 0] > 0

    def _void(self, void: Bools) -> Tensor:
        grid = torch.from_numpy(np.ascontiguousarray(void))[None, None].float()
        return resize_antialiased(grid, (self.size, self.size))[0, 0] > 0


class Passes(Dataset[list[Sample]]):
    """Item k is what one process sees in pass k of an epoch."""

    def __init__(self, draw: Draw, epoch: int, rank: int, processes: int) -> None:
        self.draw, self.epoch = draw, epoch
        self.batch = draw.settings.schedule.batch
        self.first, self.stride = rank * self.batch, processes * self.batch

    def __getitem__(self, number: int) -> list[Sample]:
        first = self.first + number * self.stride
        return [self.draw(self.epoch, place) for place in range(first, first + self.batch)]


def steps_of_epoch(items: int, settings: FinetuneSettings, processes: int) -> int:
    """In how many steps each item is seen once; the last step is filled up from the start."""
    return -(-items // (settings.schedule.batch * settings.schedule.accumulate * processes))


def load_passes(
    draw: Draw, epoch: int, first: int, count: int, rank: int, processes: int
) -> Iterator[list[Sample]]:
    """Yield passes `first` to `count` - 1 of an epoch, made ahead by worker processes."""
    import cv2

    cv2.setNumThreads(0)  # OpenCV's thread pool does not survive a fork: a worker would wait for ever
    workers = draw.settings.data.workers
    loader = DataLoader(
        Passes(draw, epoch, rank, processes),
        batch_size=None,
        sampler=range(first, count),
        num_workers=workers,
        prefetch_factor=2 if workers else None,
        worker_init_fn=_start_worker,
    )
    return iter(loader)


def draw_window(
    rng: np.random.Generator, annotated: Sequence[int], frames: int, max_stride: int
) -> list[int]:
    """Choose annotated frames, evenly spaced, in either direction; [] where there are too few."""
    longest = (len(annotated) - 1) // (frames - 1) if frames > 1 else 1
    if len(annotated) < frames:
        return []
    stride = int(rng.integers(1, max(min(max_stride, longest), 1) + 1))
    start = int(rng.integers(len(annotated) - stride * (frames - 1)))
    window = list(annotated[start : start + stride * (frames - 1) + 1 : stride])
    return window[::-1] if rng.random() < 0.5 else window


def _start_worker(_: int) -> None:
    torch.set_num_threads(1)
    close_videos()  # the parent's decoders share their place in the file with this process
    if hasattr(os, "nice"):  # not on Windows
        os.nice(5)  # the training step comes first: samples are made ahead


def _tones(rng: np.random.Generator, strength: float) -> Callable[[Rgb], Rgb]:
    """Another light and another camera: a curve for each colour, the same on all frames of a clip."""
    if not strength:
        return lambda rgb: rgb
    gamma, brightness, *gains = rng.normal(0, strength, 5)
    curve = np.linspace(0, 1, 256)[:, None] ** np.exp(0.4 * gamma) * np.exp(0.2 * np.array(gains))
    table = (255 * np.clip(curve + 0.1 * brightness, 0, 1)).astype(np.uint8)  # (256, 3)
    return lambda rgb: np.stack([table[rgb[..., k], k] for k in range(3)], axis=-1)


def _chosen(sample: Sample, most: int, min_pixels: int) -> Sample | None:
    """Keep objects that are large enough where they are first shown, `most` of them; None without any."""
    first = sample.masks[:, 0] if sample.void is None else sample.masks[:, 0] & ~sample.void[0]
    rows = (first.flatten(1).sum(dim=1) >= min_pixels).nonzero()[:, 0][:most]
    return replace(sample, masks=sample.masks[rows]) if len(rows) else None


def _mirror(sample: Sample) -> Sample:
    void = None if sample.void is None else sample.void.flip(-1)
    return replace(
        sample, pixels=sample.pixels.flip(-1), masks=sample.masks.flip(-1), void=void, mirrored=True
    )
