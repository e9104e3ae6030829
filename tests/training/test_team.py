"""A team of two processes trains as one process does."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sam2_video.training.team import Team
from sam2_video.types import ConfigError

from .test_loop import CLIPS, run, toy_settings, weights_of

ROOT = Path(__file__).parents[2]


def test_a_batch_is_shared_without_gaps() -> None:
    assert [list(Team(rank, 3).share(6)) for rank in range(3)] == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(ConfigError, match="4 clips cannot be shared by 3"):
        Team(0, 3).share(4)


def test_alone_nothing_is_averaged() -> None:
    tensor = torch.ones(3)
    Team().average([tensor, None])
    assert torch.equal(tensor, torch.ones(3))


@pytest.mark.slow
def test_two_processes_match_one(stills_folder: Path, tmp_path: Path) -> None:
    # Whole-mask prompts need no random numbers of their own, and the mean of two half batches is the batch's
    # mean.
    stages = (replace(CLIPS, mask_prompts=1.0, correct_frame=0.0),)
    alone = run(toy_settings(stills_folder, stages=stages), tmp_path / "one")
    script = (
        "import sys; from pathlib import Path; from tests.training.test_loop import *\n"
        "stages = (replace(CLIPS, mask_prompts=1.0, correct_frame=0.0),)\n"
        "run(toy_settings(Path(sys.argv[1]), stages=stages), Path(sys.argv[2]))"
    )
    (tmp_path / "script.py").write_text(script)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [str(tmp_path / "script.py"), str(stills_folder), str(tmp_path / "two")]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    two = torch.load(tmp_path / "two" / "last.pt", weights_only=True)["model"]
    # AdamW divides by the gradient's size: where that is next to nothing, rounding decides the sign.
    for name, value in weights_of(alone).items():
        off = (two[name] - value).abs().flatten()
        assert float(off.max()) < 2e-3, name
        assert float(off.kthvalue(max(int(0.99 * len(off)), 1)).values) < 2e-4, name
