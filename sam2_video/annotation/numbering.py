"""Which pictures there are, what their results are called, and the numbers that stay theirs.

A folder of results may grow: pictures that join it later get the next numbers, and nobody's change.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from sam2_video.sources.folder import PICTURE_TYPES, natural_key
from sam2_video.sources.pages import count_pages
from sam2_video.types import DataError, SourceError

LONGEST, CUT = 200, 40  # bytes of the names of results, which get endings; letters of one that is cut
VIDEO_TYPES = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"}


@dataclass(frozen=True)
class Material:
    """What is to be annotated."""

    pictures: tuple[Path, ...]
    clips: tuple[Path, ...]


def find_material(sources: Sequence[str | Path]) -> Material:
    """List the pictures and clips that folders and files name, folders in natural order.

    Of a folder: what lies in it directly and is not hidden. Raises SourceError where there is nothing, and
    where two files have one name.
    """
    files: list[Path] = []
    alone: set[Path] = set()  # pictures that move, given by themselves; in a folder that may be a mistake
    for source in map(Path, sources):
        files += _of_folder(source) if source.is_dir() else [_of_file(source)]
        if not source.is_dir() and _moves(source):
            alone.add(source.resolve())
    files = list(dict.fromkeys(file.resolve() for file in files))
    by_name: dict[str, Path] = {}
    for file in files:
        other = by_name.setdefault(file.name.lower(), file)
        if other != file:
            raise SourceError(
                f"{other} and {file} have one name, so that one's results would replace the other's; "
                "annotate them into different folders"
            )
    clips = {file for file in files if file.suffix.lower() not in PICTURE_TYPES or file in alone}
    return Material(
        tuple(file for file in files if file not in clips), tuple(file for file in files if file in clips)
    )


def _of_folder(folder: Path) -> list[Path]:
    try:
        found = [
            file
            for file in folder.iterdir()
            if file.suffix.lower() in PICTURE_TYPES | VIDEO_TYPES
            and not file.name.startswith(".")
            and file.is_file()
        ]
    except OSError as error:
        raise SourceError(f"cannot list the folder {folder}: {error.strerror or error}") from error
    if not found:
        raise SourceError(f"{folder} holds no pictures and no clips")
    return sorted(found, key=lambda file: natural_key(file.name))


def _of_file(path: Path) -> Path:
    if not path.is_file():
        raise SourceError(f"{path} does not exist; expected a picture, a clip, or a folder of them")
    return path


def _moves(file: Path) -> bool:
    try:
        return count_pages(file) > 1
    except SourceError:
        return False  # damaged: whoever reads it says so


@dataclass
class Numbering:
    """Names of results -> file names and ids of pictures; names of classes -> their ids."""

    files: dict[str, str] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)
    categories: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, entry: Any) -> Numbering:
        """What `record` gave. Raises DataError for anything else."""
        try:
            pictures = {str(name): (int(n), str(file)) for name, (n, file) in entry["pictures"].items()}
            categories = {str(name): int(number) for name, number in entry["categories"].items()}
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise DataError(f"the list of pictures in manifest.json is damaged ({error!r})") from error
        files = {name: file for name, (_, file) in pictures.items()}
        return cls(files, {name: number for name, (number, _) in pictures.items()}, categories)

    def record(self) -> dict[str, Any]:
        """As JSON takes it."""
        pictures = {name: [self.ids[name], file] for name, file in self.files.items()}
        return {"pictures": pictures, "categories": self.categories}

    def take(self, pictures: Iterable[Path]) -> dict[str, Path]:
        """Number new pictures, and return the name of the results of all of these.

        That is the file's name without its suffix, with it where that would not tell it from others; in the
        last resort, as for names that leave no room for a suffix, its first letters and its number.
        """
        pictures = list(pictures)
        known = {file: name for name, file in self.files.items()}
        # In small letters: some file systems do not tell A.png from a.png.
        stems = Counter(name.lower() for name in self.files)
        stems.update(file.stem.lower() for file in pictures if file.name not in known)
        last = max(self.ids.values(), default=0)
        taken = {name.lower() for name in self.files}
        out = {}
        for file in pictures:
            name = known.get(file.name)
            if name is None:
                last += 1
                wanted = [file.stem, file.name] if stems[file.stem.lower()] == 1 else [file.name]
                name = _free_name(wanted, last, taken)
                taken.add(name.lower())
                self.files[name] = file.name
                self.ids[name] = last
            out[name] = file
        return out

    def take_categories(self, names: Iterable[str]) -> None:
        """Number new classes."""
        for name in names:
            self.categories.setdefault(name, len(self.categories) + 1)


def _free_name(wanted: Sequence[str], number: int, taken: Container[str]) -> str:
    """The first of these names that nobody has and that files can have, or one made of letters and number."""
    begin = wanted[0][:CUT]
    made = (f"{begin}_{number}{'_' * k}" for k in range(LONGEST))
    return next(
        name
        for name in chain(wanted, made)
        if len(os.fsencode(name)) <= LONGEST and name.lower() not in taken
    )


def stable_order(numbering: Numbering) -> list[tuple[str, int]]:
    """Names and ids of all pictures, by id."""
    return sorted(numbering.ids.items(), key=lambda item: item[1])


def not_here(names: Sequence[str], shown: int = 8) -> str:
    """Say which pictures prompts speak of in vain."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    count = "a picture that is" if len(names) == 1 else f"{len(names)} pictures that are"
    return f"{count} not here: {', '.join(names[:shown])}{more}"
