"""Names that come from pages, and the files that they may mean: those of the folder, and uploads."""

from __future__ import annotations

import re
import sys
from pathlib import Path, PurePosixPath

from sam2_video.app.errors import RequestError
from sam2_video.sources.folder import PICTURE_TYPES

UPLOADS = "@uploads"  # stands for the folder of uploads in paths that pages use
VIDEO_TYPES = {
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv"),
    *(".flv", ".ogv", ".3gp", ".mxf", ".y4m"),
}
SAVED_TYPE = ".sam2"
LONGEST_NAME = 120
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?$", re.IGNORECASE)
_ODD = re.compile(r"[^\w .()+=@,-]")
TEXT = bytes(range(32, 127)) + b"\t\r\n\f"
PLAYLISTS = (b"#extm3u", b"ffconcat", b"<", b"v=0")  # whatever letters follow
PROBE = 4096  # bytes


class Places:
    """The folder that was given and the one of uploads; nothing outside of them can be named."""

    def __init__(self, folder: Path, uploads: Path) -> None:
        self.folder, self.uploads = folder.resolve(), uploads.resolve()

    def find(self, path: str) -> Path:
        """The file or folder that a page means. Raises RequestError for what is outside or not there."""
        parts = _parts(path)
        root = self.folder
        if parts and parts[0] == UPLOADS:
            root, parts = self.uploads, parts[1:]
        try:
            found = root.joinpath(*parts).resolve()
            exists = found.is_relative_to(root) and found.exists()
        except (OSError, ValueError, RuntimeError):  # names too long, loops of links
            exists = False
        if not exists:  # the same words for what is outside: a page learns nothing of it
            raise RequestError(f"there is no {path!r} in the folder", 404)
        return found

    def name(self, file: Path) -> str | None:
        """The path that pages have for a file; None for one outside."""
        try:
            file = file.resolve()
        except (OSError, ValueError, RuntimeError):  # no path at all, or a loop of links
            return None
        if file.is_relative_to(self.folder):
            return file.relative_to(self.folder).as_posix()
        if file.is_relative_to(self.uploads):
            return f"{UPLOADS}/{file.relative_to(self.uploads).as_posix()}"
        return None


def _parts(path: str) -> list[str]:
    """The parts of a relative path. Raises RequestError for any other."""
    pure = PurePosixPath(path)
    parts = [part for part in pure.parts if part != "."]
    wrong = (
        "\0" in path
        or "\\" in path
        or pure.is_absolute()
        or any(part == ".." for part in parts)
        or any(re.match(r"[A-Za-z]:", part) for part in parts)  # drives and streams of Windows
        or (sys.platform == "win32" and any(_RESERVED.match(part) or ":" in part for part in parts))
    )
    if wrong:
        raise RequestError(f"{path!r} is no path inside the folder", 404)
    return parts


def safe_name(name: str) -> str:
    """A name for an uploaded file that every system takes and that stays in its folder."""
    base = re.split(r"[/\\]", name)[-1].replace("\0", "")
    base = _ODD.sub("_", base).strip(" .")
    stem, suffix = Path(base).stem, Path(base).suffix
    stem = stem.encode()[: LONGEST_NAME - len(suffix.encode())].decode(errors="ignore")
    base = (stem + suffix)[:LONGEST_NAME] or "upload"
    if _RESERVED.match(base) or base.startswith("-"):
        base = f"_{base}"
    return base


def is_text(file: Path) -> bool:
    """Does a file begin with text alone? Playlists do, and make decoders read other files and addresses."""
    with file.open("rb") as opened:
        head = opened.read(PROBE)
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return start.startswith(PLAYLISTS) or not head.translate(None, TEXT)


def kind_of(file: Path) -> str | None:
    """What a file can be opened as; None for what is not for us."""
    suffix = file.suffix.lower()
    if suffix in PICTURE_TYPES:
        return "picture"
    if suffix in VIDEO_TYPES:
        return "video"
    return "session" if suffix == SAVED_TYPE else None
