"""Results of a clip as a zip archive of every kind of file that was asked for, made aside."""

from __future__ import annotations

import shutil
import zipfile
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

from sam2_video.app.errors import RequestError
from sam2_video.app.places import safe_name
from sam2_video.app.task import Task
from sam2_video.app.work import Work
from sam2_video.cli_write import Writers
from sam2_video.sinks.base import make_folder, part_name, reported
from sam2_video.sinks.registry import FALLBACK_FPS, SINKS, SinkOrder
from sam2_video.sources import VideoSource, open_source

PACKED = {
    ".json",
    ".jsonl",
    ".csv",
    ".txt",
    ".xml",
    ".yaml",
    ".ini",
}  # the other files are compressed already
FOLDER = "exports"


def formats_json() -> list[dict[str, str]]:
    """The kinds of results there are."""
    return [{"name": name, "about": kind.note} for name, kind in SINKS.items()]


def begin_export(work: Work, formats: list[str], source_path: Path) -> Task:
    """Begin to write results into an archive. Raises RequestError, PromptError and SinkError."""
    names = list(dict.fromkeys(formats))
    unknown = [name for name in names if name not in SINKS]
    if unknown or not names:
        raise RequestError(f"there is no format {unknown}: choose some of {', '.join(SINKS)}")
    total = sum(last - first + 1 for first, last in work.as_json()["known"])
    if not total:
        raise RequestError("there are no results yet: prompt an object first", 409)
    infos = {track.object_id: track.info for track in work.tracks}
    for name in names:
        SINKS[name].check(infos)
    task = Task("export", total)
    work.jobs.begin(task, lambda: _export(work, task, names, source_path))
    return task


def list_exports(work: Work) -> list[dict[str, Any]]:
    """The archives that are there, the latest first."""
    files = sorted(
        (work.clip.folder / FOLDER).glob("*.zip"), key=lambda file: file.stat().st_mtime, reverse=True
    )
    return [{"name": file.name, "bytes": file.stat().st_size} for file in files if file.name[0] != "."]


def export_file(work: Work, name: str) -> Path:
    """One of them. Raises RequestError."""
    if name not in {entry["name"] for entry in list_exports(work)}:
        raise RequestError(f"there is no export {name!r}", 404)
    return work.clip.folder / FOLDER / name


def _export(work: Work, task: Task, names: list[str], source_path: Path) -> str:
    """Write everything aside, pack it, give it its name; returns that."""
    folder = work.clip.folder / FOLDER
    aside = folder / ".part"
    shutil.rmtree(aside, ignore_errors=True)
    make_folder(aside)
    try:
        with open_source(source_path) as source:
            _write(work, task, names, source, source_path, aside)
        return _pack(aside, _name(work, names, folder))
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _write(work: Work, task: Task, names: list[str], source: VideoSource, path: Path, out: Path) -> None:
    session = work.session
    largest = max(session.objects, default=1)
    order = SinkOrder(
        out,
        clip=source.name,
        source=path.name,
        fps=source.fps or FALLBACK_FPS,
        bits=8 if largest <= 255 else 16,
        start=next(iter(work.as_json()["known"]), [0])[0],
        frames=source.count,
        file=path if path.is_file() else None,
    )
    with ExitStack() as stack:
        writers = Writers(source, order, stack)
        writers.open(names)
        for result in session.results():
            writers.write([*writers.single, *writers.ordered], result)
            work.jobs.turn(task, result.frame)


def _name(work: Work, names: list[str], folder: Path) -> Path:
    what = names[0] if len(names) == 1 else f"{len(names)} formats"
    stamp = datetime.now().strftime("%Y-%m-%d %H.%M.%S")
    stem = safe_name(f"{Path(work.clip.name).stem} {what} {stamp}")
    path, k = folder / f"{stem}.zip", 2
    while path.exists():
        path, k = folder / f"{stem} ({k}).zip", k + 1
    return path


def _pack(folder: Path, path: Path) -> str:
    part = part_name(path)
    try:
        with reported(path), zipfile.ZipFile(part, "w") as archive:
            for file in sorted(folder.rglob("*")):
                if file.is_file():
                    packed = file.suffix.lower() in PACKED
                    kind = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
                    archive.write(file, file.relative_to(folder).as_posix(), kind)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path.name
