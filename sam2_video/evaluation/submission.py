"""Zip files of predictions for the servers that keep a data set's truth: YouTube-VOS, MOSE, LVOS, DAVIS.

write_submission(open_dataset("YouTubeVOS/2019"), Path("out/masks"), Path("youtubevos2019.zip"))
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sam2_video.evaluation.datasets import KINDS, Clip, Kind
from sam2_video.evaluation.datasets.findings import Findings, quote
from sam2_video.evaluation.labels import label_header, read_label_png
from sam2_video.evaluation.sequences import DataSet
from sam2_video.sinks.base import finish, part_name, remove, reported
from sam2_video.sinks.masks import palette_png
from sam2_video.types import DataError

_TIME = (1980, 1, 1, 0, 0, 0)  # the same predictions make the same bytes


@dataclass(frozen=True)
class _Entry:
    """A file of the zip."""

    name: str
    path: Path
    has_palette: bool


def write_submission(data: DataSet, predictions: Path, out: Path) -> Path:
    """Write the zip that the server of a data set takes, from PREDICTIONS/SEQ/FRAME.png; returns its path.

    Holds the frames that the server reads, as palette pictures. Raises DataError before anything is written:
    for a data set or split without a server, and for predictions that are missing, damaged, no label maps,
    or of another size than the frames. Raises SinkError for what cannot be written.
    """
    kind = served_kind(data)
    findings = Findings()
    entries = list(_entries(data, kind.zip_folder, predictions, findings))
    if findings.errors:
        raise DataError(
            f"{predictions} is not complete, no zip is written ({len(findings.errors)} problems):\n"
            + quote(findings.errors)
        )
    part = part_name(out)
    try:
        with reported(out), zipfile.ZipFile(part, "w") as file:
            for entry in entries:
                file.writestr(zipfile.ZipInfo(entry.name, _TIME), _picture(entry))
    except BaseException:
        remove(part)
        raise
    finish(part, out)
    return out


def served_kind(data: DataSet) -> Kind:
    """Return what is known of a data set whose truth a server keeps. Raises DataError for others."""
    kind = KINDS.get(data.name)
    if kind is None or data.split not in kind.servers:
        known = ", ".join(f"{k.name} {split}" for k in KINDS.values() for split in k.servers)
        raise DataError(f"{data.name} {data.split} has no server that takes predictions; these have: {known}")
    return kind


def _entries(data: DataSet, top: str, predictions: Path, findings: Findings) -> Iterator[_Entry]:
    for sequence in data.sequences:
        wanted = sequence.wanted if isinstance(sequence, Clip) else None
        frames = range(len(sequence.frame_names)) if wanted is None else wanted
        for frame in frames:
            file = f"{sequence.name}/{sequence.frame_names[frame]}.png"
            path = predictions / file
            try:
                height, width, has_palette = label_header(path)
            except DataError as error:
                missing = "is missing" if not path.is_file() else str(error)
                findings.add("error", path, missing, sequence.name)
                continue
            if (height, width) != sequence.size:
                expected = f"{sequence.size[1]}x{sequence.size[0]}"
                findings.add("error", path, f"is {width}x{height}, the frames are {expected}", sequence.name)
            yield _Entry(f"{top}/{file}" if top else file, path, has_palette)


def _picture(entry: _Entry) -> bytes:
    """The file as it is if it has a palette, else made into one: servers read indices."""
    return entry.path.read_bytes() if entry.has_palette else palette_png(read_label_png(entry.path))
