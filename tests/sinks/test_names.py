"""Names for formats that are strict about them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sam2_video.sinks.names import ClassNumbers, FrameFiles, class_name, plain
from sam2_video.types import ObjectInfo


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        (ObjectInfo("left cup", "cup"), "cup"),
        (ObjectInfo("left cup"), "left cup"),
        (ObjectInfo(), "object"),
        (ObjectInfo("\n", " \x00 "), "object"),
    ],
)
def test_class_names(info: ObjectInfo, expected: str) -> None:
    assert class_name(info) == expected


def test_plain_text_keeps_what_people_write() -> None:
    assert plain('  naïve 猫 😀 a\u200db <&>" ') == 'naïve 猫 😀 a\u200db <&>"'
    assert plain("a\r\n\tb\x85c\u2028d\ud800e\ufffff\x7f") == "a b c d e f"


def test_class_numbers() -> None:
    classes = ClassNumbers(first=0)
    names = ("cup", "dog", "cup", "")
    assert [classes.of(ObjectInfo(category=name)) for name in names] == [0, 1, 0, 2]
    assert classes.names == ["cup", "dog", "object"]


def test_frame_files(tmp_path: Path) -> None:
    for name in ("a.jpeg", "b.PNG", "b.txt", ".a.png"):
        (tmp_path / name).touch()
    folder = FrameFiles(tmp_path)
    assert [folder.name(stem) for stem in ("a", "b", "c")] == ["a.jpeg", "b.PNG", "c.jpg"]
    assert folder.path("b") == tmp_path / "b.PNG" and folder.path("c") is None
    assert FrameFiles(tmp_path / "a.jpeg").name("a") == "a.jpeg", "a picture is a clip of one frame"
    for source in ("", "0", "rtsp://camera/1", tmp_path / "missing.mp4", "x" * 5000):
        assert FrameFiles(source).name("00001") == "00001.jpg"
