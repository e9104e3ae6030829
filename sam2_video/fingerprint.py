"""What tells a clip and a model from others, cheaply: to go on with saved work only where it belongs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sam2_video.sources import VideoSource
from sam2_video.types import SourceError

SAMPLE = 64 * 2**10  # bytes that are read at each end of a file


def clip_fingerprint(source: VideoSource) -> dict[str, Any]:
    """Name, size, number of frames, and a hash of what can be had without decoding the clip.

    Of files, the hash is over their lengths and both ends of the first, the middle and the last one; of
    frames in memory over the first one; None for an iterator, which gives each frame once. Where only some
    of the frames are taken, it says which. Raises SourceError.
    """
    files = source_files(source)
    digest = hash_ends(files) if files else _hash_first_frame(source)
    if digest is not None and (taken := _taken(source)):
        digest = hashlib.sha256(f"{digest} {taken}".encode()).hexdigest()
    kind = "files" if files else "frame"
    return {
        "name": source.name,
        "size": list(source.size),
        "frame_count": source.count,
        "hash": None if digest is None else f"{kind}:{digest}",
    }


def check_clip(source: VideoSource, expected: Mapping[str, Any]) -> None:
    """Raise SourceError where a clip is not the one of a fingerprint."""
    found = clip_fingerprint(source)
    problem = ""
    if found["size"] != expected["size"]:
        problem = f"its frames are {_size(found)}, not {_size(expected)}"
    elif None not in (found["frame_count"], expected["frame_count"]):
        if found["frame_count"] != expected["frame_count"]:
            problem = f"it has {found['frame_count']} frames, not {expected['frame_count']}"
    if not problem and None not in (found["hash"], expected["hash"]):
        kinds = {text.partition(":")[0] for text in (found["hash"], expected["hash"])}
        if len(kinds) == 1 and found["hash"] != expected["hash"]:
            problem = "its content differs: it was changed since, or is another clip of the same size"
    if problem:
        raise SourceError(
            f"{source.name} is not the clip that this was saved from ({expected['name']}): {problem}"
        )


def weights_fingerprint(model: nn.Module) -> str:
    """SHA-256 over the names, types and values of all weights."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def source_files(source: Any) -> Sequence[Path]:
    """The files that a source reads; none for frames in memory and streams."""
    inner = getattr(source, "source", None)  # a selection of another source's frames
    return source_files(inner) if inner is not None else getattr(source, "files", ())


def _taken(source: Any) -> list[list[int]]:
    """Of each selection of another source's frames: where its first, second, middle and last one stand."""
    if (inner := getattr(source, "source", None)) is None:
        return []
    count = source.count
    places = {0} if count is None else {0, min(1, count - 1), count // 2, count - 1}
    return [[int(source.original(place)) for place in sorted(places)], *_taken(inner)]


def hash_ends(files: Sequence[Path]) -> str:
    """SHA-256 over the lengths of all files and both ends of the first, the middle and the last one."""
    digest = hashlib.sha256()
    sampled = {files[0], files[len(files) // 2], files[-1]}
    for file in files:
        try:
            length = file.stat().st_size
            digest.update(length.to_bytes(8, "little"))
            if file in sampled:
                with file.open("rb") as opened:
                    digest.update(opened.read(SAMPLE))
                    opened.seek(max(0, length - SAMPLE))
                    digest.update(opened.read(SAMPLE))
        except OSError as error:
            raise SourceError(f"cannot read {file}: {error.strerror or error}") from error
    return digest.hexdigest()


def _hash_first_frame(source: VideoSource) -> str | None:
    if source.count is None:
        return None
    try:
        return hashlib.sha256(source.read(0).tobytes()).hexdigest()
    except SourceError:  # an iterator that has ended: its first frame has passed
        return None


def _size(of: Mapping[str, Any]) -> str:
    height, width = of["size"]
    return f"{width}x{height}"
