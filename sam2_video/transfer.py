"""One answer of a web server, in pieces that survive a lost connection: weights and clips both come so."""

from __future__ import annotations

import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse

TIMEOUT = 30.0  # seconds without any byte after which a connection counts as lost
CHUNK = 1 << 20  # bytes


class Interrupted(Exception):
    """The connection failed in a way that may pass. `restart`: what has arrived is of no use."""

    def __init__(self, reason: str, restart: bool = False) -> None:
        super().__init__(reason)
        self.restart = restart


class Refused(Exception):
    """The server will not give it, now or later."""


def connect(url: str, start: int = 0, version: str | None = None) -> HTTPResponse:
    """Ask for a file from byte `start` on, or for all of it should it no longer be `version`.

    Raises Interrupted where another attempt may help, Refused where it will not.
    """
    address = urllib.parse.quote(url, safe="%/:=&?~#+!$,;'@()*[]")  # as people write them, with spaces
    headers = {"User-Agent": "sam2_video", "Accept-Encoding": "identity"}
    request = urllib.request.Request(address, headers=headers)
    if start:
        request.add_header("Range", f"bytes={start}-")
        if version and not version.startswith("W/"):
            request.add_header("If-Range", version)
    try:
        response: HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT)
        return response
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # what we have is as long as the file, or longer
            raise Interrupted("the server has nothing after what we have", restart=True) from error
        answer = f"the server answered {error.code} {error.reason}"
        if error.code in (408, 429) or error.code >= 500:
            raise Interrupted(answer) from error
        raise Refused(answer) from error
    except (OSError, HTTPException) as error:
        raise Interrupted(f"no connection ({getattr(error, 'reason', None) or error!r})") from error


def version_of(response: HTTPResponse) -> str | None:
    """Return what tells this version of the file from others: its ETag, or the date of its last change."""
    return response.headers["ETag"] or response.headers["Last-Modified"]


def extent(response: HTTPResponse) -> tuple[int, int | None]:
    """Return where the answer begins in the file, and the size of the whole file if the server says so.

    Raises Refused for a part of which the server does not say which.
    """
    if response.status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers["Content-Range"] or "")
        if match is None:
            raise Refused(
                f"the server sent a part without saying which: {response.headers['Content-Range']!r}"
            )
        return int(match[1]), None if match[2] == "*" else int(match[2])
    length = response.headers["Content-Length"]
    return 0, int(length) if length and length.isdigit() else None


def chunks(response: HTTPResponse) -> Iterator[bytes]:
    """Iterate over what arrives, as it comes: what came before a cut is kept. Raises Interrupted."""
    while True:
        try:
            chunk = response.read1(CHUNK)
        except (OSError, HTTPException) as error:
            raise Interrupted(f"the connection was lost ({error!r})") from error
        if not chunk:
            return
        yield chunk
