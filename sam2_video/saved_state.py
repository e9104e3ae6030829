"""The state of a session as JSON and back, all but its tensors; docs/saving.md describes every field.

What comes back was checked value by value: the file may be from a stranger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any, TypeVar

from sam2_video.memory import MemoryPolicy, Recipe
from sam2_video.passes import Leg, Pass
from sam2_video.postprocess import decode_rle, encode_rle
from sam2_video.state import ObjectState, SessionOptions, SessionState, Size
from sam2_video.timeline import FrameRecord, Way
from sam2_video.transforms import make_prompt
from sam2_video.types import DataError, FrameMemory, MaskPrediction, ObjectInfo, Prompt, PromptError

LARGEST = 2**53  # of a whole number: what every reader of JSON keeps exact
LONGEST = 16  # digits of such a number
MOST_PIXELS = 2**28  # of a frame: 16384 x 16384
T = TypeVar("T")
# (object, frame) -> what was found and what is remembered there, None for what the file does not hold.
Tensors = Callable[[int, int], tuple[MaskPrediction | None, FrameMemory | None]]


class Field:
    """A value of a file and where it stands there; each method checks what it is. All raise DataError."""

    def __init__(self, value: Any, where: str = "") -> None:
        self.value, self.where = value, where

    def __getitem__(self, key: str) -> Field:
        if not isinstance(self.value, dict):
            raise self.wrong("an object")
        return Field(self.value.get(key), f"{self.where}.{key}" if self.where else key)

    def list(self) -> list[Field]:
        if not isinstance(self.value, list):
            raise self.wrong("a list")
        return [Field(value, f"{self.where}[{k}]") for k, value in enumerate(self.value)]

    def items(self) -> Iterator[tuple[str, Field]]:
        if not isinstance(self.value, dict):
            raise self.wrong("an object")
        return ((key, self[key]) for key in self.value)

    def integer(self, low: int = -LARGEST, high: int = LARGEST) -> int:
        if type(self.value) is not int or not low <= self.value <= high:
            raise self.wrong(f"a whole number from {low} to {high}")
        return self.value

    def flag(self) -> bool:
        if not isinstance(self.value, bool):
            raise self.wrong("true or false")
        return self.value

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.wrong("text")
        return self.value

    def integers(self, low: int = -LARGEST) -> tuple[int, ...]:
        return tuple(field.integer(low) for field in self.list())

    def size(self) -> Size:
        sides = self.integers(1)
        if len(sides) != 2 or sides[0] * sides[1] > MOST_PIXELS:
            raise self.wrong("a height and a width")
        return sides[0], sides[1]

    def optional(self, read: Callable[[Field], T]) -> T | None:
        return None if self.value is None else read(self)

    def wrong(self, expected: str) -> DataError:
        shown = repr(self.value)
        shown = shown if len(shown) <= 60 else f"{shown[:60]}..."
        return DataError(f"{self.where} is {shown}; expected {expected}")


def state_to_json(state: SessionState) -> dict[str, Any]:
    """All of a state but its tensors; frames say whether there are any."""
    options = state.options
    return {
        "options": {**asdict(options), "memory": asdict(options.memory)},
        "size": list(state.size),
        "frame_count": state.frame_count,
        "objects": [_object_to_json(object_id, known) for object_id, known in state.objects.items()],
        "pending": pass_to_json(state.pending),
        "undoable": state.undoable,
    }


def state_from_json(
    field: Field, tensors: Tensors, aside: Callable[[int], Mapping[int, MaskPrediction]]
) -> SessionState:
    """The inverse of `state_to_json`; `aside` gives what waits to be shown of an object. Raises DataError."""
    size, count = field["size"].size(), field["frame_count"].optional(lambda f: f.integer(1))
    objects: dict[int, ObjectState] = {}
    for entry in field["objects"].list():
        object_id = entry["id"].integer(0)
        if object_id in objects:
            raise entry.wrong("each object once")
        objects[object_id] = _object_from_json(entry, object_id, size, count, tensors, aside(object_id))
    options, pending = _options_from_json(field["options"]), pass_from_json(field["pending"])
    return SessionState(options, size, count, objects, pending, field["undoable"].integer(0))


def without_memories(state: SessionState) -> SessionState:
    """The part of a state that can be made whole again from the clip alone: prompted frames.

    What was tracked is left out, and with it what only it could use: a pass that was under way.
    """

    def kept(known: ObjectState) -> ObjectState:
        prompted = {f: replace(r, memory=None) for f, r in known.frames.items() if r.prompt is not None}
        return replace(known, frames=prompted, aside={})

    return replace(state, objects={i: kept(known) for i, known in state.objects.items()}, pending=Pass())


def _object_to_json(object_id: int, known: ObjectState) -> dict[str, Any]:
    return {
        "id": object_id,
        "name": known.info.name,
        "category": known.info.category,
        "made": known.made,
        "frames": [frame_to_json(frame, record) for frame, record in known.frames.items()],
        "aside": sorted(known.aside),
    }


def _object_from_json(
    entry: Field,
    object_id: int,
    size: Size,
    count: int | None,
    tensors: Tensors,
    aside: Mapping[int, MaskPrediction],
) -> ObjectState:
    made = entry["made"].integer(0)
    frames: dict[int, FrameRecord] = {}
    for field in entry["frames"].list():
        frame = field["frame"].integer(0, LARGEST if count is None else count - 1)
        if frame in frames:
            raise field.wrong("each frame once")
        prediction, memory = tensors(object_id, frame)
        frames[frame] = frame_from_json(field, size, made, prediction, memory)
    return ObjectState(ObjectInfo(entry["name"].text(), entry["category"].text()), frames, made, aside)


def frame_to_json(frame: int, record: FrameRecord) -> dict[str, Any]:
    """All of a frame's record but its tensors."""
    recipe, way = record.recipe, record.way
    return {
        "frame": frame,
        "prompt": None if record.prompt is None else _prompt_to_json(record.prompt),
        "version": record.version,
        "settled": record.settled,
        "recipe": None if recipe is None else {key: _plain(value) for key, value in vars(recipe).items()},
        "way": None if way is None else vars(way),
    }


def frame_from_json(
    field: Field, size: Size, made: int, prediction: MaskPrediction | None, memory: FrameMemory | None
) -> FrameRecord:
    """The inverse of `frame_to_json`, with the tensors. Raises DataError."""
    version = field["version"].optional(lambda f: f.integer(0, made - 1))
    prompt = field["prompt"].optional(lambda f: _prompt_from_json(f, size))
    if (memory is not None and version is None) or (
        prompt is not None and (version is None or prediction is None)
    ):
        raise field.wrong("a version and a mask for each prompt and memory")
    return FrameRecord(
        prompt=prompt,
        prediction=prediction,
        memory=memory,
        version=version,
        settled=field["settled"].flag(),
        recipe=field["recipe"].optional(_recipe_from_json),
        way=field["way"].optional(_way_from_json),
    )


def _recipe_from_json(field: Field) -> Recipe:
    return Recipe(
        field["slots"].integers(),
        field["distances"].integers(),
        field["span"].integer(0),
        field["versions"].integers(0),
    )


def _way_from_json(field: Field) -> Way:
    pace = field["pace"].integer()
    if pace == 0:
        raise field.wrong("a pace that is not 0")
    return Way(pace, field["since"].optional(lambda f: f.integer(0)))


def _prompt_to_json(prompt: Prompt) -> dict[str, Any]:
    return {
        "points": [list(point) for point in prompt.points],
        "labels": list(prompt.labels),
        "box": None if prompt.box is None else list(prompt.box),
        "mask": None if prompt.mask is None else encode_rle(prompt.mask),
    }


def _prompt_from_json(field: Field, size: Size) -> Prompt:
    """A prompt that fits the frame, by the same rules as one that a user gives."""
    mask = None
    if field["mask"].value is not None:
        if field["mask"]["size"].size() != size:
            raise field["mask"].wrong(f"a mask of {size}")
        counts = list(field["mask"]["counts"].integers(0))
        try:
            mask = decode_rle({"size": list(size), "counts": counts})
        except ValueError as error:
            raise DataError(f"{field['mask'].where}: {error}") from error
    said = {key: field[key].value or None for key in ("points", "labels", "box")}
    try:
        return make_prompt(size, **said, mask=mask, where="its frame")
    except PromptError as error:
        raise DataError(f"{field.where}: {error}") from error


def pass_to_json(rest: Pass) -> dict[str, Any]:
    """What is left of a pass."""
    anchors = rest.anchors
    return {
        "legs": [vars(leg) for leg in rest.legs],
        "everything": rest.everything,
        "anchors": None if anchors is None else {str(i): list(frames) for i, frames in anchors.items()},
    }


def pass_from_json(field: Field) -> Pass:
    """The inverse of `pass_to_json`. Raises DataError."""

    def anchors(entry: Field) -> dict[int, tuple[int, ...]]:
        found = {}
        for key, frames in entry.items():
            if not (key.isascii() and key.isdecimal() and len(key) <= LONGEST):
                raise entry.wrong("object ids as keys")
            found[int(key)] = frames.integers(0)
        return found

    legs = tuple(_leg_from_json(leg) for leg in field["legs"].list())
    return Pass(legs, field["everything"].flag(), field["anchors"].optional(anchors))


def _leg_from_json(field: Field) -> Leg:
    step = field["step"].integer()
    if step == 0:
        raise field.wrong("a step that is not 0")
    return Leg(
        field["first"].integer(0),
        field["stop"].optional(lambda f: f.integer(-1)),
        step,
        field["shown"].flag(),
    )


def _options_from_json(field: Field) -> SessionOptions:
    memory = field["memory"]
    try:
        policy = MemoryPolicy(
            recent=memory["recent"].integer(0),
            prompted=memory["prompted"].optional(lambda f: f.integer(1)),
            pointers=memory["pointers"].integer(0),
            stride=memory["stride"].integer(1),
        )
        retain: Any = field["retain"].text()
        return SessionOptions(
            policy, retain, field["keep_corrections"].flag(), field["video_size"].optional(Field.size)
        )
    except ValueError as error:
        raise DataError(f"{field.where}: {error}") from error


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
