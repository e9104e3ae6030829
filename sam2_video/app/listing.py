"""What is in a folder that a page can open."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sam2_video.app.errors import RequestError
from sam2_video.app.places import UPLOADS, Places, kind_of
from sam2_video.sources.folder import PICTURE_TYPES


def list_folder(places: Places, path: str) -> dict[str, Any]:
    """Folders, clips and pictures of one folder, hidden ones left out. Raises RequestError."""
    folder = places.find(path)
    if not folder.is_dir():
        raise RequestError(f"{path!r} is not a folder", 400)
    here = places.name(folder) or ""
    entries = [found for entry in _scan(folder) if (found := _entry(places, Path(entry.path))) is not None]
    if here in ("", ".") and any(_scan(places.uploads)):
        entries.append(_entry_json(UPLOADS, UPLOADS, "folder", None, _count_pictures(places.uploads)))
    entries.sort(key=lambda entry: (entry["kind"] != "folder", entry["name"].lower()))
    here = "" if here == "." else here
    return {"path": here, "parent": _parent(here), "entries": entries}


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return [entry for entry in found if not entry.name.startswith(".")]
    except OSError as error:
        raise RequestError(f"the folder cannot be read: {error.strerror or error}", 403) from error


def _entry(places: Places, path: Path) -> dict[str, Any] | None:
    name = places.name(path)  # by where links lead: what leads outside is not listed
    if name is None:
        return None
    try:
        if path.is_dir():
            return _entry_json(path.name, name, "folder", None, _count_pictures(path))
        kind = kind_of(path)
        return None if kind is None else _entry_json(path.name, name, kind, path.stat().st_size, None)
    except (OSError, RequestError):
        return None


def _entry_json(name: str, path: str, kind: str, size: int | None, pictures: int | None) -> dict[str, Any]:
    return {"name": name, "path": path, "kind": kind, "bytes": size, "pictures": pictures}


def _count_pictures(folder: Path) -> int:
    return sum(Path(entry.name).suffix.lower() in PICTURE_TYPES for entry in _scan(folder))


def _parent(path: str) -> str | None:
    return None if path == "" else path.rpartition("/")[0]
