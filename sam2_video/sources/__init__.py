"""Frames in: video files, folders of pictures, arrays. All lazy: a clip's length does not show in memory.

with open_source("clip.mp4") as source:
    source.size, source.fps, source.count  # (H, W), 25.0, 200
    source.read(17)  # (H, W, 3) uint8 RGB
    for frame, rgb in source.frames(start=10, step=2): ...
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sam2_video.sources.arrays import FrameArrays, is_pillow
from sam2_video.sources.base import EndOfClip, VideoSource
from sam2_video.sources.capture import STREAMS
from sam2_video.sources.folder import PICTURE_TYPES, FrameFolder, PictureFiles
from sam2_video.sources.live import LiveOptions, LiveSource, is_live, open_live
from sam2_video.sources.pages import count_pages
from sam2_video.sources.pictures import read_picture
from sam2_video.sources.remote import local_path, open_address
from sam2_video.sources.selection import Selection, select
from sam2_video.sources.shared import SharedSource, shared
from sam2_video.sources.video import VideoFile
from sam2_video.types import SourceError

__all__ = [
    "EndOfClip",
    "FrameArrays",
    "FrameFolder",
    "LiveOptions",
    "LiveSource",
    "PictureFiles",
    "Selection",
    "SharedSource",
    "VideoFile",
    "VideoSource",
    "is_live",
    "open_live",
    "open_source",
    "read_picture",
    "select",
    "shared",
]


def open_source(
    source: Any,
    backend: str = "auto",
    *,
    start: int = 0,
    stop: int | None = None,
    stride: int = 1,
    fps: float | None = None,
) -> VideoSource:
    """Open whatever holds frames.

    A path or file://, http:// or https:// address of a video, an animated or many-page picture or a picture;
    a folder of pictures; a list of their paths; arrays, tensors or Pillow pictures, together or one by one;
    an open source; the number of a camera, the address of a stream or a pipe, as `open_live` takes them.
    `start`, `stop`, `stride` or `fps` choose frames of it, as `select` says. `backend` is "auto", "pyav",
    "opencv" or "decord" and matters for video files only. Raises SourceError.
    """
    opened = _open(source, backend)
    try:
        return select(opened, start, stop, stride, fps)
    except BaseException:
        if opened is not source:
            opened.close()
        raise


def _open(source: Any, backend: str) -> VideoSource:
    if isinstance(source, int):
        return open_live(source)
    if isinstance(source, (str, Path)):
        return _open_text(source, backend)
    if isinstance(source, VideoSource):
        return source
    if isinstance(source, Sequence) and source and all(isinstance(item, (str, Path)) for item in source):
        return PictureFiles(source)
    if is_pillow(source) or (isinstance(source, Iterable) and not isinstance(source, (bytes, dict))):
        return FrameArrays(source)
    raise SourceError(
        f"cannot read frames from {type(source).__name__}; expected a path or an address of a video, a "
        "folder or a picture, a list or iterator of arrays, tensors or pictures, or an open source"
    )


def _open_text(source: str | Path, backend: str) -> VideoSource:
    if source == "":  # as a path it would be the current folder; it is a variable that nobody set
        raise SourceError("the source is empty; expected a path or address of a video, folder or picture")
    scheme = urlsplit(source).scheme.lower() if isinstance(source, str) and "://" in source else ""
    if scheme == "file":
        return _open_file(local_path(str(source)), backend)
    if scheme in ("http", "https"):
        fetched = open_address(str(source), PICTURE_TYPES, lambda file: _open_file(file, backend))
        return open_live(source) if fetched is None else fetched
    if is_live(source):
        return open_live(source)
    if scheme:
        raise SourceError(
            f"{source} has an unknown kind of address; expected file://, http(s):// or that of a stream, "
            f"one of {', '.join(STREAMS)}"
        )
    return _open_file(Path(source), backend)


def _open_file(path: Path, backend: str) -> FrameFolder | VideoFile:
    if not path.exists():
        raise SourceError(f"{path} does not exist; expected a video, a folder of pictures or a picture")
    if path.is_dir() or (path.suffix.lower() in PICTURE_TYPES and count_pages(path) == 1):
        return FrameFolder(path)
    return VideoFile(path, backend)
