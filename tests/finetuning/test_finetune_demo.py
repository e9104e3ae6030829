"""demos/finetune_decoder.py runs, from arguments to figures, with a small model of random weights."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from tests.evaluation.datasets.builders import write_labels
from tests.finetuning.drawn import pictures, write_rgb

DEMO = Path(__file__).resolve().parents[2] / "demos" / "finetune_decoder.py"


def test_finetune_decoder(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, rgb, labels in pictures(8):
        write_rgb(tmp_path / f"photos/images/{name}.png", rgb)
        write_labels(tmp_path / f"photos/masks/{name}.png", labels)
    monkeypatch.chdir(tmp_path)
    words = ["photos", "run", "--epochs", "1", "--keep", "0.4", "--model", str(toy)]
    monkeypatch.setattr(sys, "argv", [str(DEMO), *words, "--try", "photos/images/p0.png", "20", "25"])
    runpy.run_path(str(DEMO), run_name="__main__")
    told = capsys.readouterr().out
    assert "best.safetensors holds the decoder alone: 0.4 MB" in told
    assert "mean IoU at one click: " in told and " before, " in told
    assert "the object at 20, 25 covers" in told
    assert len(DEMO.read_text(encoding="utf-8").splitlines()) <= 120
