"""What the README says is so: its commands exist, its examples run, its links lead somewhere."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from sam2_video.checkpoint import list_models
from sam2_video.cli import app
from sam2_video.cli_prompts import gather_prompts
from sam2_video.cli_segment import gather_on_picture
from sam2_video.demo_clip import draw_demo_clip
from sam2_video.sinks.masks import palette_png

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def blocks(language: str, marker: str = "") -> list[str]:
    """Fenced blocks of a language, those under a marking comment if one is given."""
    start = rf"<!-- {re.escape(marker)} -->\n" if marker else ""
    return re.findall(rf"{start}```{language}\n(.*?)```", README, re.DOTALL)


def console_lines() -> list[list[str]]:
    """Every use of the `sam2-video` command, as words after it."""
    lines = [line for block in blocks("console") for part in block.splitlines() for line in part.split("&&")]
    words = [shlex.split(line) for line in lines]
    return [w[1:] for w in words if w and Path(w[0]).name == "sam2-video"]


def test_every_command_and_option_exists() -> None:
    lines = console_lines()
    assert len(lines) >= 8
    for name, *rest in lines:
        assert name in COMMANDS, name
        options = {o for parameter in COMMANDS[name].params for o in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= options, (name, rest)


def test_every_prompt_parses(tmp_path: Path) -> None:
    for name, *rest in console_lines():
        given = {o: [b for a, b in pairwise(rest) if a == o] for o in ("--click", "--box", "--mask")}
        if name == "track" and (given["--click"] or given["--box"]):
            assert gather_prompts(given["--click"], given["--box"])
        if name == "segment":
            masks = [tmp_path / file for file in given["--mask"]]
            for file in masks:
                file.write_bytes(palette_png(np.eye(8, dtype=np.uint8)))
            assert gather_on_picture(given["--click"], given["--box"], map(str, masks))


def test_set_up_is_one_command_each() -> None:
    (demo,) = blocks("console", "command: demo")
    (test,) = blocks("console", "command: test")
    for command, last in ((demo, "sam2-video demo --out out"), (test, "pytest")):
        assert command.count("\n") == 1, "one line to copy"
        assert "-c constraints.txt" in command and command.strip().endswith(last)
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "command: test" in script and "pytest" not in script.split("esac")[1], (
        "the README says how to test"
    )


def test_no_claim_about_models_that_are_not_there() -> None:
    named = set(re.findall(r"`(nano|sam2[\w.]*_hiera_\w+|sam_vit_\w)`", README))
    assert named == {info.name for info in list_models()}


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


@pytest.mark.parametrize("code", blocks("python", "example: python"))
def test_python_examples_run(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    draw_demo_clip("clip.mp4", frames=3)
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out


def test_every_python_example_is_run() -> None:
    assert len(blocks("python")) == len(blocks("python", "example: python")) == 3
