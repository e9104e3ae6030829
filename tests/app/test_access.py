"""Who gets in, and what can be named: tokens, hosts, origins, paths, uploads."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sam2_video.app.access import is_own_host
from sam2_video.app.errors import RequestError
from sam2_video.app.places import safe_name
from sam2_video.app.server import bound
from sam2_video.app.settings import parse_bytes, state_folder
from sam2_video.types import ConfigError
from tests.app.served import HOST, PORT, TOKEN, Page, error_of, served

OWN = f"http://{HOST}:{PORT}"


@pytest.fixture
def bare(page: Page) -> Iterator[httpx.Client]:
    """A client without the token."""
    del page.client.headers["X-Sam2-Token"]
    yield page.client


def test_without_the_token_nothing_is_told(bare: httpx.Client) -> None:
    for path in (
        "/",
        "/api/info",
        "/api/files",
        "/static/app.js",
        "/?token=wrong",
        "/api/info?token=" + TOKEN,
    ):
        assert "holds the token" in error_of(bare.get(path), 401)
    assert error_of(bare.get("/api/info", headers={"X-Sam2-Token": "wrong"}), 401)
    assert error_of(bare.get("/api/info", headers={"Cookie": f"sam2_token_{PORT}=wrong"}), 401)
    assert error_of(bare.post("/api/sessions", json={}, headers={"Origin": OWN}), 401)


def test_the_address_gives_a_cookie_that_scripts_cannot_read(bare: httpx.Client) -> None:
    answer = bare.get(f"/?token={TOKEN}")
    cookie = answer.headers["set-cookie"]
    assert cookie == f"sam2_token_{PORT}={TOKEN}; Path=/; HttpOnly; SameSite=Strict"
    assert bare.get("/api/info").status_code == 200  # by the cookie, which the client has kept


def test_only_own_pages_change_things(bare: httpx.Client) -> None:
    bare.get(f"/?token={TOKEN}")
    for origin in (
        "http://evil.example",
        f"http://localhost:{PORT}",
        "null",
        f"https://{HOST}:{PORT}",
        OWN + "0",
    ):
        answer = bare.post("/api/sessions", json={"path": "clip.mp4"}, headers={"Origin": origin})
        assert "another page" in error_of(answer, 403)
    assert error_of(bare.post("/api/sessions", json={"path": "clip.mp4"}), 403)
    for method in ("PUT", "DELETE", "PATCH"):
        assert error_of(bare.request(method, "/api/sessions/000000000000"), 403)
    assert bare.post("/api/sessions", json={"path": "clip.mp4"}, headers={"Origin": OWN}).status_code == 200


def test_a_name_that_leads_here_is_not_enough(page: Page) -> None:
    for host in (
        "evil.example",
        f"evil.example:{PORT}",
        f"{HOST}:1",
        HOST,
        "",
        f"127.0.0.1.evil.example:{PORT}",
    ):
        assert "does not answer for" in error_of(page.client.get("/api/info", headers={"Host": host}), 421)
    assert page.client.get("/api/info", headers={"Host": f"localhost:{PORT}"}).status_code == 200


def test_own_hosts() -> None:
    assert is_own_host("[::1]:80", "::1", 80) and is_own_host("box:80", "box", 80)
    assert is_own_host("192.168.1.5:80", "0.0.0.0", 80) and not is_own_host("evil.example:80", "0.0.0.0", 80)
    assert not is_own_host("192.168.1.5:80", "127.0.0.1", 80)


def test_every_answer_has_the_headers(page: Page) -> None:
    for answer in (
        page.client.get("/api/info"),
        page.client.get("/nowhere"),
        page.client.get("/api/sessions/x"),
    ):
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
    assert error_of(page.client.get("/nowhere"), 404) and error_of(page.client.get("/api/sessions/x"), 404)
    assert error_of(page.client.put("/api/info"), 405)


OUTSIDE = [
    "pictures/../clip.mp4",
    "../secret.mp4", "pictures/../../secret.mp4", "/etc/passwd", "//etc/passwd",
    "..\\secret.mp4", "..", "...", "C:\\secret.mp4", "C:secret.mp4", "C:/secret.mp4",
    "clip.mp4::$DATA", "\0", "clip.mp4\0.png", "~/secret.mp4", "file:///etc/passwd",
    "http://127.0.0.1/clip.mp4", "@uploads/../session.json", "@uploads/../sessions",
    "link.mp4", "linked/secret.mp4", "a" * 5000, "0", "rtsp://127.0.0.1/x", "./../secret.mp4",
    "%2e%2e/secret.mp4",
]  # fmt: skip


def test_nothing_outside_of_the_folder_is_opened(page: Page, folder: Path, clip_file: Path) -> None:
    (folder.parent / "secret.mp4").write_bytes(clip_file.read_bytes())
    (folder / "link.mp4").symlink_to(folder.parent / "secret.mp4")
    (folder / "linked").symlink_to(folder.parent)
    for path in OUTSIDE:
        for asked in ("/api/sessions", "/api/pictures"):
            assert "folder" in error_of(page.client.post(asked, json={"path": path}), 404), path
        assert error_of(page.client.get("/api/files", params={"path": path}), 404)
    assert page.get("/api/sessions") == {"sessions": []}


def test_listing(page: Page, folder: Path) -> None:
    (folder / ".hidden.mp4").touch()
    (folder / "notes.txt").touch()
    (folder / "linked").symlink_to(folder.parent)
    listed = page.get("/api/files")
    assert [(e["name"], e["kind"], e["pictures"]) for e in listed["entries"]] == [
        ("pictures", "folder", 4),
        ("clip.mp4", "video", None),
        ("photo.png", "picture", None),
    ]
    inner = page.get("/api/files", path="pictures")
    assert (inner["path"], inner["parent"]) == ("pictures", "")
    assert [e["path"] for e in inner["entries"]] == [f"pictures/{k}.png" for k in range(4)]


def test_pictures_that_are_links_to_elsewhere_are_no_clip(page: Page, folder: Path) -> None:
    (folder.parent / "secret.png").write_bytes((folder / "photo.png").read_bytes())
    (folder / "mixed").mkdir()
    (folder / "mixed" / "0.png").symlink_to(folder.parent / "secret.png")
    assert "outside" in error_of(page.client.post("/api/sessions", json={"path": "mixed"}), 403)


def test_a_playlist_is_not_followed(page: Page, folder: Path, clip_file: Path) -> None:
    (folder.parent / "secret.ts").write_bytes(clip_file.read_bytes())
    playlist = f"#EXTM3U\n#é\n#EXTINF:1,\nfile://{folder.parent}/secret.ts\n#EXT-X-ENDLIST\n"
    for name in ("list.mp4", "list.m3u8", "list.gif"):
        (folder / name).write_text(playlist, encoding="utf-8")
        assert "text" in error_of(page.client.post("/api/sessions", json={"path": name}), 422)
        assert error_of(
            page.client.put(f"/api/uploads/{name}", content=playlist.encode()), 415 if "m3u8" in name else 422
        )


def test_uploads_are_decoded_before_they_are_taken(page: Page, clip_file: Path, tmp_path: Path) -> None:
    data, uploads = clip_file.read_bytes(), tmp_path / "state" / "uploads"
    first = page.client.put("/api/uploads/My clip.mp4", content=data)
    assert first.status_code == 201 and first.json() == {"path": "@uploads/My clip.mp4"}
    assert page.client.put("/api/uploads/My clip.mp4", content=data).json() == {
        "path": "@uploads/My clip-2.mp4"
    }
    assert page.open("@uploads/My clip.mp4")["frames"] == 10
    assert page.get("/api/files")["entries"][0]["path"] == "@uploads"
    for name, content in {
        "broken.mp4": data[: len(data) // 3],
        "noise.png": bytes(range(256)) * 9,
        "empty.mp4": b"",
        "no.sam2": data,
    }.items():
        message = error_of(page.client.put(f"/api/uploads/{name}", content=content), 422)
        assert name in message and str(tmp_path) not in message
    assert error_of(page.client.put("/api/uploads/run.exe", content=data), 415)
    assert sorted(file.name for file in uploads.iterdir()) == ["My clip-2.mp4", "My clip.mp4"]


def test_uploads_have_a_limit(folder: Path, tmp_path: Path, clip_file: Path) -> None:
    data = clip_file.read_bytes()
    with served(folder, tmp_path / "state", upload_limit=len(data) - 1) as page:
        assert "limit" in error_of(page.client.put("/api/uploads/clip.mp4", content=data), 413)

        def unannounced() -> Iterator[bytes]:
            yield from (data[k : k + 1000] for k in range(0, len(data), 1000))

        assert "limit" in error_of(page.client.put("/api/uploads/clip.mp4", content=unannounced()), 413)
        assert list((tmp_path / "state" / "uploads").iterdir()) == []


def test_a_saved_session_names_no_clip_outside(page: Page, folder: Path) -> None:
    session = page.open("clip.mp4")["id"]
    page.click(session, 0, 13, 16)
    data = page.client.get(f"/api/sessions/{session}/file").content
    page.client.delete(f"/api/sessions/{session}")
    (folder / "work.sam2").write_bytes(data)
    (folder / "clip.mp4").rename(folder.parent / "clip.mp4")
    moved = folder / "moved.sam2"
    with zipfile.ZipFile(folder / "work.sam2") as old, zipfile.ZipFile(moved, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            if entry.filename == "session.json":
                content = content.replace(b"/clips/clip.mp4", b"/clip.mp4")
            new.writestr(zipfile.ZipInfo(entry.filename), content)
    for name in ("work.sam2", "moved.sam2"):
        assert "is not in the folder" in error_of(page.client.post("/api/sessions", json={"path": name}), 404)
    (folder.parent / "clip.mp4").rename(folder / "clip.mp4")
    assert page.open("moved.sam2")["known"] == [[0, 0]]


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("clip.mp4", "clip.mp4"),
        ("../../etc/passwd.mp4", "passwd.mp4"),
        ("C:\\x\\clip.mp4", "clip.mp4"),
        ("con.mp4", "_con.mp4"),
        ("LPT1", "_LPT1"),
        (".bashrc", "bashrc"),
        ("a\0b:c*?.mp4", "ab_c__.mp4"),
        ("-rf.mp4", "_-rf.mp4"),
        ("clip.mp4. . ", "clip.mp4"),
        ("", "upload"),
        ("Übung 1.mp4", "Übung 1.mp4"),
    ],
)
def test_names_of_uploads(given: str, made: str) -> None:
    assert safe_name(given) == made


def test_long_names_are_cut_before_their_suffix() -> None:
    name = safe_name("ü" * 300 + ".mp4")
    assert name.endswith(".mp4") and len(name.encode()) <= 120


def test_a_folder_that_cannot_be_written_to_will_do(folder: Path, tmp_path: Path) -> None:
    for path in (folder, folder / "pictures"):
        path.chmod(0o555)
    try:
        with served(folder, tmp_path / "state") as page:
            page.click(page.open("clip.mp4")["id"], 0, 13, 16)
    finally:
        for path in (folder, folder / "pictures"):
            path.chmod(0o755)
    assert sorted(file.name for file in folder.iterdir()) == ["clip.mp4", "photo.png", "pictures"]


def test_where_work_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("sys.platform", "linux")
    one, other = state_folder(tmp_path / "a" / "clips"), state_folder(tmp_path / "b" / "clips")
    assert one != other and one.name.startswith("clips-")
    assert os.fspath(one).startswith(str(tmp_path / "state" / "sam2_video"))


def test_sizes() -> None:
    assert [parse_bytes(text) for text in ("5", "500MB", "2 GB", "1.5k")] == [5, 5 * 10**8, 2 * 10**9, 1500]
    with pytest.raises(ConfigError, match="no size"):
        parse_bytes("much")


NONSENSE: list[dict[str, object]] = [
    *({"points": points} for points in ("x", 5, [[1]], [[1, 2, 3]], [["a", "b"]], {"a": 1}, [[None, 1]])),
    *({"points": [[5, 5]], "labels": labels} for labels in ("no", 5, [2], {"a": 1}, [[1]], [1, 1])),
    *({"box": box} for box in ("x", [1, 2], [5, 5, 1, 1], {"a": 1}, [1, 2, 3, None])),
    *({"mask": mask} for mask in (5, "x", {}, [], {"size": "x", "counts": [1]})),
    {"mask": {"size": [1, 1], "counts": "x"}},
    {"mask": {"size": [10**9, 10**9], "counts": []}},
    {"mask": {"size": [4, 4], "counts": [10**30, 16]}},
    {"mask": {"size": [4, 4], "counts": [-4, 20]}},
    {"mask": {"size": [96, 160], "counts": [15360]}, "points": [[5, 5]]},
    *({"points": [[5, 5]], "frame": frame} for frame in ("x", 1.5, True, -1, 10**30, None, [0])),
    *({"points": [[5, 5]], "object": number} for number in (0, -1, "a", 2.5, None, {})),
    {"points": [[5, 5]], "revision": "latest"},
    {"points": [[float(2**70), 5]]},
    {},
]


def test_nonsense_is_answered_with_a_reason(page: Page) -> None:
    at = f"/api/sessions/{page.open('clip.mp4')['id']}"
    for said in NONSENSE:
        answer = page.client.post(f"{at}/prompts", json={"frame": 0, "object": 1, **said})
        assert 400 <= answer.status_code < 500, (said, answer.text)
        assert len(error_of(answer, answer.status_code)) > 10
        assert page.get(at)["prompts"] == page.get(at)["known"] == [], said


def test_more_nonsense(page: Page) -> None:
    at = f"/api/sessions/{page.open('clip.mp4')['id']}"
    page.click(at.rpartition("/")[2], 0, 13, 16)
    for path, said in {
        f"{at}/track": [
            {"direction": 5},
            {"direction": ["both"]},
            {"start": []},
            {"stop": "x"},
            {"start": -1},
        ],
        f"{at}/export": [{}, {"formats": "masks"}, {"formats": [5]}, {"formats": []}],
        f"{at}/objects": [{"name": 5}, {"id": "x"}, {"id": 0}, {"category": []}],
        "/api/sessions": [{"path": 5}, {"path": None}, {"path": ["clip.mp4"]}],
        "/api/model": [{}, {"name": 5}],
    }.items():
        for body in said:
            answer = page.client.post(path, json=body)
            assert 400 <= answer.status_code < 500, (path, body, answer.text)
    for content in (b"{", b"[]", b"5", b"\xff", b"[" * 100_000):
        error_of(page.client.post(f"{at}/prompts", content=content), 400)
    for path in (
        f"{at}/frames/0.jpg?width=x",
        f"{at}/exports/%2e%2e%2fwork.log",
        f"{at}/masks/-1",
    ):
        assert 400 <= page.client.get(path).status_code < 500, path
    assert error_of(page.client.post(f"{at}/prompts", content=b" " * (33 * 2**20)), 413)


def test_a_port_that_is_taken() -> None:
    with bound("127.0.0.1", 0) as one, pytest.raises(RequestError, match="another --port"):
        bound("127.0.0.1", one.getsockname()[1])
