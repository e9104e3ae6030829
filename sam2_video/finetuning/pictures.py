"""Pictures with masks in the layouts that people have: PASCAL VOC, LabelMe, YOLO, SA-1B.

for picture in voc_pictures(Path("VOC2012"), "train"):
    picture.read()                                  # .rgb, .masks by object, .void

COCO files and folders of pictures and label maps are read by `evaluation.labelled_pictures`, which also says
what a `LabelledPicture` is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sam2_video.evaluation.labelled_pictures import Labelled, LabelledPicture, Still
from sam2_video.evaluation.sequences import Bools
from sam2_video.prompts.annotations import Annotation, Found
from sam2_video.prompts.clip_facts import ClipFacts
from sam2_video.prompts.labelme import read_labelme
from sam2_video.prompts.problems import Problems, a_list, a_mapping, whole
from sam2_video.prompts.request import Request
from sam2_video.prompts.shapes import Box, Clicks, Runs, run_lengths
from sam2_video.prompts.yolo import OTHER_FILES, read_yolo
from sam2_video.sources import read_picture
from sam2_video.sources.folder import PICTURE_TYPES, natural_key
from sam2_video.types import DataError, PromptError

Size = tuple[int, int]


@dataclass(frozen=True)
class Broken:
    """A picture that is listed and cannot be read; reading it says why."""

    name: str
    why: str

    @property
    def key(self) -> str:
        return Path(self.name).stem

    def read(self) -> Labelled:
        raise DataError(self.why)


@dataclass(frozen=True)
class Drawn:
    """A picture beside a file of polygons and masks; boxes in it are no masks and are left out."""

    name: str
    image: Path
    labels: Path
    kind: str  # "labelme" or "yolo"

    @property
    def key(self) -> str:
        return self.image.stem

    def read(self) -> Labelled:
        """Objects are numbered from 1 in the order of the file; shapes of one group are one object."""
        rgb = read_picture(self.image)
        size = (rgb.shape[0], rgb.shape[1])
        masks: dict[int, Bools] = {}
        ids: dict[object, int] = {}
        for turn, one in enumerate(self._annotations()):
            mask = self._mask(one, size)
            if mask is None:
                continue
            key = ids.setdefault(("shape", turn) if one.key is None else one.key, len(ids) + 1)
            masks[key] = masks[key] | mask if key in masks else mask
        return Labelled(rgb, masks)

    def _annotations(self) -> Sequence[Annotation]:
        if self.kind == "yolo" and not self.labels.stat().st_size:
            return ()  # YOLO's way to say that nothing is on a picture
        problems = Problems(self.labels)
        request = Request(self.labels, ClipFacts(None), None, problems)
        found = Found()
        try:
            found = (read_labelme if self.kind == "labelme" else read_yolo)(request)
            problems.check()
        except PromptError as error:
            raise DataError(str(error)) from error
        return found.annotations

    def _mask(self, one: Annotation, size: Size) -> Bools | None:
        if isinstance(one.shape, Box | Clicks):
            return None
        if one.size is not None and one.size != size:
            raise DataError(
                f"{self.labels} is for pictures of {one.size[1]}x{one.size[0]}, but {self.image.name} is "
                f"{size[1]}x{size[0]}"
            )
        try:
            region = one.shape.scaled(size[1], size[0]) if one.relative else one.shape
            mask = region.draw(size)
        except PromptError as error:
            raise DataError(f"{one.where}: {error}") from error
        if not mask.any():
            raise DataError(f"{one.where}: the mask covers no pixel")
        return mask


@dataclass(frozen=True)
class Sa1bPicture:
    """A picture of SA-1B beside its JSON file, whose masks overlap."""

    name: str
    image: Path
    labels: Path

    @property
    def key(self) -> str:
        return self.image.stem

    def read(self) -> Labelled:
        rgb = read_picture(self.image)
        size = (rgb.shape[0], rgb.shape[1])
        masks: dict[int, Bools] = {}
        try:
            data = a_mapping(json.loads(self.labels.read_text(encoding="utf-8")), "a file of SA-1B")
            for one in a_list(data.get("annotations"), "annotations"):
                entry = a_mapping(one, "an annotation")
                number = whole(entry.get("id"), "id")
                mask = Runs(run_lengths(entry.get("segmentation"), "segmentation")).draw(size)
                if not mask.any():
                    raise PromptError(f"the mask of annotation {number} covers no pixel")
                masks[number] = mask
        except (OSError, ValueError, RecursionError) as error:  # PromptError is a ValueError
            raise DataError(f"{self.labels}: {error}") from error
        return Labelled(rgb, masks)


def voc_pictures(root: Path, split: str | None) -> list[LabelledPicture]:
    """JPEGImages/X.jpg, SegmentationObject/X.png (255 = void), listed in ImageSets/Segmentation/SPLIT.txt.

    Without a split all pictures that have a mask. Raises DataError for what makes the layout and is missing.
    """
    images, masks = root / "JPEGImages", root / "SegmentationObject"
    for folder in (images, masks):
        if not folder.is_dir():
            raise DataError(
                f"there is no folder {folder}; expected ROOT/JPEGImages/X.jpg, ROOT/SegmentationObject/X.png "
                "and ROOT/ImageSets/Segmentation/train.txt"
            )
    if split is None:
        names = [path.stem for path in masks.glob("*.png")]
    else:
        names = voc_list(root, split)
    files = {path.stem: path for path in images.iterdir() if path.suffix.lower() in PICTURE_TYPES}
    found: list[LabelledPicture] = []
    for name in sorted(dict.fromkeys(names), key=natural_key):
        if name in files:
            found.append(Still(files[name].name, files[name], masks / f"{name}.png"))
        else:
            found.append(Broken(name, f"{images / name}.jpg is missing"))
    return found


def voc_list(root: Path, split: str) -> list[str]:
    """Return the names that a list of VOC holds. Raises DataError with the lists that are there."""
    places = [root / "ImageSets" / "Segmentation", root / "ImageSets"]
    path = next((p / f"{split}.txt" for p in places if (p / f"{split}.txt").is_file()), None)
    if path is None:
        known = ", ".join(sorted({p.stem for place in places for p in place.glob("*.txt")})) or "none"
        raise DataError(
            f"there is no list {places[0] / split}.txt; lists there: {known}. data.split=null trains on all "
            "pictures, data.validation_split=null keeps none for validation"
        )
    words = (line.split() for line in path.read_text(encoding="utf-8-sig").splitlines())
    return [line[0] for line in words if line]


def labelme_pictures(root: Path) -> list[LabelledPicture]:
    """X.json beside the picture that it names, in `root` or in folders below it. Raises DataError."""
    found: list[LabelledPicture] = []
    for path in _sorted(root.rglob("*.json"), root):
        image = _named_picture(path)
        name = str(path.relative_to(root))
        if image is None:
            found.append(Broken(name, f"{path} names no picture that is there (imagePath, or its own name)"))
        else:
            found.append(Drawn(name, image, path, "labelme"))
    return _some(found, root, "X.json of LabelMe beside X.jpg")


def yolo_pictures(root: Path, split: str | None) -> list[LabelledPicture]:
    """images/.../X.jpg with labels/.../X.txt, polygons as fractions of the picture.

    A split is the pictures whose path has a folder of that name. Raises DataError.
    """
    found: list[LabelledPicture] = []
    for image in _sorted((p for p in root.rglob("*") if p.suffix.lower() in PICTURE_TYPES), root):
        parts = list(image.relative_to(root).parts)
        if "images" not in parts[:-1] or (split is not None and split not in parts[:-1]):
            continue
        last = len(parts) - 2 - parts[-2::-1].index("images")  # YOLO's own rule: the last of them
        labels = root.joinpath(*parts[:last], "labels", *parts[last + 1 :]).with_suffix(".txt")
        name = image.relative_to(root).as_posix()
        if not labels.is_file():
            found.append(Broken(name, f"{labels} is missing (where nothing is on a picture it is empty)"))
        elif labels.name not in OTHER_FILES:
            found.append(Drawn(name, image, labels, "yolo"))
    return _some(found, root, "images/X.jpg with labels/X.txt, or images/SPLIT and labels/SPLIT")


def sa1b_pictures(root: Path) -> list[LabelledPicture]:
    """X.jpg beside X.json, in `root` or in folders below it, as SA-1B comes. Raises DataError."""
    found: list[LabelledPicture] = []
    for path in _sorted(root.rglob("*.json"), root):
        name, image = str(path.relative_to(root)), path.with_suffix(".jpg")
        if image.is_file():
            found.append(Sa1bPicture(name, image, path))
        else:
            found.append(Broken(name, f"{image} is missing beside {path.name}"))
    return _some(found, root, "sa_1.jpg beside sa_1.json")


def _sorted(files: Iterable[Path], root: Path) -> list[Path]:
    visible = (f for f in files if not any(p.startswith(".") for p in f.relative_to(root).parts))
    return sorted(visible, key=lambda file: natural_key(str(file)))


def _some(found: list[LabelledPicture], root: Path, layout: str) -> list[LabelledPicture]:
    if not found:
        raise DataError(f"there are no pictures to train on in {root}; expected {layout}")
    return found


def _named_picture(path: Path) -> Path | None:
    """The picture of a LabelMe file: the one that it names, beside it, or the one of its own name."""
    try:
        named = json.loads(path.read_text(encoding="utf-8")).get("imagePath")
    except (OSError, ValueError, AttributeError):
        named = None
    own = [path.with_suffix(suffix) for suffix in sorted(PICTURE_TYPES)]
    beside = [path.parent / Path(named.replace("\\", "/")).name] if isinstance(named, str) and named else []
    return next((place for place in [*beside, *own] if place.is_file()), None)
