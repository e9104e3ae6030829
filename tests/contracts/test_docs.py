"""What the documents show runs: every marked example, beside a clip, a folder of frames and a picture.

`<!-- example: python -->` marks Python, `<!-- example: console -->` lines that start with `sam2-video`.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from sam2_video.cli import main
from sam2_video.demo_clip import draw_demo_clip
from sam2_video.sources import open_source

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 10  # lines: an example is read, not studied
Example = tuple[str, str, str]  # page, language, text


def examples() -> list[Example]:
    """Every marked block of the documents."""
    found = []
    block = re.compile(r"<!-- example: (\w+) -->\n```(\w+)\n(.*?)```", re.DOTALL)
    for page in sorted((ROOT / "docs").rglob("*.md")):
        for kind, language, body in block.findall(page.read_text(encoding="utf-8")):
            assert kind == language, f"{page.name}: an example marked {kind} is fenced as {language}"
            found.append((page.name, language, body))
    return found


def name(example: Example) -> str:
    page, _, body = example
    return f"{page}: {body.strip().splitlines()[-1][:40]}"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with clip.mp4, frames/ and photo.jpg, as the examples expect."""
    import cv2

    monkeypatch.chdir(tmp_path)
    draw_demo_clip("clip.mp4", frames=8)
    Path("frames").mkdir()
    with open_source("clip.mp4") as clip:
        for frame, rgb in clip.frames():
            assert cv2.imwrite(f"frames/{frame:05d}.png", rgb[..., ::-1])
            if frame == 0:
                assert cv2.imwrite("photo.jpg", rgb[..., ::-1])
    return tmp_path


@pytest.mark.parametrize("example", examples(), ids=name)
def test_examples_run(example: Example, here: Path) -> None:
    page, language, body = example
    if language == "python":
        exec(compile(body, page, "exec"), {"__name__": "example"})
        return
    for line in body.replace("\\\n", " ").splitlines():
        program, *words = shlex.split(line, comments=True) or [""]
        assert program in ("sam2-video", ""), line
        if program:
            with pytest.raises(SystemExit) as end:
                main(words)
            assert end.value.code in (0, None), line


@pytest.mark.parametrize("example", examples(), ids=name)
def test_examples_are_short(example: Example) -> None:
    assert len(example[2].strip().splitlines()) <= LONGEST
