"""Which data set a folder holds, told by its layout, its meta files and, between versions, its name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sam2_video.evaluation.datasets.davis import RESOLUTIONS, lists_of
from sam2_video.evaluation.datasets.kinds import KINDS
from sam2_video.evaluation.datasets.layout import folders, read_videos
from sam2_video.evaluation.datasets.sav import IMAGES, masklet_files
from sam2_video.types import DataError


def recognise(root: Path) -> str:
    """Return the name of the data set in a folder; "folder" where it is none of the known ones."""
    if any((place / IMAGES).is_dir() for place in _places(root)) or masklet_files(root):
        return "sav"
    if any((root / "JPEGImages" / name).is_dir() for name in RESOLUTIONS):
        only_2016 = lists_of(root, "2016") and not lists_of(root, "2017")
        unlisted_2016 = not lists_of(root, "2017") and "2016" in _called(root)
        return "davis2016" if only_2016 or unlisted_2016 else "davis2017"
    described = _by_meta(root)
    if described is not None:
        return described
    if any((root / "ImageSets").glob("*.txt")):
        return "vost"
    if "mose" in _called(root):
        return _mose(root)
    return "folder"


def _places(root: Path) -> list[Path]:
    """The folder itself, then those in it: the splits of most data sets."""
    return [root, *(root / name for name in folders(root))]


def _by_meta(root: Path) -> str | None:
    for place in _places(root):
        for path in sorted(place.glob("*meta*.json")):
            try:
                videos = read_videos(path)
            except DataError:
                continue  # a file of another kind, or damaged: whoever reads the data set says so
            entries = (entry for objects in videos.values() for entry in objects.values())
            entry: Mapping[str, Any] = next(entries, {})
            if "frame_range" in entry:
                return _version("lvos", root, len(videos), "2")
            if "frames" in entry:
                return _version("youtubevos", root, len(videos), "2019")
            if "mose" in _called(root):
                return _mose(root)
    return None


def _version(name: str, root: Path, videos: int, otherwise: str) -> str:
    """Choose a version by the number of videos, or by the name of the folder."""
    versions = [kind for kind in KINDS.values() if kind.name.startswith(name)]
    counted = [kind for kind in versions if videos in kind.counts.values()]
    if len(counted) == 1:
        return counted[0].name
    called = _called(root)
    words = {kind.name: kind.name.removeprefix(name) for kind in versions}
    for kind, word in words.items():
        if (word if len(word) > 1 else f"v{word}") in called:
            return kind
    return name + otherwise


def _mose(root: Path) -> str:
    return "mose2" if any(word in _called(root) for word in ("v2", "mose2")) else "mose1"


def _called(root: Path) -> str:
    """The names of the folder and of the one around it, which tell versions apart where nothing else does."""
    return "/".join(root.resolve().parts[-2:]).lower()
