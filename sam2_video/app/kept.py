"""A session on disk, step by step: what changed is appended, and all of it comes back after a crash."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from sam2_video.app.stored import Shapes, StoredMemories, StoredPredictions
from sam2_video.app.work_log import Place, WorkLog
from sam2_video.memory import MemoryBank, MemoryPolicy
from sam2_video.passes import Pass
from sam2_video.saved_state import Field, frame_from_json, frame_to_json, pass_from_json, pass_to_json
from sam2_video.session import VideoSession
from sam2_video.sinks.base import part_name
from sam2_video.state import ObjectState, SessionState
from sam2_video.timeline import FrameRecord, ObjectTrack
from sam2_video.types import ObjectInfo

WASTE = 16 * 2**20  # bytes of results that were replaced, from which on a log may be written anew
Step: TypeAlias = dict[str, Any]
Sign: TypeAlias = tuple[Any, ...]  # what tells a frame's record from an earlier one


@dataclass
class Recovered:
    """What a log holds. `notes`: what the app keeps beside the session, of each the last one."""

    tracks: dict[int, ObjectTrack] = field(default_factory=dict)
    pending: Pass = field(default_factory=Pass)
    notes: dict[str, Any] = field(default_factory=dict)


class Kept:
    """The log of one session, and what it says by now."""

    def __init__(self, path: Path, shapes: Shapes, policy: MemoryPolicy) -> None:
        """Raises SinkError and DataError."""
        self._path, self._shapes, self._policy = path, shapes, policy
        self._log = WorkLog(path)
        self._signs: dict[int, dict[int, Sign]] = {}  # of each object and frame, as committed
        self._behind = False  # a step could not be written: the next one looks at everything
        self._heads: dict[int, list[Any]] = {}  # name, class and number of memories of each object

    def recover(self, size: tuple[int, int], count: int | None) -> Recovered:
        """Bring back what was kept, of a clip of this size and length. Raises DataError."""
        objects: dict[int, Step] = {}
        out, pending = Recovered(), None
        for step in self._log.commits():
            _replay(objects, step)
            pending = step.get("pending", pending)
            out.notes |= step.get("notes", {})
        live = sum(p[1] for o in objects.values() for f in o["frames"].values() for p in f["places"] if p)
        for object_id, held in objects.items():
            out.tracks[object_id] = self._track(object_id, held, size, count)
        if pending is not None:
            out.pending = pass_from_json(Field(pending, "pending"))
        if self._log.length > 2 * live + WASTE:
            self._write_anew(out)
        else:
            self._signs = {i: {f: _sign(t, f) for f in t.frames()} for i, t in out.tracks.items()}
            self._heads = {i: _head(track) for i, track in out.tracks.items()}
        return out

    def commit(
        self,
        session: VideoSession,
        frames: Iterable[int] | None = None,
        notes: Mapping[str, Any] | None = None,
    ) -> bool:
        """Append what has changed on these frames, left out: anywhere; tell whether any frame did.

        Raises SinkError; then the step did not happen as far as the log knows, and the next one has it, too.
        """
        tracks = {object_id: session.track(object_id) for object_id in session.objects}
        for track in tracks.values():
            self.adopt(track)
        wanted = None if frames is None or self._behind else list(frames)
        self._behind = True
        changed = {i: self._changes(track, wanted) for i, track in tracks.items()}
        objects = {str(i): found for i, found in changed.items() if found}
        step: Step = {"pending": pass_to_json(session.pending), "objects": objects}
        gone = [object_id for object_id in self._heads if object_id not in tracks]
        if gone:
            step["removed"] = gone
        if notes:
            step["notes"] = dict(notes)
        self._log.commit(step)
        self._behind = False
        for object_id in gone:
            del self._heads[object_id], self._signs[object_id]
        for object_id, found in changed.items():
            self._note(tracks[object_id], found)
        return any(found.get("frames") for found in changed.values())

    def adopt(self, track: ObjectTrack) -> None:
        """Move what is found of an object into the log, now and from now on."""
        if not isinstance(track.predictions, StoredPredictions):
            predictions = StoredPredictions(self._log, self._shapes)
            tracked = StoredMemories(self._log, self._shapes, self._policy.horizon + 2)
            prompted = StoredMemories(self._log, self._shapes, None)
            predictions.update(track.predictions)
            tracked.update(track.bank.tracked)
            prompted.update(track.bank.prompted)
            # Only now: on a full disk the object stays as it is.
            track.predictions, track.bank.tracked, track.bank.prompted = predictions, tracked, prompted

    def sync(self) -> None:
        """Have everything reach the disk. Raises SinkError."""
        self._log.sync()

    def close(self) -> None:
        """Close the log."""
        self._log.close()

    def _changes(self, track: ObjectTrack, frames: list[int] | None) -> Step:
        """What a step says of an object; nothing where nothing changed."""
        known = self._signs.get(track.object_id, {})
        if frames is None:
            frames = sorted({*known, *track.frames()})
        now = {frame: _sign(track, frame) for frame in frames}
        held = {f: _frame_json(track, f) for f, sign in now.items() if sign and sign != known.get(f)}
        dropped = [frame for frame, sign in now.items() if not sign and frame in known]
        step: Step = {}
        if held:
            step["frames"] = {str(frame): record for frame, record in held.items()}
        if dropped:
            step["dropped"] = dropped
        if step or self._heads.get(track.object_id) != _head(track):
            step["head"] = _head(track)
        return step

    def _note(self, track: ObjectTrack, step: Step) -> None:
        """Remember what was committed of an object."""
        signs = self._signs.setdefault(track.object_id, {})
        for frame in map(int, step.get("frames", ())):
            signs[frame] = _sign(track, frame)
        for frame in step.get("dropped", ()):
            del signs[frame]
        self._heads[track.object_id] = _head(track)

    def _track(self, object_id: int, held: Step, size: tuple[int, int], count: int | None) -> ObjectTrack:
        """A timeline as the log says, its tensors on disk."""
        name, category, made = held["head"]
        predictions: dict[int, Place] = {}
        memories: dict[bool, dict[int, Place]] = {True: {}, False: {}}
        scores: dict[int, tuple[float, float]] = {}
        bank = MemoryBank(self._policy, made=made)
        track = ObjectTrack(object_id, bank, ObjectInfo(name, category))
        for key, entry in held["frames"].items():
            frame = int(key)
            prediction, memory = entry["places"]
            if prediction:
                predictions[frame], scores[frame] = Place(*prediction), tuple(entry["scores"])
            if memory:
                memories[entry["settled"]][frame] = Place(*memory)
                bank.versions[frame] = entry["version"]
        track.predictions = StoredPredictions(self._log, self._shapes, places=predictions, scores=scores)
        bank.tracked = StoredMemories(self._log, self._shapes, self._policy.horizon + 2, memories[False])
        bank.prompted = StoredMemories(self._log, self._shapes, None, memories[True])
        for key, entry in held["frames"].items():
            _put_facts(track, int(key), entry, size, count)
        return track

    def _write_anew(self, out: Recovered) -> None:
        """Copy what still counts into a new log, which takes the place of this one."""
        part = part_name(self._path)
        part.unlink(missing_ok=True)
        fresh = WorkLog(part)
        step: Step = {"pending": pass_to_json(out.pending), "notes": out.notes, "objects": {}}
        for object_id, track in out.tracks.items():
            for stored in (track.predictions, track.bank.tracked, track.bank.prompted):
                assert isinstance(stored, StoredPredictions | StoredMemories)
                stored.move(fresh)
            frames = {str(f): _frame_json(track, f) for f in track.frames()}
            step["objects"][str(object_id)] = {"head": _head(track), "frames": frames}
        fresh.commit(step)
        fresh.sync()
        self._log.close()
        part.replace(self._path)
        self._log, fresh.path = fresh, self._path
        self._signs = {i: {f: _sign(t, f) for f in t.frames()} for i, t in out.tracks.items()}
        self._heads = {i: _head(track) for i, track in out.tracks.items()}


class _Records(Mapping[int, FrameRecord]):
    """The frames of a timeline, each read when it is asked for; the timeline must not change meanwhile."""

    def __init__(self, track: ObjectTrack) -> None:
        self._track, self._frames = track, track.frames()

    def __getitem__(self, frame: int) -> FrameRecord:
        return self._track.record(frame)

    def __iter__(self) -> Iterator[int]:
        return iter(self._frames)

    def __len__(self) -> int:
        return len(self._frames)


def read_slowly(session: VideoSession) -> SessionState:
    """The state of a session as `VideoSession.state` gives it, its frames on disk until they are read."""
    tracks = {object_id: session.track(object_id) for object_id in session.objects}
    objects = {i: ObjectState(track.info, _Records(track), track.bank.made) for i, track in tracks.items()}
    return SessionState(session.options, session.size, session.frame_count, objects, session.pending)


def _replay(objects: dict[int, Step], step: Step) -> None:
    """Bring what is known of all objects one step further."""
    for object_id in step.get("removed", ()):
        objects.pop(object_id, None)
    for key, change in step.get("objects", {}).items():
        held = objects.setdefault(int(key), {"head": ["", "", 0], "frames": {}})
        held["head"] = change.get("head", held["head"])
        held["frames"] |= change.get("frames", {})
        for frame in change.get("dropped", ()):
            held["frames"].pop(str(frame), None)


def _head(track: ObjectTrack) -> list[Any]:
    return [track.info.name, track.info.category, track.bank.made]


def _places(track: ObjectTrack, frame: int) -> list[Place | None]:
    """Where the mask and the memory of a frame lie."""
    predictions, bank = track.predictions, track.bank
    assert isinstance(predictions, StoredPredictions)
    assert isinstance(bank.tracked, StoredMemories) and isinstance(bank.prompted, StoredMemories)
    memory = bank.prompted.places.get(frame) or bank.tracked.places.get(frame)
    return [predictions.places.get(frame), memory]


def _sign(track: ObjectTrack, frame: int) -> Sign:
    """Whatever is found is written once, so places tell; empty where nothing is known of a frame."""
    prediction, memory = _places(track, frame)
    way = track.ways.get(frame)
    if prediction is None and memory is None and way is None:
        return ()
    return (prediction and prediction.start, memory and memory.start, way and (way.pace, way.since))


def _frame_json(track: ObjectTrack, frame: int) -> Step:
    """A frame's record without its tensors, and where these are."""
    assert isinstance(track.predictions, StoredPredictions)
    record = FrameRecord(
        prompt=track.prompts.get(frame),
        version=track.bank.versions.get(frame),
        settled=track.is_settled(frame),
        recipe=track.recipes.get(frame),
        way=track.ways.get(frame),
    )
    scores = track.predictions.scores.get(frame)
    return {**frame_to_json(frame, record), "places": _places(track, frame), "scores": scores}


def _put_facts(track: ObjectTrack, frame: int, entry: Step, size: tuple[int, int], count: int | None) -> None:
    """Put what a record says into a timeline that has its tensors already."""
    prompted = entry["prompt"] is not None
    record = frame_from_json(
        Field(entry, f"frame {frame}"),
        size,
        track.bank.made,
        track.predictions.get(frame) if prompted else None,  # others are left on disk
        None,
    )
    if record.prompt is not None:
        track.prompts[frame] = record.prompt
    if record.recipe is not None:
        track.recipes[frame] = record.recipe
    if record.way is not None:
        track.ways[frame] = record.way
