"""What a run will take of the memory is said beforehand, and is what it takes."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sam2_video import VideoPredictor
from sam2_video.ahead import Lookahead
from sam2_video.checkpoint import save_weights
from sam2_video.cli_footprint import tell_memory
from sam2_video.cli_run import ModelOptions
from sam2_video.footprint import MIB, Clip, Footprint, available, footprint
from sam2_video.memory import MemoryPolicy
from tests.clips import write_clip
from tests.toys import FRAME_SIZE, TOY_OVERRIDES, toy_clip, toy_model

ABOUT = Clip(FRAME_SIZE, count=40, objects=3)
AHEAD = Lookahead.of(2)


def estimate(clip: Clip = ABOUT, **changes: Any) -> Footprint:
    return footprint(toy_model(), clip, **{"horizon": 15, "batch": 64, "ahead": AHEAD, **changes})


@pytest.mark.parametrize("retain", ["window", "all"])
def test_memories_are_those_that_a_session_keeps(retain: Any) -> None:
    predictor = VideoPredictor(toy_model(), memory=MemoryPolicy(recent=3, pointers=5))
    kept = set()
    with predictor.open(toy_clip(40), retain=retain) as session:
        for object_id in (1, 2, 3):
            session.prompt(frame=0, object_id=object_id, points=[(20 + object_id, 20)], labels=[1])
        for _ in session.propagate():
            kept.add(sum(map(bytes_of, map(session.track, session.objects))))
    foreseen = estimate(horizon=predictor.memory.horizon, retain=retain).memories
    assert 0.8 * foreseen <= max(kept) <= foreseen


def bytes_of(track: Any) -> int:
    memories = [*track.bank.prompted.values(), *track.bank.tracked.values()]
    found = [tensor for p in track.predictions.values() for tensor in (p.logits, p.pointer)]
    return sum(t.nbytes for t in found) + sum(m.features.nbytes + m.pointer.nbytes for m in memories)


def test_features_are_those_of_a_frame() -> None:
    predictor = VideoPredictor(toy_model())
    with predictor.open(toy_clip(2)) as session:
        features = session.driver.look(session.source.read(0))
    one = features.coarse.nbytes + sum(fine.nbytes for fine in features.fine)
    assert estimate().features == one * (3 + AHEAD.frames)


def test_what_it_grows_with() -> None:
    plain = estimate()
    assert estimate(replace(ABOUT, count=4000)) == plain, "nothing grows with the clip"
    assert estimate(replace(ABOUT, count=4000), retain="all").memories > 90 * plain.memories
    more = estimate(replace(ABOUT, objects=6))
    assert more.memories == 2 * plain.memories and more.masks > plain.masks
    larger = estimate(replace(ABOUT, size=(96, 160)))
    assert larger.frames == 4 * plain.frames and larger.memories == plain.memories
    assert plain.total == plain.to_come + plain.libraries + plain.weights
    assert plain.record()["total"] == round(plain.total / MIB)


def test_a_machine_that_has_less_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    memory = replace(estimate(), work=5 * 2**30)
    monkeypatch.setattr("sam2_video.footprint.available", lambda: 4 * 2**30)
    tell_memory(memory, ModelOptions(device="cpu"), said.append)
    assert said[0].startswith("memory: about ") and "4096 MiB left" in said[1]
    for left in (6 * 2**30, None):
        said.clear()
        monkeypatch.setattr("sam2_video.footprint.available", lambda left=left: left)
        tell_memory(memory, ModelOptions(device="cpu"), said.append)
        assert len(said) == 1


def test_what_is_left_is_the_least_of_machine_and_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = available()
    assert left is not None and left > 0
    monkeypatch.setattr("sam2_video.footprint._cgroup", lambda: 7)
    assert available() == 7
    monkeypatch.setattr("sam2_video.footprint._cgroup", lambda: None)
    monkeypatch.setattr("sam2_video.footprint._meminfo", lambda: None)
    whole = available()
    assert whole is not None and whole >= left, "where nothing is said of what is free: all there is"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc and the libraries' size are Linux's")
def test_a_run_takes_what_it_says(tmp_path: Path) -> None:
    """Frames of 1080p and 12 objects, so that a toy network is not all that counts."""
    pictures = toy_clip(12, size=(1080, 1920))
    clip = write_clip(tmp_path / "clip.mp4", size=(1080, 1920), pictures=pictures, codec="mpeg4")
    model = tmp_path / "toy.safetensors"
    metadata = {"sam2_video.config": "nano", "sam2_video.overrides": json.dumps(TOY_OVERRIDES)}
    save_weights(toy_model(), model, metadata)
    clicks = [word for k in range(12) for word in ("--click", f"0:{k + 1}:{20 + 100 * k},20")]
    code = (
        "import sys; from sam2_video.cli import main\n"
        "try: main(sys.argv[1:])\n"
        # Not ru_maxrss: that begins with the peak of the process that started this one.
        "finally: print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    )
    words = ["track", str(clip), *clicks, "--model", str(model), "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", code, *words, "--threads", "2", "--save", "masks,overlay"],
        capture_output=True,
        text=True,
        check=True,
    )
    peak = int(done.stdout.split()[-1]) / 1024
    memory = json.loads((tmp_path / "out" / "run.json").read_text())["memory_mib"]
    assert f"memory: about {memory['total']} MiB at most" in done.stderr
    assert 0.7 * memory["total"] <= peak <= 1.1 * memory["total"], (peak, memory)
