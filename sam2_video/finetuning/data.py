"""Opens what a fine-tuning trains on and is scored on: pictures, or clips, of any format that can be read.

data = open_data(settings.data)
data.train, data.validation                     # LabelledPictures, or VosSequences where data.frames > 1
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from sam2_video.evaluation.datasets import KINDS, Clip, Findings, read_found
from sam2_video.evaluation.datasets.layout import Request
from sam2_video.evaluation.labelled_pictures import ClipFrame, LabelledPicture, find_pictures, is_held_out
from sam2_video.finetuning.pictures import labelme_pictures, sa1b_pictures, voc_pictures, yolo_pictures
from sam2_video.finetuning.settings import DataSettings
from sam2_video.finetuning.youtube_vis import youtube_vis_clips
from sam2_video.types import ConfigError, DataError

Item: TypeAlias = LabelledPicture | Clip
PICTURES = ("voc", "coco", "labelme", "yolo", "sa1b", "folder")
CLIPS = ("youtubevis", "clips", *(name for name in KINDS if name != "folder"))


@dataclass(frozen=True)
class Place:
    """Where the items of one part of the data lie."""

    format: str
    folder: Path
    annotations: Path | None
    split: str | None


@dataclass(frozen=True)
class Data:
    """What is trained on, and what scores are taken on; by no item both."""

    train: tuple[Item, ...]
    validation: tuple[Item, ...]

    def without(self, broken: Collection[str]) -> Data:
        """Leave items out by name."""
        kept = (
            tuple(item for item in part if item.name not in broken) for part in (self.train, self.validation)
        )
        return Data(*kept)


def open_data(settings: DataSettings, findings: Findings | None = None) -> Data:
    """List the items; nothing is decoded. Problems of single items go to `findings`.

    Raises DataError where nothing can be read, ConfigError for an unknown format.
    """
    findings = findings if findings is not None else Findings()
    here = Place(settings.format, Path(settings.folder), _path(settings.annotations), settings.split)
    train, validation = _items(here, settings.frames, findings), []
    elsewhere = settings.validation_folder or settings.validation_annotations
    if elsewhere is not None:
        annotations = _path(settings.validation_annotations)
        folder = Path(settings.validation_folder or Path(elsewhere).parent)
        there = Place(settings.format, folder, annotations, settings.validation_split or settings.split)
        validation = _items(there, settings.frames, findings)
    elif settings.validation_split is not None:
        validation = _items(replace(here, split=settings.validation_split), settings.frames, findings)
    elif settings.held_out:
        validation = [one for one in train if is_held_out(_key(one), settings.held_out)]
        train = [one for one in train if not is_held_out(_key(one), settings.held_out)]
    if not train:
        raise DataError(f"nothing is left of {settings.folder} to train on")
    if elsewhere is None:
        names = {one.name for one in train}
        if both := [one.name for one in validation if one.name in names]:
            raise DataError(
                f"{len(both)} items are trained and validated on, such as {both[0]}: splits must not overlap"
            )
    return Data(tuple(train), tuple(validation))


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _key(item: Item) -> str:
    return item.name if isinstance(item, Clip) else item.key


def _items(place: Place, frames: int, findings: Findings) -> list[Item]:
    if not place.folder.is_dir():
        raise DataError(f"{place.folder} is not a folder")
    if place.format in PICTURES:
        if frames > 1:
            raise ConfigError(f"the format {place.format} has single pictures; take data.frames=1")
        return list(_pictures(place, findings))
    if place.format not in CLIPS:
        raise ConfigError(f"no data format {place.format!r}; known are {', '.join((*PICTURES, *CLIPS))}")
    clips = _clips(place, findings)
    if frames > 1:
        return list(clips)
    return [ClipFrame(clip, frame) for clip in clips for frame in clip.annotated]


def _pictures(place: Place, findings: Findings) -> Sequence[LabelledPicture]:
    folder = place.folder
    if place.format == "coco":
        file = _needed(place, "instances_train2017.json")
        strays: list[str] = []
        images = None if folder == file.parent else folder
        found = find_pictures(file, images=images, strays=strays)
        for stray in strays:
            findings.add("error", file, stray)
        return found
    readers: dict[str, Callable[[], Sequence[LabelledPicture]]] = {
        "voc": lambda: voc_pictures(folder, place.split),
        "labelme": lambda: labelme_pictures(folder),
        "yolo": lambda: yolo_pictures(folder, place.split),
        "sa1b": lambda: sa1b_pictures(folder),
        "folder": lambda: find_pictures(folder),
    }
    return readers[place.format]()


def _clips(place: Place, findings: Findings) -> Sequence[Clip]:
    if place.format == "youtubevis":
        return youtube_vis_clips(_needed(place, "instances.json"), place.folder)
    name = "folder" if place.format == "clips" else place.format
    request = Request(place.folder, place.split, findings=findings)
    return tuple(read_found(request, name)[1].clips)


def _needed(place: Place, example: str) -> Path:
    if place.annotations is None:
        raise ConfigError(
            f"the format {place.format} has its masks in a JSON file: data.annotations={example}"
        )
    if not place.annotations.is_file():
        raise DataError(f"there is no file {place.annotations}")
    return place.annotations
