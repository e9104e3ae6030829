"""What an importer is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PureWindowsPath

from sam2_video.prompts.clip_facts import ClipFacts
from sam2_video.prompts.documents import Document, read_document
from sam2_video.prompts.markup import Element, read_xml
from sam2_video.prompts.problems import Problems
from sam2_video.types import PromptError


@dataclass(frozen=True)
class Request:
    """A file or folder, the clip it is for, and which of several sequences in it is meant."""

    path: Path
    clip: ClipFacts
    sequence: str | None
    problems: Problems

    @cached_property
    def document(self) -> Document:
        """The file as JSON or YAML. Raises PromptError."""
        return read_document(self.path)

    @cached_property
    def xml(self) -> Element:
        """The root of the file as XML. Raises PromptError."""
        return read_xml(self.path)

    def choose_folder(self, files: Iterable[str]) -> str | None:
        """Choose one of several folders of pictures that a file describes, by what `folder_of` says of each.

        None where no two pictures have one name: then the names alone tell frames. Raises as `choose`.
        """
        paths_of = (PureWindowsPath(file) for file in files)
        known = list(dict.fromkeys(path.with_suffix("") for path in paths_of if path.name))
        if len({file.name for file in known}) == len(known):
            return None
        paths = {folder_of(str(file)) for file in known}
        short = {PureWindowsPath(path).name or path: path for path in sorted(paths)}
        names = short if len(short) == len(paths) else {path: path for path in sorted(paths)}
        return names[self.choose(names, "folders of pictures")]

    def choose(self, names: Iterable[str], what: str) -> str:
        """Choose one of several sequences: the one asked for, the only one, or the one named as the clip.

        Raises PromptError if that leaves none.
        """
        known = list(dict.fromkeys(names))
        wanted = self.clip.title if self.sequence is None else self.sequence
        if wanted in known:
            return wanted
        if self.sequence is None and len(known) == 1:
            return known[0]
        listed = ", ".join(known[:10]) + (", ..." if len(known) > 10 else "")
        if self.sequence is not None:
            raise PromptError(f"{self.path} has no {what} {self.sequence!r}; it has: {listed or 'none'}")
        if not known:
            raise PromptError(f"{self.path} has no {what}")
        raise PromptError(
            f"{self.path} has several of {what}: {listed}; name one with --prompts-sequence NAME, in Python "
            "with sequence=..."
        )


def folder_of(file: str) -> str:
    """Return the folders of a file name, of this or another system, with slashes."""
    return PureWindowsPath(file).parent.as_posix()
