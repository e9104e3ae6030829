"""`read_prompts`: recognises what a file or folder holds, and reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from sam2_video.prompts.annotations import Found, Frames, place
from sam2_video.prompts.clip_facts import ClipFacts
from sam2_video.prompts.coco import read_coco, read_youtube_vis
from sam2_video.prompts.cvat import read_cvat
from sam2_video.prompts.documents import read_bytes
from sam2_video.prompts.label_studio import read_label_studio
from sam2_video.prompts.labelme import read_labelme
from sam2_video.prompts.own import read_own
from sam2_video.prompts.pictures import LABEL_TYPES
from sam2_video.prompts.placed import PromptSet, check_bounds
from sam2_video.prompts.problems import Problems, shown
from sam2_video.prompts.request import Request
from sam2_video.prompts.vos import label_pictures, read_davis, read_label_pictures, read_youtube_vos
from sam2_video.prompts.yolo import label_files, read_yolo
from sam2_video.types import PromptError

FORMATS: dict[str, Callable[[Request], Found]] = {
    "prompts": read_own,
    "png": read_label_pictures,
    "davis": read_davis,
    "youtube-vos": read_youtube_vos,
    "coco": read_coco,
    "youtube-vis": read_youtube_vis,
    "yolo": read_yolo,
    "labelme": read_labelme,
    "cvat": read_cvat,
    "label-studio": read_label_studio,
}


def read_prompts(
    path: str | Path,
    *,
    clip: Any = None,
    format: str | None = None,
    frames: Frames = "auto",
    sequence: str | None = None,
) -> PromptSet:
    """Read prompts from a file or folder of this package's format, or of an annotation tool.

    `clip`: what they are for, as `open_source` takes it; it tells frame numbers of file names and the size of
    fractions, and everything is checked against it. It is opened after the file was read, which decodes the
    first frame of a video and no other. `format`: one of `FORMATS` where the content does not tell. `frames`:
    "first" takes the first annotated frame of each object, "all" every one, "auto" the keyframes that
    somebody chose, and the first frame of formats that annotate every frame. `sequence`: one of several clips
    in the file.

    Raises PromptError with everything that is wrong in the file, each with its line.
    """
    path = Path(path)
    if frames not in get_args(Frames):
        raise PromptError(f"frames is {frames!r}; choose one of {', '.join(get_args(Frames))}")
    problems = Problems(path)
    facts = ClipFacts(clip)
    request = Request(path, facts, sequence, problems)
    found, name = _read(request, format)
    placed = place(found, facts, frames, problems)
    if facts.size is not None:
        check_bounds(placed, facts.count, facts.size, problems)
    problems.check()
    if not placed:
        raise PromptError(f"{path} holds nothing to track" + "".join(f"; {note}" for note in found.notes))
    return PromptSet(placed, name, tuple(found.notes))


def read_annotations(
    path: str | Path, *, format: str | None = None, sequence: str | None = None
) -> tuple[Found, str]:
    """Read what `read_prompts` reads as what is said of single pictures, which need not be of one clip.

    Also returns the name of the format. Raises PromptError.
    """
    path = Path(path)
    return _read(Request(path, ClipFacts(None), sequence, Problems(path)), format)


def _read(request: Request, format: str | None) -> tuple[Found, str]:
    """Read the file itself. Raises PromptError with all that is wrong in it."""
    path, problems = request.path, request.problems
    if format is not None and format not in FORMATS:
        raise PromptError(f"format is {format!r}; known formats: {', '.join(FORMATS)}")
    found, name = Found(), format or ""
    try:
        path.stat()
        name = format or _recognise(request)
        found = FORMATS[name](request)
    except PromptError as error:
        problems.add("", str(error))
    except OSError as error:
        raise PromptError(f"cannot read {error.filename or path}: {error.strerror or error}") from error
    problems.check()  # before anybody looks at pictures
    return found, name


def _recognise(request: Request) -> str:
    """Return the name of the format that a file or folder has. Raises PromptError."""
    path = request.path
    if path.is_dir():
        return _recognise_folder(path)
    head = read_bytes(path)[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
    if head[:2] == b"PK":
        raise PromptError(f"{path} is a ZIP archive; unpack it and name the file or folder inside")
    if head[:1] == b"<" or path.suffix.lower() == ".xml":
        return "cvat"
    if path.suffix.lower() in LABEL_TYPES or head[:4] == b"\x89PNG":
        return "png"
    if path.suffix.lower() == ".txt" and head[:1] not in (b"{", b"["):
        return "yolo"
    return _recognise_document(request)


def _recognise_folder(path: Path) -> str:
    if (path / "meta.json").is_file():
        return "youtube-vos"
    if (path / "Annotations").is_dir():
        return "davis"
    if label_files(path):
        return "yolo"
    if label_pictures(path):
        return "png"
    if any(path.glob("*.json")):
        return "labelme"
    inside = ", ".join(sorted(p.name for p in path.iterdir())[:5]) or "nothing"
    raise PromptError(
        f"{path} holds {inside}, which is no known folder of annotations; name the file inside, or the format"
    )


def _recognise_document(request: Request) -> str:
    """Tell JSON formats apart by the keys that they cannot do without."""
    data = request.document.data
    if isinstance(data, dict):
        if "prompts" in data:
            return "prompts"
        if "shapes" in data:
            return "labelme"
        if isinstance(data.get("videos"), dict):
            return "youtube-vos"
        if "annotations" in data and "images" in data:
            return "coco"
        if "annotations" in data and "videos" in data:
            return "youtube-vis"
        if "version" in data or "objects" in data:
            return "prompts"
    if isinstance(data, list):
        first = data[0] if data else {}
        if isinstance(first, dict) and "image_id" in first:
            raise PromptError(
                f"{request.path} is a list of COCO results, which knows no images; "
                "expected a COCO file with images, annotations and categories"
            )
        if isinstance(first, dict) and ("data" in first or "annotations" in first):
            return "label-studio"
        return "prompts"
    what = f"keys {', '.join(map(str, list(data)[:6]))}" if isinstance(data, dict) else shown(data)
    raise PromptError(
        f"{request.path} holds {what}, which is no known format; expected a list of prompts, or one of "
        f"{', '.join(FORMATS)}"
    )
