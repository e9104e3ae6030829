"""Folders of pictures and clips annotated: masks for what people or detectors point at, or for everything.

outcome = annotate_folder("photos", "out", mode="semi", workers=4)
findings = Annotator(model, Settings(mode="auto")).annotate("photo.jpg")
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sam2_video.annotation.annotator import Annotator, Findings, Found
from sam2_video.annotation.asked import Ask, Sources
from sam2_video.annotation.collect import Outlines
from sam2_video.annotation.numbering import find_material
from sam2_video.annotation.run import Outcome, Plan, annotate
from sam2_video.annotation.settings import Mode, Settings
from sam2_video.evaluation.plan import ModelSetup
from sam2_video.evaluation.workers import LocalWorkers, Progress

__all__ = [
    "Annotator",
    "Ask",
    "Findings",
    "Found",
    "ModelSetup",
    "Outcome",
    "Plan",
    "Settings",
    "Sources",
    "annotate",
    "annotate_folder",
    "find_material",
]


def annotate_folder(
    sources: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    mode: Mode = "auto",
    prompts: str | Path | Sequence[str | Path] = (),
    model: str | ModelSetup = "nano",
    workers: int = 1,
    outlines: Outlines = "rle",
    progress: Progress | None = None,
    **settings: Any,
) -> Outcome:
    """Annotate a folder of pictures and clips, or several and single files, as `sam2-video annotate` does.

    `prompts`: files for the mode "assisted". `workers`: processes; with more than one, call this below
    `if __name__ == "__main__":`. `settings` are those of `Settings`. Raises what `annotate` raises.
    """
    files = (prompts,) if isinstance(prompts, str | Path) else prompts
    plan = Plan(
        Settings(mode=mode, **settings),
        ModelSetup(model) if isinstance(model, str) else model,
        Sources(tuple(map(Path, files))),
        outlines=outlines,
    )
    material = find_material([sources] if isinstance(sources, str | Path) else sources)
    if workers == 1:
        return annotate(material, plan, Path(out), progress=progress)
    with LocalWorkers(workers) as processes:
        return annotate(material, plan, Path(out), workers=processes, progress=progress)
