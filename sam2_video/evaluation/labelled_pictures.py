"""Pictures with masks of their objects: stills, frames of video data sets, COCO files. Read one at a time.

for picture in find_pictures(Path("stills")):       # images/X.jpg with masks/X.png, or folders of that layout
    labelled = picture.read()                       # .rgb, .masks by object, .void
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sam2_video.evaluation.labels import read_label_png
from sam2_video.evaluation.sequences import Bools, VosSequence
from sam2_video.prompts.problems import a_list, a_mapping, a_text, whole
from sam2_video.prompts.shapes import Polygons, Runs, polygon, run_lengths
from sam2_video.sources import read_picture
from sam2_video.sources.folder import PICTURE_TYPES, natural_key
from sam2_video.types import DataError, PromptError

VOID = 255


@dataclass(frozen=True)
class Labelled:
    """A decoded picture. Objects may overlap; pixels of `void` belong to nobody and do not count."""

    rgb: NDArray[np.uint8]  # (H, W, 3)
    masks: Mapping[int, Bools]  # (H, W) by object; each has pixels
    void: Bools | None = None


class LabelledPicture(Protocol):
    """A picture that can be read."""

    @property
    def name(self) -> str:
        """Unique in its set."""

    @property
    def key(self) -> str:
        """What decides whether it is held out: the stem of its file, or the clip that it is a frame of."""

    def read(self) -> Labelled:
        """Raises DataError or SourceError."""


@dataclass(frozen=True)
class Still:
    """A picture and its label map: one id per pixel, 0 for the background, 255 for void."""

    name: str
    image: Path
    mask: Path

    @property
    def key(self) -> str:
        return self.image.stem

    def read(self) -> Labelled:
        rgb, labels = read_picture(self.image), read_label_png(self.mask)
        if labels.shape != rgb.shape[:2]:
            raise DataError(
                f"{self.mask} is {labels.shape[1]}x{labels.shape[0]}, but {self.image.name} is "
                f"{rgb.shape[1]}x{rgb.shape[0]}"
            )
        void = labels == VOID
        return Labelled(rgb, _LabelMasks(labels), void if void.any() else None)


class _LabelMasks(Mapping[int, Bools]):
    """The masks of a label map, each made when it is asked for: a large picture may hold hundreds."""

    def __init__(self, labels: NDArray[np.uint8]) -> None:
        self._labels = labels
        there = np.flatnonzero(np.bincount(labels.ravel(), minlength=256))
        self._ids = [int(k) for k in there if k not in (0, VOID)]

    def __getitem__(self, object_id: int) -> Bools:
        if object_id not in self._ids:
            raise KeyError(object_id)
        return np.asarray(self._labels == object_id)

    def __iter__(self) -> Iterator[int]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)


@dataclass(frozen=True)
class ClipFrame:
    """An annotated frame of a video."""

    sequence: VosSequence
    frame: int

    @property
    def name(self) -> str:
        return f"{self.sequence.name}/{self.sequence.frame_names[self.frame]}"

    @property
    def key(self) -> str:
        return self.sequence.name

    def read(self) -> Labelled:
        masks = self.sequence.masks(self.frame) or {}
        there = {k: mask for k, mask in masks.items() if mask.any()}
        return Labelled(self.sequence.image(self.frame), there, self.sequence.void(self.frame))


@dataclass(frozen=True)
class CocoPicture:
    """A picture of a COCO file; crowds are void, and annotations without a segmentation are left out."""

    name: str
    folders: tuple[Path, ...]  # where it may lie
    annotations: tuple[Mapping[str, Any], ...]
    categories: frozenset[int] = frozenset()  # that the file lists; none where it has no list

    @property
    def key(self) -> str:
        return Path(self.name).stem

    def read(self) -> Labelled:
        path = next((f / self.name for f in self.folders if (f / self.name).is_file()), None)
        if path is None:
            looked = ", ".join(map(str, self.folders))
            raise DataError(f"there is no picture {self.name} in {looked}")
        rgb = read_picture(path)
        masks: dict[int, Bools] = {}
        void = np.zeros(rgb.shape[:2], dtype=np.bool_)
        for entry in self.annotations:
            try:
                mask = _drawn(entry, (rgb.shape[0], rgb.shape[1]))
            except PromptError as error:
                raise DataError(f"annotation {entry.get('id')} of {self.name}: {error}") from error
            if mask is not None and entry.get("iscrowd"):
                void |= mask
            elif mask is not None and mask.any():
                masks[whole(entry.get("id"), "id")] = mask
        return Labelled(rgb, masks, void if void.any() else None)


def find_pictures(
    root: Path, *, images: Path | None = None, strays: list[str] | None = None
) -> Sequence[LabelledPicture]:
    """List the pictures of a set, sorted by name; nothing is decoded.

    `root`: a folder with images/X.jpg and masks/X.png, or with such folders; a folder of a video data set,
    of which every annotated frame is a picture; or a COCO file, whose pictures lie in `images`, beside it, or
    where COCO has them. Raises DataError where there is nothing to be found. Annotations of a COCO file that
    belong to no picture of it are an error, too; with `strays` they are left out and described there.
    """
    if root.is_file():
        return _coco(root, images, strays)
    if not root.is_dir():
        raise DataError(f"{root} is neither a folder nor a COCO file")
    stills = _stills(root)
    return stills or _frames(root)


def is_held_out(key: str, share: float, seed: int = 0) -> bool:
    """Is a picture among the `share` (0..1) that is kept for tests? Its `key` decides.

    So the same file is held out of any copy of the set, whatever else the set holds, and a clip as a whole.
    """
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def _stills(root: Path) -> list[LabelledPicture]:
    single = (root / "images").is_dir()
    folders = [root] if single else sorted(path.parent for path in root.glob("*/images") if path.is_dir())
    found: list[LabelledPicture] = []
    for folder in folders:
        if not (folder / "masks").is_dir():
            continue
        files = [f for f in (folder / "images").iterdir() if f.suffix.lower() in PICTURE_TYPES]
        for file in sorted(files, key=lambda f: natural_key(f.name)):
            name = file.name if single else f"{folder.name}/{file.name}"
            found.append(Still(name, file, folder / "masks" / f"{file.stem}.png"))
    return found


def _frames(root: Path) -> list[LabelledPicture]:
    from sam2_video.evaluation.datasets import Clip, open_dataset

    clips = [clip for clip in open_dataset(root).sequences if isinstance(clip, Clip)]
    return [ClipFrame(clip, frame) for clip in clips for frame in clip.annotated]


def _coco(path: Path, images: Path | None, strays: list[str] | None) -> list[LabelledPicture]:
    try:
        data = a_mapping(json.loads(path.read_text(encoding="utf-8")), "a COCO file")
        pictures = {
            whole(entry.get("id"), "id"): a_text(entry.get("file_name"), "file_name")
            for entry in (a_mapping(one, "an image") for one in a_list(data.get("images"), "images"))
        }
        if astray := [name for name in pictures.values() if leads_out(name)]:
            raise PromptError(f"file_name {astray[0]!r} leads out of the folder of pictures")
        entries: dict[int, list[Mapping[str, Any]]] = {number: [] for number in pictures}
        for one in a_list(data.get("annotations"), "annotations"):
            entry = a_mapping(one, "an annotation")
            image_id = whole(entry.get("image_id"), "image_id")
            if image_id in entries:
                entries[image_id].append(entry)
                continue
            stray = f"annotation {entry.get('id')} is of image {image_id}, which is not listed"
            if strays is None:
                raise PromptError(stray)
            strays.append(stray)
    except (OSError, ValueError, RecursionError) as error:  # PromptError is a ValueError
        raise DataError(f"cannot read {path} as a COCO file: {error}") from error
    home, part = path.parent, path.stem.removeprefix("instances_")
    usual = (home, home / "images", home.parent, home.parent / "images", home.parent / part, home / part)
    folders = usual if images is None else (images,)
    listed = data.get("categories")
    known = frozenset(
        number
        for one in (listed if isinstance(listed, list) else ())
        if isinstance(one, dict) and isinstance(number := one.get("id"), int)
    )
    found = [CocoPicture(pictures[k], folders, tuple(entries[k]), known) for k in pictures]
    return sorted(found, key=lambda one: natural_key(one.name))


def leads_out(name: str) -> bool:
    """Does the name of a file, which a stranger may have written, point anywhere else?"""
    path = PureWindowsPath(name)  # takes both kinds of slashes apart, and knows drives
    return path.is_absolute() or bool(path.anchor) or ".." in path.parts


def _drawn(entry: Mapping[str, Any], size: tuple[int, int]) -> Bools | None:
    """The mask of an annotation, None where there is only a box. Raises PromptError."""
    drawn = entry.get("segmentation")
    if not drawn:
        return None
    if isinstance(drawn, dict):
        return Runs(run_lengths(drawn, "segmentation")).draw(size)
    rings = tuple(polygon(ring, "segmentation") for ring in a_list(drawn, "segmentation"))
    return Polygons(rings).draw(size)
