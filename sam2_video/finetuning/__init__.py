"""Fine-tuning of released and of one's own weights, on pictures and on clips; see docs/finetuning.md.

from sam2_video.finetuning import finetune, load_settings
best = finetune(load_settings("finetune", ["data.folder=VOC", "preset=decoder"]), Path("runs/voc"))
"""

from __future__ import annotations

from pathlib import Path

from sam2_video.finetuning.settings import FinetuneSettings, load_settings

__all__ = ["FinetuneSettings", "finetune", "load_settings"]


def finetune(settings: FinetuneSettings, folder: Path | str) -> Path:
    """Run a fine-tuning, or go on with one; returns the best weights, or the last where nothing is scored.

    Raises DataError for data that cannot be trained on, CheckpointError for a folder of another run.
    """
    from sam2_video.finetuning.tuner import run  # PyTorch's training parts, which settings do not need

    return run(settings, Path(folder))
