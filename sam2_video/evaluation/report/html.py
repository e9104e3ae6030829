"""Making HTML and SVG in which nothing from outside can be markup: all text is escaped unless it is `Html`.

element("td", name, class_="name")      # <td class="name">&lt;script&gt;...</td>
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import TypeAlias

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_VOID = frozenset({"meta", "img", "br"})  # elements without an end
_TAG = re.compile(r"[a-zA-Z][a-zA-Z0-9]*")


class Html(str):
    """Markup: made by `element` and `text`, and put into a page as it is."""

    __slots__ = ()


Child: TypeAlias = "str | int | float | Iterable[Child] | None"
Attribute: TypeAlias = str | int | float | bool | None


def text(value: str) -> Html:
    """Escape text; characters that HTML forbids become question marks on black."""
    return Html(html.escape(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", value)))


def element(tag: str, *children: Child, **attributes: Attribute) -> Html:
    """Make an element. Of attributes a trailing _ is dropped and others become -: class_, aria_label.

    Those that are None or False are left out, True has no value.
    """
    if not _TAG.fullmatch(tag):
        raise ValueError(f"{tag!r} is no name of an element")
    start = f"<{tag}{''.join(_attribute(*item) for item in attributes.items())}>"
    return Html(start if tag in _VOID else f"{start}{join(children)}</{tag}>")


def join(children: Iterable[Child]) -> Html:
    """Put children one after the other; None is nothing."""
    return Html("".join(_child(child) for child in children))


def folded(summary: Child, *children: Child, is_open: bool = False) -> Html:
    """Make a part of the page that is unfolded by a click on its summary."""
    return element("details", element("summary", summary), *children, open=is_open)


def _child(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Html):
        return child
    if isinstance(child, (str, int, float)):
        return text(str(child))
    return join(child)


def _attribute(name: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = name.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{text(str(value))}"'
