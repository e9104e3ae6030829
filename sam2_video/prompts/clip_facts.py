"""What importers must know of the clip: its size, its length, and which frame a picture's name means."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PureWindowsPath
from typing import Any

from sam2_video.sources import FrameFolder, VideoSource, open_source
from sam2_video.sources.folder import natural_key
from sam2_video.types import PromptError

_NUMBER = re.compile(r"(.*?)([0-9]{1,9})$")


@dataclass(frozen=True)
class Picture:
    """The picture that an annotation is for: a frame number, a file name, or a place in an order.

    `order` is given only where the format states it, as CVAT's `<image id=...>` does.
    """

    name: str = ""  # without folders and suffix
    number: int | None = None
    order: int | None = None


class ClipFacts:
    """Size, length and frame names of a clip that may not be given; it is opened on the first question."""

    def __init__(self, clip: Any) -> None:
        self._clip = clip

    @property
    def is_given(self) -> bool:
        return self._clip is not None

    @property
    def size(self) -> tuple[int, int] | None:
        return self._facts[0]

    @property
    def count(self) -> int | None:
        return self._facts[1]

    @property
    def names(self) -> dict[str, int] | None:
        """File name of each frame, without suffix -> its number; None where frames are no files."""
        return self._facts[2]

    @property
    def title(self) -> str:
        """The name of the clip without a suffix: that of a folder, or of a file."""
        if isinstance(self._clip, (str, Path)):
            return Path(self._clip).resolve().stem
        return stem(self._clip.name) if isinstance(self._clip, VideoSource) else ""

    @cached_property
    def _facts(self) -> tuple[tuple[int, int] | None, int | None, dict[str, int] | None]:
        if self._clip is None:
            return None, None, None
        mine = not isinstance(self._clip, VideoSource)
        source = open_source(self._clip) if mine else self._clip
        try:
            names = None
            if isinstance(source, FrameFolder):
                names = {source.frame_name(k): k for k in range(source.count)}
            return source.size, source.count, names
        finally:
            if mine:
                source.close()


class FrameFinder:
    """Says which frame of the clip a picture is. `pictures`: all that the annotations know of."""

    def __init__(self, pictures: Sequence[Picture], clip: ClipFacts) -> None:
        self._clip = clip
        names = sorted({picture.name for picture in pictures if picture.name}, key=natural_key)
        self._place = {name: k for k, name in enumerate(names)}
        self._numbers = _common_numbers(names)

    def find(self, picture: Picture) -> int:
        """Return the number of a frame. Raises PromptError if it cannot be told, or is not in the clip."""
        names, count = self._clip.names, self._clip.count
        if names is not None and picture.name in names:
            return names[picture.name]  # before its number, which some tools count from 1
        if picture.number is not None:
            return self._inside(picture.number)
        if names is not None:
            known = list(names)
            span = known[0] if len(known) == 1 else f"{known[0]}..{known[-1]}"
            raise PromptError(f"frame {picture.name!r} is not in this clip; it has {span}")
        if self._numbers is not None:
            return self._inside(self._numbers[picture.name])
        if picture.order is not None:
            return self._inside(picture.order)
        if not self._clip.is_given or count == len(self._place):
            return self._place[picture.name]
        raise PromptError(
            f"which frame {picture.name!r} is cannot be told: the name does not end in a number, "
            f"and there are {len(self._place)} annotated pictures, but {count} frames"
        )

    def _inside(self, number: int) -> int:
        count = self._clip.count
        if count is not None and number >= count:
            raise PromptError(f"frame {number} is outside this clip (0..{count - 1}); frames count from 0")
        return number


def stem(name: str) -> str:
    """Return a file name without folders, of this or another system, and without its suffix."""
    return PureWindowsPath(name).stem


def _common_numbers(names: Sequence[str]) -> dict[str, int] | None:
    """Name -> the number at its end, if all have one and differ in nothing else."""
    parts = [_NUMBER.fullmatch(name) for name in names]
    if not names or not all(parts) or len({part.group(1) for part in parts if part}) > 1:
        return None
    return {name: int(part.group(2)) for name, part in zip(names, parts, strict=True) if part}
