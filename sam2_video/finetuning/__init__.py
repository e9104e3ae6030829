"""Fine-tuning of released and of one's own weights, on pictures and on clips; see docs/finetuning.md.

from sam2_video.finetuning import finetune, load_settings
best = finetune(load_settings("finetune", ["data.folder=VOC", "preset=decoder"]), Path("runs/voc"))
"""

from __future__ import annotations

from sam2_video.finetuning.settings import FinetuneSettings, load_settings
from sam2_video.finetuning.tuner import finetune

__all__ = ["FinetuneSettings", "finetune", "load_settings"]
