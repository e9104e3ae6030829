"""Prompts with the frame and the object they are for, and the checks of many of them at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sam2_video.postprocess import encode_rle
from sam2_video.prompts.problems import Problems
from sam2_video.sinks.tables import compress_runs
from sam2_video.transforms import check_object_id, make_prompt
from sam2_video.types import ObjectInfo, Prompt, PromptError


@dataclass(frozen=True)
class PlacedPrompt:
    """A prompt, the frame and the object it is for, and where it came from.

    `mask_file` is the picture that holds its mask; `where` names file and line, for messages. Raises
    PromptError for an object's id that results cannot hold.
    """

    frame: int
    object_id: int
    prompt: Prompt
    mask_file: Path | None = None
    info: ObjectInfo = field(default_factory=ObjectInfo)
    where: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        check_object_id(self.object_id)

    def said(self) -> dict[str, Any]:
        """Return what was said of the object in the form that `make_prompt` and predictors take it."""
        said = self.prompt
        if said.mask is not None:
            return {"mask": said.mask}
        return {"points": said.points or None, "labels": said.labels or None, "box": said.box}

    def arguments(self) -> dict[str, Any]:
        """Return all but frame and object in the form that `session.prompt` takes it, names included."""
        called = {"name": self.info.name, "category": self.info.category}
        return self.said() | {what: text for what, text in called.items() if text}

    def as_json(self) -> dict[str, Any]:
        """Return this prompt in the form that `--prompts` reads."""
        out: dict[str, Any] = {"frame": self.frame, "object": self.object_id}
        if self.info.name:
            out["name"] = self.info.name
        if self.info.category:
            out["category"] = self.info.category
        if self.prompt.points:
            out["points"] = [list(p) for p in self.prompt.points]
            out["labels"] = list(self.prompt.labels)
        if self.prompt.box is not None:
            out["box"] = list(self.prompt.box)
        if self.mask_file is not None:
            out["mask"] = str(self.mask_file.resolve())
        elif self.prompt.mask is not None:
            runs = encode_rle(self.prompt.mask)
            out["mask"] = {"size": runs["size"], "counts": compress_runs(runs)}
        return out

    def __str__(self) -> str:
        return f"object {self.object_id} on frame {self.frame}"


@dataclass(frozen=True)
class PromptSet:
    """What a file of prompts says: prompts by frame and object, and remarks on what was left out.

    `format` is the name of the format it was read as.
    """

    prompts: tuple[PlacedPrompt, ...]
    format: str
    notes: tuple[str, ...] = ()

    @property
    def objects(self) -> dict[int, ObjectInfo]:
        """What people call each object, by id."""
        return {placed.object_id: placed.info for placed in sorted(self.prompts, key=lambda p: p.object_id)}

    def __iter__(self) -> Iterator[PlacedPrompt]:
        return iter(self.prompts)

    def __len__(self) -> int:
        return len(self.prompts)


def merge(parts: Sequence[PlacedPrompt], problems: Problems | None = None) -> tuple[PlacedPrompt, ...]:
    """Join what is said of one object on one frame: clicks add up, a second box or mask is an error.

    An object's name and class, told anywhere, hold for all its prompts. Raises PromptError with all that is
    wrong, unless `problems` collects it.
    """
    found = Problems("these prompts") if problems is None else problems
    joined: dict[tuple[int, int], PlacedPrompt] = {}
    for part in parts:
        key = (part.frame, part.object_id)
        with found.at(part.where):
            joined[key] = _join(joined[key], part) if key in joined else part
    called: dict[int, ObjectInfo] = {}
    for part in parts:
        with found.at(part.where):
            earlier = called.get(part.object_id, ObjectInfo())
            called[part.object_id] = _join_info(earlier, part.info, part.object_id)
    if problems is None:
        found.check()
    return tuple(replace(joined[key], info=called[key[1]]) for key in sorted(joined))


def check_bounds(
    prompts: Sequence[PlacedPrompt],
    frame_count: int | None,
    size: tuple[int, int],
    problems: Problems | None = None,
) -> None:
    """Check prompts against the clip before anything slow happens. `size` is (H, W).

    Raises PromptError for frames outside the clip and for all that `transforms.make_prompt` refuses, with
    everything that is wrong, unless `problems` collects it.
    """
    found = Problems("these prompts") if problems is None else problems
    for placed in prompts:
        with found.at(placed.where):
            if frame_count is not None and placed.frame >= frame_count:
                raise PromptError(
                    f"frame {placed.frame} is outside this clip (0..{frame_count - 1}); frames count from 0"
                )
            try:
                make_prompt(size, **placed.said(), where=f"frame {placed.frame}")
            except PromptError as error:
                raise PromptError(f"{placed}: {error}") from error
    if problems is None:
        found.check()


def _join(first: PlacedPrompt, second: PlacedPrompt) -> PlacedPrompt:
    a, b = first.prompt, second.prompt
    if a.mask is not None or b.mask is not None:
        raise PromptError(f"{first} has a mask and something else; a mask says it all, leave out the rest")
    if a.box is not None and b.box is not None:
        raise PromptError(f"{first} has two boxes; one is the limit, add clicks instead")
    box = b.box if a.box is None else a.box
    return replace(first, prompt=Prompt(a.points + b.points, a.labels + b.labels, box))


def _join_info(first: ObjectInfo, second: ObjectInfo, object_id: int) -> ObjectInfo:
    for what in ("name", "category"):
        earlier, later = getattr(first, what), getattr(second, what)
        if earlier and later and earlier != later:
            raise PromptError(f"object {object_id} has the {what} {later!r}, but {earlier!r} before")
    return ObjectInfo(first.name or second.name, first.category or second.category)
