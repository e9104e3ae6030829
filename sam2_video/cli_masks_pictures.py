"""`sam2-video masks` on pictures: one or a folder of them, gone on with where it was stopped."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_video.cli_run import (
    RECORD,
    SHEETS,
    ModelOptions,
    check_folder,
    clear_results,
    load,
    locked,
    model_record,
)
from sam2_video.types import PromptError, SinkError, SourceError

if TYPE_CHECKING:
    from sam2_video.mask_generator import AutoMask, MaskGenerator

SAVES = ("json", "labels", "overlays", "sheet")
PLACES = {"json": "json/{}.json", "labels": "labels/{}.png", "overlays": "overlays/{}.jpg"}
QUALITY = 90  # of overlays and sheets
Say = Callable[[str], None]


@dataclass
class PictureRun:
    """What a run over pictures came to."""

    pictures: int
    masks: int = 0
    done: int = 0  # by this run
    kept: int = 0  # by earlier ones
    broken: dict[str, str] = field(default_factory=dict)  # file name -> why it could not be used
    was_stopped: bool = False

    @property
    def status(self) -> str:
        if self.was_stopped:
            return "interrupted"
        return f"complete, but for {len(self.broken)} pictures" if self.broken else "complete"

    def record(self) -> dict[str, Any]:
        """What run.json says of the end of the run."""
        return {"status": self.status, "pictures": self.pictures, "broken": self.broken}

    def __str__(self) -> str:
        earlier = f", {self.kept} were done before" if self.kept else ""
        return f"{self.done} of {self.pictures} pictures{earlier}, {self.masks} masks"


def parse_saves(text: str) -> tuple[str, ...]:
    """Parse `--save` of pictures. Raises SinkError."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names or set(names) - set(SAVES):
        raise SinkError(f"--save {text!r}: expected some of {', '.join(SAVES)}, separated by commas")
    if "json" not in names:
        raise SinkError(f"--save {text!r}: json must be among them, it tells which pictures are done")
    if "sheet" in names and "overlays" not in names:
        raise SinkError(f"--save {text!r}: a sheet is made of overlays; add overlays, or leave sheet out")
    return names


def mask_pictures(
    source: Path,
    out: Path,
    model: ModelOptions,
    changes: Mapping[str, Any],
    save: Sequence[str],
    overwrite: bool,
    memory_mb: int | None,
    say: Say,
) -> PictureRun:
    """Find masks in a picture or a folder of them; what is not readable is noted, and the rest goes on.

    A picture whose files are there, and that is still the same, is not done again. Raises SinkError where
    `out` holds other results, or those of other settings, unless it may overwrite.
    """
    from sam2_video.mask_generator import MaskGenerator
    from sam2_video.sinks import write_run_json

    files = list_pictures(source)
    with locked(out):
        generator = MaskGenerator(load(model), memory_mb=memory_mb, **changes)
        info = _record(source, model, generator, save)
        goes_on = _goes_on(out, info, overwrite)
        check_folder(out, overwrite or goes_on, files.values())
        if not goes_on:
            clear_results(out)
        write_run_json(out / RECORD, info | {"status": "running"})
        run = PictureRun(len(files))
        try:
            for name, file in _with_progress(files):
                _one(run, generator, name, file, out, save, say)
        except KeyboardInterrupt:
            run.was_stopped = True
        if "sheet" in save and len(files) > 1:
            _write_sheets(out, files, run)
        write_run_json(out / RECORD, info | run.record())
    return run


def list_pictures(source: Path) -> dict[str, Path]:
    """Name of the results -> picture, in natural order: the file's name without its suffix where that tells
    it from the others. Raises SourceError where there are none.
    """
    from sam2_video.sources.folder import PICTURE_TYPES, natural_key

    if source.is_file():
        return {source.stem: source}
    if not source.is_dir():
        raise SourceError(f"{source} does not exist; expected a picture, a folder of pictures or a video")
    try:
        found = [file for file in source.iterdir() if file.suffix.lower() in PICTURE_TYPES and file.is_file()]
    except OSError as error:
        raise SourceError(f"cannot list the folder {source}: {error.strerror or error}") from error
    found = sorted(
        (file for file in found if not file.name.startswith(".")), key=lambda file: natural_key(file.name)
    )
    if not found:
        raise SourceError(f"{source} holds no pictures")
    stems = [file.stem.lower() for file in found]  # some file systems do not tell A.png from a.png
    return {file.stem if stems.count(file.stem.lower()) == 1 else file.name: file for file in found}


def _record(
    source: Path, model: ModelOptions, generator: MaskGenerator, save: Sequence[str]
) -> dict[str, Any]:
    return {
        "command": "masks",
        "model": model_record(model),
        "source": str(source.resolve()),
        "options": generator.options.record(),
        "save": list(save),
    }


def _goes_on(out: Path, info: Mapping[str, Any], overwrite: bool) -> bool:
    """Does the folder hold results of the same command? Raises SinkError for other settings."""
    with suppress(OSError, ValueError):
        before = json.loads((out / RECORD).read_text(encoding="utf-8"))
        if not isinstance(before, dict) or before.get("command") != "masks" or "source" not in before:
            return False
        differing = list(_differences(before, json.loads(json.dumps(info, default=str))))
        if differing and not overwrite:
            raise SinkError(
                f"{out} holds masks made otherwise: {'; '.join(differing)}. Repeat that command to go on "
                "with it, choose another --out, or --overwrite them"
            )
        return not differing
    return False


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for key, words in (("source", "SOURCE"), ("save", "--save")):
        if before.get(key) != now[key]:
            yield f"{words} was {before.get(key)!r}, is {now[key]!r}"
    for key in ("model", "options"):
        found = before.get(key)
        found = found if isinstance(found, dict) else {}
        for name, value in now[key].items():
            # Another path of the same weights, or another number of threads or points at once, is no matter.
            if name not in ("name", "weights", "threads", "points_per_batch") and found.get(name) != value:
                option = "weights" if name == "sha256" else f"--{name.replace('_', '-')}"
                yield f"{option}: {found.get(name)!r} then, {value!r} now"


def _with_progress(files: Mapping[str, Path]) -> Any:
    from tqdm import tqdm

    return tqdm(files.items(), total=len(files), unit=" pictures", dynamic_ncols=True, disable=None)


def _one(
    run: PictureRun,
    generator: MaskGenerator,
    name: str,
    file: Path,
    out: Path,
    save: Sequence[str],
    say: Say,
) -> None:
    """Do one picture, if it is not done; one that cannot be used is noted and said."""
    from sam2_video.mask_pictures import by_area
    from sam2_video.sources import read_picture

    try:
        checksum = _checksum(file)
        count = _done_before(name, checksum, out, save)
        if count is not None:
            run.kept, run.masks = run.kept + 1, run.masks + count
            return
        rgb = read_picture(file)
        # Where stability is not asked for there are masks without a pixel, and their stability is no number.
        masks = by_area([mask for mask in generator.generate(rgb) if mask.area])
    except (SourceError, PromptError) as error:
        run.broken[file.name] = str(error)
        _remove_old(name, out)  # of a picture that was whole once
        say(f"left out: {error}")
        return
    _write(name, file, checksum, rgb, masks, out, save)
    run.done, run.masks = run.done + 1, run.masks + len(masks)


def _checksum(file: Path) -> int:
    try:
        return zlib.crc32(file.read_bytes())
    except OSError as error:
        raise SourceError(f"cannot read the picture {file}: {error.strerror or error}") from error


def _done_before(name: str, checksum: int, out: Path, save: Sequence[str]) -> int | None:
    """How many masks an earlier run found in the same picture; None if there is something left to do."""
    places = [out / PLACES[kind].format(name) for kind in save if kind in PLACES]
    if not all(place.is_file() and place.stat().st_size for place in places):
        return None
    try:
        found = json.loads((out / PLACES["json"].format(name)).read_text(encoding="utf-8"))
        return len(found["annotations"]) if found["image"]["crc32"] == checksum else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remove_old(name: str, out: Path) -> None:
    from sam2_video.sinks.base import remove

    for place in PLACES.values():
        remove(out / place.format(name))


def _write(
    name: str,
    file: Path,
    checksum: int,
    rgb: Any,
    masks: Sequence[AutoMask],
    out: Path,
    save: Sequence[str],
) -> None:
    """Write the files of one picture; the JSON comes last: where it is, the others are whole."""
    from sam2_video.mask_pictures import label_map, paint_masks
    from sam2_video.sinks.base import make_folder, remove, write_whole
    from sam2_video.sinks.masks import grey_png, palette_png

    places = {kind: out / PLACES[kind].format(name) for kind in save if kind in PLACES}
    for place in places.values():
        make_folder(place.parent)
    remove(places["json"])
    if "labels" in places:
        labels = label_map(masks, rgb.shape[:2])
        small = len(masks) < 256
        write_whole(places["labels"], palette_png(labels.astype("uint8")) if small else grey_png(labels))
    if "overlays" in places:
        write_whole(places["overlays"], _jpeg(paint_masks(rgb, masks)))
    image = {"file_name": file.name, "width": rgb.shape[1], "height": rgb.shape[0], "crc32": checksum}
    annotations = [annotation(number, mask) for number, mask in enumerate(masks, start=1)]
    write_whole(places["json"], json.dumps({"image": image, "annotations": annotations}).encode() + b"\n")


def annotation(number: int, mask: AutoMask) -> dict[str, Any]:
    """A mask in the words of SA-1B's files; `bbox` is x, y, width, height in whole pixels, as COCO's is."""
    x0, y0, x1, y1 = mask.box
    return {
        "id": number,
        **mask.record("coco_rle"),
        "bbox": [x0, y0, x1 - x0 + 1, y1 - y0 + 1] if mask.area else [0, 0, 0, 0],
        "predicted_iou": round(mask.predicted_iou, 5),
        "stability_score": round(mask.stability_score, 5),
    }


def _jpeg(rgb: Any) -> bytes:
    import cv2

    data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    return bytes(data)


def _write_sheets(out: Path, files: Mapping[str, Path], run: PictureRun) -> None:
    """Pages of small overlays, made of the files: pictures of earlier runs are on them too."""
    from sam2_video.mask_pictures import PER_SHEET, Cell, contact_sheet
    from sam2_video.sinks.base import remove, write_whole

    cells = []
    for name, file in files.items():
        overlay = out / PLACES["overlays"].format(name)
        if file.name in run.broken:
            cells.append(Cell(None, f"{file.name}: not readable"))
        elif overlay.is_file():
            cells.append(Cell(overlay, file.name))
    for old in [file for pattern in SHEETS for file in out.glob(pattern)]:
        remove(old)
    for first in range(0, len(cells), PER_SHEET):
        page = out / f"contact_sheet_{first // PER_SHEET + 1:02d}.jpg"
        write_whole(page, _jpeg(contact_sheet(cells[first : first + PER_SHEET])))
