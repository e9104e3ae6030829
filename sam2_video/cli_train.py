"""`sam2-video train`: from scratch, or fine-tuning; which one a configuration says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sam2_video.types import ConfigError

Say = Callable[[str], object]
BROKEN = 1  # exit code of a check that found something


def train(config: str, overrides: Sequence[str], out: Path, *, check: bool, say: Say) -> int:
    """Train or check; returns the exit code."""
    from sam2_video.finetuning.settings import is_finetuning

    if is_finetuning(config):
        return _check(config, overrides, say) if check else _finetune(config, overrides, out, say)
    if check:
        raise ConfigError(f"--check is for fine-tuning; {config} trains from scratch")
    from sam2_video.training.loop import train as run
    from sam2_video.training.settings import load_settings

    say(f"best weights: {run(load_settings(config, overrides), out)}")
    return 0


def _check(config: str, overrides: Sequence[str], say: Say) -> int:
    from sam2_video.finetuning.prepared import check_with_bar
    from sam2_video.finetuning.settings import load_settings

    checked = check_with_bar(load_settings(config, overrides).data)
    for finding in checked.findings:
        say(str(finding))
    say(checked.summary())
    return BROKEN if any(one.severity == "error" for one in checked.findings) else 0


def _finetune(config: str, overrides: Sequence[str], out: Path, say: Say) -> int:
    from sam2_video.finetuning import finetune, load_settings

    settings = load_settings(config, overrides)
    best = finetune(settings, out)
    say(f"best weights: {best}")
    if settings.init is None:
        say(f"use them:     sam2-video segment photo.jpg --click 420,260 --model {best}")
    return 0
