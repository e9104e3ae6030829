"""XML files as plain elements that know their line; nothing in a file makes the parser fetch or expand."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from sam2_video.prompts.documents import read_bytes
from sam2_video.prompts.problems import parse_number, parse_whole
from sam2_video.types import PromptError

DEEPEST = 100  # elements inside each other; annotation files have five


@dataclass(slots=True)
class Element:
    """One element: its attributes, the elements inside, and the text before the first of them."""

    tag: str
    attributes: dict[str, str]
    file: Path
    line: int
    children: list[Element] = field(default_factory=list)
    text: str = ""

    def __str__(self) -> str:
        return f"{self.file}, line {self.line} (<{self.tag}>)"

    def get(self, name: str) -> str:
        """Return an attribute. Raises PromptError if it is missing."""
        if name not in self.attributes:
            raise PromptError(f"<{self.tag}> has no attribute {name!r}")
        return self.attributes[name]

    def number(self, name: str) -> float:
        """Return a number attribute. Raises PromptError."""
        return parse_number(self.get(name), name)

    def whole(self, name: str) -> int:
        """Return an attribute that is a whole number from 0 on. Raises PromptError."""
        return parse_whole(self.get(name), name)

    def flag(self, name: str, default: bool = False) -> bool:
        """Return an attribute that is 0 or 1. Raises PromptError."""
        value = self.attributes.get(name, "1" if default else "0")
        if value not in ("0", "1"):
            raise PromptError(f"{name} is {value!r}, expected 0 or 1")
        return value == "1"

    def find(self, tag: str) -> list[Element]:
        """Return all elements of a name, at any depth, in order."""
        found: list[Element] = []
        rest = [self]
        while rest:
            element = rest.pop()
            if element.tag == tag:
                found.append(element)
            rest.extend(reversed(element.children))
        return found


class _Refused(Exception):
    """The file asks for what is not done."""


def read_xml(path: Path) -> Element:
    """Read an XML file and return its root. Raises PromptError with line and column.

    A document type is refused as a whole: that is where entities are declared, those that read files of this
    machine and those that unfold to gigabytes. Annotation tools do not write any.
    """
    from xml.parsers import expat

    data = read_bytes(path)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    root: list[Element] = []
    open_elements: list[Element] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        if len(open_elements) >= DEEPEST:
            raise _Refused("it is nested too deeply")
        element = Element(tag, attributes, path, parser.CurrentLineNumber)
        (open_elements[-1].children if open_elements else root).append(element)
        open_elements.append(element)

    def text(data: str) -> None:
        if not open_elements[-1].children:
            open_elements[-1].text += data

    def refuse(*declaration: object) -> NoReturn:
        raise _Refused("it has a document type (<!DOCTYPE>), which is refused; remove that part")

    parser.StartElementHandler = start
    parser.EndElementHandler = lambda tag: open_elements.pop()
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        reason = expat.ErrorString(error.code)
        where = f"{path}, line {error.lineno}, column {error.offset + 1}"
        raise PromptError(f"{where}: this is not XML: {reason}") from None
    except _Refused as error:
        raise PromptError(f"{path}, line {parser.CurrentLineNumber}: {error}") from None
    except (LookupError, ValueError) as error:  # an encoding that Python does not know
        raise PromptError(f"{path} cannot be read: {error}") from None
    return root[0]
