"""Looks over all that is to be trained on, before hours are spent on it.

checked = check_data(settings.data)
for finding in checked.findings:
    print(finding)                     # error: VOC/JPEGImages/7.jpg: is cut off: ...
checked.broken                         # names of the items that cannot be used
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sam2_video.evaluation.check import check_clip
from sam2_video.evaluation.datasets import Clip, Finding, Findings
from sam2_video.evaluation.datasets.findings import quote
from sam2_video.evaluation.datasets.frames import is_cut_off
from sam2_video.evaluation.labelled_pictures import CocoPicture, LabelledPicture, Still
from sam2_video.finetuning.data import Data, Item, open_data
from sam2_video.finetuning.settings import DataSettings
from sam2_video.finetuning.youtube_vis import Segmentations
from sam2_video.types import DataError, Sam2VideoError

Progress = Callable[[int, int], object]
ID_CHECKED = "voc"  # whose label maps number objects without gaps


@dataclass(frozen=True)
class Checked:
    """Everything that was found, and which items that leaves out."""

    data: Data
    findings: tuple[Finding, ...]
    broken: tuple[str, ...]  # an error each: they cannot be trained on
    empty: tuple[str, ...]  # nothing is on them: they are left out silently

    def usable(self, *, skip_broken: bool) -> Data:
        """Return the data without broken and empty items.

        Raises DataError where there are broken ones that are not to be skipped, or nothing is left.
        """
        errors = [one for one in self.findings if one.severity == "error"]
        if errors and not skip_broken:
            raise DataError(
                f"{len(errors)} problems make {len(self.broken)} of {self.count} items unusable:\n"
                f"{quote(errors)}\n"
                "repair them (--check lists all), or train without them: data.skip_broken=true"
            )
        left = self.data.without({*self.broken, *self.empty})
        if not left.train:
            raise DataError("nothing that can be trained on is left; --check lists what is wrong")
        return left

    @property
    def count(self) -> int:
        return len(self.data.train) + len(self.data.validation)

    def summary(self) -> str:
        """Return one line about all of it."""
        errors = sum(one.severity == "error" for one in self.findings)
        parts = f"{len(self.data.train)} to train on, {len(self.data.validation)} to validate on"
        bad = f"{len(self.broken)} broken, {errors} errors, {len(self.empty)} without objects"
        return f"{self.count} items ({parts}): {bad}"


def check_data(settings: DataSettings, progress: Progress | None = None) -> Checked:
    """Decode every picture, frame and mask of the training and validation data, one after the other.

    Raises DataError where the data set as a whole cannot be read.
    """
    findings = Findings()
    data = open_data(settings, findings)
    broken: dict[str, None] = {one.sequence: None for one in findings.errors if one.sequence}
    empty: list[str] = []
    items: Sequence[Item] = (*data.train, *data.validation)
    for done, item in enumerate(items, start=1):
        before = len(findings.errors)
        if isinstance(item, Clip):
            _check_sequence(item, findings)
        else:
            _check_picture(item, settings, findings, empty)
        if len(findings.errors) > before:
            broken[item.name] = None
        if progress is not None:
            progress(done, len(items))
    return Checked(data, tuple(findings.found), tuple(broken), tuple(empty))


def _check_sequence(clip: Clip, findings: Findings) -> None:
    check_clip(clip, findings, deep=True)
    if isinstance(clip.truth, Segmentations):
        for k, count in clip.truth.drawn().items():
            if count == 0:
                findings.add(
                    "error", clip.truth.path, f"annotation {k} covers no pixel on any frame", clip.name
                )


def _check_picture(
    picture: LabelledPicture, settings: DataSettings, findings: Findings, empty: list[str]
) -> None:
    place = _file_of(picture)
    try:
        for file in _files(picture):  # first: what decoders say of it tells less, if they say anything
            if is_cut_off(file):
                raise DataError(f"{file} is cut off: the end of the file is missing; get it again")
        labelled = picture.read()
        masks = dict.fromkeys(labelled.masks)
    except (Sam2VideoError, OSError) as error:
        findings.add("error", place, str(error), picture.name)
        return
    if isinstance(picture, CocoPicture):
        _check_coco(picture, set(masks), findings)
    if isinstance(picture, Still):
        if not masks:
            findings.add("error", picture.mask, "the mask is empty: it shows no object", picture.name)
        elif settings.format == ID_CHECKED and max(masks) > len(masks):
            listed = ", ".join(map(str, sorted(masks)))
            message = f"ids are {listed}: VOC numbers the objects of a picture 1, 2, ...; is it a class map?"
            findings.add("warning", picture.mask, message, picture.name)
    elif not masks:
        empty.append(picture.name)


def _check_coco(picture: CocoPicture, drawn: set[int], findings: Findings) -> None:
    """What reading passes over: masks without pixels, categories that are not listed."""
    for entry in picture.annotations:
        number, file = entry.get("id"), Path(picture.name)
        if entry.get("segmentation") and not entry.get("iscrowd") and number not in drawn:
            message = f"the mask of annotation {number} covers no pixel"
            findings.add("error", file, message, picture.name)
        if picture.categories and entry.get("category_id") not in picture.categories:
            message = f"category_id {entry.get('category_id')} of annotation {number} is not listed"
            findings.add("error", file, message, picture.name)


def _file_of(picture: Any) -> Path:
    """The file that a finding names."""
    return Path(getattr(picture, "labels", getattr(picture, "image", picture.name)))


def _files(picture: Any) -> list[Path]:
    named = (getattr(picture, name, None) for name in ("image", "mask"))
    return [path for path in named if isinstance(path, Path) and path.is_file()]
