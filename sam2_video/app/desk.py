"""Everything that a server has open: clips and their kept work, models, pictures."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import time
from pathlib import Path
from typing import Any

from sam2_video.app.errors import RequestError
from sam2_video.app.frames import Frames
from sam2_video.app.kept import Kept
from sam2_video.app.models import Models
from sam2_video.app.places import Places, is_text, kind_of
from sam2_video.app.settings import AppSettings
from sam2_video.app.stored import shapes_of
from sam2_video.app.work import Clip, Work, objects_in, objects_note
from sam2_video.app.worker import Worker
from sam2_video.fingerprint import check_clip, source_files
from sam2_video.saved import SavedSession, read_saved
from sam2_video.session import VideoSession
from sam2_video.sinks.base import make_folder, reported, write_whole
from sam2_video.sources import VideoSource, open_source
from sam2_video.types import DataError, Sam2VideoError, SourceError

MOST_OPEN = 4  # clips; of those that no page looks at the one that was left longest ago is closed
RECORD, LOG, DOWNLOAD = "session.json", "work.log", "download-"
FIELDS = ("name", "path", "model", "frames", "fingerprint", "settings")


class Desk:
    """What the requests of all pages work on. Any thread may call its methods."""

    def __init__(self, settings: AppSettings) -> None:
        """Raises SinkError where the folder of the state cannot be written to."""
        self.settings = settings
        make_folder(settings.uploads)
        make_folder(settings.sessions)
        self.places = Places(settings.folder, settings.uploads)
        self.worker = Worker()
        self.models = Models(settings)
        self._open: dict[str, tuple[Work, Frames]] = {}  # the one that was used last at the end
        self._opening = threading.RLock()

    # --- clips ---

    def open(self, path: str) -> Work:
        """Open a clip, with the work on it that was kept. Raises RequestError and what opening raises."""
        file = self.places.find(path)
        saved = None
        if kind_of(file) == "session":
            saved = read_saved(file)
            file = self._clip_of(saved)
        name = self.places.name(file)
        assert name is not None
        session_id = hashlib.sha256(name.encode()).hexdigest()[:12]
        with self._opening:
            if saved is not None and (self._folder(session_id) / RECORD).is_file():
                raise RequestError(
                    f"there is work on {name} already: forget it before {path} is opened",
                    409,
                )
            if session_id in self._open:
                return self.work(session_id)
            return self._opened(session_id, name, file, saved)

    def work(self, session_id: str) -> Work:
        """An open clip; one that was closed is opened again. Raises RequestError."""
        return self._pair(session_id)[0]

    def frames(self, session_id: str) -> Frames:
        """The pictures of a clip. Raises RequestError."""
        return self._pair(session_id)[1]

    def _pair(self, session_id: str) -> tuple[Work, Frames]:
        pair = self._open.get(session_id)
        if pair is not None:
            return pair
        with self._opening:
            if session_id not in self._open:
                record = self._record(session_id)
                self.open(record["path"])
            self._open[session_id] = pair = self._open.pop(session_id)
        return pair

    def kept(self) -> list[dict[str, Any]]:
        """All clips that work is kept of, the latest first."""
        found = []
        for folder in self.settings.sessions.iterdir():
            try:
                record = self._record(folder.name)
                updated = (folder / LOG).stat().st_mtime
            except (RequestError, Sam2VideoError, OSError):  # one that is damaged hides no other
                continue
            pair = self._open.get(folder.name)
            found.append(
                {
                    "id": folder.name,
                    "name": record["name"],
                    "path": record["path"],
                    "frames": record["frames"],
                    "objects": objects_in(folder),
                    "open": pair is not None,
                    "updated": updated,
                }
            )
        return sorted(found, key=lambda entry: entry["updated"], reverse=True)

    def forget(self, session_id: str) -> None:
        """Close a clip and remove all that is kept of it. Raises RequestError."""
        with self._opening:
            folder = self._folder(session_id)
            if not folder.is_dir():
                raise RequestError("there is no such session", 404)
            if session_id in self._open:
                self._close(session_id)
            shutil.rmtree(folder)

    def hang_up(self) -> None:
        """Tell all who listen that no more news will come."""
        for work, _ in list(self._open.values()):
            work.news.end()

    def close(self) -> None:
        """Close everything; work is kept."""
        with self._opening:
            for work, _ in self._open.values():  # all at once: one may wait behind another
                work.jobs.end()
            for session_id in list(self._open):
                self._close(session_id)
            self.worker.close()

    def _clip_of(self, saved: SavedSession) -> Path:
        """The clip of a saved session: where it was, or of the same name beside the file or in the folder."""
        wanted = saved.clip["path"]
        named = Path(saved.clip["name"]).name
        tried = [Path(wanted)] if wanted else []
        tried += [folder / named for folder in (saved.path.parent, self.places.folder, self.places.uploads)]
        for file in tried:
            if self.places.name(file) is not None and file.exists():
                return file.resolve()
        raise RequestError(f"the clip of {saved.path.name} ({named}) is not in the folder: put it there", 404)

    def _opened(self, session_id: str, name: str, file: Path, saved: SavedSession | None) -> Work:
        check_readable(file)
        folder = self._folder(session_id)
        make_folder(folder)
        record = self._record(session_id) if (folder / RECORD).is_file() else None
        model = record["model"] if record else self.models.current
        clip = Clip(session_id, Path(name).name or self.places.folder.name, name, folder, model)

        def begin() -> Work:
            predictor = self.models.load(model)
            session = predictor.open(file)
            try:
                if any(self.places.name(part) is None for part in source_files(session.source)):
                    raise RequestError(f"{name} holds links to files outside the folder", 403)
                if saved is not None:
                    with predictor.resume(saved, file) as resumed:
                        return self._begun(clip, session, None, resumed)
                return self._begun(clip, session, record)
            except BaseException:
                session.close()
                raise

        try:
            work = self.worker.do(begin)
            try:
                frames = Frames(lambda: open_source(file), work.count, folder)
            except BaseException:
                self.worker.do(work.close)
                raise
        except BaseException:
            if record is None:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        self._open[session_id] = work, frames
        for left in folder.glob(f"{DOWNLOAD}*"):  # of a server that was killed
            left.unlink()
        self._make_room()
        return work

    def _begun(
        self,
        clip: Clip,
        session: VideoSession,
        record: dict[str, Any] | None,
        resumed: VideoSession | None = None,
    ) -> Work:
        settings = session.driver.settings()
        if record is None:
            facts = {"fingerprint": session.clip_record(), "settings": settings}
            known = {"name": clip.name, "path": clip.path, "model": clip.model, "frames": session.frame_count}
            write_whole(clip.folder / RECORD, json.dumps({**known, **facts}, indent=1).encode())
        else:
            self._check(clip, session.source, settings, record)
        kept = Kept(clip.folder / LOG, shapes_of(settings), session.options.memory)
        try:
            if resumed is not None:
                kept.commit(resumed, notes={"objects": objects_note(resumed)})
            return Work(clip, session, kept, self.worker)
        except BaseException:
            kept.close()
            raise

    def _check(self, clip: Clip, source: VideoSource, settings: Any, record: dict[str, Any]) -> None:
        """Raise RequestError where kept work is of another clip or of other weights."""
        try:
            check_clip(source, record["fingerprint"])
        except SourceError as error:
            advice = "put the clip back, or forget this session to begin anew"
            raise RequestError(f"{error}; {advice}", 409) from error
        if json.loads(json.dumps(settings)) != record["settings"]:
            raise RequestError(
                f"the work on {clip.name} was done with other weights or settings of {clip.model}: start the "
                "server with them, or forget this session to begin anew",
                409,
            )

    def _make_room(self) -> None:
        idle = [
            session_id
            for session_id, (work, _) in list(self._open.items())[:-1]
            if not work.jobs.is_busy and not work.news.is_followed
        ]
        for session_id in idle[: max(0, len(self._open) - MOST_OPEN)]:
            self._close(session_id)
        self.models.keep({work.clip.model for work, _ in self._open.values()})

    def _close(self, session_id: str) -> None:
        work, frames = self._open.pop(session_id)
        if work.jobs.is_busy:
            work.jobs.end()
            while work.jobs.is_busy:  # until the frame in work is done
                time.sleep(0.01)
        frames.close()
        self.worker.do(work.close)

    def _folder(self, session_id: str) -> Path:
        if not (len(session_id) == 12 and all(digit in "0123456789abcdef" for digit in session_id)):
            raise RequestError("there is no such session", 404)
        return self.settings.sessions / session_id

    def _record(self, session_id: str) -> dict[str, Any]:
        """What is noted of a clip. Raises RequestError where nothing is, DataError for a damaged file."""
        file = self._folder(session_id) / RECORD
        if not file.is_file():
            raise RequestError("there is no such session", 404)
        with reported(file):
            text = file.read_text(encoding="utf-8")
        try:
            record = json.loads(text)
            return {key: record[key] for key in FIELDS}
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{file} is damaged: {error}") from error


def check_readable(file: Path) -> None:
    """Raise RequestError for a playlist and the like: what it names may lie anywhere."""
    if file.is_file() and is_text(file):
        raise RequestError(f"{file.name} is a text, no video and no picture", 422)
