"""What is known of a sequence that was worked on: OUT/sequences/SEQ.json, written after its predictions.

A sequence is done when this file is there, says of settings and data what the run says now, and the
predictions are as many files and bytes as it says. Otherwise it is tracked again. Of one that failed it says
why.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sam2_video.evaluation.predictions import Written, is_whole
from sam2_video.evaluation.results import Round, SequenceRun, StageTime
from sam2_video.sinks.base import make_folder, write_whole

VERSION = 1


@dataclass(frozen=True)
class Done:
    """A sequence that was worked on. `written` is None where that failed, see `run.error`."""

    run: SequenceRun
    written: Written | None
    made_of: str  # hash of settings and weights
    data: Mapping[str, Any]  # what tells its frames and truth from others
    made_by: Mapping[str, Any]  # versions and machine that computed it


def write_done(folder: Path, done: Done) -> None:
    """Write FOLDER/SEQ.json, whole or not at all. Raises SinkError."""
    make_folder(folder)
    text = json.dumps({"version": VERSION, **asdict(done)}, indent=1)
    write_whole(folder / f"{done.run.name}.json", text.encode())


def read_done(folder: Path, name: str) -> Done | None:
    """Read FOLDER/SEQ.json; None where it is missing or not what `write_done` wrote."""
    try:
        found = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        if found["version"] != VERSION:
            return None
        run = found["run"]
        stages = {stage: StageTime(**value) for stage, value in run["stages"].items()}
        rounds = tuple(_round(one) for one in run["rounds"])
        made = SequenceRun(**{**run, "stages": stages, "rounds": rounds})
        written = None if found["written"] is None else Written(**found["written"])
        return Done(made, written, str(found["made_of"]), dict(found["data"]), dict(found["made_by"]))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def find_done(out: Path, name: str, made_of: str) -> Done | None:
    """Return what is known of a finished sequence; None where it was not, or with other settings.

    Whether its data is still the same is for the caller to see: that takes reading it.
    """
    done = read_done(out / "sequences", name)
    if done is None or done.written is None or done.made_of != made_of:
        return None
    return done if is_whole(out / "predictions", name, done.written) else None


def _round(values: Mapping[str, Any]) -> Round:
    x_y_label = tuple((int(x), int(y), int(label)) for x, y, label in values["clicks"])
    return Round(**{**values, "clicks": x_y_label})
