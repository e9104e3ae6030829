"""Files that pages send: written to disk as they arrive, accepted once they can be decoded."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from sam2_video.app.desk import check_readable
from sam2_video.app.errors import RequestError
from sam2_video.app.places import SAVED_TYPE, UPLOADS, kind_of, safe_name
from sam2_video.sinks.base import reported
from sam2_video.sources import open_source
from sam2_video.types import DataError, SourceError


async def receive(
    chunks: AsyncIterator[bytes], name: str, folder: Path, limit: int, length: int | None
) -> str:
    """Take a file in and return the path that it has for pages.

    Raises RequestError for one that is too large or cannot be decoded, SinkError for a full disk; then
    nothing is left of it.
    """
    name = safe_name(name)
    if length is not None and length > limit:
        raise _too_large(limit)
    if kind_of(Path(name)) is None:
        raise RequestError(f"{name}: expected a video, a picture or a {SAVED_TYPE} file, by its suffix", 415)
    aside = folder / f".{secrets.token_hex(8)}{Path(name).suffix}"
    try:
        with reported(aside), aside.open("wb") as file:
            got = 0
            async for chunk in chunks:
                got += len(chunk)
                if got > limit:
                    raise _too_large(limit)
                await run_in_threadpool(file.write, chunk)
        await run_in_threadpool(check, aside, name)
        return await run_in_threadpool(_place, aside, folder, name)
    finally:
        aside.unlink(missing_ok=True)


def check(file: Path, name: str) -> None:
    """See that a file holds what its name promises. Raises RequestError."""
    from sam2_video.saved import read_saved

    try:
        if kind_of(file) == "session":
            read_saved(file)
            return
        check_readable(file)
        with open_source(file) as source:
            source.read(0)
    except (SourceError, DataError, RequestError) as error:
        reason = str(error).replace(str(file), name).replace(file.name, name)
        raise RequestError(f"{name} was not accepted: {reason}", 422) from error


def _place(aside: Path, folder: Path, name: str) -> str:
    """Give an accepted file its name, or the next free one like it: others may be worked on."""
    stem, suffix = Path(name).stem, Path(name).suffix
    target, k = folder / name, 2
    while True:
        try:
            target.touch(exist_ok=False)
            break
        except FileExistsError:
            target, k = folder / f"{stem}-{k}{suffix}", k + 1
    aside.replace(target)
    return f"{UPLOADS}/{target.name}"


def _too_large(limit: int) -> RequestError:
    return RequestError(f"the file is larger than {limit} bytes, the limit of uploads (--upload-limit)", 413)
