"""Prompts as people type them (`--click 0:1:420,260`, `--box`, `--mask`, `--prompts`) -> values."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2_video.transforms import make_prompt
from sam2_video.types import Prompt, PromptError

CLICK = "FRAME:OBJECT:X,Y[:-]"
BOX = "FRAME:OBJECT:X0,Y0,X1,Y1"
MASK = "FRAME:FILE.png"
FILE_KEYS = {"frame", "object", "points", "labels", "box", "mask"}


@dataclass(frozen=True)
class PlacedPrompt:
    """A prompt, the frame and the object it is for, and the file its mask came from."""

    frame: int
    object_id: int
    prompt: Prompt
    mask_file: Path | None = None

    def arguments(self) -> dict[str, Any]:
        """Return what was said in the form that sessions, predictors and `make_prompt` take it."""
        said = self.prompt
        out = {"points": said.points or None, "labels": said.labels or None, "box": said.box}
        return out if said.mask is None else {"mask": said.mask}

    def as_json(self) -> dict[str, Any]:
        """Return this prompt in the form that `--prompts` reads."""
        out: dict[str, Any] = {"frame": self.frame, "object": self.object_id}
        if self.prompt.points:
            out["points"] = [list(p) for p in self.prompt.points]
            out["labels"] = list(self.prompt.labels)
        if self.prompt.box is not None:
            out["box"] = list(self.prompt.box)
        if self.mask_file is not None:
            out["mask"] = str(self.mask_file.resolve())
        return out


def gather_prompts(
    clicks: Iterable[str] = (),
    boxes: Iterable[str] = (),
    masks: Iterable[str] = (),
    files: Iterable[Path] = (),
) -> tuple[PlacedPrompt, ...]:
    """Parse everything a command line says and merge what is said of the same object on the same frame.

    Raises PromptError for text that does not parse, for an unreadable file, or when nothing is left.
    """
    parts = [parse_click(text) for text in clicks] + [parse_box(text) for text in boxes]
    for text in masks:
        parts += parse_mask(text)
    for path in files:
        parts += read_prompt_file(path)
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
    frame, colon, name = text.partition(":")
    if not colon or not name:
        raise PromptError(f"--mask {text!r} does not read as {MASK}, for example 0:first_mask.png")
    number = _whole(frame, text)
    return _label_prompts(number, Path(name))


def read_masks(path: Path) -> dict[int, NDArray[np.bool_]]:
    """Read a label picture: object id -> (H, W) mask. Raises PromptError if it is unreadable or empty."""
    labels = _read_labels(path)
    ids = [int(v) for v in np.unique(labels) if v]
    if not ids:
        raise PromptError(f"the mask {path} is empty: every pixel is 0")
    if ids == [255]:
        return {1: labels > 0}
    return {k: labels == k for k in ids}


def read_prompt_file(path: Path) -> list[PlacedPrompt]:
    """Read a JSON list of {frame, object, points, labels, box, mask}, or the run.json of an earlier run.

    `mask` is a picture file, relative to the JSON file: the pixels of value `object`, or all that are not 0
    where the picture holds a single value. Without `object` it is read as `--mask` is.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise PromptError(f"cannot read prompts from {path}: {error}") from error
    if isinstance(entries, dict) and "prompts" in entries:
        entries = entries["prompts"]
    if not isinstance(entries, list):
        raise PromptError(f"{path} holds {type(entries).__name__}, expected a list of prompts")
    parts = [_parse_entry(entry, path, f"{path}, prompt {k}") for k, entry in enumerate(entries)]
    return [part for few in parts for part in few]


def merge(parts: Sequence[PlacedPrompt]) -> tuple[PlacedPrompt, ...]:
    """Join what is said of one object on one frame: clicks add up, a second box or mask is an error."""
    joined: dict[tuple[int, int], PlacedPrompt] = {}
    for part in parts:
        key = (part.frame, part.object_id)
        joined[key] = _join(joined[key], part) if key in joined else part
    return tuple(joined[key] for key in sorted(joined))


def check_bounds(prompts: Sequence[PlacedPrompt], frame_count: int | None, size: tuple[int, int]) -> None:
    """Check prompts against the clip before anything slow happens. `size` is (H, W).

    Raises PromptError for a frame outside the clip, and for all that `transforms.make_prompt` refuses.
    """
    for placed in prompts:
        if frame_count is not None and placed.frame >= frame_count:
            raise PromptError(
                f"frame {placed.frame} is outside this clip (0..{frame_count - 1}); frames count from 0"
            )
        try:
            make_prompt(size, **placed.arguments(), where=f"frame {placed.frame}")
        except PromptError as error:
            raise PromptError(f"object {placed.object_id} on frame {placed.frame}: {error}") from error


def _join(first: PlacedPrompt, second: PlacedPrompt) -> PlacedPrompt:
    a, b = first.prompt, second.prompt
    where = f"object {first.object_id} on frame {first.frame}"
    if a.mask is not None or b.mask is not None:
        raise PromptError(f"{where} has a mask and something else; a mask says it all, leave out the rest")
    if a.box is not None and b.box is not None:
        raise PromptError(f"{where} has two boxes; one is the limit, add clicks instead")
    box = b.box if a.box is None else a.box
    return replace(first, prompt=Prompt(a.points + b.points, a.labels + b.labels, box))


def _parse_entry(entry: Any, path: Path, where: str) -> list[PlacedPrompt]:
    if not isinstance(entry, dict) or not entry.keys() <= FILE_KEYS or "frame" not in entry:
        keys = ", ".join(sorted(FILE_KEYS))
        raise PromptError(f"{where}: expected an object with 'frame' and some of {keys}; got {entry!r}")
    frame = _whole(entry["frame"], where)
    if "mask" in entry:
        file = path.parent / str(entry["mask"])
        if "object" not in entry:
            return _label_prompts(frame, file)
        return [_mask_prompt(frame, _whole(entry["object"], where), file)]
    points = tuple(_pair(p, where) for p in _list(entry.get("points", []), where))
    labels = tuple(_whole(v, where) for v in _list(entry.get("labels", [1] * len(points)), where))
    if len(labels) != len(points) or not set(labels) <= {0, 1}:
        raise PromptError(f"{where}: {len(points)} points need as many labels of 0 or 1, got {list(labels)}")
    box = entry.get("box")
    if not points and box is None:
        raise PromptError(f"{where}: needs 'points', 'box' or 'mask'")
    corners = None if box is None else _corners(box, where)
    return [PlacedPrompt(frame, _whole(entry.get("object", 1), where), Prompt(points, labels, corners))]


def _label_prompts(frame: int, file: Path) -> list[PlacedPrompt]:
    return [PlacedPrompt(frame, k, Prompt(mask=mask), file) for k, mask in read_masks(file).items()]


def _mask_prompt(frame: int, object_id: int, file: Path) -> PlacedPrompt:
    masks = read_masks(file)
    if len(masks) == 1:
        masks = dict.fromkeys([object_id], *masks.values())
    if object_id not in masks:
        raise PromptError(f"the mask {file} holds the objects {sorted(masks)}, but not {object_id}")
    return PlacedPrompt(frame, object_id, Prompt(mask=masks[object_id]), file)


def _read_labels(path: Path) -> NDArray[np.int64]:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            values = np.asarray(picture)  # palette pictures give their indices, not their colours
    except OSError as error:
        raise PromptError(f"cannot read the mask {path}: {error}") from error
    if values.ndim == 3 and (values[..., :3] == values[..., :1]).all():
        values = values[..., 0]  # grey saved as RGB
    if values.ndim != 2:
        raise PromptError(f"the mask {path} is a colour picture; expected palette or grey, pixel = object id")
    return values.astype(np.int64) * (255 if values.dtype == np.bool_ else 1)


def _whole(value: Any, text: str) -> int:
    if isinstance(value, bool) or not str(value).strip().isdecimal():
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


def _pair(value: Any, where: str) -> tuple[float, float]:
    x, y = _finite(value, 2, where)
    return x, y


def _corners(value: Any, where: str) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = _finite(value, 4, where)
    return x0, y0, x1, y1


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise PromptError(f"{where}: expected a list, got {value!r}")
    return value


def _finite(value: Any, count: int, where: str) -> list[float]:
    if not isinstance(value, list) or len(value) != count:
        raise PromptError(f"{where}: expected a list of {count} numbers, got {value!r}")
    if not all(isinstance(v, (int, float)) and math.isfinite(v) for v in value):
        raise PromptError(f"{where}: coordinates must be finite numbers, got {value!r}")
    return [float(v) for v in value]
