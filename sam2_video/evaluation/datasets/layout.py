"""What the readers share: the request, what they find, and the folders, lists and JSON files of data sets."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sam2_video.evaluation.datasets.clip import Clip
from sam2_video.evaluation.datasets.findings import Findings
from sam2_video.evaluation.datasets.frames import Frames, PictureFrames, picture_files
from sam2_video.evaluation.datasets.rules import Rule
from sam2_video.evaluation.datasets.truth import LabelMaps, Truth
from sam2_video.types import DataError

ALL = "all"  # the split of everything that is there, whatever the lists say


@dataclass(frozen=True)
class Request:
    """What somebody asks a reader for."""

    root: Path
    split: str | None = None
    resolution: str = "480p"
    every_frame: bool = False
    sequences: Collection[str] | None = None
    findings: Findings = field(default_factory=Findings)

    def choose(self, names: Iterable[str], where: Path) -> list[str]:
        """Return the sequences that are asked for, all by default. Raises DataError for one not there."""
        there = list(names)
        missing = sorted(set(self.sequences or ()) - set(there))
        if missing:
            known = ", ".join(there[:20]) + (", ..." if len(there) > 20 else "")
            raise DataError(f"no sequence {', '.join(missing)} in {where}; there are {known}")
        return [name for name in there if self.sequences is None or name in self.sequences]


@dataclass(frozen=True)
class Found:
    """What a reader found."""

    split: str
    clips: Sequence[Clip]
    overlapping: bool = False


class NotThere(DataError):
    """A folder or file that makes the layout is missing; download hints help."""


def need_folder(path: Path) -> Path:
    """Return a folder that must be there. Raises NotThere."""
    if not path.is_dir():
        raise NotThere(f"there is no folder {path}")
    return path


def folders(path: Path) -> list[str]:
    """Return the names of the folders in a folder, sorted, none of them hidden."""
    if not path.is_dir():
        return []
    return sorted(p.name for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))


def split_folder(request: Request, marker: str, names: Mapping[str, Sequence[str]]) -> tuple[Path, str]:
    """Find the folder of a split: the root itself, or one in it, that holds a folder `marker`.

    `names` lists splits, the default first, and what their folders may be called. Raises NotThere.
    """
    root, wanted = request.root, request.split
    if wanted is not None and wanted not in names:
        raise DataError(f"no split {wanted!r}; expected one of {', '.join(names)}")
    if (root / marker).is_dir():
        called = next((s for s, others in names.items() if root.resolve().name.lower() in others), None)
        if wanted and called and wanted != called:
            raise DataError(f"{root} is the split {called}, but {wanted} is asked for")
        return root, wanted or called or root.resolve().name
    for split in [wanted] if wanted else names:
        for name in names[split]:
            if (root / name / marker).is_dir():
                return root / name, split
    tried = ", ".join(str(root / name / marker) for name in names[wanted or next(iter(names))])
    raise NotThere(f"there is no folder {root / marker}, nor {tried}")


def read_list(path: Path) -> list[str]:
    """Read the sequences that a list names, one a line; of a path in DAVIS 2016 its last folder.

    Raises DataError.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the list {path}: {error}") from error
    words = [line.split()[0] for line in lines if line.strip()]
    names = [word.rsplit("/", 2)[-2] if "/" in word.strip("/") else word for word in words]
    return list(dict.fromkeys(names))


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises DataError."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"cannot read {path}: {error}") from error


def read_videos(path: Path) -> dict[str, dict[str, Any]]:
    """Read the objects of each video of a meta.json: video -> object id as text -> what is said of it.

    Raises DataError.
    """
    data = read_json(path)
    videos = data.get("videos") if isinstance(data, dict) else None
    if not isinstance(videos, dict):
        raise DataError(f"{path} is no meta.json: expected {{videos: {{name: {{objects: ...}}}}}}")
    out = {}
    for name, video in videos.items():
        objects = video.get("objects") if isinstance(video, dict) else None
        if not isinstance(objects, dict):
            raise DataError(f"{path}: video {name} has no objects; expected {{objects: {{id: ...}}}}")
        for key, entry in objects.items():
            if not (key.isascii() and key.isdecimal() and isinstance(entry, dict)):
                raise DataError(f"{path}: video {name}: expected objects by number, not {key!r}")
        out[name] = objects
    return out


def present(names: Iterable[str], images: Path, source: Path, findings: Findings) -> list[str]:
    """Keep the listed sequences that have a folder of frames; report the others."""
    there, out = set(folders(images)), []
    for name in names:
        if name in there:
            out.append(name)
        else:
            findings.add("error", source, f"names the sequence {name}, but there is no {images / name}", name)
    return out


def picture_frames(name: str, folder: Path, findings: Findings) -> PictureFrames | None:
    """Return the frames of a sequence; None, and a finding, where there are none or two have one name."""
    files = picture_files(folder)
    if not files:
        findings.add("error", folder, "holds no frames (.jpg or .png)", name)
        return None
    if len({file.stem for file in files}) < len(files):
        findings.add("error", folder, "holds two pictures of one name; keep one for each frame", name)
        return None
    return PictureFrames(tuple(files))


def by_frame(name: str, folder: Path, names: Sequence[str], findings: Findings) -> dict[int, Path]:
    """Return frame -> mask file; what belongs to no frame is reported.

    Masks are named as their frames, or where not one is, by the frame's number.
    """
    files = [path for path in picture_files(folder) if path.suffix.lower() == ".png"]
    places = {stem: k for k, stem in enumerate(names)}
    if not any(path.stem in places for path in files) and all(stem.isdecimal() for stem in names):
        numbers = {int(stem): k for k, stem in enumerate(names)}
        stems = [path.stem for path in files if path.stem.isdecimal()]
        places = {stem: numbers[int(stem)] for stem in stems if int(stem) in numbers}
    for path in files:
        if path.stem not in places:
            findings.add("error", path, "is a mask without a frame of its name", name)
    return {places[path.stem]: path for path in files if path.stem in places}


def label_clip(
    name: str,
    images: Path,
    masks: Path,
    rule: Rule,
    findings: Findings,
    *,
    foreground: bool = False,
    wanted: tuple[int, ...] | None = None,
) -> Clip | None:
    """Return a clip of pictures and label maps; None, and a finding, where there is nothing to track."""
    frames = picture_frames(name, images, findings)
    if frames is None:
        return None
    paths = by_frame(name, masks, frames.names, findings)
    return masked_clip(name, frames, LabelMaps(paths, foreground=foreground), masks, rule, findings, wanted)


def masked_clip(
    name: str,
    frames: Frames,
    truth: Truth,
    masks: Path,
    rule: Rule,
    findings: Findings,
    wanted: tuple[int, ...] | None = None,
) -> Clip | None:
    """Return a clip; None, and a finding, where no frame has a mask."""
    if not truth.annotated:
        findings.add("error", masks, "holds no mask: nothing says what to track", name)
        return None
    return Clip(name, frames, truth, rule, wanted)
