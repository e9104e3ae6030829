"""Frames in: video files, folders of pictures, arrays. All lazy: a clip's length does not show in memory.

with open_source("clip.mp4") as source:
    source.size, source.fps, source.count  # (H, W), 25.0, 200
    source.read(17)  # (H, W, 3) uint8 RGB
    for frame, rgb in source.frames(start=10, step=2): ...
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sam2_video.sources.arrays import FrameArrays
from sam2_video.sources.base import EndOfClip, VideoSource
from sam2_video.sources.folder import PICTURE_TYPES, FrameFolder, read_picture
from sam2_video.sources.video import VideoFile
from sam2_video.types import SourceError

__all__ = [
    "EndOfClip",
    "FrameArrays",
    "FrameFolder",
    "VideoFile",
    "VideoSource",
    "open_source",
    "read_picture",
]


def open_source(source: Any, backend: str = "auto") -> VideoSource:
    """Open whatever holds frames: a video file, a folder of pictures, a picture, arrays, or an open source.

    `backend` is "auto", "decord" or "opencv" and matters for video files only. Raises SourceError.
    """
    if isinstance(source, (str, Path)):
        path = Path(source)
        if not path.exists():
            raise SourceError(f"{path} does not exist; expected a video, a folder of pictures or a picture")
        if path.is_dir() or path.suffix.lower() in PICTURE_TYPES:
            return FrameFolder(path)
        return VideoFile(path, backend)
    if isinstance(source, VideoSource):
        return source
    if isinstance(source, Iterable) and not isinstance(source, (bytes, dict)):
        return FrameArrays(source)
    raise SourceError(
        f"cannot read frames from {type(source).__name__}; "
        "expected a path to a video, a folder or a picture, a list or iterator of arrays, or an open source"
    )
