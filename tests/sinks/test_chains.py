"""Texts set aside by key come back key by key."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from sam2_video.sinks.chains import Chains
from sam2_video.types import SinkError
from tests.sinks.story import files


def test_texts_come_back_in_order(tmp_path: Path) -> None:
    chooser, chains = random.Random(0), Chains(tmp_path)
    expected: dict[int, list[str]] = {k: [] for k in (-1, 0, 7, 70000)}
    for n in range(500):
        key = chooser.choice(list(expected))
        text = f"{n}é猫" * chooser.randrange(9)  # some are empty
        expected[key].append(text)
        chains.append(key, text)
        if n == 250:
            assert list(chains.read(7)) == expected[7], "reading in between disturbs nothing"
    for key, texts in expected.items():
        assert list(chains.read(key)) == texts
    pairs = zip(chains.read(0), chains.read(7), strict=False)
    assert list(pairs) == list(zip(expected[0], expected[7], strict=False)), "two at a time"
    assert list(chains.read(8)) == []
    chains.close()
    chains.close()
    assert files(tmp_path) == []


def test_no_file_before_it_is_needed_and_errors_name_the_folder(tmp_path: Path) -> None:
    chains = Chains(tmp_path / "missing")
    assert list(chains.read(1)) == []
    chains.close()
    with pytest.raises(SinkError, match=r"cannot write .*missing"):
        chains.append(1, "x")
