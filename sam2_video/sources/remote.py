"""Files behind an address: fetched whole, read as any file, removed when reading is over."""

from __future__ import annotations

import logging
import mimetypes
import re
import shutil
import tempfile
import time
import urllib.parse
import urllib.request
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http.client import HTTPResponse
from pathlib import Path, PurePosixPath
from typing import TypeVar

from sam2_video.sources.base import Source
from sam2_video.transfer import Interrupted, Refused, chunks, connect, extent, version_of
from sam2_video.types import SourceError

ATTEMPTS = 4  # connections in a row that bring nothing
BACKOFF = 0.5  # seconds before the second attempt; doubles with each further one
SPARE = 256 * 2**20  # bytes of the disk that are left free
VIDEO_TYPES = {
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".m2v", ".ts", ".m2ts", ".mts"),
    *(".flv", ".wmv", ".asf", ".ogv", ".3gp", ".mxf", ".vob", ".y4m", ".gif", ".apng"),
}
# Lists of pieces that players fetch one after the other: streams, whatever their length.
PLAYLISTS = {
    *("application/vnd.apple.mpegurl", "application/x-mpegurl"),
    *("audio/mpegurl", "audio/x-mpegurl", "application/dash+xml"),
}
# What servers answer instead of a video; text/plain is what some call every file they do not know.
PAGES = {"text/html", "application/xhtml+xml", "application/json", "application/xml", "text/xml"}
Opened = TypeVar("Opened", bound=Source)
_log = logging.getLogger(__name__)


@dataclass
class _Download:
    """What has arrived of a file, and what the server said of the whole."""

    url: str
    file: Path
    size: int | None = None
    version: str | None = None


def local_path(url: str) -> Path:
    """Return the path of a file:// address. Raises SourceError for one on another machine."""
    parts = urllib.parse.urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise SourceError(f"{url} is on another machine; expected file:///path, or give the path to it")
    return Path(urllib.request.url2pathname(parts.path))


def open_address(url: str, suffixes: set[str], open_file: Callable[[Path], Opened]) -> Opened | None:
    """Fetch an http(s) file into a temporary folder and open it; None where it is a stream, not a file.

    A file is what has a file's suffix (one of `suffixes` or of a video), or a length and the type of a video
    or picture. The folder is removed when the source is closed. Raises SourceError.
    """
    folder = Path(tempfile.mkdtemp(prefix="sam2_video-"))
    remove = partial(shutil.rmtree, folder, ignore_errors=True)
    try:
        file = _fetch(url, folder, suffixes | VIDEO_TYPES)
        source = None if file is None else open_file(file)
    except SourceError as error:
        remove()
        if url in str(error):
            raise
        raise SourceError(f"{url}: {error}") from error
    except BaseException:
        remove()
        raise
    if source is None:
        remove()
    else:
        source.after_close(weakref.finalize(source, remove))  # also if nobody closes it
    return source


def is_file_address(url: str, suffixes: set[str]) -> bool:
    """Is a file, not a stream, behind an http(s) address? The server is asked where the suffix does not tell.

    Raises SourceError where it does not answer, and for a page of text.
    """
    if _suffix(url) in suffixes | VIDEO_TYPES:
        return True
    try:
        with connect(url) as response:
            return _is_file(url, response, None, extent(response)[1])
    except (Refused, Interrupted) as error:
        raise SourceError(f"cannot read {url}: {error}") from error


def _suffix(url: str) -> str:
    return PurePosixPath(urllib.parse.unquote(urllib.parse.urlsplit(url).path)).suffix.lower()


def _fetch(url: str, folder: Path, suffixes: set[str]) -> Path | None:
    """Bring the whole file, over as many connections as it takes while each brings something."""
    download = _Download(url, folder / "part")
    suffix = _suffix(url)
    failures, had = 0, 0
    while True:
        try:
            name = _fetch_once(download, suffix if suffix in suffixes else None)
            return None if name is None else download.file.rename(folder / name)
        except Refused as error:
            raise SourceError(f"cannot fetch {url}: {error}") from error
        except OSError as error:
            raise SourceError(f"cannot keep {url} in {folder}: {error}") from error
        except Interrupted as error:
            have = download.file.stat().st_size if download.file.exists() else 0
            if error.restart:
                download.file.unlink(missing_ok=True)
            failures = 1 if have > had else failures + 1
            had = have
            if failures == ATTEMPTS:
                raise SourceError(f"cannot fetch {url}: {error} (tried {ATTEMPTS} times)") from error
            _log.info("%s: %s; trying again", url, error)
            time.sleep(BACKOFF * 2 ** (failures - 1))


def _fetch_once(download: _Download, suffix: str | None) -> str | None:
    """Make one connection and append what it brings; return the file's name once whole, None for a stream."""
    start = download.file.stat().st_size if download.version and download.file.exists() else 0
    with connect(download.url, start, download.version) as response:
        begin, size = extent(response)
        name = _file_name(download.url, response, suffix)
        if not _is_file(download.url, response, suffix, size):
            return None
        version = version_of(response)
        if begin and (begin != start or version != download.version or size != download.size):
            raise Interrupted("the file changed on the server meanwhile", restart=True)
        download.size, download.version = size, version
        with download.file.open("r+b" if begin else "wb") as file:
            file.seek(begin)
            file.truncate()
            have = begin
            _check_space(download, (size or 0) - have)
            for chunk in chunks(response):
                file.write(chunk)
                have += len(chunk)
                if size is None:
                    _check_space(download, 0)
    if size is not None and have != size:
        raise Interrupted(f"the connection ended after {have} of {size} bytes")
    return name


def _is_file(url: str, response: HTTPResponse, suffix: str | None, size: int | None) -> bool:
    """Is this answer one file, rather than a stream without end? Raises SourceError for a page of text."""
    kind = response.headers.get_content_type().lower()
    if kind in PLAYLISTS or kind.startswith("multipart/"):
        return False
    if kind in PAGES:
        raise SourceError(f"{url} answers with {kind}, not with a video; a browser shows what it says")
    if suffix is not None:
        return True
    named = Path(response.headers.get_filename() or "").suffix.lower() in VIDEO_TYPES
    return size is not None and (named or kind.startswith(("video/", "image/")))


def _file_name(url: str, response: HTTPResponse, suffix: str | None) -> str:
    """Return a name that is safe on any disk: the one the server gives, else the last part of the address."""
    path = urllib.parse.unquote(urllib.parse.urlsplit(url).path)
    given = PurePosixPath(path if suffix else response.headers.get_filename() or path).name
    name = re.sub(r"[^\w.() -]", "_", given).strip(". ")[-100:] or "video"
    if not Path(name).suffix:
        name += mimetypes.guess_extension(response.headers.get_content_type()) or ""
    return name


def _check_space(download: _Download, needed: int) -> None:
    free = shutil.disk_usage(download.file.parent).free - SPARE
    if needed > free:
        size = "of unknown length" if download.size is None else f"{download.size / 1e6:.0f} MB"
        raise SourceError(
            f"{download.url} is {size}, and {download.file.parent} has no room for it "
            f"({max(0, free) / 1e6:.0f} MB); TMPDIR names another folder"
        )
