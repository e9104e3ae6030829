"""Weights from the network into a cache folder: resumable, verified, and never half-written.

For a cached file `X` the folder may hold `X.json` (its record: address, size, hash), `X.part` with
`X.part.json` (an unfinished download and what it is a part of) and `X.lock` (held by the process that
writes). A file called `X` is whole. Where no hash is published for an address, the hash of the first complete
download is recorded and checked from then on.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import time
import urllib.parse
from dataclasses import asdict, dataclass, replace
from http.client import HTTPResponse
from pathlib import Path
from typing import IO, Any

from sam2_video.registry import ModelInfo, find_model
from sam2_video.transfer import CHUNK, Interrupted, Refused, chunks, connect, extent, version_of
from sam2_video.types import CheckpointError

ATTEMPTS = 5  # connections per download, the first included
BACKOFF = 1.0  # seconds before the second attempt; doubles with each further one

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Target:
    """What is to be fetched and where it goes; None where nothing is known in advance."""

    label: str  # what people call it
    url: str
    path: Path
    size: int | None
    sha256: str | None

    def beside(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)


@dataclass(frozen=True)
class _Record:
    """What is noted beside a file: the hash of a whole one, what the server said of the whole for a part."""

    url: str
    size: int | None
    etag: str | None = None  # or the Last-Modified date of servers without ETag
    sha256: str | None = None


class _WrongContent(CheckpointError):
    """A complete download is not the expected file."""


def cache_folder(cache_dir: str | Path | None = None) -> Path:
    """Return the folder for downloads: the argument, else $SAM2_VIDEO_CACHE, else the platform's own."""
    chosen = cache_dir or os.environ.get("SAM2_VIDEO_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "sam2_video"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "sam2_video"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sam2_video"


def is_offline(offline: bool = False) -> bool:
    """Tell whether downloads are off: by the argument or by SAM2_VIDEO_OFFLINE=1."""
    return offline or os.environ.get("SAM2_VIDEO_OFFLINE", "").lower() in ("1", "true", "yes", "on")


def download_model(
    name: str, *, cache_dir: str | Path | None = None, offline: bool = False, progress: bool = True
) -> Path:
    """Return the weights file of a known model, downloading it if need be; raises CheckpointError."""
    info = find_model(name)
    if info.path is None:
        return download(info, cache_dir, offline, progress)
    if not info.path.is_file():
        raise CheckpointError(
            f"the weights of {name} are missing from this installation: no file {info.path}"
        )
    return info.path


def download(
    info_or_url: ModelInfo | str,
    cache_dir: str | Path | None = None,
    offline: bool = False,
    progress: bool = True,
) -> Path:
    """Return the cached file of a released model or an http(s) address, fetching what is missing of it.

    A cached file is checked against its published or recorded size and hash on every call, and fetched anew
    if it was damaged. Raises CheckpointError when it cannot be had: offline, not found, interrupted too
    often, wrong content.
    """
    target = _target(info_or_url, cache_folder(cache_dir))
    problem = _problem_with_cached(target)
    if problem is None:
        return target.path
    if is_offline(offline):
        raise CheckpointError(_offline_advice(target, problem))
    try:
        target.path.parent.mkdir(parents=True, exist_ok=True)
        with _lock(target):
            if _problem_with_cached(target) is not None:  # another process may have finished it meanwhile
                _fetch(target, progress)
    except OSError as error:  # the disk: network errors have been dealt with below
        raise CheckpointError(
            f"cannot write {target.path}: {error}; SAM2_VIDEO_CACHE names another folder"
        ) from error
    return target.path


def cached_file(info: ModelInfo) -> Path:
    """Return where `download` keeps the weights of a released model, whether they are there or not."""
    return _target(info, cache_folder()).path


def _target(info_or_url: ModelInfo | str, folder: Path) -> _Target:
    if isinstance(info_or_url, ModelInfo):
        info = info_or_url
        if info.url is None:
            raise CheckpointError(f"{info.name} has no address to download from")
        name = Path(urllib.parse.urlsplit(info.url).path).name
        return _Target(info.name, info.url, folder / name, info.size_bytes, info.sha256)
    parts = urllib.parse.urlsplit(info_or_url)
    if parts.scheme not in ("http", "https"):
        raise CheckpointError(
            f"cannot download {info_or_url!r}; expected an address with http:// or https://"
        )
    name = Path(urllib.parse.unquote(parts.path)).name or "weights"
    tag = hashlib.sha256(info_or_url.encode()).hexdigest()[
        :8
    ]  # files of one name at two addresses stay apart
    return _Target(name, info_or_url, folder / f"{tag}-{name}", None, None)


# --- what is in the cache ---


def _problem_with_cached(target: _Target) -> str | None:
    """Say what is wrong with the cached file, None if nothing is; notes the hash of one put there by hand."""
    if not target.path.is_file():
        return "it is not in the cache"
    record = _read_record(target.beside(".json")) or _Record(target.url, None)
    size, sha256 = target.size or record.size, target.sha256 or record.sha256
    actual = target.path.stat().st_size
    if size is not None and actual != size:
        return f"the cached file has {actual} bytes, expected {size}"
    digest = hash_file(target.path)
    if sha256 is not None and digest != sha256:
        return f"the cached file has SHA-256 {digest}, expected {sha256}"
    if record.sha256 is None:
        _try_to_record(target, replace(record, size=actual, sha256=digest))
    return None


def _try_to_record(target: _Target, record: _Record) -> None:
    try:
        _write_record(target.beside(".json"), record)
    except OSError:  # a cache that others filled and we may only read serves all the same
        _log.debug("could not write %s", target.beside(".json"))


def _read_record(path: Path) -> _Record | None:
    try:
        return _Record(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):  # absent, or not one of ours: as good as none
        return None


def _write_record(path: Path, record: _Record) -> None:
    aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    aside.write_text(json.dumps(asdict(record), indent=1))
    aside.replace(path)


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _offline_advice(target: _Target, problem: str) -> str:
    return (
        f"{target.label}: {problem} ({target.path}), and downloads are off (offline=True or "
        "SAM2_VIDEO_OFFLINE). "
        f"Fetch {target.url} on a machine with network and put it at that path, or use the bundled model "
        "'nano'"
    )


def _lock(target: _Target) -> Any:
    from filelock import FileLock  # the operating system frees it if this process dies

    return FileLock(target.beside(".lock"))


# --- the network ---


def _fetch(target: _Target, progress: bool) -> None:
    """Download into the part file, verify it, and give it its name."""
    resumed = target.beside(".part").is_file()
    record = _fetch_part(target, progress)
    try:
        digest = _verify_part(target)
    except _WrongContent:
        if not resumed:
            raise
        record = _fetch_part(target, progress)  # the piece we went on from may have been the bad one
        digest = _verify_part(target)
    size = target.beside(".part").stat().st_size
    _write_record(target.beside(".json"), replace(record, size=size, sha256=digest))
    target.beside(".part").replace(target.path)
    target.beside(".part.json").unlink(missing_ok=True)


def _verify_part(target: _Target) -> str:
    part = target.beside(".part")
    digest, size = hash_file(part), part.stat().st_size
    wrong_size = target.size is not None and size != target.size
    if not wrong_size and target.sha256 in (None, digest):
        return digest
    part.unlink()
    raise _wrong_content(target, f"{size} bytes with SHA-256 {digest}")


def _wrong_content(target: _Target, what: str) -> _WrongContent:
    return _WrongContent(
        f"{target.url} answered with another file than {target.label}: {what}, expected {target.size} "
        "bytes with "
        f"SHA-256 {target.sha256}; a proxy or a login page may have answered in its place"
    )


def _fetch_part(target: _Target, progress: bool) -> _Record:
    """Bring the part file to full length, over as many connections as ATTEMPTS allows."""
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            _log.warning("%s: %s; trying again", target.label, reason)
            time.sleep(BACKOFF * 2 ** (attempt - 1))
        try:
            return _fetch_once(target, progress)
        except Interrupted as error:
            reason = str(error)
    raise CheckpointError(
        f"could not download {target.url}: {reason} (tried {ATTEMPTS} times); what arrived is kept, and "
        "the next "
        "download goes on from there"
    )


def _fetch_once(target: _Target, progress: bool) -> _Record:
    """Make one connection and append what it brings; raises Interrupted where another attempt may help."""
    part, note = target.beside(".part"), target.beside(".part.json")
    earlier = _read_record(note)
    start = part.stat().st_size if earlier and _can_resume(target, earlier) and part.is_file() else 0
    if earlier and start and start == earlier.size:
        return earlier  # all of it arrived last time, only the check was missing
    with _open(target, start, earlier) as response:
        try:
            begin, size = extent(response)
        except Refused as error:
            raise CheckpointError(f"cannot download {target.url}: {error}") from error
        record = _Record(target.url, size or target.size, version_of(response))
        if begin not in (0, start) or (begin and earlier and not _continues(earlier, record)):
            part.unlink()
            raise Interrupted("the file changed on the server since the last attempt")
        if target.size is not None and size not in (None, target.size):
            raise _wrong_content(target, f"{size} bytes")
        _write_record(note, record)
        with part.open("r+b" if begin else "wb") as file:
            file.seek(begin)
            file.truncate()
            _copy(response, file, _bar(target, record.size, begin, progress))
    have = part.stat().st_size
    if record.size is not None and have < record.size:
        raise Interrupted(f"the connection ended after {have} of {record.size} bytes")
    return record


def _can_resume(target: _Target, earlier: _Record) -> bool:
    # Without a mark of the version or a hash to check in the end, two halves of two files could be joined
    # unnoticed.
    return earlier.url == target.url and bool(earlier.etag or target.sha256)


def _continues(earlier: _Record, now: _Record) -> bool:
    same_version = earlier.etag is None or now.etag is None or earlier.etag == now.etag
    return same_version and (earlier.size is None or earlier.size == now.size)


def _open(target: _Target, start: int, earlier: _Record | None) -> HTTPResponse:
    try:
        return connect(target.url, start, earlier.etag if earlier else None)
    except Interrupted as error:
        if error.restart:
            target.beside(".part").unlink(missing_ok=True)
        raise
    except Refused as error:
        raise CheckpointError(f"cannot download {target.url}: {error}") from error


def _copy(response: HTTPResponse, file: IO[bytes], bar: Any) -> None:
    with bar:
        for chunk in chunks(response):
            file.write(chunk)
            bar.update(len(chunk))


def _bar(target: _Target, size: int | None, begin: int, progress: bool) -> Any:
    from tqdm import tqdm

    return tqdm(desc=target.label, total=size, initial=begin, unit="B", unit_scale=True, disable=not progress)
