"""Figures beside J and F: how a measure hands over its columns, whatever it measures.

for extra in extras:
    [column.name for column in extra.columns]          # "hota", "deta", ...
    extra.overall["hota"], extra.sequences["dog"]["hota"], extra.objects["dog", 1].get("hota")
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

import numpy as np

Row: TypeAlias = Mapping[str, float]  # value by name of a column; what is not there is an empty cell
ObjectKey: TypeAlias = tuple[str, int]  # name of a sequence, object id
_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True)
class Column:
    """One figure. `percent`: values are 0..1 and shown times 100; else they are numbers as they are."""

    name: str  # in scores.csv
    title: str  # for people
    percent: bool = True


@dataclass(frozen=True)
class Extra:
    """The figures of one measure on each level that it is defined on."""

    title: str
    columns: tuple[Column, ...]
    overall: Row
    groups: Mapping[str, Row] = field(default_factory=dict)
    sequences: Mapping[str, Row] = field(default_factory=dict)
    objects: Mapping[ObjectKey, Row] = field(default_factory=dict)


def average_objects(
    title: str, columns: tuple[Column, ...], objects: Mapping[ObjectKey, Row], groups: Mapping[ObjectKey, str]
) -> Extra:
    """Average over objects on every level; an object without a figure is left out of the mean of that one.

    `groups` says which group an object is in; objects that it does not name are in none.
    """
    return Extra(
        title=title,
        columns=columns,
        overall=_mean(list(objects.values())),
        groups=_means((groups[key], row) for key, row in objects.items() if groups.get(key)),
        sequences=_means((key[0], row) for key, row in objects.items()),
        objects=dict(objects),
    )


def _means(rows: Iterable[tuple[_Key, Row]]) -> dict[_Key, Row]:
    collected: dict[_Key, list[Row]] = {}
    for key, row in rows:
        collected.setdefault(key, []).append(row)
    return {key: _mean(found) for key, found in collected.items()}


def _mean(rows: Sequence[Row]) -> Row:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}
