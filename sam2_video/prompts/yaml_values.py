"""YAML as prompts files may use it: a SafeLoader that also refuses what surprises people or eats memory."""

from __future__ import annotations

import re
from typing import Any

from yaml import (  # type: ignore[import-untyped, unused-ignore]
    AliasEvent,
    MappingNode,
    MarkedYAMLError,
    Node,
    SafeLoader,
    ScalarNode,
)

_PLAIN = re.compile(r"[-+]?(0|[1-9][0-9]*)")


class PlainLoader(SafeLoader):  # type: ignore[misc, unused-ignore]
    """Plain values; keys that come twice are kept in `keys_given_twice` as (line, key, line before).

    Aliases are refused, because a few of them can stand for gigabytes. Numbers such as 010 (octal: 8) and
    1:30 (sexagesimal: 90) are refused too: who writes them means something else.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.keys_given_twice: list[tuple[int, str, int]] = []

    def compose_node(self, parent: Node | None, index: Any) -> Any:
        """Build one node; refuses aliases."""
        if self.check_event(AliasEvent):
            mark = self.peek_event().start_mark
            raise MarkedYAMLError(None, None, "aliases are not read, write the value out", mark)
        return super().compose_node(parent, index)

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        """Build a mapping and note the keys that come twice."""
        node = super().compose_mapping_node(anchor)
        seen: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, ScalarNode):
                if key.value in seen:
                    self.keys_given_twice.append((line, key.value, seen[key.value]))
                seen.setdefault(key.value, line)
        return node

    def construct_plain_int(self, node: ScalarNode) -> int:
        """Return a decimal number."""
        text = str(self.construct_scalar(node))
        if not _PLAIN.fullmatch(text):
            advice = f"{text} is not a plain decimal number; put it in quotes if it is a name"
            raise MarkedYAMLError(None, None, advice, node.start_mark)
        return int(text)


PlainLoader.add_constructor("tag:yaml.org,2002:int", PlainLoader.construct_plain_int)
