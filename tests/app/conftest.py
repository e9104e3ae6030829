"""A folder with a clip, and a server for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from tests.app.served import Page, served
from tests.clips import write_clip
from tests.toys import toy_clip

FRAMES = 10


@pytest.fixture(scope="session")
def clip_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write_clip(path, size=(96, 160), pictures=toy_clip(FRAMES, (96, 160)))


@pytest.fixture
def folder(tmp_path: Path, clip_file: Path) -> Path:
    """A folder with a clip, a folder of pictures, and a picture."""
    folder = tmp_path / "clips"
    (folder / "pictures").mkdir(parents=True)
    (folder / "clip.mp4").write_bytes(clip_file.read_bytes())
    for k, rgb in enumerate(toy_clip(4)):
        cv2.imwrite(str(folder / "pictures" / f"{k}.png"), rgb[..., ::-1])
    cv2.imwrite(str(folder / "photo.png"), toy_clip(1, (90, 120))[0])
    return folder


@pytest.fixture
def page(folder: Path, tmp_path: Path) -> Iterator[Page]:
    with served(folder, tmp_path / "state") as page:
        yield page
