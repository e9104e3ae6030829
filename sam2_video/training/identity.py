"""Which settings make a run the run it is: a checkpoint is only gone on with under these."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from sam2_video.training.settings import TrainSettings

# These decide where and how a run executes, not what it computes: a resumed run may change them.
RUN_ONLY = (
    *("workers", "threads", "log_every", "save_minutes", "validate_minutes", "validate_frames", "validation"),
    *("tensorboard", "card", "device", "export_dtype"),
)


def fingerprint(settings: TrainSettings) -> dict[str, Any]:
    """Return the settings that decide what a run computes."""
    return {key: value for key, value in asdict(settings).items() if key not in RUN_ONLY}


def what_changed(was: dict[str, Any], settings: TrainSettings, step: int) -> list[str]:
    """Name the settings in which a run differs from the fingerprint of one that has taken `step` steps."""
    now = json.loads(json.dumps(fingerprint(settings)))
    changed = sorted(key for key in {*was, *now} - {"stages"} if was.get(key) != now.get(key))
    if settings.minutes is not None:
        return [*changed, "stages"] if was["stages"] != now["stages"] else changed
    return changed if _same_past(was["stages"], now["stages"], step) else [*changed, "stages that have begun"]


def _same_past(was: list[dict[str, Any]], now: list[dict[str, Any]], step: int) -> bool:
    """Do two curricula agree on the first `step` steps? What lies ahead may be planned anew."""
    for a, b in zip(was, now, strict=False):
        if {**a, "steps": 0} != {**b, "steps": 0} or min(a["steps"], b["steps"]) < min(step, a["steps"]):
            return False
        if step <= a["steps"]:
            return True
        if a["steps"] != b["steps"]:
            return False
        step -= a["steps"]
    return step == 0
