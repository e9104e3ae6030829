"""What classes, objects and frames are called in formats that are strict about it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from sam2_video.types import ObjectInfo

NAMELESS = "object"  # the class of objects that nobody named
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]+")
LONGEST_NAME = 60  # characters in the name of a folder: file systems allow 255 bytes


def plain(text: str) -> str:
    """Return text in one line, without what XML 1.0 and YAML forbid: control characters, halves of pairs."""
    return " ".join(_UNPRINTABLE.sub(" ", text).split())


def class_name(info: ObjectInfo) -> str:
    """Return the class of an object; its name where it has no class, "object" where it has neither."""
    return plain(info.category) or plain(info.name) or NAMELESS


def file_name(text: str) -> str:
    """Return text as part of a file name that every system takes: letters, digits, - and _."""
    return re.sub(r"[^\w\-]+", "_", text)[:LONGEST_NAME].strip("_")


class ClassNumbers:
    """Numbers of classes, in the order in which they are first seen."""

    def __init__(self, first: int = 1) -> None:
        self._first = first
        self._numbers: dict[str, int] = {}

    def of(self, info: ObjectInfo) -> int:
        """Return the number of an object's class."""
        return self._numbers.setdefault(class_name(info), self._first + len(self._numbers))

    @property
    def names(self) -> list[str]:
        """Names in the order of their numbers."""
        return list(self._numbers)

    def as_coco(self) -> list[dict[str, int | str]]:
        """The classes as COCO and its relatives list them."""
        return [{"id": n, "name": name, "supercategory": ""} for name, n in self._numbers.items()]


class FrameFiles:
    """Which picture shows a frame, for formats that name it.

    For a folder of pictures, or one, that is the file itself; for a video the name that the frame has once
    the video is taken apart: `<frame name>.jpg`.
    """

    def __init__(self, source: str | Path = "") -> None:
        self._files: dict[str, Path] = {}
        path = Path(source)
        with suppress(OSError):  # no folder, but an address too long for a path
            if source and path.exists():
                self._list(path.iterdir() if path.is_dir() else [path])

    def _list(self, files: Iterable[Path]) -> None:
        from sam2_video.sources.folder import PICTURE_TYPES

        for file in files:
            if file.suffix.lower() in PICTURE_TYPES and not file.name.startswith("."):
                self._files[file.stem] = file

    def path(self, frame_name: str) -> Path | None:
        """Return the file; None where there is none."""
        return self._files.get(frame_name)

    def name(self, frame_name: str) -> str:
        """Return the file's name."""
        file = self._files.get(frame_name)
        return file.name if file else f"{frame_name}.jpg"
