"""Pictures of frames: the right ones, in whatever order they are asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from sam2_video.app import previews
from sam2_video.app.errors import RequestError
from sam2_video.app.frames import Frames
from sam2_video.sources import VideoSource, open_source
from sam2_video.types import SourceError
from tests.clips import write_clip

COUNT = 90


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip with few key frames and frames that need later ones."""
    path = tmp_path_factory.mktemp("frames") / "clip.mp4"
    return write_clip(path, COUNT, (96, 128), options={"g": "30", "bf": "3"})


@contextmanager
def frames_of(path: Path, folder: Path, count: int = COUNT) -> Iterator[Frames]:
    frames = Frames(lambda: open_source(path), count, folder)
    try:
        yield frames
    finally:
        frames.close()


def shown(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1], np.uint8)


def made(kept: previews.Previews) -> int:
    """How many frames have a preview."""
    return sum(length > 0 for length in kept._lengths)


def nearest(picture: NDArray[np.uint8], source: VideoSource) -> int:
    """Which frame of the clip is like this picture?"""
    height, width = picture.shape[:2]
    wanted = picture.astype(int)
    distances = [
        np.abs(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA).astype(int) - wanted).mean()
        for _, rgb in source.frames()
    ]
    return int(np.argmin(distances))


@pytest.mark.parametrize("width", [64, None])
def test_whatever_the_order_the_frame_is_the_right_one(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int | None
) -> None:
    monkeypatch.setattr("sam2_video.app.frames.WIDTH", 64)
    order = [89, 3, 45, 44, 31, 29, 30, 88, 0, 60, 59]
    with frames_of(clip, tmp_path) as frames, open_source(clip) as source:
        with ThreadPoolExecutor(4) as pages:
            found = list(pages.map(lambda frame: frames.jpeg(frame, width), order))
        pictures = [shown(data) for data in found]
        assert {picture.shape[:2] for picture in pictures} == {(48, 64) if width else (96, 128)}
        assert [nearest(picture, source) for picture in pictures] == order
        assert frames.jpeg(45, width) == found[2]
    assert list(tmp_path.iterdir()) == []  # nothing is left on disk


def test_every_frame_gets_a_preview_without_being_asked_for(clip: Path, tmp_path: Path) -> None:
    with frames_of(clip, tmp_path) as frames:
        assert frames.previews is not None
        frames.previews._thread.join(60)
        assert made(frames.previews) == COUNT


@pytest.mark.parametrize("shown_as", [(90, False), (180, True)])
def test_turned_clips_have_turned_previews(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown_as: tuple[int, bool]
) -> None:
    monkeypatch.setattr("sam2_video.app.frames.WIDTH", 48)
    path = write_clip(tmp_path / "turned.mp4", 12, (96, 128), shown=shown_as)
    (tmp_path / "kept").mkdir()
    with frames_of(path, tmp_path / "kept", 12) as frames, open_source(path) as source:
        picture = shown(frames.jpeg(7, 48))
        assert picture.shape[:2] == ((64, 48) if shown_as[0] == 90 else (36, 48))
        assert nearest(picture, source) == 7
        small = cv2.resize(source.read(7), picture.shape[1::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(small.astype(int) - picture).mean() < 8


def test_where_previews_end_frames_are_decoded(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(previews, "BYTES", 1)
    with frames_of(clip, tmp_path) as frames, open_source(clip) as source:
        assert frames.previews is not None
        frames.previews._thread.join(60)
        assert made(frames.previews) == 1
        assert nearest(shown(frames.jpeg(50, 64)), source) == 50


def test_a_damaged_clip_says_so_and_shows_the_rest(clip: Path, tmp_path: Path) -> None:
    data = clip.read_bytes()
    broken = tmp_path / "broken.mp4"
    write_clip(broken, COUNT, (96, 128), options={"g": "30"}, index_first=True)
    data = broken.read_bytes()
    broken.write_bytes(data[: len(data) // 2])
    (tmp_path / "kept").mkdir()
    with frames_of(broken, tmp_path / "kept") as frames, open_source(broken) as source:
        assert nearest_of_few(shown(frames.jpeg(2, 64)), source) == 2
        with pytest.raises(SourceError, match="damaged"):
            frames.jpeg(COUNT - 1, 64)


def nearest_of_few(picture: NDArray[np.uint8], source: VideoSource) -> int:
    some = [source.read(k).astype(int) for k in range(5)]
    return int(np.argmin([np.abs(rgb - picture).mean() for rgb in some]))


def test_pictures_in_memory_are_few(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sam2_video.app.frames.KEPT_BYTES", 10_000)
    monkeypatch.setattr("sam2_video.app.frames.WIDTH", 64)
    with frames_of(clip, tmp_path) as frames:
        sizes = [len(frames.jpeg(frame)) for frame in range(20)]
        assert sum(sizes) > 20_000
        assert sum(map(len, frames._recent.values())) == frames._bytes <= 10_000


def test_a_closed_clip_says_so(clip: Path, tmp_path: Path) -> None:
    with frames_of(clip, tmp_path) as frames:
        pass
    for width in (64, None):
        with pytest.raises(RequestError, match="closed meanwhile"):
            frames.jpeg(3, width)


def test_closing_lets_nobody_wait(clip: Path, tmp_path: Path) -> None:
    gate = threading.Event()

    def slow() -> VideoSource:
        gate.wait(60)
        return open_source(clip)

    made = previews.Previews(slow, COUNT, 64, tmp_path)
    with ThreadPoolExecutor(1) as page:
        asked = page.submit(made.get, 80)
        made._stop()
        assert asked.result(60) is None
    gate.set()
    made.close()
