"""JSON and YAML files whose values know their line, for messages that name it."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sam2_video.prompts.problems import Problems
from sam2_video.types import PromptError

LARGEST_FILE = 100_000_000  # bytes
LARGEST_YAML = 10_000_000  # bytes: parsing it is some fifty times as slow as JSON
KeyPath = tuple[str | int, ...]  # such as ("prompts", 3, "box")
_SPACE = re.compile(r"[ \t\n\r]*")


class Lines(Protocol):
    """Finds the line of a value."""

    def line(self, path: KeyPath) -> int:
        """Return the line, from 1, of the value at a path, or of the nearest value around it."""


@dataclass(frozen=True)
class Document:
    """What a file says, and where."""

    path: Path
    data: Any
    lines: Lines

    def at(self, *path: str | int) -> Place:
        """Name a place in the file."""
        return Place(self, path)


@dataclass(frozen=True)
class Place:
    """A value of a document; as text it is the file, the line, and the way to the value."""

    document: Document
    path: KeyPath

    def at(self, *path: str | int) -> Place:
        return Place(self.document, self.path + path)

    def __str__(self) -> str:
        way = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.path)
        line = f"{self.document.path}, line {self.document.lines.line(self.path)}"
        return f"{line} ({way.lstrip('.')})" if way else line


def read_bytes(path: Path, largest: int = LARGEST_FILE) -> bytes:
    """Read a file that people or their tools wrote. Raises PromptError: missing, empty, too large."""
    try:
        size = path.stat().st_size
        data = b"" if size > largest else path.read_bytes()
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        reason = error.strerror if isinstance(error, OSError) else None
        raise PromptError(f"cannot read {str(path)!r}: {reason or error}") from error
    if size > largest:
        raise PromptError(f"{path} has {size / 1e6:.0f} MB; {largest / 1e6:.0f} MB is the limit")
    if not data.strip():
        raise PromptError(f"{path} is empty")
    return data


def read_text(path: Path, largest: int = LARGEST_FILE) -> str:
    """Read a UTF-8 file, with or without a byte order mark. Raises PromptError."""
    data = read_bytes(path, largest)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PromptError(
            f"{path}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8 text; save the file as UTF-8"
        ) from None


def read_document(path: Path) -> Document:
    """Read a JSON or YAML file. Raises PromptError with line and column, also for keys that come twice."""
    if path.suffix.lower() in (".yaml", ".yml"):
        return read_yaml(path)
    text = read_text(path)
    try:
        data = json.loads(text, object_pairs_hook=_unique)
    except _Twice:
        problems = Problems(path)
        _find_twice(path, text, problems)
        problems.check()
        raise
    except json.JSONDecodeError as error:
        raise PromptError(
            f"{path}, line {error.lineno}, column {error.colno}: this is not JSON: {error.msg}"
        ) from None
    except RecursionError:
        raise PromptError(f"{path} is nested too deeply") from None
    except ValueError as error:  # a number of thousands of digits
        raise PromptError(f"{path} cannot be read: {error}") from None
    return Document(path, data, _JsonLines(text))


class _Twice(Exception):
    """A key that comes twice in one object."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise _Twice
    return out


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()


def _children(text: str, at: int) -> Iterator[tuple[str | int, int]]:
    """Yield key and position of each value in the JSON object or list that begins at a position."""
    decoder = json.JSONDecoder()
    named = text[at] == "{"
    index, at = 0, _skip(text, at + 1)
    while text[at] not in "}]":
        key: str | int = index
        if named:
            key, at = decoder.raw_decode(text, at)
            at = _skip(text, _skip(text, at) + 1)  # past the colon
        yield key, at
        _, at = decoder.raw_decode(text, at)
        at = _skip(text, at)
        at = _skip(text, at + 1) if text[at] == "," else at
        index += 1


def _find_twice(path: Path, text: str, problems: Problems) -> None:
    """Note every key that comes twice."""
    breaks = [found.start() for found in re.finditer("\n", text)]
    rest = [_skip(text, 0)]
    while rest:
        first: dict[str | int, int] = {}
        for key, at in _children(text, rest.pop()):
            line = bisect_left(breaks, at) + 1
            if key in first:
                problems.add(f"{path}, line {line}", f"{key!r} was given already, on line {first[key]}")
            first.setdefault(key, line)
            if text[at] in "{[":
                rest.append(at)


class _JsonLines:
    """Finds lines by parsing again, the parts on the way only, and only when somebody asks."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._inside: dict[KeyPath, dict[str | int, tuple[int, int]]] = {}

    def line(self, path: KeyPath) -> int:
        return self._find(path)[1]

    def _find(self, path: KeyPath) -> tuple[int, int]:
        """Return position and line of a value."""
        if not path:
            at = _skip(self._text, 0)
            return at, self._text.count("\n", 0, at) + 1
        at, line = self._find(path[:-1])
        if self._text[at] not in "{[":
            return at, line
        if path[:-1] not in self._inside:
            self._inside[path[:-1]] = self._places(at, line)
        return self._inside[path[:-1]].get(path[-1], (at, line))

    def _places(self, at: int, line: int) -> dict[str | int, tuple[int, int]]:
        places = {}
        for key, start in _children(self._text, at):
            line, at = line + self._text.count("\n", at, start), start
            places[key] = start, line
        return places


def read_yaml(path: Path) -> Document:
    """Read a YAML file of plain values, without tags and aliases. Raises PromptError with line and column."""
    from yaml import MarkedYAMLError, YAMLError  # type: ignore[import-untyped, unused-ignore]

    from sam2_video.prompts.yaml_values import PlainLoader

    text = read_text(path, LARGEST_YAML)
    try:
        loader = PlainLoader(text)
        node = loader.get_single_node()
        problems = Problems(path)
        for line, key, before in loader.keys_given_twice:
            problems.add(f"{path}, line {line}", f"{key!r} was given already, on line {before}")
        problems.check()
        data = None if node is None else loader.construct_document(node)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise PromptError(f"{path}{where}: this is not YAML: {error.problem or error.context}") from None
    except YAMLError as error:
        raise PromptError(f"{path}: this is not YAML: {error}") from None
    except RecursionError:
        raise PromptError(f"{path} is nested too deeply") from None
    except ValueError as error:  # a date such as 2024-99-99
        if isinstance(error, PromptError):
            raise
        raise PromptError(f"{path} cannot be read: {error}") from None
    if data is None:
        raise PromptError(f"{path} is empty")
    return Document(path, data, _YamlLines(node))


class _YamlLines:
    """Finds lines by the marks that YAML's parser leaves on its nodes."""

    def __init__(self, node: Any) -> None:
        self._node = node

    def line(self, path: KeyPath) -> int:
        node = self._node
        for step in path:
            if node.id == "mapping":
                inside = next((value for key, value in node.value if key.value == step), None)
            elif node.id == "sequence" and isinstance(step, int) and step < len(node.value):
                inside = node.value[step]
            else:
                inside = None
            if inside is None:
                break
            node = inside
        return int(node.start_mark.line) + 1
