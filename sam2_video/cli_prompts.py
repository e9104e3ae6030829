"""Prompts as people type them (`--click 0:1:420,260`, `--box`, `--mask`, `--prompts`) -> values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_video.prompts import PlacedPrompt, check_bounds, merge, read_masks, read_prompts
from sam2_video.types import ObjectInfo, Prompt, PromptError

if TYPE_CHECKING:
    from sam2_video.prompts.annotations import Frames

__all__ = [
    "PlacedPrompt",
    "check_bounds",
    "gather_prompts",
    "name_objects",
    "parse_box",
    "parse_click",
    "parse_mask",
    "parse_name",
]

CLICK = "FRAME:OBJECT:X,Y[:-]"
BOX = "FRAME:OBJECT:X0,Y0,X1,Y1"
MASK = "FRAME:FILE.png"
NAME = "OBJECT:NAME[:CLASS]"
LONGEST = 100  # digits: Python refuses to read a number of thousands


def gather_prompts(
    clicks: Iterable[str] = (),
    boxes: Iterable[str] = (),
    masks: Iterable[str] = (),
    files: Iterable[Path] = (),
    *,
    clip: Any = None,
    format: str | None = None,
    sequence: str | None = None,
    frames: Frames = "auto",
    tell: Callable[[str], None] | None = None,
) -> tuple[PlacedPrompt, ...]:
    """Parse everything a command line says and merge what is said of the same object on the same frame.

    `clip`, `format`, `sequence` and `frames` are for `read_prompts`, `tell` takes its remarks. Raises
    PromptError for text that does not parse, for a file with mistakes, or when nothing is left.
    """
    parts = [parse_click(text) for text in clicks] + [parse_box(text) for text in boxes]
    for text in masks:
        parts += parse_mask(text)
    for path in files:
        read = read_prompts(path, clip=clip, format=format, sequence=sequence, frames=frames)
        parts += read.prompts
        if tell is not None:
            for note in read.notes:
                tell(f"{path}: {note}")
    if not parts:
        raise PromptError(
            "no prompt: say what to track with --click 0:1:X,Y (frame 0, object 1), --box, --mask, --prompts"
        )
    return merge(parts)


def parse_click(text: str) -> PlacedPrompt:
    """Parse `FRAME:OBJECT:X,Y` for a point on the object, with `:-` at the end for one off it."""
    fields = text.split(":")
    if len(fields) not in (3, 4) or (len(fields) == 4 and fields[3] != "-"):
        raise PromptError(f"--click {text!r} does not read as {CLICK}, for example 0:1:420,260")
    frame, object_id = _whole(fields[0], text), _whole(fields[1], text)
    x, y = _numbers(fields[2], 2, text, f"--click needs {CLICK}")
    return PlacedPrompt(frame, object_id, Prompt(points=((x, y),), labels=(int(len(fields) == 3),)))


def parse_box(text: str) -> PlacedPrompt:
    """Parse `FRAME:OBJECT:X0,Y0,X1,Y1`, left upper, then right lower corner in pixels."""
    fields = text.split(":")
    if len(fields) != 3:
        raise PromptError(f"--box {text!r} does not read as {BOX}, for example 0:1:380,200,470,330")
    frame, object_id = _whole(fields[0], text), _whole(fields[1], text)
    x0, y0, x1, y1 = _numbers(fields[2], 4, text, f"--box needs {BOX}")
    return PlacedPrompt(frame, object_id, Prompt(box=(x0, y0, x1, y1)))


def parse_mask(text: str) -> list[PlacedPrompt]:
    """Parse `FRAME:FILE.png`: every non-zero value is an object, a picture of only 0 and 255 is object 1."""
    number, colon, name = text.partition(":")
    if not colon or not name:
        raise PromptError(f"--mask {text!r} does not read as {MASK}, for example 0:first_mask.png")
    blank = PlacedPrompt(_whole(number, text), 0, Prompt(), Path(name))
    masks = read_masks(Path(name))
    return [replace(blank, object_id=k, prompt=Prompt(mask=mask)) for k, mask in masks.items()]


def parse_name(text: str) -> tuple[int, ObjectInfo]:
    """Parse `OBJECT:NAME[:CLASS]` into an object's id and what it is called."""
    number, colon, called = text.partition(":")
    name, _, category = (part.strip() for part in called.partition(":"))
    if not colon or not (name or category) or ":" in category:
        raise PromptError(f"--name {text!r} does not read as {NAME}, for example 1:left cup:cup")
    return _whole(number, text), ObjectInfo(name, category)


def name_objects(prompts: Sequence[PlacedPrompt], names: Iterable[str]) -> tuple[PlacedPrompt, ...]:
    """Give objects the names that a command line says, in place of what a file calls them.

    Raises PromptError for an object that has no prompt, and for one that is named twice.
    """
    called: dict[int, ObjectInfo] = {}
    known = sorted({placed.object_id for placed in prompts})
    for text in names:
        object_id, info = parse_name(text)
        if object_id in called:
            raise PromptError(f"--name {text!r}: object {object_id} has a name already")
        if object_id not in known:
            raise PromptError(f"--name {text!r}: nothing points at object {object_id}, only at {known}")
        called[object_id] = info
    return tuple(replace(placed, info=called.get(placed.object_id, placed.info)) for placed in prompts)


def _whole(value: str, text: str) -> int:
    if not (value.strip().isascii() and value.strip().isdecimal() and len(value) <= LONGEST):
        raise PromptError(f"{text}: frames and objects are whole numbers from 0, got {value!r}")
    return int(value)


def _numbers(value: str, count: int, text: str, expected: str) -> list[float]:
    try:
        out = [float(part) for part in value.split(",")]
    except ValueError:
        out = []
    if len(out) != count or not all(math.isfinite(v) for v in out):
        raise PromptError(f"{expected} with {count} finite numbers, got {text!r}")
    return out
