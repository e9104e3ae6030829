"""Data sets for evaluation, as sequences with truth: DAVIS, YouTube-VOS, MOSE, LVOS, SA-V, VOST, one's own.

data = open_dataset(Path("DAVIS"))               # recognised by its layout; or name="davis2017"
for sequence in data.sequences:
    sequence.image(0), sequence.objects, sequence.masks(sequence.objects[0].first)
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from sam2_video.evaluation.datasets.clip import Clip
from sam2_video.evaluation.datasets.findings import Finding, Findings, Severity
from sam2_video.evaluation.datasets.kinds import KINDS, Kind
from sam2_video.evaluation.datasets.layout import Found, NotThere, Request
from sam2_video.evaluation.datasets.recognise import recognise
from sam2_video.evaluation.sequences import DataSet
from sam2_video.types import DataError

__all__ = [
    "KINDS",
    "Clip",
    "Finding",
    "Findings",
    "Found",
    "Kind",
    "Severity",
    "open_dataset",
    "read_found",
    "recognise",
]


def open_dataset(
    root: Path | str,
    name: str = "auto",
    split: str | None = None,
    *,
    resolution: str = "480p",
    every_frame: bool = False,
    sequences: Collection[str] | None = None,
) -> DataSet:
    """Open a data set: list its files, and decode nothing but the first frame of a plain folder's videos.

    `name` is a key of `KINDS` or "auto"; `split` the usual one for evaluation by default, "all" where the
    lists are to be ignored. `resolution` is that of DAVIS ("480p", "Full-Resolution"); `every_frame` reads
    YouTube-VOS at 30 frames a second; `sequences` chooses some by name. Raises DataError: for a folder that
    is not in the layout, with hints where to get the data, and for sequences that cannot be used; the checker
    (`evaluation.check`) lists all of what is wrong.
    """
    request = Request(Path(root), split, resolution, every_frame, sequences)
    kind, found = read_found(request, name)
    request.findings.raise_errors(f"{kind.title} in {root}")
    return DataSet(
        name=kind.name,
        split=found.split,
        root=str(root),
        sequences=tuple(found.clips),
        overlapping=found.overlapping,
        rule=kind.rule,
        source=kind.source,
        is_part=sequences is not None,
        withheld=_withheld(kind, found),
    )


def read_found(request: Request, name: str = "auto") -> tuple[Kind, Found]:
    """Run the reader of a data set; what is wrong with single sequences ends up in `request.findings`.

    Raises DataError where there is nothing to read.
    """
    if not request.root.is_dir():
        hint = f"\n{KINDS[name].hint()}" if name in KINDS else ""
        raise DataError(f"{request.root} is not a folder{hint}")
    if name == "auto":
        name = recognise(request.root)
    if name not in KINDS:
        raise DataError(f"no data set {name!r}; expected auto, {', '.join(KINDS)}")
    kind = KINDS[name]
    try:
        found = kind.read(request)
    except NotThere as error:
        raise DataError(f"{request.root}: {error}\n{kind.hint()}") from error
    if not found.clips and not request.findings.errors:
        raise DataError(f"{request.root} holds no sequences\n{kind.hint()}")
    return kind, found


def _withheld(kind: Kind, found: Found) -> str:
    """Say who keeps the truth, unless a good part of it is here."""
    server = kind.servers.get(found.split)
    if server is None or any(_is_annotated(clip) for clip in found.clips):
        return ""
    return f"the truth of {kind.title} {found.split} is kept by a server: {server}"


def _is_annotated(clip: Clip) -> bool:
    frames = len(clip.wanted or clip.frame_names)
    return frames > 2 and 2 * len(clip.annotated) >= frames
