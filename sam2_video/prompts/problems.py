"""What is wrong with a file, collected so that all is told at once, and the checks of single values."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sam2_video.types import PromptError

SHOWN = 20  # problems that a message lists; more are counted
FARTHEST = 1e6  # pixels: no picture is that wide, and arithmetic with more loses its meaning


class Problems:
    """Collects what is wrong, each with the place where it was found."""

    def __init__(self, subject: object) -> None:
        self.subject = subject
        self._found: list[tuple[object, str]] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, where: object, text: str) -> None:
        """Note a problem. `where` is turned into text when it is shown: looking up lines takes time."""
        self._found.append((where, text))

    @contextmanager
    def at(self, where: object) -> Iterator[None]:
        """Collect the PromptError of a block as a problem of this place."""
        try:
            yield
        except PromptError as error:
            self.add(where, str(error))

    def check(self) -> None:
        """Raise PromptError with all that was found, if anything was."""
        if not self._found:
            return
        shown = [f"{where}: {text}" if str(where) else text for where, text in self._found[:SHOWN]]
        if len(self._found) == 1:
            raise PromptError(shown[0])
        shown = [text.removeprefix(f"{self.subject}, ") for text in shown]
        if len(self._found) > SHOWN:
            shown.append(f"and {len(self._found) - SHOWN} more")
        raise PromptError("\n  ".join([f"{len(self._found)} problems in {self.subject}:", *shown]))


def a_number(value: Any, what: str) -> float:
    """Return a finite number. Raises PromptError, for text and bool too."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise PromptError(f"{what} is {shown(value)}, expected a number")
    if isinstance(value, float) and not math.isfinite(value):
        raise PromptError(f"{what} is {value}, not a finite number")
    if not -FARTHEST <= value <= FARTHEST:
        raise PromptError(f"{what} is {shown(value)}, far outside of any picture")
    return float(value)


def numbers(value: Any, count: int | None, what: str) -> list[float]:
    """Return a list of finite numbers, `count` of them if given. Raises PromptError."""
    items = a_list(value, what)
    if count is not None and len(items) != count:
        raise PromptError(f"{what} has {len(items)} values, expected {count} numbers")
    # A data set has millions of them: they are looked at together, and one by one only if some are wrong.
    if items and set(map(type, items)) == {float} and -FARTHEST <= min(items) <= max(items) <= FARTHEST:
        if sum(items) == sum(items):  # not so if one is NaN, which min and max may overlook
            return items
    return [a_number(item, f"a value of {what}") for item in items]


def whole(value: Any, what: str) -> int:
    """Return a whole number from 0 on. Raises PromptError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise PromptError(f"{what} is {shown(value)}, expected a whole number from 0 on")
    return value


def a_text(value: Any, what: str) -> str:
    """Return text, "" for None. Raises PromptError."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise PromptError(f"{what} is {shown(value)}, expected text (in YAML put it in quotes)")
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise PromptError(f"{what} is {shown(value)}, which has half of a character pair")
    return value


def a_list(value: Any, what: str) -> list[Any]:
    """Return a list. Raises PromptError."""
    if not isinstance(value, list):
        raise PromptError(f"{what} is {shown(value)}, expected a list")
    return value


def a_mapping(value: Any, what: str) -> dict[str, Any]:
    """Return a mapping. Raises PromptError."""
    if not isinstance(value, dict):
        raise PromptError(f"{what} is {shown(value)}, expected an object with named values")
    return value


def parse_number(text: str, what: str) -> float:
    """Return the finite number that a text holds. Raises PromptError."""
    try:
        value = float(text)
    except ValueError:
        raise PromptError(f"{what} is {shown(text)}, expected a number") from None
    return a_number(value, what)


def parse_whole(text: str, what: str) -> int:
    """Return the whole number from 0 on that a text holds. Raises PromptError."""
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise PromptError(f"{what} is {shown(text)}, expected a whole number from 0 on")
    return int(text)


def shown(value: Any) -> str:
    """Return a value as a message shows it: short."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
