"""The reference's outputs, and models that hold the weights they were made with."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import sam2_video
from sam2_video.memory import MemoryPolicy
from sam2_video.model.sam1 import AnyModel
from sam2_video.model.sam2 import SAM2
from sam2_video.session import VideoSession
from sam2_video.types import FrameResult
from tests.paths import SHARED

REFERENCE = SHARED / "reference"
GOLDEN = REFERENCE / "golden"
SIZES = {"t": "tiny", "s": "small", "b+": "base_plus", "l": "large"}


@dataclass(frozen=True)
class GoldenCase:
    meta: dict[str, Any]
    arrays: dict[str, NDArray[Any]]


def golden_names(kind: str) -> list[str]:
    """Names of the cases that lie beside the checkout; none without the reference material."""
    return sorted(path.stem for path in GOLDEN.glob(f"{kind}_*.npz"))


def load_case(name: str) -> GoldenCase:
    with np.load(GOLDEN / f"{name}.npz") as stored:
        arrays = {key: stored[key] for key in stored.files if key != "meta"}
        return GoldenCase(json.loads(str(stored["meta"])), arrays)


def golden_model(meta: dict[str, Any]) -> SAM2:
    """The released architecture of a SAM 2 case, holding its stand-in weights."""
    model = golden_image_model(meta)
    assert isinstance(model, SAM2)
    return model


def golden_image_model(meta: dict[str, Any]) -> AnyModel:
    """The same for a case of pictures, which may be one of SAM 1."""
    sam1 = meta["family"] == "sam"
    name = f"sam_{meta['size']}" if sam1 else f"{meta['family']}_hiera_{SIZES[meta['size']]}"
    model = sam2_video.build_model(name, overrides=[f"image_size={meta['image_size']}"])
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    weights = _recipe().seeded_state_dict(shapes, meta["seed"])
    model.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    return model


def disc(size: tuple[int, int], centre_x: float, centre_y: float, radius: float) -> NDArray[np.bool_]:
    """(H, W) mask of a disc, as the reference material draws it."""
    y, x = np.mgrid[: size[0], : size[1]]
    return np.asarray((x - centre_x) ** 2 + (y - centre_y) ** 2 < radius**2)


def golden_policy(case: GoldenCase) -> MemoryPolicy:
    """What the overrides of a clip's case ask for."""
    policy = MemoryPolicy()
    for override in case.meta["extra"]:
        if override.startswith("++model.max_cond_frames_in_attn="):
            policy = MemoryPolicy(prompted=int(override.split("=")[1]))
        else:
            assert override == "++model.add_all_frames_to_correct_as_cond=true"  # our normal rule
    return policy


def do_step(session: VideoSession, case: GoldenCase, kind: str, values: list[Any]) -> None:
    """Do a step of a clip's case that is no pass."""
    if kind == "points":
        session.prompt(frame=values[0], object_id=values[1], points=values[2], labels=values[3])
    elif kind == "box":
        session.prompt(frame=values[0], object_id=values[1], box=values[2])
    elif kind == "mask":
        height, width = case.meta["video_size"]
        session.prompt(frame=values[0], object_id=values[1], mask=disc((height, width), *values[2]))
    else:
        assert kind == "remove"
        session.remove(values[0])


def begin_pass(
    session: VideoSession, start: int | None, count: int | None, reverse: bool
) -> Iterator[FrameResult]:
    """A pass as the reference counts it: `count` frames after the first one."""
    prompted = min(frame for i in session.objects for frame in session.track(i).prompts)
    start = prompted if start is None else start
    stop = None
    if count is not None:
        stop = start - count - 1 if reverse else start + count + 1
        stop = None if stop < 0 else min(stop, session.frame_count or stop)
    return session.propagate("backward" if reverse else "forward", start=start, stop=stop)


def jpeg_folder(case: GoldenCase, folder: Path) -> Path:
    """As many frames as the case saw: pointers' time is measured in the clip's length."""
    count = 1 + max(max(frames) for key, frames in case.arrays.items() if key.endswith("/frames"))
    for file in sorted((REFERENCE / "frames" / "bedroom").glob("*.jpg"))[:count]:
        shutil.copy(file, folder)
    return folder


@lru_cache(maxsize=1)
def _recipe() -> ModuleType:
    path: Path = REFERENCE / "seeded_weights.py"
    spec = importlib.util.spec_from_file_location("seeded_weights", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
