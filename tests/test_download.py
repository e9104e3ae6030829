"""Downloads against a local server that misbehaves in every way a real one does."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sam2_video import download as downloads
from sam2_video.download import cache_folder, download, download_model, is_offline
from sam2_video.registry import ModelInfo
from sam2_video.types import CheckpointError

BODY = bytes(range(256)) * 1200  # 307,200 bytes
OTHER = bytes(reversed(BODY))


@dataclass
class Behaviour:
    """What the server does; `requests` is what it was asked."""

    body: bytes = BODY
    etag: str | None = '"v1"'
    ranges: bool = True
    conditions: bool = True  # heed If-Range
    length: bool = True  # say how long the answer is
    cuts: list[int] = field(default_factory=list)  # bytes to send before cutting, for the coming answers
    failures: list[int] = field(default_factory=list)  # status codes of the coming answers
    requests: list[dict[str, str]] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    behaviour: Behaviour

    def do_GET(self) -> None:
        how = self.behaviour
        how.requests.append({name.lower(): value for name, value in self.headers.items()})
        if self.path.startswith("/absent"):
            return self.send_error(404, "Not Found")
        if how.failures:
            return self.send_error(how.failures.pop(0))
        start = self.wanted_start(how)
        if start >= len(how.body):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(how.body) - 1}/{len(how.body)}")
        if how.length:
            self.send_header("Content-Length", str(len(how.body) - start))
        if how.etag:
            self.send_header("ETag", how.etag)
        self.end_headers()
        piece = how.body[start:]
        self.wfile.write(piece[: how.cuts.pop(0)] if how.cuts else piece)  # the connection closes after this
        return None

    def wanted_start(self, how: Behaviour) -> int:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        stale = how.conditions and self.headers.get("If-Range", how.etag) != how.etag
        return int(match[1]) if match and how.ranges and not stale else 0

    def log_message(self, *_: object) -> None:
        pass


@dataclass
class Server:
    behaviour: Behaviour
    address: str

    def info(self, **changes: object) -> ModelInfo:
        """A model whose weights are BODY."""
        whole = ModelInfo(
            name="toy",
            url=f"{self.address}/toy.pt",
            hub_id=None,
            hub_filename=None,
            size_bytes=len(BODY),
            parameters=1,
            licence="Apache-2.0",
            sha256=hashlib.sha256(BODY).hexdigest(),
            bundled=False,
        )
        return replace(whole, **changes)


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setattr(downloads, "BACKOFF", 0.0)
    monkeypatch.delenv("SAM2_VIDEO_OFFLINE", raising=False)
    behaviour = Behaviour()
    handler = type("Handler", (Handler,), {"behaviour": behaviour})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield Server(behaviour, f"http://127.0.0.1:{http.server_port}")
        http.shutdown()
        thread.join()


def fetch(what: ModelInfo | str, folder: Path, **options: bool) -> Path:
    return download(what, folder, progress=False, **options)


def leftovers(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


def ranges(server: Server) -> list[str | None]:
    return [request.get("range") for request in server.behaviour.requests]


def test_whole_file_arrives_and_is_recorded(server, tmp_path):
    path = fetch(server.info(), tmp_path / "new" / "folder")
    assert path.name == "toy.pt" and path.read_bytes() == BODY
    assert leftovers(path.parent) == {"toy.pt", "toy.pt.json"}
    record = json.loads((path.parent / "toy.pt.json").read_text())
    assert record["sha256"] == server.info().sha256 and record["size"] == len(BODY)
    assert record["url"] == server.info().url and record["etag"] == '"v1"'
    assert fetch(server.info(), path.parent) == path
    assert len(server.behaviour.requests) == 1  # the second call was answered from the cache


def test_cut_connection_goes_on_where_it_stopped(server, tmp_path):
    server.behaviour.cuts = [100_000, 50_000]
    assert fetch(server.info(), tmp_path).read_bytes() == BODY
    assert ranges(server) == [None, "bytes=100000-", "bytes=150000-"]
    assert server.behaviour.requests[1]["if-range"] == '"v1"'


def test_a_later_call_goes_on_with_what_an_earlier_one_left(server, tmp_path):
    server.behaviour.cuts = [10_000] * downloads.ATTEMPTS
    with pytest.raises(CheckpointError, match=r"tried 5 times.*goes on from there"):
        fetch(server.info(), tmp_path)
    assert not (tmp_path / "toy.pt").exists()
    assert (tmp_path / "toy.pt.part").read_bytes() == BODY[:50_000]
    assert fetch(server.info(), tmp_path).read_bytes() == BODY
    assert ranges(server)[-1] == "bytes=50000-" and len(server.behaviour.requests) == 6


def test_complete_part_is_only_verified(server, tmp_path):
    server.behaviour.cuts = [10_000] * downloads.ATTEMPTS
    with pytest.raises(CheckpointError):
        fetch(server.info(), tmp_path)
    (tmp_path / "toy.pt.part").write_bytes(BODY)
    server.behaviour.requests.clear()
    assert fetch(server.info(), tmp_path).read_bytes() == BODY
    assert server.behaviour.requests == []


@pytest.mark.parametrize("heeded", [True, False], ids=["If-Range heeded", "If-Range ignored"])
@pytest.mark.parametrize("known", [True, False], ids=["hash known", "hash unknown"])
def test_file_that_changed_on_the_server_starts_anew(server, tmp_path, known, heeded):
    server.behaviour.conditions = heeded
    what = server.info() if known else f"{server.address}/toy.pt"
    server.behaviour.cuts = [10_000] * downloads.ATTEMPTS
    server.behaviour.body, server.behaviour.etag = OTHER, '"v0"'
    with pytest.raises(CheckpointError):
        fetch(what, tmp_path)
    server.behaviour.body, server.behaviour.etag = BODY, '"v1"'
    assert fetch(what, tmp_path).read_bytes() == BODY


def test_changed_file_without_a_version_is_noticed_by_its_hash(server, tmp_path):
    server.behaviour.cuts = [10_000] * downloads.ATTEMPTS
    server.behaviour.body, server.behaviour.etag = OTHER, None
    with pytest.raises(CheckpointError):
        fetch(server.info(), tmp_path)
    server.behaviour.body = BODY
    assert fetch(server.info(), tmp_path).read_bytes() == BODY
    assert ranges(server)[-2:] == ["bytes=50000-", None]  # resumed, found wrong, fetched whole


def test_nothing_is_resumed_that_could_not_be_checked(server, tmp_path):
    server.behaviour.cuts, server.behaviour.etag = [10_000], None
    assert fetch(f"{server.address}/toy.pt", tmp_path).read_bytes() == BODY
    assert ranges(server) == [None, None]


def test_server_without_ranges_sends_all_again(server, tmp_path):
    server.behaviour.cuts, server.behaviour.ranges = [100_000], False
    assert fetch(server.info(), tmp_path).read_bytes() == BODY
    assert ranges(server) == [None, "bytes=100000-"]


def test_truncated_answer_of_unstated_length_is_noticed_by_the_size(server, tmp_path):
    server.behaviour.cuts, server.behaviour.length = [100_000], False
    assert fetch(server.info(), tmp_path).read_bytes() == BODY
    assert ranges(server) == [None, "bytes=100000-"]


def test_wrong_content_is_refused_and_not_kept(server, tmp_path):
    server.behaviour.body = OTHER
    digest = hashlib.sha256(OTHER).hexdigest()
    with pytest.raises(
        CheckpointError, match=rf"another file than toy.*{digest}.*{server.info().sha256}.*proxy"
    ):
        fetch(server.info(), tmp_path)
    assert not {"toy.pt", "toy.pt.part"} & leftovers(tmp_path)
    assert len(server.behaviour.requests) == 1


def test_answer_of_another_size_is_refused_before_it_is_read(server, tmp_path):
    server.behaviour.body = b"<html>sign in first</html>"
    with pytest.raises(CheckpointError, match=r"26 bytes, expected 307200 bytes.*login page"):
        fetch(server.info(), tmp_path)
    assert leftovers(tmp_path) == set()


def test_missing_file_is_not_tried_again(server, tmp_path):
    with pytest.raises(CheckpointError, match=r"/absent\.pt: the server answered 404 Not Found"):
        fetch(f"{server.address}/absent.pt", tmp_path)
    assert len(server.behaviour.requests) == 1


def test_busy_server_is_tried_again(server, tmp_path):
    server.behaviour.failures = [503, 429, 500]
    assert fetch(server.info(), tmp_path).read_bytes() == BODY
    assert len(server.behaviour.requests) == 4


def test_no_server_at_all(server, tmp_path):
    unused = server.info(url="http://127.0.0.1:1/toy.pt")
    with pytest.raises(CheckpointError, match=r"127\.0\.0\.1:1/toy\.pt: no connection.*tried 5 times"):
        fetch(unused, tmp_path)


@pytest.mark.parametrize("address", ["file:///etc/hostname", "ftp://example.org/x.pt", "toy.pt"])
def test_other_schemes_are_refused(address, tmp_path):
    with pytest.raises(CheckpointError, match="http"):
        fetch(address, tmp_path)


def test_damaged_cache_is_fetched_anew(server, tmp_path):
    path = fetch(server.info(), tmp_path)
    path.write_bytes(OTHER)
    with pytest.raises(CheckpointError, match="SHA-256"):
        fetch(server.info(), tmp_path, offline=True)
    assert path.read_bytes() == OTHER  # nothing is taken away before there is something better
    assert fetch(server.info(), tmp_path).read_bytes() == BODY


def test_first_download_of_unknown_hash_is_checked_from_then_on(server, tmp_path):
    path = fetch(f"{server.address}/toy.pt", tmp_path)
    assert fetch(f"{server.address}/toy.pt", tmp_path, offline=True) == path
    path.write_bytes(OTHER)
    with pytest.raises(CheckpointError, match=r"SHA-256.*downloads are off"):
        fetch(f"{server.address}/toy.pt", tmp_path, offline=True)


def test_file_put_there_by_hand_is_taken_and_recorded(server, tmp_path):
    (tmp_path / "toy.pt").write_bytes(BODY)
    assert fetch(server.info(), tmp_path, offline=True) == tmp_path / "toy.pt"
    assert json.loads((tmp_path / "toy.pt.json").read_text())["sha256"] == server.info().sha256
    assert server.behaviour.requests == []


def test_files_of_one_name_at_two_addresses_stay_apart(server, tmp_path):
    first = fetch(f"{server.address}/a/toy.pt", tmp_path)
    server.behaviour.body = OTHER
    second = fetch(f"{server.address}/b/toy.pt", tmp_path)
    assert (first.read_bytes(), second.read_bytes()) == (BODY, OTHER)


def test_offline_says_what_to_do(server, tmp_path, monkeypatch):
    path = re.escape(str(tmp_path / "toy.pt"))
    with pytest.raises(CheckpointError, match=rf"{path}.*offline=True.*{server.info().url}.*'nano'"):
        fetch(server.info(), tmp_path, offline=True)
    monkeypatch.setenv("SAM2_VIDEO_OFFLINE", "1")
    with pytest.raises(CheckpointError, match="downloads are off"):
        fetch(server.info(), tmp_path)
    assert server.behaviour.requests == []
    monkeypatch.setenv("SAM2_VIDEO_OFFLINE", "0")
    assert not is_offline() and is_offline(True)


def test_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match=r"cannot write.*SAM2_VIDEO_CACHE"):
        fetch(server.info(), tmp_path / "file")


def test_full_disk_keeps_no_false_file(server, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(downloads, "_copy", full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        fetch(server.info(), tmp_path)
    assert "toy.pt" not in leftovers(tmp_path)


def _fetch_in_process(address: str, folder: str, barrier) -> None:
    barrier.wait()
    assert download(f"{address}/toy.pt", folder, progress=False).read_bytes() == BODY


def test_two_processes_make_one_download(server, tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    arguments = (server.address, str(tmp_path), barrier)
    workers = [context.Process(target=_fetch_in_process, args=arguments) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len(server.behaviour.requests) == 1


def test_cache_folder_is_chosen_by_argument_then_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SAM2_VIDEO_CACHE", str(tmp_path / "env"))
    assert cache_folder(tmp_path) == tmp_path
    assert cache_folder() == tmp_path / "env"
    monkeypatch.delenv("SAM2_VIDEO_CACHE")
    assert cache_folder().name == "sam2_video"


def test_bundled_model_needs_no_download(tmp_path, monkeypatch):
    from sam2_video import registry

    monkeypatch.setattr(registry, "BUNDLED_WEIGHTS", tmp_path)
    with pytest.raises(CheckpointError, match="missing from this installation"):
        download_model("nano", offline=True)
    (tmp_path / "nano.safetensors").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_recorded_parameters", lambda path: None)
        assert download_model("nano", offline=True) == tmp_path / "nano.safetensors"
