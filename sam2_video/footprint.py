"""What a session will take of the memory, told before its first frame is tracked.

Sums over what is kept, from shapes alone: an estimate, rather too high. Nothing in it grows with the clip,
but the memories of a session that retains all of them.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path

from sam2_video.ahead import Lookahead
from sam2_video.model.sam2 import COARSE_STRIDE, SAM2
from sam2_video.recalled import KEY_BYTES
from sam2_video.sources.video import BLOCK_BYTES
from sam2_video.state import Retain, Size
from sam2_video.walker import CACHED_FRAMES

MIB = 2**20
LIBRARIES = 320 * MIB  # Python, PyTorch, OpenCV, PyAV and Hydra once a model is loaded, on Linux
SCRATCH = 24 * MIB  # that libraries keep for each thread that encodes
WEIGHT_COPIES = 2  # as loaded, and as operators and what is computed from weights alone want them
FINE_STRIDE = 4  # of mask logits and of the first stage of the trunk
STAGE_COPIES = (
    12  # of the first stage's tokens, the largest of the trunk: queries, keys, values, hidden layer
)
DECODER_FRAMES = 12  # that a video decoder holds in 4:2:0
ENCODER_FRAMES = 24  # and a video encoder
PICTURES = 20  # of a frame that is written, of 4 bytes a pixel: label map, who wins where masks meet, overlay


@dataclass(frozen=True)
class Clip:
    """What a run is about. `size` (H, W); `count` None where the length is not known."""

    size: Size
    count: int | None
    objects: int
    prompted: int = 1  # frames that each object is prompted on, at most
    videos: int = 0  # that are written
    backward: bool = False


@dataclass(frozen=True)
class Footprint:
    """Bytes, by what they are for. `libraries` and `weights` are there before the first frame."""

    libraries: int
    weights: int
    memories: int  # of all objects, with the masks that are kept beside them
    keys: int  # of the memories that are recalled
    features: int  # of frames that were encoded
    work: int  # of the network
    frames: int  # of the clip, decoded, and inside decoders and encoders
    masks: int  # at full size

    @property
    def total(self) -> int:
        """All of it."""
        return sum(asdict(self).values())

    @property
    def to_come(self) -> int:
        """What is taken once the first frame is tracked."""
        return self.total - self.libraries - self.weights

    def record(self) -> dict[str, int]:
        """In MiB, for run.json."""
        return {name: round(value / MIB) for name, value in {**asdict(self), "total": self.total}.items()}

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {round(value / MIB)}" for name, value in asdict(self).items())
        return f"about {round(self.total / MIB)} MiB at most ({parts})"


def footprint(
    model: SAM2, clip: Clip, *, horizon: int, batch: int, retain: Retain = "window", ahead: Lookahead
) -> Footprint:
    """Estimate what tracking will take on a CPU; on another device that has what the network holds.

    `horizon`: frames that tracked memories can be read for, see `MemoryPolicy`; `batch`: objects that go
    through the network at once.
    """
    height, width = clip.size
    pixels, encoders = height * width, max(ahead.encoders, 1)
    videos = 1.5 * pixels * (DECODER_FRAMES + ENCODER_FRAMES * clip.videos)
    looked_at = SCRATCH + _encoding(model) + 28 * pixels  # a frame as float32, twice, until it is resized
    follows = min(clip.objects, batch) * model.object_bytes
    return Footprint(
        libraries=LIBRARIES,
        weights=WEIGHT_COPIES * sum(tensor.nbytes for tensor in model.state_dict().values()),
        memories=clip.objects * _kept_frames(clip, horizon, retain) * _moment(model),
        keys=_keys(model, clip),
        features=(CACHED_FRAMES + ahead.frames) * _features(model),
        work=encoders * looked_at + follows,  # also in turns: what was given back is in pieces
        frames=int(3 * pixels * (ahead.frames + 4) + videos) + (BLOCK_BYTES if clip.backward else 0),
        masks=pixels * (3 * clip.objects + 4 * PICTURES),
    )


def available() -> int | None:
    """Bytes of memory that this process can still have, None where the system does not say."""
    found = [value for value in (_meminfo(), _cgroup()) if value is not None]
    if not found:
        try:
            found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]  # all there is
        except (AttributeError, ValueError, OSError):
            return None
    return min(found)


def _kept_frames(clip: Clip, horizon: int, retain: Retain) -> int:
    count = horizon + 1 + clip.prompted
    if retain == "all":
        return clip.count if clip.count is not None else count
    return count if clip.count is None else min(count, clip.count)


def _moment(model: SAM2) -> int:
    """One object on one frame: its memory in two bytes a number, logits in four, two pointers."""
    coarse, fine = (model.image_size // stride for stride in (COARSE_STRIDE, FINE_STRIDE))
    return 2 * model.memory_width * coarse**2 + 4 * fine**2 + 8 * model.width


def _features(model: SAM2) -> int:
    cells = (model.image_size // COARSE_STRIDE) ** 2
    values = cells * model.width + 4 * cells * model.width // 4 + 16 * cells * model.width // 8
    return values * model.no_mem_embed.itemsize


def _keys(model: SAM2, clip: Clip) -> int:
    cells = (model.image_size // COARSE_STRIDE) ** 2
    slots = model.memory_slots - 1 + clip.prompted
    layers = len(model.memory_attention.layers)
    wanted = clip.objects * slots * layers * cells * model.width * model.no_mem_embed.itemsize
    return wanted if wanted <= KEY_BYTES else 0  # made in passing then: part of the work


def _encoding(model: SAM2) -> int:
    tokens = (model.image_size // FINE_STRIDE) ** 2 * model.image_encoder.trunk.widths[0]
    return int(STAGE_COPIES * tokens * model.no_mem_embed.itemsize + 6 * 4 * model.image_size**2)


def _meminfo() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None


def _cgroup() -> int | None:
    """What the limit of a container leaves."""
    root = Path("/sys/fs/cgroup")
    try:
        limit = int((root / "memory.max").read_text())  # "max" where there is none
        used = int((root / "memory.current").read_text())
        lines = (line.split() for line in (root / "memory.stat").read_text().splitlines())
        files = next((int(count) for name, count in lines if name == "inactive_file"), 0)
        return max(limit - used + files, 0)  # what was read from files gives way
    except (OSError, ValueError):
        return None
