"""What a folder of annotated pictures is read as: one COCO file, and the list for a person."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from sam2_video.annotation.files import IDS, Record, picture_file
from sam2_video.mask_runs import Runs
from sam2_video.sinks.base import finish, part_name, remove, reported
from sam2_video.sinks.names import NAMELESS
from sam2_video.sinks.polygons import polygons
from sam2_video.sinks.tables import expand_runs
from sam2_video.sinks.text import json_list
from sam2_video.types import DataError

Outlines = Literal["rle", "polygons"]
COCO, REVIEW = "coco.json", "review.json"
DECIMALS = 2  # of corners, in pixels
DAMAGE = (ValueError, KeyError, TypeError, AttributeError, IndexError)  # what odd JSON leads to


def write_coco(
    out: Path, records: Iterable[Record], categories: MutableMapping[str, int], outlines: Outlines = "rle"
) -> int:
    """Write OUT/coco.json from the files of pictures that are done; returns the number of annotations.

    Classes that people wrote into those files join `categories`, with the next numbers. Memory does not grow
    with the number of annotations. Raises SinkError, and DataError for a file that cannot be used any more.
    """
    done = [record for record in records if not record.error and not record.is_clip]
    count = 0

    def entries() -> Iterator[str]:
        nonlocal count
        for record in done:
            for entry in read_annotations(out, "annotations", record):
                count += 1
                category = entry.get("category", NAMELESS)
                number = categories.setdefault(category, len(categories) + 1)
                try:
                    text = json.dumps(_coco(entry, record, number, outlines))
                except DAMAGE as error:
                    raise _unusable(picture_file(out, "annotations", record.name), error) from error
                yield text

    def text() -> Iterator[str]:
        yield '{"info": {"description": "sam2_video"}, "licenses": [], "images": '
        yield from json_list(json.dumps(_image(record)) for record in done)
        yield ', "annotations": '
        yield from json_list(entries())
        listed = [{"id": number, "name": name, "supercategory": ""} for name, number in categories.items()]
        yield ', "categories": ' + json.dumps(listed) + "}\n"

    _stream(out / COCO, text())
    return count


def write_review_list(out: Path, records: Iterable[Record]) -> int:
    """Write OUT/review.json: the pictures that a person should look at, and why; returns their number."""
    chosen = [record for record in records if record.error or record.reasons or record.remarks]

    def text() -> Iterator[str]:
        yield '{"pictures": '
        yield from json_list(json.dumps(_review(out, record)) for record in chosen)
        yield "}\n"

    _stream(out / REVIEW, text())
    return len(chosen)


def read_annotations(out: Path, folder: str, record: Record) -> list[dict[str, Any]]:
    """The annotations of a picture, those for a person with the folder "undecided".

    Raises DataError where somebody changed the file to what cannot be used.
    """
    if folder not in record.files:
        return []
    path = picture_file(out, folder, record.name)
    if folder == "undecided" and not path.exists():
        return []  # somebody has decided
    try:
        entries = list(json.loads(path.read_text(encoding="utf-8"))["annotations"])
        known: set[int] = set()
        for place, entry in enumerate(entries):
            if problem := _problem(entry, record, known):
                raise ValueError(f"entry {place}: {problem}")
            known.add(entry["id"])
    except (OSError, *DAMAGE) as error:
        raise _unusable(path, error) from error
    return entries


def as_it_is(out: Path, record: Record) -> Record:
    """A record without the reasons that are settled: masks that somebody decided on have no doubts any more.

    Raises DataError as `read_annotations` does.
    """
    if record.error or record.is_clip or not record.reasons:
        return record
    kept, undecided = (read_annotations(out, folder, record) for folder in ("annotations", "undecided"))
    open_still = {"prompt", "empty"} if kept else {"prompt", "empty", "no mask", "no prompt"}
    open_still |= {word for entry in (*kept, *undecided) for word in entry.get("doubts", ())}
    return replace(
        record,
        reasons=tuple(word for word in record.reasons if word in open_still),
        counts={**record.counts, "kept": len(kept), "doubted": len(undecided)},
    )


def _unusable(path: Path, error: Exception) -> DataError:
    return DataError(
        f"cannot use {path}, which was changed since it was written ({error!r}); mend it, or remove it and "
        "the same command makes it again"
    )


def _problem(entry: Mapping[str, Any], record: Record, known: Collection[int]) -> str:
    """Say what is wrong with an entry that a person may have written; "" if nothing is."""
    assert record.size is not None
    if missing := [key for key in ("id", "segmentation", "bbox", "area") if key not in entry]:
        return f"it has no {' and no '.join(missing)}"
    number, drawn = entry["id"], entry["segmentation"]
    if type(number) is not int or number in known or number // IDS != record.image_id:
        first = record.image_id * IDS
        return f"id {number!r} is not a number of its own from {first + 1} to {first + IDS - 1}"
    if not isinstance(entry.get("category", ""), str):
        return f"category {entry['category']!r} is no name"
    if isinstance(drawn, list):
        return ""  # polygons, drawn by a person
    if list(drawn["size"]) != list(record.size):
        return f"its segmentation is of the size {drawn['size']}, the picture's is {list(record.size)}"
    return "" if isinstance(drawn["counts"], str | list) else "its segmentation is none"


def _image(record: Record) -> dict[str, Any]:
    assert record.size is not None
    height, width = record.size
    return {"id": record.image_id, "file_name": record.file_name, "width": width, "height": height}


def _coco(entry: Mapping[str, Any], record: Record, category: int, outlines: Outlines) -> dict[str, Any]:
    drawn: Any = entry["segmentation"]
    if outlines == "polygons" and not isinstance(drawn, list):
        drawn = _polygons(drawn)
    more = ("predicted_iou", "stability_score", "score", "input_box", "name")
    return {
        "id": entry["id"],
        "image_id": record.image_id,
        "category_id": category,
        "segmentation": drawn,
        "area": entry["area"],
        "bbox": entry["bbox"],
        "iscrowd": 0,
        **{key: entry[key] for key in more if key in entry},
    }


def _polygons(segmentation: Mapping[str, Any]) -> list[list[float]]:
    height, width = segmentation["size"]
    counts = segmentation["counts"]
    lengths = expand_runs(counts, (height, width)) if isinstance(counts, str) else segmentation
    if sum(lengths["counts"]) != height * width:
        raise ValueError("a segmentation covers another number of pixels than the picture has")
    runs = Runs.of_lengths({"size": [height, width], "counts": list(lengths["counts"])})
    rings = polygons(runs.window()) if runs.area else []
    return [(ring + runs.box[:2]).round(DECIMALS).ravel().tolist() for ring in rings]


def _review(out: Path, record: Record) -> dict[str, Any]:
    keys = ("id", "doubts", "predicted_iou", "stability_score", "bbox", "area")
    masks = [
        {key: entry[key] for key in keys if key in entry}
        for folder in ("annotations", "undecided")
        for entry in read_annotations(out, folder, record)
        if entry.get("doubts")
    ]
    return {
        "image_id": record.image_id,
        "file_name": record.file_name,
        "reasons": ["error"] if record.error else list(record.reasons),
        "remarks": [record.error] if record.error else list(record.remarks),
        "masks": masks,
    }


def _stream(path: Path, pieces: Iterable[str]) -> None:
    """Write a file piece by piece, whole or not at all."""
    part = part_name(path)
    try:
        with reported(path), part.open("w", encoding="utf-8", newline="") as file:
            for piece in pieces:
                file.write(piece)
    except BaseException:
        remove(part)
        raise
    finish(part, path)
