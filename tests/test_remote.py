"""Clips behind addresses, from a local server that misbehaves as real ones do."""

from __future__ import annotations

import gc
import re
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from sam2_video import transfer
from sam2_video.sources import FrameFolder, LiveSource, VideoFile, open_source, remote
from sam2_video.types import SourceError
from tests.clips import numbered_frame, write_clip


@dataclass
class Behaviour:
    """What the server does; `requests` holds the Range of each request."""

    body: bytes = b""
    kind: str = "video/mp4"
    etag: str | None = '"v1"'
    length: bool = True
    conditions: bool = True  # heed If-Range
    name: str | None = None
    cuts: list[int] = field(default_factory=list)  # bytes to send before the connection ends, per answer
    failures: list[int] = field(default_factory=list)  # status codes of the coming answers
    changes: list[bytes] = field(default_factory=list)  # what the file becomes after each answer
    requests: list[str | None] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    how: Behaviour

    def do_GET(self) -> None:
        how = self.how
        how.requests.append(self.headers["Range"])
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/clip.mp4")
            return self.end_headers()
        if how.failures:
            return self.send_error(how.failures.pop(0))
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        fresh = not how.conditions or self.headers["If-Range"] in (None, how.etag)
        start = int(wanted[1]) if wanted and fresh else 0
        self.send_response(206 if start else 200)
        for name, value in self.headers_of(start):
            self.send_header(name, value)
        self.end_headers()
        piece = how.body[start:]
        self.wfile.write(piece[: how.cuts.pop(0)] if how.cuts else piece)
        if how.changes:
            how.body, how.etag = how.changes.pop(0), '"v2"'
        return None

    def headers_of(self, start: int) -> Iterator[tuple[str, str]]:
        how, size = self.how, len(self.how.body)
        yield "Content-Type", how.kind
        if start:
            yield "Content-Range", f"bytes {start}-{size - 1}/{size}"
        if how.length:
            yield "Content-Length", str(size - start)
        if how.etag:
            yield "ETag", how.etag
        if how.name:
            yield "Content-Disposition", f'attachment; filename="{how.name}"'

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def clip_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write_clip(path, 12, options={"crf": "1"}, index_first=True).read_bytes()


@pytest.fixture
def downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, so that a test sees what is left in it."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(remote, "BACKOFF", 0.0)
    return folder


@pytest.fixture
def server(downloads: Path, clip_bytes: bytes) -> Iterator[tuple[Behaviour, str]]:
    how = Behaviour(clip_bytes)
    handler = type("Handler", (Handler,), {"how": how})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield how, f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def test_a_clip_is_fetched_read_in_any_order_and_removed(
    server: tuple[Behaviour, str], downloads: Path
) -> None:
    how, address = server
    with open_source(f"{address}/some%20folder/my clip.mp4?token=1") as clip:
        assert isinstance(clip, VideoFile) and (clip.count, clip.name) == (12, "my clip.mp4")
        for frame in (11, 0, 5):
            assert np.abs(clip.read(frame).astype(int) - numbered_frame(frame)).mean() < 12
        assert how.requests == [None] and [path.parent.parent for path in (clip.path,)] == [downloads]
    assert list(downloads.iterdir()) == []


def test_a_forgotten_clip_is_removed_too(server: tuple[Behaviour, str], downloads: Path) -> None:
    clip = open_source(f"{server[1]}/clip.mp4", stride=2)
    assert clip.count == 6 and len(list(downloads.iterdir())) == 1
    del clip
    gc.collect()
    assert list(downloads.iterdir()) == []


def test_what_the_server_calls_it_decides_where_the_address_does_not(
    server: tuple[Behaviour, str], downloads: Path
) -> None:
    how, address = server
    for path in ("/download?id=7", "/watch.php", "/moved"):
        with open_source(address + path) as clip:
            assert clip.count == 12
    with open_source(f"{address}/watch") as clip:
        assert clip.name == "watch.mp4"
    how.kind, how.name = "application/octet-stream", "../../evil name.mp4"
    with open_source(f"{address}/download") as clip:
        assert clip.name == "evil name.mp4" and clip.path.parent.parent == downloads
    how.kind, how.name = "text/plain", None  # as some servers call what they do not know
    with open_source(f"{address}/clip.mkv") as clip:
        assert clip.count == 12
    how.length = False  # nor how long it is
    with open_source(f"{address}/clip.mp4") as clip:
        assert clip.count == 12


def test_a_picture_behind_an_address(server: tuple[Behaviour, str], downloads: Path) -> None:
    how, address = server
    how.body, how.kind = cv2.imencode(".png", numbered_frame(3)[..., ::-1])[1].tobytes(), "image/png"
    for path, name in (("/a.png", "a"), ("/picture", "picture")):
        with open_source(address + path) as clip:
            assert isinstance(clip, FrameFolder) and clip.frame_name(0) == name
            assert np.array_equal(clip.read(0), numbered_frame(3))
    assert list(downloads.iterdir()) == []


def test_a_lost_connection_is_taken_up_again(server: tuple[Behaviour, str]) -> None:
    how, address = server
    third = len(how.body) // 3
    how.cuts, how.failures = [third, third], []
    with open_source(f"{address}/clip.mp4") as clip:
        assert len(list(clip.frames())) == 12
    assert how.requests == [None, f"bytes={third}-", f"bytes={2 * third}-"]
    how.etag, how.cuts = None, [third]  # halves of two versions could be joined unnoticed: begin anew
    with open_source(f"{address}/clip.mp4") as clip:
        assert len(list(clip.frames())) == 12
    assert how.requests[3:] == [None, None]
    how.failures = [503, 500]
    with open_source(f"{address}/clip.mp4") as clip:
        assert clip.count == 12


@pytest.mark.parametrize("conditions", [True, False])
def test_a_file_that_changes_meanwhile_is_fetched_anew(
    conditions: bool, server: tuple[Behaviour, str], tmp_path: Path
) -> None:
    how, address = server
    how.conditions = conditions
    how.cuts, how.changes = [1000], [write_clip(tmp_path / "other.mp4", 5).read_bytes()]
    with open_source(f"{address}/clip.mp4") as clip:
        assert clip.count == 5


@pytest.mark.parametrize(
    ("how", "path", "message"),
    [
        ({"failures": [404]}, "/clip.mp4", r"cannot fetch .*/clip\.mp4: the server answered 404 Not Found$"),
        ({"failures": [403]}, "/x", "the server answered 403 Forbidden$"),
        ({"failures": [500] * 4}, "/clip.mp4", r"answered 500 Internal Server Error \(tried 4 times\)"),
        ({"kind": "text/html"}, "/clip.mp4", r"/clip\.mp4 answers with text/html, not with a video"),
        ({"kind": "application/json"}, "/api", "answers with application/json"),
        ({"body": b"no video"}, "/clip.mp4", r"http://.*/clip\.mp4: .*cannot be read as a video"),
        ({"cuts": [1000, 0, 0, 0]}, "/clip.mp4", r"ended after 1000 of \d+ bytes \(tried 4 times\)"),
    ],
)
def test_what_goes_wrong_is_told(
    how: dict[str, object], path: str, message: str, server: tuple[Behaviour, str], downloads: Path
) -> None:
    for name, value in how.items():
        setattr(server[0], name, value)
    with pytest.raises(SourceError, match=message):
        open_source(server[1] + path)
    assert list(downloads.iterdir()) == []


def test_a_server_that_does_not_answer(downloads: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match=r"no connection \(.*refused.*\) \(tried 4 times\)"):
        open_source("http://127.0.0.1:9/clip.mp4")
    monkeypatch.setattr(transfer, "TIMEOUT", 0.05)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as silent:  # it listens, but nobody serves
        with pytest.raises(SourceError, match=r"timed out"):
            open_source(f"http://127.0.0.1:{silent.server_port}/clip.mp4")
    assert list(downloads.iterdir()) == []


def test_a_full_disk(server: tuple[Behaviour, str], downloads: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "SPARE", 10**18)
    for length in (True, False):
        server[0].length = length
        with pytest.raises(SourceError, match=r"has no room for it .*TMPDIR"):
            open_source(f"{server[1]}/clip.mp4")
    assert list(downloads.iterdir()) == []


def test_a_stream_is_left_to_the_live_sources(
    server: tuple[Behaviour, str], downloads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server[0].kind = "multipart/x-mixed-replace; boundary=x"
    assert remote.open_address(f"{server[1]}/camera", set(), VideoFile) is None
    server[0].kind = "application/vnd.apple.mpegurl"
    assert remote.open_address(f"{server[1]}/list.mp4", set(), VideoFile) is None
    server[0].kind, server[0].length = "video/mp4", False  # without a length it may never end
    assert remote.open_address(f"{server[1]}/live", set(), VideoFile) is None
    opened = []
    monkeypatch.setattr("sam2_video.sources.open_live", lambda source: opened.append(source) or LiveStandIn())
    open_source(f"{server[1]}/live")
    assert opened == [f"{server[1]}/live"] and list(downloads.iterdir()) == []


class LiveStandIn(LiveSource):
    def __init__(self) -> None:
        self.count = None


def test_file_addresses(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "my clip.mp4", 5)
    assert path.as_uri().startswith("file:///") and "%20" in path.as_uri()
    for address in (path.as_uri(), f"file://localhost{path.as_uri()[7:]}"):
        with open_source(address) as clip:
            assert clip.count == 5 and clip.path == path
    assert path.exists()  # it is not ours
    with pytest.raises(SourceError, match="is on another machine"):
        open_source("file://elsewhere/clip.mp4")
    with pytest.raises(SourceError, match=r"gone\.mp4 does not exist"):
        open_source("file:///gone.mp4")
    with pytest.raises(SourceError, match="unknown kind of address; expected file://"):
        open_source("gopher://elsewhere/clip.mp4")
