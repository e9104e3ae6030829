"""What a folder of annotated pictures is read as: one COCO file, and the list for a person."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from sam2_video.annotation.files import Record, picture_file
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


def write_coco(
    out: Path, records: Iterable[Record], categories: Mapping[str, int], outlines: Outlines = "rle"
) -> int:
    """Write OUT/coco.json from the files of pictures that are done; returns the number of annotations.

    Memory does not grow with their number. Raises SinkError, and DataError for a file that was changed.
    """
    done = [record for record in records if not record.error and not record.is_clip]
    count = 0

    def entries() -> Iterator[str]:
        nonlocal count
        for record in done:
            for entry in read_annotations(out, "annotations", record):
                count += 1
                yield json.dumps(_coco(entry, record, categories, outlines))

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

    Raises DataError where the file was changed by somebody else.
    """
    if folder not in record.files:
        return []
    path = picture_file(out, folder, record.name)
    try:
        return list(json.loads(path.read_text(encoding="utf-8"))["annotations"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"cannot read {path}, which this run or an earlier one wrote ({error}); remove it, and the same "
            "command makes it again"
        ) from error


def _image(record: Record) -> dict[str, Any]:
    assert record.size is not None
    height, width = record.size
    return {"id": record.image_id, "file_name": record.file_name, "width": width, "height": height}


def _coco(
    entry: Mapping[str, Any], record: Record, categories: Mapping[str, int], outlines: Outlines
) -> dict[str, Any]:
    drawn: Any = entry["segmentation"]
    if outlines == "polygons":
        drawn = _polygons(drawn)
    more = ("predicted_iou", "stability_score", "score", "input_box", "name")
    return {
        "id": entry["id"],
        "image_id": record.image_id,
        "category_id": categories[entry.get("category", NAMELESS)],
        "segmentation": drawn,
        "area": entry["area"],
        "bbox": entry["bbox"],
        "iscrowd": 0,
        **{key: entry[key] for key in more if key in entry},
    }


def _polygons(segmentation: Mapping[str, Any]) -> list[list[float]]:
    height, width = segmentation["size"]
    runs = Runs.of_lengths(expand_runs(segmentation["counts"], (height, width)))
    rings = polygons(runs.window()) if runs.area else []
    return [(ring + runs.box[:2]).round(DECIMALS).ravel().tolist() for ring in rings]


def _review(out: Path, record: Record) -> dict[str, Any]:
    keys = ("id", "doubts", "predicted_iou", "stability_score", "bbox", "area")
    masks = [
        {key: entry[key] for key in keys}
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
