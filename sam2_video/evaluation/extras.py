"""Figures beside J and F: how a measure hands over its columns, whatever it measures.

for extra in extras:
    [column.name for column in extra.columns]          # "hota", "deta", ...
    extra.overall["hota"], extra.sequences["dog"]["hota"], extra.objects["dog", 1].get("hota")
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Row: TypeAlias = Mapping[str, float]  # value by name of a column; what is not there is an empty cell


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
    objects: Mapping[tuple[str, int], Row] = field(default_factory=dict)  # by sequence and object id
