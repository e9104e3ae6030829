"""Runs: what is trained and what is not, resume after a kill, several processes, files that load."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sam2_video.checkpoint import load_model
from sam2_video.finetuning import finetune
from sam2_video.types import CheckpointError
from tests.finetuning.conftest import Settings, tensors, toy_overrides

ROOT = Path(__file__).parents[2]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def changed(a: Path, b: Path) -> set[str]:
    """Names of the weights that differ between two models, to the last bit."""
    one, other = load_model(a).state_dict(), load_model(b).state_dict()
    assert one.keys() == other.keys()
    return {name for name, value in one.items() if not torch.equal(value, other[name])}


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def test_the_decoder_alone_changes_and_is_a_small_file(settings: Settings, toy: Path, tmp_path: Path) -> None:
    finetune(settings("schedule.validate_every=2"), tmp_path)
    last = tmp_path / "last.safetensors"
    state = tensors(last)
    assert state and all(name.startswith("sam_mask_decoder.") for name in state)
    assert not any("conv_s0" in name or "conv_s1" in name for name in state), "these are part of embeddings"
    with pytest.raises(CheckpointError, match="no name of its own"):
        load_model(last)
    tuned, base = load_model(toy, checkpoint=last).state_dict(), load_model(toy).state_dict()
    differ = {name for name, value in base.items() if not torch.equal(value, tuned[name])}
    assert differ <= set(state) and len(differ) > 0.6 * len(state)
    assert "sam_mask_decoder.transformer.layers.0.self_attn.q_proj.weight" in differ
    assert last.stat().st_size < 0.7 * toy.stat().st_size
    assert [int(row["step"]) for row in rows(tmp_path / "log.csv")] == [1, 2, 3, 4, 5, 6]
    assert [int(row["epoch"]) for row in rows(tmp_path / "validation.csv")] == [0, 2]
    assert not list(tmp_path.glob("*.part"))


def test_the_loss_falls(settings: Settings, tmp_path: Path) -> None:
    more = ("schedule.epochs=8", "data.validation_split=null", "schedule.learning_rate=3e-3")
    finetune(settings(*more), tmp_path)
    losses = [float(row["total"]) for row in rows(tmp_path / "log.csv")]
    assert sum(losses[-6:]) < 0.95 * sum(losses[:6])


KILLS = """
import os, signal, sys, time
from pathlib import Path
from sam2_video.finetuning import load_settings
from sam2_video.finetuning.tuner import run

out, *words = sys.argv[1:]
log = Path(out) / "log.csv"
for reached in (2, 5, 8):
    child = os.fork()
    if not child:
        run(load_settings("finetune", words), Path(out))
        os._exit(0)
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if log.exists() and log.read_text().count("\\n") > reached:
            os.kill(child, signal.SIGKILL)  # no handler runs
            _, status = os.waitpid(child, 0)
            assert os.WIFSIGNALED(status), "the run was over before it was killed"
            break
        time.sleep(0.002)
    else:
        sys.exit("the run ended by itself")
"""


def test_a_killed_run_ends_with_the_same_weights(
    settings: Settings, toy: Path, voc: Path, tmp_path: Path
) -> None:
    """SIGKILL in the first epoch, after a score, and near the end of ten steps; each time it goes on."""
    more = [
        "schedule.epochs=5",
        "schedule.save_minutes=0",
        "schedule.validate_every=2",
        "schedule.accumulate=2",
    ]
    finetune(settings(*more), tmp_path / "whole")
    cut = tmp_path / "cut"
    command = [sys.executable, "-c", KILLS, str(cut), *toy_overrides(toy, voc), *more]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert 8 <= len(rows(cut / "log.csv")) < 10
    finetune(settings(*more), cut)
    for name in ("last.safetensors", "best.safetensors"):
        whole, again = tensors(tmp_path / "whole" / name), tensors(cut / name)
        assert all(torch.equal(value, again[key]) for key, value in whole.items()), name
    for name in ("log.csv", "validation.csv"):
        left, right = rows(tmp_path / "whole" / name), rows(cut / name)
        assert [{**row, "seconds": ""} for row in left] == [{**row, "seconds": ""} for row in right], name


def test_two_processes_match_one_with_the_doubled_batch(
    settings: Settings, toy: Path, voc: Path, tmp_path: Path
) -> None:
    more = ["schedule.epochs=2", "data.validation_split=null", "data.min_pixels=1"]
    finetune(settings(*more, "schedule.batch=2"), tmp_path / "one")
    # The launcher's only way to start several processes is called after GPUs; device=cpu has the last word.
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command += ["--main_process_port", "0", "-m", "sam2_video.cli"]
    command += ["train", "finetune", *toy_overrides(toy, voc), *more, "schedule.batch=1"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "two")],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    one, two = tensors(tmp_path / "one/last.safetensors"), tensors(tmp_path / "two/last.safetensors")
    base = load_model(toy).state_dict()
    moved = max(float((one[name] - base[name]).abs().max()) for name in one)
    assert moved > 1e-3
    # AdamW divides by the gradient's size: where that is next to nothing, rounding decides the sign.
    for name, value in one.items():
        off = (two[name] - value).abs().flatten()
        assert float(off.kthvalue(max(int(0.99 * len(off)), 1)).values) < 2e-5, name
    losses = [[float(row["total"]) for row in rows(tmp_path / run / "log.csv")] for run in ("one", "two")]
    assert len(losses[0]) == len(losses[1]) == 6
