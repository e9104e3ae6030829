"""The script of the two-hour run, shortened: what is kept after each round is the same to the last byte."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

import sam2_video
from tests.test_stream import kept

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "stream_memory.py"
ROUND, ROUNDS = 100, 3  # frames
MOST_MIB = 5.0  # that resident memory may grow by in a round, noise of the allocator included


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark as a module, its objects coming, changing and going eighty times as fast."""
    spec = importlib.util.spec_from_file_location("stream_memory", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "stream_memory", module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    for name, frames in {"ENTER": 10, "STAY": 56, "AGAIN": 3, "CYCLE": ROUND}.items():
        monkeypatch.setattr(module, name, frames)
    return module


@pytest.mark.slow
def test_round_after_round_the_same_is_kept(script: ModuleType) -> None:
    played, frames = script.Script(), script.drawn_frames()
    held, resident = [], []
    with sam2_video.VideoPredictor(script.tiny_model()).stream() as stream:
        for frame in range(ROUNDS * ROUND):
            played.step(stream, frame, frames[frame % len(frames)])
            if frame % ROUND == 55:  # all eight are there
                assert len(stream.objects) == 8
                held.append(kept(stream))
                resident.append(script.resident_mib())
    assert played.added == played.dropped == 24 and played.prompted_again == 24 * 18
    assert held[1] == held[2], held
    assert abs(resident[2] - resident[1]) < MOST_MIB, resident


def test_the_benchmark_says_whether_memory_is_flat(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script, "MINUTE", 10)
    monkeypatch.setattr(script, "SAMPLE", 5)
    monkeypatch.setattr(sys, "argv", ["stream_memory.py", "--frames", "40"])
    grown = iter([90.0, 100.0, 104.0, 96.0, 100.0, 100.0, 100.0, 100.0] + [100.0, 100.0, 106.0] + [100.0] * 5)
    monkeypatch.setattr(script, "resident_mib", lambda: next(grown))
    for verdict, code in (("FLAT: at most 4.00 %", 0), ("NOT FLAT: at most 6.00 %", 1)):
        with pytest.raises(SystemExit) as end:
            script.main()
        assert (end.value.code or 0) == code
        assert verdict in capsys.readouterr().out
