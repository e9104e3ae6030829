"""YouTube-VIS as clips: one JSON file with all videos, and folders of their frames."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sam2_video.evaluation.datasets import Clip
from sam2_video.evaluation.datasets.frames import PictureFrames
from sam2_video.evaluation.datasets.rules import FirstAppearance
from sam2_video.evaluation.labelled_pictures import leads_out
from sam2_video.evaluation.sequences import Bools
from sam2_video.prompts.problems import a_list, a_mapping, a_text, whole
from sam2_video.prompts.shapes import Polygons, Runs, polygon, run_lengths
from sam2_video.types import DataError, PromptError

Tracks = Mapping[int, Sequence[Any]]  # segmentations of each object, one a frame


@dataclass(frozen=True)
class Segmentations:
    """A `Truth`: masks of the objects of one video, drawn when they are asked for."""

    path: Path
    size: tuple[int, int]
    tracks: Tracks
    length: int

    @property
    def annotated(self) -> tuple[int, ...]:
        return tuple(range(self.length))

    def masks(self, frame: int) -> dict[int, Bools] | None:
        if not 0 <= frame < self.length:
            return None
        return {
            k: mask for k, track in self.tracks.items() if (mask := self._draw(k, track[frame])) is not None
        }

    def void(self, frame: int) -> Bools | None:
        return None

    def files(self) -> Iterator[tuple[int, Path]]:
        yield 0, self.path

    def drawn(self) -> dict[int, int]:
        """On how many frames each object has pixels. Raises DataError."""
        counts = dict.fromkeys(self.tracks, 0)
        for frame in self.annotated:
            for k in self.masks(frame) or {}:
                counts[k] += 1
        return counts

    def _draw(self, object_id: int, drawn: Any) -> Bools | None:
        if not drawn:  # the object is not on this frame
            return None
        try:
            if isinstance(drawn, dict):
                mask = Runs(run_lengths(drawn, "segmentation")).draw(self.size)
            else:
                rings = tuple(polygon(ring, "segmentation") for ring in a_list(drawn, "segmentation"))
                mask = Polygons(rings).draw(self.size)
        except PromptError as error:
            raise DataError(f"{self.path}: the mask of annotation {object_id}: {error}") from error
        return mask if mask.any() else None


def youtube_vis_clips(path: Path, images: Path) -> list[Clip]:
    """Read the videos that have annotations, by name; frames lie in `images`/VIDEO/*.jpg.

    Raises DataError for a file that is not in the format.
    """
    try:
        data = a_mapping(json.loads(path.read_text(encoding="utf-8")), "a YouTube-VIS file")
        tracks: dict[int, dict[int, Sequence[Any]]] = {}
        videos: dict[int, dict[str, Any]] = {}
        for one in a_list(data.get("videos"), "videos"):
            entry = a_mapping(one, "a video")
            videos[whole(entry.get("id"), "id")] = entry
        for one in a_list(data.get("annotations"), "annotations"):
            entry = a_mapping(one, "an annotation")
            video, number = whole(entry.get("video_id"), "video_id"), whole(entry.get("id"), "id")
            if video not in videos:
                raise PromptError(f"video_id {video} of annotation {number} is not among the videos")
            track = a_list(entry.get("segmentations"), "segmentations")
            frames = len(a_list(videos[video].get("file_names"), "file_names"))
            if len(track) != frames:
                raise PromptError(f"annotation {number} has {len(track)} segmentations for {frames} frames")
            tracks.setdefault(video, {})[number] = track
        clips = [_clip(path, images, videos[k], track) for k, track in tracks.items()]
    except (OSError, ValueError, RecursionError) as error:  # PromptError is a ValueError
        raise DataError(f"cannot read {path} as a YouTube-VIS file: {error}") from error
    return sorted(clips, key=lambda clip: clip.name)


def _clip(path: Path, images: Path, video: Mapping[str, Any], tracks: Tracks) -> Clip:
    names = [a_text(name, "file_names") for name in a_list(video.get("file_names"), "file_names")]
    if astray := [name for name in names if leads_out(name)]:
        raise PromptError(f"file_names {astray[0]!r} leads out of the folder of pictures")
    size = whole(video.get("height"), "height"), whole(video.get("width"), "width")
    truth = Segmentations(path, size, tracks, len(names))
    folder = Path(names[0]).parent.as_posix() if names else ""
    name = folder if folder not in ("", ".") else str(video["id"])
    return Clip(name, PictureFrames(tuple(images / one for one in names)), truth, FirstAppearance())
