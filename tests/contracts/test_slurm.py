"""The scripts of docs/slurm.md: they parse, and the job array does what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.evaluation.small import make_davis, save_toy

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/slurm.md").read_text(encoding="utf-8")
SCRIPTS = re.findall(r"<!-- script: slurm -->\n```bash\n(.*?)```", PAGE, re.DOTALL)


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) == 2


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_parse(script: str) -> None:
    checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_signal_reaches_the_command() -> None:
    """SLURM signals job steps, and the script itself only where it is asked to: there the command runs."""
    assert re.search(r"^#SBATCH --signal=B:TERM@\d+$", SCRIPTS[0], re.MULTILINE)
    assert re.search(r"^exec sam2-video ", SCRIPTS[0], re.MULTILINE)
    assert "srun" not in SCRIPTS[0]


@pytest.mark.slow
def test_the_job_array_tracks_and_scores(tmp_path: Path) -> None:
    make_davis(tmp_path / "data")
    weights = save_toy(tmp_path / "toy.safetensors")
    command = tmp_path / "bin/sam2-video"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sam2_video.cli "$@"\n')
    command.chmod(0o755)
    for task in ("1", "2"):
        variables = {
            "PATH": f"{command.parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "SLURM_ARRAY_JOB_ID": "77",
            "SLURM_ARRAY_TASK_ID": task,
            "SLURM_ARRAY_TASK_COUNT": "2",
            "DATA": str(tmp_path / "data"),
            "OUT": str(tmp_path / "out"),
            "MODEL": str(weights),
        }
        done = subprocess.run(
            ["bash", "-c", SCRIPTS[0]], env={**os.environ, **variables}, text=True, capture_output=True
        )
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "out/scores.csv").exists() == (task == "2")
    assert "(8 objects in 4 sequences)" in done.stdout
