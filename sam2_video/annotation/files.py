"""The files of one picture: annotations as SA-1B stores them, masks for a person, and the record of both.

OUT/annotations/NAME.json   what is kept
OUT/undecided/NAME.json     masks for a person to decide on, in the same form, with "doubts"
OUT/thumbnails/NAME.jpg     for the review pages
OUT/masklets/NAME_auto.json of a clip: its masklets as SA-V stores them
OUT/records/NAME.json       written last: with what the others were made, and what was left out and why
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2_video.annotation.annotator import Findings, Found
from sam2_video.annotation.asked import Ask
from sam2_video.mask_pictures import by_area, paint_masks
from sam2_video.sinks.base import make_folder, remove, write_whole
from sam2_video.sinks.names import file_name
from sam2_video.types import Prompt, PromptError

VERSION = 1
FOLDERS = {"annotations": ".json", "undecided": ".json", "thumbnails": ".jpg"}
RECORDS, MASKLETS = "records", "masklets"
IDS = 100_000  # of the annotations of one picture
DIGITS = 6  # of scores and coordinates: more is noise
SIDE, QUALITY = 360, 82  # of thumbnails
GAP = 4  # pixels between the panes of one


@dataclass(frozen=True)
class Record:
    """What is known of a picture that was worked on. `error`: why it could not be annotated."""

    name: str  # of its files
    file_name: str
    image_id: int
    made_of: str  # hash of settings and weights
    picture: str  # hash that tells the file from others
    asked: str  # hash of the prompts
    size: tuple[int, int] | None = None  # (H, W)
    counts: Mapping[str, int] = field(default_factory=dict)  # see `Findings`, and "kept", "doubted"
    reasons: tuple[str, ...] = ()  # why a person should look at it
    remarks: tuple[str, ...] = ()
    files: tuple[str, ...] = ()  # folders that have one of this picture
    error: str = ""
    is_clip: bool = False


def picture_file(out: Path, folder: str, name: str) -> Path:
    """Return the file of a picture or clip in one of `FOLDERS` or `RECORDS`."""
    return out / folder / f"{name}{FOLDERS.get(folder, '.json')}"


def clip_name(record: Record) -> str:
    """What the file of a clip's masklets begins with: letters that SA-V takes, and no other clip has."""
    plain = file_name(record.name)
    return plain if plain == record.name else f"{plain[:40]}_{record.image_id}"


def masklets_file(out: Path, record: Record) -> Path:
    """Return the file of a clip's masklets, as `SavSink` calls it."""
    return out / MASKLETS / f"{clip_name(record)}_auto.json"


def write_record(out: Path, record: Record) -> None:
    """Write a record, whole or not at all. Raises SinkError."""
    make_folder(out / RECORDS)
    write_whole(picture_file(out, RECORDS, record.name), _json({"version": VERSION, **asdict(record)}))


def read_record(out: Path, name: str) -> Record | None:
    """Read a record; None where it is missing or not what `write_record` wrote."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        found = json.loads(picture_file(out, RECORDS, name).read_text(encoding="utf-8"))
        if found.pop("version") == VERSION:
            size = None if found["size"] is None else (int(found["size"][0]), int(found["size"][1]))
            texts = {key: tuple(map(str, found[key])) for key in ("reasons", "remarks", "files")}
            return Record(**{**found, **texts, "size": size})
    return None


def is_done(out: Path, record: Record | None) -> bool:
    """Was this picture or clip annotated, and is what came of it there?

    What people changed is theirs, and who has decided may remove what was undecided: that is not made again.
    """
    if record is None or record.error:
        return False
    if MASKLETS in record.files:
        return masklets_file(out, record).is_file()
    return "annotations" in record.files and picture_file(out, "annotations", record.name).is_file()


def write_findings(out: Path, record: Record, rgb: NDArray[np.uint8], findings: Findings) -> Record:
    """Write the files of a picture, the record last; returns the record.

    Raises SinkError, and PromptError for more masks than there are ids for.
    """
    image = {
        "image_id": record.image_id,
        "width": findings.size[1],
        "height": findings.size[0],
        "file_name": record.file_name,
    }
    if len(findings.kept) + len(findings.doubted) >= IDS:
        raise PromptError(f"there are {IDS} masks or more, for which there are no ids; ask for fewer")
    first = record.image_id * IDS
    kept = [annotation(found, first + k) for k, found in enumerate(findings.kept, start=1)]
    first += len(kept)
    doubted = [annotation(found, first + k) for k, found in enumerate(findings.doubted, start=1)]
    data = {"annotations": _json({"image": image, "annotations": kept})}
    if doubted:
        data["undecided"] = _json({"image": image, "annotations": doubted})
    data["thumbnails"] = thumbnail(rgb, findings)
    for folder in FOLDERS:
        path = picture_file(out, folder, record.name)
        if folder in data:
            make_folder(path.parent)
            write_whole(path, data[folder])
        else:
            remove(path)  # of a run that found more
    counts = {**findings.counts, "kept": len(kept), "doubted": len(doubted)}
    done = replace(
        record,
        size=findings.size,
        counts={word: n for word, n in counts.items() if n},
        reasons=tuple(findings.reasons()),
        remarks=tuple(findings.remarks),
        files=tuple(data),
    )
    write_record(out, done)
    return done


def annotation(found: Found, number: int) -> dict[str, Any]:
    """A mask as SA-1B lists it; what was asked for stands beside it."""
    mask = found.mask
    x0, y0, x1, y1 = mask.box
    left, top, right, bottom = mask.crop
    entry: dict[str, Any] = {
        "id": number,
        "segmentation": mask.coco_rle,
        "bbox": [x0, y0, x1 - x0 + 1, y1 - y0 + 1] if mask.area else [0, 0, 0, 0],
        "area": mask.area,
        "predicted_iou": round(mask.predicted_iou, DIGITS),
        "stability_score": round(mask.stability_score, DIGITS),
        "crop_box": [left, top, right - left, bottom - top],
        "point_coords": [[round(value, DIGITS) for value in mask.point]],
    }
    if found.prompt is not None and found.ask is not None:
        entry |= _asked(found.prompt, found.ask)
    if found.doubts:
        entry["doubts"] = list(found.doubts)
    return entry


def _asked(prompt: Prompt, ask: Ask) -> dict[str, Any]:
    entry: dict[str, Any] = {"category": ask.category}
    if prompt.points:
        entry["point_coords"] = [[round(value, DIGITS) for value in point] for point in prompt.points]
        entry["point_labels"] = list(prompt.labels)
    if prompt.box is not None:
        x0, y0, x1, y1 = prompt.box
        entry["input_box"] = [round(value, DIGITS) for value in (x0, y0, x1 - x0, y1 - y0)]
        if not prompt.points:
            entry["point_coords"] = []
    if ask.name:
        entry["name"] = ask.name
    if ask.score is not None:
        entry["score"] = ask.score
    return entry


def hash_asks(asks: Sequence[Ask]) -> str:
    """Return what tells one list of prompts from another."""
    text = json.dumps([ask.record() for ask in asks], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def thumbnail(rgb: NDArray[np.uint8], findings: Findings) -> bytes:
    """A small JPEG of the picture with what is kept painted on it; below it, if any, what is doubted."""
    panes = [small(paint_masks(rgb, by_area([found.mask for found in findings.kept])))]
    if findings.doubted:
        panes.append(np.full((GAP, panes[0].shape[1], 3), 255, dtype=np.uint8))
        panes.append(small(paint_masks(rgb, by_area([found.mask for found in findings.doubted]))))
    return jpeg(np.concatenate(panes))


def jpeg(rgb: NDArray[np.uint8]) -> bytes:
    """An (H, W, 3) picture as the bytes of a file."""
    import cv2

    _, data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return data.tobytes()


def small(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A copy whose longer side has `SIDE` pixels at most."""
    import cv2

    scale = min(1.0, SIDE / max(rgb.shape[:2]))
    sides = [max(1, round(side * scale)) for side in rgb.shape[1::-1]]
    return np.asarray(cv2.resize(rgb, sides, interpolation=cv2.INTER_AREA))


def _json(value: Any) -> bytes:
    return (json.dumps(value, separators=(",", ":"), ensure_ascii=True) + "\n").encode()
