"""`sam2-video benchmark`: contestants do the same work, turns are counted right, mistakes are told."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from sam2_video.benchmark import timing
from sam2_video.benchmark.contestants import START, Ours, Theirs, stand_in
from sam2_video.benchmark.hub import hub_twin
from sam2_video.benchmark.timing import Timing, part_times, take_turns
from sam2_video.cli import app
from sam2_video.types import ConfigError

TINY = "sam2.1_hiera_tiny"


@pytest.mark.parametrize("objects", [1, 2])
def test_contestants_do_the_same_work(objects: int) -> None:
    model = stand_in(TINY, 64, torch.float32)
    ours, theirs = Ours(model, 2, objects), Theirs(hub_twin(model, TINY), 2, objects)
    seen: list[tuple[int, int]] = []
    attend = model.attend_memory
    model.attend_memory = lambda features, recall: (  # type: ignore[method-assign]
        seen.append((len(recall.masks), len(recall.pointers))) or attend(features, recall)
    )
    for frame in (START, START + 1):
        mine, other = ours.step(frame), theirs.step(frame)
        assert mine.shape == other.shape == (objects, 16, 16) and mine.std() > 0.01
        torch.testing.assert_close(mine, other, rtol=0.02, atol=0.02)
    assert seen == [(7, 16)] * 2  # as many as any later frame has


def test_a_trunk_that_they_cannot_build_is_told() -> None:
    with pytest.raises(ConfigError, match="cannot build nano"):
        hub_twin(stand_in("nano", None, torch.float32), "nano")


class Clocked:
    """Takes a known time for each frame."""

    def __init__(self, clock: list[float], *took: float) -> None:
        self.clock, self.took = clock, iter(took)

    def step(self, frame: int) -> Tensor:
        self.clock[0] += next(self.took)
        return torch.zeros(1)


def test_turns_are_taken_and_the_first_round_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])
    found = take_turns({"a": Clocked(clock, 9, 1, 2, 3), "b": Clocked(clock, 50, 3, 4, 12)}, rounds=3)
    assert [one.who for one in found] == ["a", "b"]
    assert found[0].seconds == (1, 2, 3) and found[1].seconds == (3, 4, 12)
    assert found[0].median == 2 and found[1].median == 4
    assert found[0].times_as_fast_as(found[1]) == 3  # the median of 3, 2 and 4, not the quotient of medians
    assert Timing("c", (1.0,)).times_as_fast_as(Timing("d", (0.5,))) == 0.5


@torch.no_grad()
def test_parts_are_counted_and_the_model_is_left_as_it_was() -> None:
    model = stand_in(TINY, 64, torch.float32)
    with part_times(model) as spent:
        features = model.encode_image(torch.zeros(1, 3, 64, 64))
        once = dict(spent)
        model.encode_image(torch.zeros(1, 3, 64, 64))
    assert once.keys() == spent.keys() == {"encode"} and spent["encode"] > once["encode"] > 0
    assert "encode_image" not in vars(model) and "decode" not in vars(model)
    assert features.coarse.shape == (1, 256, 4, 4)
    with part_times(None) as spent:
        assert spent == {}


def run(*words: str) -> Iterator[str]:
    result = CliRunner().invoke(app, ["benchmark", *words])
    assert result.exit_code == 0, result.output
    return iter(result.output.splitlines())


def test_the_command() -> None:
    threads = torch.get_num_threads()
    try:
        lines = list(
            run("--size", "64", "--objects", "1,2", "--rounds", "1", "--dtypes", "float32", "--threads", "1")
        )
    finally:
        torch.set_num_threads(threads)
    assert "1 threads" in lines[0]
    assert [line for line in lines if line.startswith("nano, 64 px")] == [
        f"nano, 64 px, objects: {n}, 7 memories and 16 pointers each" for n in (1, 2)
    ]
    assert sum(bool(re.search(r"float32 +[\d.]+ ms .*frames/s$", line)) for line in lines) == 2
    assert any("encode" in line and "attend" in line and "remember" in line for line in lines)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--objects", "1,x"], "--objects is '1,x'"),
        (["--objects", "0"], "whole numbers from 1 on"),
        (["--dtypes", "float32,int8"], "--dtypes has int8"),
        (["--model", "sam_vit_b"], "SAM 1 has none"),
        (["--model", "nonsense"], "no model configuration is called"),
    ],
)
def test_mistakes_are_told(words: list[str], complaint: str) -> None:
    result = CliRunner().invoke(app, ["benchmark", *words])
    assert result.exit_code == 2 and complaint in result.output
