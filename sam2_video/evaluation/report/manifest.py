"""What was run, as cards: a part of the manifest on each of them, and below all of it as it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sam2_video.evaluation.report.html import Html, element, folded
from sam2_video.evaluation.report.tables import NONE
from sam2_video.evaluation.results import Evaluation

_LONGEST_LIST = 12  # items of a list in the manifest that are shown
_LONGEST_TEXT = 400  # characters of a value
_LARGEST_CARD = 16  # values of a part of the manifest that are shown without unfolding
_FEW = 6  # values of a part within a part that are
_MOST_VALUES = 200  # of one part
_LARGEST_JSON = 100_000  # characters of the manifest as it is
_DOT = "\N{MIDDLE DOT}"


def manifest_cards(evaluation: Evaluation) -> Html:
    """Show what was run: plain values on one card, each part on its own, and all of it folded below."""
    plain = {k: v for k, v in evaluation.manifest.items() if not isinstance(v, Mapping)}
    parts = {k: v for k, v in evaluation.manifest.items() if isinstance(v, Mapping) and v}
    cards = [_card("run", plain)] if plain else []
    cards += [_card(name, part) for name, part in parts.items()]
    text = json.dumps(evaluation.manifest, indent=1, ensure_ascii=False, default=str)
    if len(text) > _LARGEST_JSON:
        text = text[:_LARGEST_JSON] + "\n... the rest is in manifest.json"
    whole = folded("manifest.json", element("pre", text))
    return element("div", element("div", *cards, class_="cards"), whole)


def _card(name: str, part: Mapping[str, Any]) -> Html:
    """A part of the manifest; what is long in it is folded."""
    plain = {key: value for key, value in part.items() if not isinstance(value, Mapping)}
    inner = {key: list(_leaves(value)) for key, value in part.items() if isinstance(value, Mapping)}
    rows = [(_words(key), _shown(value)) for key, value in plain.items()]
    rows += [
        (f"{_words(key)} {_DOT} {k}", v)
        for key, leaves in inner.items()
        if len(leaves) <= _FEW
        for k, v in leaves
    ]
    long = [(_words(key), leaves) for key, leaves in inner.items() if len(leaves) > _FEW]
    title = _words(name)
    if len(rows) > _LARGEST_CARD:
        rows, long = [], [(title, rows), *long]
    body = (
        _values(rows),
        *(folded(f"{what} ({len(leaves)} values)", _values(leaves)) for what, leaves in long),
    )
    return element("section", element("h3", title), *body, class_="card")


def _values(rows: Sequence[tuple[str, str]]) -> Html | None:
    if not rows:
        return None
    shown = (element("div", element("dt", key), element("dd", value)) for key, value in rows[:_MOST_VALUES])
    more = element("p", f"and {len(rows) - _MOST_VALUES} more") if len(rows) > _MOST_VALUES else None
    return element("dl", *shown, more)


def _leaves(value: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Names and values of a nested mapping, in words."""
    for key, item in value.items():
        name = f"{before}{_words(str(key))}"
        if isinstance(item, Mapping):
            yield from _leaves(item, f"{name} {_DOT} ")
        else:
            yield name, _shown(item)


def _shown(value: Any) -> str:
    if value is None or value == "":
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        more = f" and {len(value) - _LONGEST_LIST} more" if len(value) > _LONGEST_LIST else ""
        return ", ".join(_shown(item) for item in value[:_LONGEST_LIST]) + more
    if isinstance(value, Mapping):
        return ", ".join(f"{_words(str(name))} {_shown(item)}" for name, item in value.items())
    text = str(value)
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "..."


def _words(name: str) -> str:
    return name.replace("_", " ")
