"""Sessions as files: everything that a session knows, to go on with on another day.

with predictor.open("clip.mp4") as session:
    session.prompt(frame=0, object_id=1, points=[(420, 260)])
    session.save("work.sam2")
session = predictor.resume("work.sam2")

A file is a zip archive without compression: `session.json`, one safetensors file for each object on each
frame, and one record of a `ResultLog` for each frame that is only shown. Reading it runs no code and takes no
more memory than the file is long; masks that are only shown are unpacked one frame at a time, when they are.
docs/saving.md describes every field.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from torch import Tensor

from sam2_video.aside import Aside, Shelf
from sam2_video.fingerprint import check_clip, source_files
from sam2_video.saved_state import Field, state_from_json, state_to_json, without_memories
from sam2_video.sinks.base import finish, make_folder, part_name, remove, reported
from sam2_video.sinks.result_log import check, pack
from sam2_video.sinks.run_json import versions
from sam2_video.state import ObjectState, SessionState
from sam2_video.types import DataError, FrameMemory, MaskPrediction, SinkError

if TYPE_CHECKING:
    from sam2_video.session import VideoSession
    from sam2_video.sources import VideoSource
    from sam2_video.walker import Driver

FORMAT, VERSION = "sam2_video.session", 1
SETTINGS = "session.json"
LARGEST_SETTINGS = 2**30  # bytes; a million frames take less
_NUMBER = "[0-9]{1,16}"
_NAMES = re.compile(rf"session\.json|(objects|aside)/{_NUMBER}/{_NUMBER}\.safetensors|results/{_NUMBER}")
PREDICTION, MEMORY = ("logits", "iou", "pointer", "presence"), ("memory.features", "memory.pointer")
_LAST = ".channels_last"  # after the name of a map whose channels lie together: arithmetic follows that order


@dataclass(frozen=True)
class SavedSession:
    """What a file holds.

    `clip` and `model` are fingerprints and settings. `results`: masks of frames that are only shown, as
    records of a `ResultLog`. `note`: what the caller of `save` gave to be kept.
    """

    path: Path
    state: SessionState
    clip: Mapping[str, Any]
    model: Mapping[str, Any]
    has_memories: bool
    results: Mapping[int, bytes] = field(default_factory=dict)
    note: Mapping[str, Any] = field(default_factory=dict)


def save_session(
    session: VideoSession,
    path: str | Path,
    *,
    memories: bool = True,
    note: Mapping[str, Any] | None = None,
    state: SessionState | None = None,
) -> None:
    """Write a session into one file, which is there whole or not at all; see `VideoSession.save`.

    `state`: its state, where that can be read in less memory than `VideoSession.state` takes.
    """
    path = Path(path)
    _check_is_not_the_clip(path, session.source)
    state = state or session.state()
    kept = state if memories else without_memories(state)
    head = {
        "format": FORMAT,
        "version": VERSION,
        "written_by": versions(),
        "memories": memories,
        "clip": session.clip_record(),
        "model": session.driver.settings(),
        "note": dict(note or {}),
        **state_to_json(kept),
    }
    make_folder(path.parent)
    part = part_name(path)
    try:
        with reported(path):
            with part.open("wb") as file:
                with zipfile.ZipFile(file, "w") as archive:
                    _add(archive, SETTINGS, json.dumps(head, separators=(",", ":")).encode())
                    for name, data in _tensor_files(kept):
                        _add(archive, name, data)
                    for frame, record in _shown(session, memories):
                        _add(archive, f"results/{frame}", record)
                file.flush()
                os.fsync(file.fileno())
    except BaseException:
        remove(part)
        raise
    finish(part, path)


def read_saved(path: str | Path) -> SavedSession:
    """Read a file that `save_session` wrote. Raises DataError for anything else."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            return _read(path, file)
    except OSError as error:
        raise DataError(f"cannot read the saved session {path}: {error.strerror or error}") from error
    except zipfile.BadZipFile as error:
        raise DataError(f"{path} is no saved session, or only a part of one: {error}") from error
    except RecursionError as error:
        raise DataError(f"{path} is no saved session: {SETTINGS} is nested too deeply") from error


def restore_session(saved: SavedSession, source: VideoSource, driver: Driver) -> VideoSession:
    """Make a session that goes on where the saved one stood.

    Without memories in the file those of prompted frames are made again, from their masks and the clip.
    Raises SourceError for another clip.
    """
    from sam2_video.session import VideoSession

    check_clip(source, saved.clip)
    state = saved.state if saved.has_memories else with_memories(saved.state, source, driver)
    session = VideoSession.restore(source, driver, state)
    session.keep_shown(saved.results)
    return session


def with_memories(state: SessionState, source: VideoSource, driver: Driver) -> SessionState:
    """A state with the memories of its prompted frames, each frame looked at once."""
    frames: dict[int, dict[int, FrameMemory]] = {}
    for frame in sorted({frame for known in state.objects.values() for frame in known.frames}):
        features = driver.look(source.read(frame))
        for object_id, known in state.objects.items():
            record = known.frames.get(frame)
            if record is not None and record.prediction is not None:
                prompted = record.recipe is None  # not so where corrections are tracked again
                memory = driver.remember(features, record.prediction, prompted=prompted)
                frames.setdefault(object_id, {})[frame] = memory
    objects: dict[int, ObjectState] = {}
    for object_id, known in state.objects.items():
        made = frames.get(object_id, {})
        records = {f: replace(record, memory=made.get(f)) for f, record in known.frames.items()}
        objects[object_id] = replace(known, frames=records)
    return replace(state, objects=objects)


# --- writing ---


def _check_is_not_the_clip(path: Path, source: VideoSource) -> None:
    if path.is_file() and any(f.name == path.name and path.samefile(f) for f in source_files(source)):
        raise SinkError(f"{path} is the clip itself, which this would replace: save under another name")


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name), data)  # of no date: equal sessions make equal files


def _shown(session: VideoSession, memories: bool) -> Iterator[tuple[int, bytes]]:
    """The masks that are there to be shown; those with memories need no other record."""
    if memories:
        yield from session.kept
    else:
        for result in session.results():
            yield result.frame, pack(result)


def _tensor_files(state: SessionState) -> Iterator[tuple[str, bytes]]:
    for object_id, known in state.objects.items():
        for frame, record in known.frames.items():
            if record.prediction is not None or record.memory is not None:
                tensors = prediction_tensors(record.prediction) | memory_tensors(record.memory)
                yield f"objects/{object_id}/{frame}.safetensors", pack_tensors(tensors)
        for frame, prediction in known.aside.items():
            yield f"aside/{object_id}/{frame}.safetensors", pack_tensors(prediction_tensors(prediction))


def prediction_tensors(found: MaskPrediction | None) -> dict[str, Tensor]:
    """The tensors of a mask by the names that files have for them."""
    if found is None:
        return {}
    return {"logits": found.logits, "iou": found.iou, "pointer": found.pointer, "presence": found.presence}


def memory_tensors(memory: FrameMemory | None) -> dict[str, Tensor]:
    """The tensors of a memory likewise."""
    return {} if memory is None else {"memory.features": memory.features, "memory.pointer": memory.pointer}


def pack_tensors(tensors: Mapping[str, Tensor]) -> bytes:
    """Tensors as one safetensors file, the order of their channels in memory noted in their names."""
    from safetensors.torch import save

    out = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu()
        if tensor.dim() == 4 and not tensor.is_contiguous():
            name, tensor = name + _LAST, tensor.permute(0, 2, 3, 1)
        out[name] = tensor.contiguous().clone()  # safetensors takes none that share their memory
    return save(out)


# --- reading ---


def _read(path: Path, file: IO[bytes]) -> SavedSession:
    length = file.seek(0, os.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        _check_entries(path, archive.infolist(), length)
        head = _read_settings(path, archive, entries)
        try:
            shapes = {key: shape.integers(1) for key, shape in head["model"]["shapes"].items()}
            frames = _ByObject(archive, entries, "objects", shapes)
            aside = _ByObject(archive, entries, "aside", shapes)
            has_memories = head["memories"].flag()
            state = state_from_json(head, frames.tensors, aside.predictions)
            clip, model, note = (dict(head[key].items()) for key in ("clip", "model", "note"))
            _check_clip_record(head["clip"])
            results = {int(name[8:]): archive.read(name) for name in entries if name.startswith("results/")}
            for frame, record in results.items():
                _check_result(frame, record, state)
        except DataError as error:
            raise DataError(f"{path} is damaged: {error}") from error
    return SavedSession(path, state, _plain(clip), _plain(model), has_memories, results, _plain(note))


def _check_entries(path: Path, entries: list[zipfile.ZipInfo], length: int) -> None:
    """Refuse what `save_session` never writes: it could fill the memory or the disk."""
    names = {entry.filename for entry in entries}
    strange = next((name for name in names if not _NAMES.fullmatch(name)), None)
    if SETTINGS not in names or strange is not None:
        held = f"it holds {strange!r}" if strange is not None else f"it has no {SETTINGS}"
        raise DataError(f"{path} is no saved session: {held}")
    packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    if packed or len(names) < len(entries) or sum(entry.file_size for entry in entries) > length:
        raise DataError(f"{path} is no saved session: its parts are compressed or overlap")


def _read_settings(path: Path, archive: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo]) -> Field:
    if entries[SETTINGS].file_size > LARGEST_SETTINGS:
        raise DataError(f"{path} is no saved session: its {SETTINGS} is too large")
    try:
        head = json.loads(archive.read(SETTINGS))
    except ValueError as error:
        raise DataError(f"{path} is damaged: {SETTINGS} cannot be read ({error})") from error
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise DataError(f"{path} is no saved session: its {SETTINGS} is of another format")
    if head.get("version") != VERSION:
        writer = (head.get("written_by") or {}).get("sam2_video", "another release")
        raise DataError(
            f"{path} has version {head.get('version')} of the format, written by sam2_video {writer}; this "
            f"release reads version {VERSION}: resume it with that release, or track again"
        )
    return Field(head)


def _check_result(frame: int, record: bytes, state: SessionState) -> None:
    """See that a record is what this session could have found on a frame, without unpacking its masks."""
    said = check(record)
    if said["frame"] != frame or tuple(said["size"]) != state.size:
        raise DataError(f"results/{frame} is of another frame or another clip")
    if not state.objects.keys() >= set(said["objects"]):
        raise DataError(f"results/{frame} has objects that are not in this session")


def _check_clip_record(field: Field) -> None:
    field["name"].text()
    field["size"].size()
    field["frame_count"].optional(lambda f: f.integer(1))
    field["hash"].optional(Field.text)
    field["path"].optional(Field.text)


def _plain(fields: Mapping[str, Field]) -> dict[str, Any]:
    return {key: entry.value for key, entry in fields.items()}


@dataclass(frozen=True)
class _ByObject:
    """The tensors of one folder of an archive, read where they are asked for."""

    archive: zipfile.ZipFile
    entries: Mapping[str, zipfile.ZipInfo]
    folder: str
    shapes: Mapping[str, tuple[int, ...]]

    def tensors(self, object_id: int, frame: int) -> tuple[MaskPrediction | None, FrameMemory | None]:
        """What was found and what is remembered of an object on a frame. Raises DataError."""
        name = f"{self.folder}/{object_id}/{frame}.safetensors"
        if name not in self.entries:
            return None, None
        found = unpack_tensors(name, self.archive.read(name), self.shapes)
        parts, memory = _all_or_none(name, found, PREDICTION), _all_or_none(name, found, MEMORY)
        prediction = MaskPrediction(parts[0], parts[1], parts[2], parts[3]) if parts else None
        return prediction, FrameMemory(memory[0], memory[1]) if memory else None

    def predictions(self, object_id: int) -> Aside:
        """All predictions of an object, which go from file to file: there may be many. Raises DataError."""
        aside, shelf = Aside(), None
        start = f"{self.folder}/{object_id}/"
        for name in self.entries:
            if name.startswith(start):
                shelf = shelf or Shelf()
                frame = int(name[len(start) :].partition(".")[0])
                prediction, _ = self.tensors(object_id, frame)
                if prediction is None:
                    raise DataError(f"{name} holds no mask")
                aside.put(frame, prediction, shelf)
        return aside


def unpack_tensors(name: str, data: bytes, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The tensors of one file by name, laid out in memory as they were. Raises DataError."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    out = {}
    try:
        held = load(data)
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise DataError(f"{name} cannot be read: {error}") from error
    for key, tensor in held.items():
        plain = key.removesuffix(_LAST)
        tensor = tensor.clone()  # memory of its own, aligned as arithmetic likes it
        if plain != key and tensor.dim() == 4:
            tensor = tensor.permute(0, 3, 1, 2)
        if tuple(tensor.shape) != shapes.get(plain) or not tensor.is_floating_point():
            raise DataError(f"{name} holds {plain} as {tensor.dtype} of shape {tuple(tensor.shape)}")
        out[plain] = tensor
    return out


def _all_or_none(name: str, found: Mapping[str, Tensor], keys: tuple[str, ...]) -> list[Tensor]:
    held = [found[key] for key in keys if key in found]
    if len(held) not in (0, len(keys)):
        raise DataError(f"{name} holds only some of {', '.join(keys)}")
    return held
