"""One clip that is worked on: a session, its place on disk, its task, and who wants to hear of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sam2_video.app import shown
from sam2_video.app.commands import Command, Commands
from sam2_video.app.errors import RequestError
from sam2_video.app.events import News
from sam2_video.app.jobs import Jobs
from sam2_video.app.kept import Kept, read_slowly
from sam2_video.app.worker import Worker
from sam2_video.review import Notice
from sam2_video.saved import save_session
from sam2_video.session import VideoSession
from sam2_video.sinks.base import write_whole
from sam2_video.timeline import ObjectTrack
from sam2_video.types import ObjectInfo

SUMMARY = "objects.json"
SYNC_SECONDS = 5.0  # between writes that also survive a power cut


@dataclass(frozen=True)
class Clip:
    """A clip that is worked on: `path` as pages name it, `folder` where its work is kept."""

    id: str
    name: str
    path: str
    folder: Path
    model: str


class Work:
    """What the server knows of one open clip.

    The worker's thread changes it, one request after the other; any thread reads. Each change is on disk
    before it is told.
    """

    def __init__(self, clip: Clip, session: VideoSession, kept: Kept, worker: Worker) -> None:
        self.id, self.clip = clip.id, clip
        self.session = session
        self.news = News()
        self.notices: dict[int, list[Notice]] = {}
        self._kept, self._worker = kept, worker
        self._commands = Commands()
        self._synced = time.monotonic()
        count = session.frame_count
        if count is None:
            raise RequestError("a clip of unknown length cannot be worked on in the app", 422)
        self.count: int = count
        recovered = kept.recover(session.size, count)
        session.take_over(recovered.tracks, recovered.pending)
        notes = recovered.notes
        self.revision = int(notes.get("revision", 0))
        self.notices = shown.notices_from(notes)
        declared = notes.get("objects", [])
        self._objects = {int(i): ObjectInfo(name, category) for i, name, category in declared}
        self.jobs = Jobs(self, worker, int(notes.get("total", 0)))
        self._look()

    # --- what is read ---

    def as_json(self) -> dict[str, Any]:
        """The session as pages know it."""
        task = self.jobs.task
        known = shown.ranges(self.tracks)
        return {**self._view, "known": known, "task": None if task is None else task.as_json()}

    def masks(self, frame: int) -> dict[str, Any]:
        """The masks of a frame. Raises RequestError."""
        self.check_frame(frame)
        return shown.masks_json(self.session, self.tracks, frame)

    def timeline(self) -> dict[str, Any]:
        """Scores over time, and frames worth a look."""
        return shown.timeline_json(self.tracks, self.count, self.notices)

    def check_frame(self, frame: int) -> None:
        if not 0 <= frame < self.count:
            raise RequestError(f"there is no frame {frame}: this clip has 0 to {self.count - 1}", 404)

    # --- what the user does; each is one job of the worker ---

    def change(self, action: Callable[[], Any], revision: int | None = None) -> dict[str, Any]:
        """Do one thing and return the session as it is then. Raises RequestError for a stale `revision`."""

        def job() -> dict[str, Any]:
            self._check_revision(revision)
            action()
            return self.as_json()

        return self._worker.do(job)

    def prompt(self, said: dict[str, Any], revision: int | None = None) -> dict[str, Any]:
        """Prompt an object on a frame; returns the session and the masks of the frame."""
        object_id, frame = said["object_id"], said["frame"]

        def job() -> dict[str, Any]:
            self._check_revision(revision)
            self._commands.run(Command("prompt", said), self.session)
            info = self._objects.setdefault(object_id, ObjectInfo())
            self.session.describe(object_id, name=info.name, category=info.category)
            self._changed([frame])
            return {"session": self.as_json(), "masks": self.masks(frame)}

        return self._worker.do(job)

    def clear(self, frame: int, object_id: int) -> None:
        """Take the prompts of a frame back; an object without any is left with its name alone."""
        track = self.session.track(object_id)
        last = track.is_prompted(frame) and len(track.prompts) == 1
        said = {"object_id": object_id} if last else {"object_id": object_id, "frame": frame}
        self._commands.run(Command("remove" if last else "clear", said), self.session)
        self._changed(None)

    def undo(self) -> None:
        self._restored(self._commands.undo(self.session))

    def redo(self) -> None:
        self._restored(self._commands.redo(self.session))

    def _restored(self, command: Command) -> None:
        object_id = command.object_id
        if object_id in self.session.objects:
            info = self._objects.setdefault(object_id, self.session.track(object_id).info)
            self.session.describe(object_id, name=info.name, category=info.category)  # names are not undone
        self._changed(None)

    def add_object(self, object_id: int | None, name: str, category: str) -> None:
        """Make an object known before it is prompted. Raises RequestError for an id that is taken."""
        if object_id is None:
            object_id = max(self._objects, default=0) + 1
        if object_id < 1:
            raise RequestError(f"object ids count from 1 here; got {object_id}")
        if object_id in self._objects:
            raise RequestError(f"there is an object {object_id} already", 409)
        self._objects[object_id] = ObjectInfo(name, category)
        self._changed([])

    def describe(self, object_id: int, name: str | None, category: str | None) -> None:
        """Name an object. Raises RequestError where there is none."""
        before = self._object(object_id)
        info = ObjectInfo(
            before.name if name is None else name, before.category if category is None else category
        )
        if object_id in self.session.objects:
            self.session.describe(object_id, name=info.name, category=info.category)
        self._objects[object_id] = info
        self._changed([])

    def remove(self, object_id: int) -> None:
        """Forget an object and all that was found of it. Raises RequestError where there is none."""
        self._object(object_id)
        if object_id in self.session.objects:
            self._commands.run(Command("remove", {"object_id": object_id}), self.session)
        del self._objects[object_id]
        self._changed(None)

    def _object(self, object_id: int) -> ObjectInfo:
        if object_id not in self._objects:
            raise RequestError(f"there is no object {object_id}", 404)
        return self._objects[object_id]

    def _check_revision(self, revision: int | None) -> None:
        if revision is not None and revision != self.revision:
            raise RequestError(
                "this clip was changed in another window meanwhile; look at it as it is now, and try again",
                409,
            )

    # --- keeping ---

    def save(self) -> None:
        """Have everything reach the disk now."""
        self._worker.do(self._kept.sync)

    def write(self, path: Path) -> None:
        """Write a .sam2 file, reading one frame at a time. Raises SinkError."""
        self._worker.do(lambda: save_session(self.session, path, state=read_slowly(self.session)))

    def close(self) -> None:
        """Close clip and log, and tell those who listen; a job of the worker."""
        self.news.end()
        self._kept.sync()
        self._kept.close()
        self.session.close()

    def _objects_note(self) -> list[list[Any]]:
        return [[i, info.name, info.category] for i, info in sorted(self._objects.items())]

    def _changed(self, frames: list[int] | None) -> None:
        """Keep what the user did, then tell it."""
        self.revision += 1
        self.commit(frames, {"revision": self.revision, "objects": self._objects_note()})
        if len(self._objects) != objects_in(self.clip.folder):
            write_whole(self.clip.folder / SUMMARY, json.dumps(len(self._objects)).encode())
        self.publish()

    def note_notices(self, frame: int, found: list[Notice]) -> None:
        """Keep what is worth a look on a frame."""
        if found != self.notices.get(frame, []):
            self.notices[frame] = found
            self.commit([], shown.notices_note(frame, found))

    def commit(self, frames: list[int] | None, notes: Mapping[str, Any] | None = None) -> bool:
        """Keep what changed on some frames, left out: on any; tell whether there was something."""
        changed = self._kept.commit(self.session, frames, notes)
        if time.monotonic() - self._synced > SYNC_SECONDS:
            self._kept.sync()
            self._synced = time.monotonic()
        return changed

    def publish(self) -> None:
        """Have everybody see the session as it is now."""
        self._look()
        self.news.tell("session", self.as_json())

    def _look(self) -> None:
        """Make what others read, all of one moment."""
        session = self.session
        self.tracks: tuple[ObjectTrack, ...] = tuple(session.track(i) for i in session.objects)
        self._view = {
            "id": self.id,
            "revision": self.revision,
            "name": self.clip.name,
            "path": self.clip.path,
            "frames": self.count,
            "height": session.size[0],
            "width": session.size[1],
            "fps": session.source.fps,
            "model": self.clip.model,
            "objects": [shown.object_json(i, info) for i, info in sorted(self._objects.items())],
            "prompts": shown.prompts_json(self.tracks),
            "can_undo": bool(self._commands.done),
            "can_redo": bool(self._commands.undone),
        }


def objects_note(session: VideoSession) -> list[list[Any]]:
    """The objects of a session as `Work` keeps their names."""
    infos = [(object_id, session.track(object_id).info) for object_id in session.objects]
    return [[object_id, info.name, info.category] for object_id, info in infos]


def objects_in(folder: Path) -> int:
    """How many objects the work in a folder has, as it was noted for lists."""
    try:
        return int(json.loads((folder / SUMMARY).read_text()))
    except (OSError, ValueError, TypeError):
        return 0
