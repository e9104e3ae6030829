"""What decoders do not tell of an MP4 file: is it whole, and how long does it play?"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")


@dataclass(frozen=True)
class Mp4Info:
    """`whole`: no box reaches beyond the end of the file. `seconds` that its video plays, None if not said.

    A trimmed file can hold more frames than it plays: its edit list hides those before and after the cut.
    """

    whole: bool
    seconds: float | None


def inspect_mp4(path: Path) -> Mp4Info | None:
    """Read the structure of an MP4 or QuickTime file; None for any other file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(8)[4:] not in _FIRST_BOXES:
            return None
        whole, seconds = True, None
        for kind, start, end in _boxes(file, 0, size):
            whole = whole and end <= size
            if kind == b"moov" and end <= size:
                seconds = _video_seconds(file, start, end)
        return Mp4Info(whole, seconds)


def believable_count(path: Path, promised: int, fps: float | None) -> int | None:
    """Return the frame count of a header if it can be believed, else None: then the frames must be counted.

    Of a file that was cut short it is what the whole file had, so that the loss is noticed.
    """
    mp4 = inspect_mp4(path)
    if mp4 is None or promised <= 0:
        return None  # outside MP4 such numbers are duration times rate, wrong wherever the rate varies
    if not mp4.whole or mp4.seconds is None or fps is None:
        return promised
    # A greater difference: the clip is trimmed, and some of its frames are hidden.
    return promised if abs(mp4.seconds * fps - promised) < 1.5 else None


def _video_seconds(file: BinaryIO, start: int, end: int) -> float | None:
    ticks_per_second = 0
    for kind, first, last in _boxes(file, start, end):
        if kind == b"mvhd":
            ticks_per_second = _header_field(file, first, short=12, long=20, wide=False)
        if kind == b"trak" and ticks_per_second:
            inner = {name: (a, b) for name, a, b in _boxes(file, first, last)}
            media = {name: a for name, a, _ in _boxes(file, *inner.get(b"mdia", (last, last)))}
            if b"tkhd" in inner and b"hdlr" in media:
                file.seek(media[b"hdlr"] + 8)
                if file.read(4) == b"vide":
                    ticks = _header_field(file, inner[b"tkhd"][0], short=20, long=28, wide=True)
                    return ticks / ticks_per_second or None
    return None


def _header_field(file: BinaryIO, start: int, short: int, long: int, wide: bool) -> int:
    """Read a number of a box that has two layouts: at `short` in version 0, at `long` in version 1."""
    file.seek(start)
    version = file.read(1)
    file.seek(start + (long if version == b"\1" else short))
    count = 8 if wide and version == b"\1" else 4
    return int.from_bytes(file.read(count), "big")


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Iterate over (name, start of the content, end) of the boxes between two places of the file."""
    end = min(end, file.seek(0, os.SEEK_END))  # a damaged box may claim more than there is
    while start + 8 <= end:
        file.seek(start)
        length, kind = struct.unpack(">I4s", file.read(8))
        head = 8
        if length == 1:  # a 64-bit length follows
            length, head = int.from_bytes(file.read(8), "big"), 16
        elif length == 0:  # up to the end
            length = end - start
        if length < head:
            return
        yield kind, start + head, start + length
        start += length
