"""COCO's list of results, which detectors write: boxes with scores, images and classes by number only."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sam2_video.prompts.annotations import Found
from sam2_video.prompts.clip_facts import ClipFacts
from sam2_video.prompts.coco import read_coco_document
from sam2_video.prompts.documents import Document, KeyPath, Lines, read_document
from sam2_video.prompts.problems import Problems, a_mapping, shown
from sam2_video.prompts.request import Request
from sam2_video.types import PromptError


@dataclass(frozen=True)
class _OfEntries:
    """Finds lines in a file that is the list of annotations alone, some of which were left out."""

    inner: Lines
    kept: Sequence[int]

    def line(self, path: KeyPath) -> int:
        if len(path) < 2 or path[0] != "annotations" or not isinstance(path[1], int):
            return self.inner.line(())
        return self.inner.line((self.kept[path[1]], *path[2:]))


def read_results(path: Path, image_info: Path | None, pictures: Sequence[Path]) -> Found | None:
    """Read a list of results; None for any other file.

    `image_info` is the COCO file whose images and categories the list refers to. Without it an image_id is
    the name of a picture without its suffix, or the number that it is, and classes are called by number.
    Detections without width or height, which detectors do write, are left out with a note. An empty list says
    that nothing was detected. Raises PromptError.
    """
    if path.is_dir() or path.suffix.lower() != ".json":
        return None
    document = read_document(path)
    if not isinstance(document.data, list):
        return None
    if not document.data:
        return Found(notes=["nothing was detected"])
    if not (isinstance(document.data[0], dict) and "image_id" in document.data[0]):
        return None
    kept = [turn for turn, entry in enumerate(document.data) if not _is_flat(entry)]
    entries = [document.data[turn] for turn in kept]
    problems = Problems(path)
    data = _by_pictures(entries, pictures) if image_info is None else _with_info(entries, image_info)
    request = Request(path, ClipFacts(None), None, problems)
    found = read_coco_document(request, Document(path, data, _OfEntries(document.lines, kept)))
    problems.check()
    if flat := len(document.data) - len(kept):
        found.notes.append(f"{flat} of {len(document.data)} detections have no width or no height: left out")
    return found


def _is_flat(entry: Any) -> bool:
    """Is this a detection that shows nothing? Whatever else may be wrong with an entry is told later."""
    box = entry.get("bbox") if isinstance(entry, dict) and not entry.get("segmentation") else None
    if not isinstance(box, list) or len(box) != 4:
        return False
    sides = [side for side in box[2:] if isinstance(side, int | float) and not isinstance(side, bool)]
    return len(sides) == 2 and any(side <= 0 for side in sides)


def _with_info(entries: Sequence[Any], image_info: Path) -> dict[str, Any]:
    known = a_mapping(read_document(image_info).data, f"{image_info}")
    return {
        "images": known.get("images"),
        "categories": known.get("categories"),
        "annotations": entries,
    }


def _by_pictures(entries: Sequence[Any], pictures: Sequence[Path]) -> dict[str, Any]:
    """Images and categories made up from what is named."""
    by_name: dict[str, str] = {file.stem: file.name for file in pictures}
    numbered = [(int(stem), name) for stem, name in by_name.items() if stem.isascii() and stem.isdecimal()]
    often = Counter(number for number, _ in numbered)  # 5.jpg beside 005.jpg: neither is 5
    by_number = {number: name for number, name in numbered if often[number] == 1}
    numbers: dict[str, int] = {}
    images, annotations, categories = [], [], set()
    for entry in entries:
        if not isinstance(entry, dict):
            raise PromptError(f"an entry of the results is {shown(entry)}, expected an object")
        said, category = entry.get("image_id"), entry.get("category_id")
        if isinstance(said, bool) or not isinstance(said, str | int):
            raise PromptError(f"image_id is {shown(said)}, expected a name or a number")
        key = json.dumps(said)
        if key not in numbers:
            numbers[key] = len(numbers)
            file = by_name.get(str(said)) or (by_number.get(said) if isinstance(said, int) else None)
            images.append({"id": numbers[key], "file_name": file or f"{said}.jpg"})
        if isinstance(category, int) and not isinstance(category, bool):
            categories.add(category)
        annotations.append({**entry, "image_id": numbers[key]})
    named = [{"id": number, "name": str(number)} for number in sorted(categories)]
    return {"images": images, "categories": named, "annotations": annotations}
