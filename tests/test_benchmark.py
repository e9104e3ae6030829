"""`sam2-video benchmark`: contestants do the same work, turns are counted right, mistakes are told."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

from sam2_video.benchmark import timing
from sam2_video.benchmark.contestants import START, Ours, Theirs, stand_in
from sam2_video.benchmark.hub import hub_twin
from sam2_video.benchmark.reference import Reference, reference_predictor
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
            run(
                "--size",
                "64",
                "--objects",
                "1,2",
                "--rounds",
                "1",
                "--dtypes",
                "float32",
                "--threads",
                "1",
                "memory.pool=2",
            )
        )
    finally:
        torch.set_num_threads(threads)
    assert "1 threads" in lines[0]
    assert lines[1] == "nano, 64 px, 7 memories and 16 pointers of each object, memory.pool=2"
    assert re.search(r"float32, objects: 1 +[\d.]+ ms .*frames/s$", lines[2])
    assert re.search(r"float32, objects: 2 +[\d.]+ ms .*frames/s   [\d.]+ times the time of 1$", lines[4])
    assert all("encode" in line and "attend" in line and "remember" in line for line in (lines[3], lines[5]))
    assert len(lines) == 6


def test_the_command_names_a_ratio_to_each_peer() -> None:
    asked = ["--model", TINY, "--size", "64", "--rounds", "1", "--against", "transformers"]
    lines = list(run(*asked, "--dtypes", "float32,bfloat16"))
    ratio = r"objects: 1 +[\d.]+ ms .*frames/s   as fast as transformers x [\d.]+$"
    assert re.search("float32, " + ratio, lines[2]) and re.search("bfloat16, " + ratio, lines[4])
    assert re.search(r"transformers, objects: 1 .*frames/s$", lines[6])


class FakeReference:
    """Takes calls as the README of the reference documents them, and remembers what it was told."""

    device = torch.device("cpu")

    def __init__(self, config_file: str, **asked: Any) -> None:
        self.config_file, self.asked = config_file, asked
        self.weights: set[str] = set()
        self.tracked: list[int] = []
        self.prompts: list[tuple[int, list[list[float]], list[int]]] = []

    def load_state_dict(self, weights: dict[str, Tensor]) -> None:
        self.weights = set(weights)

    def init_state(
        self,
        video_path: str,
        offload_video_to_cpu: bool = False,
        offload_state_to_cpu: bool = False,
        async_loading_frames: bool = False,
    ) -> dict[str, Any]:
        files = sorted(Path(video_path).iterdir())
        assert [file.name for file in files] == [f"{n:05d}.jpg" for n in range(len(files))]
        with Image.open(files[0]) as picture:
            return {"num_frames": len(files), "size": picture.size}

    def add_new_points_or_box(
        self,
        inference_state: dict[str, Any],
        frame_idx: int,
        obj_id: int,
        points: NDArray[np.float32],
        labels: NDArray[np.int32],
        clear_old_points: bool = True,
        normalize_coords: bool = True,
        box: Any = None,
    ) -> None:
        self.prompts.append((obj_id, points.tolist(), labels.tolist()))

    def propagate_in_video(
        self,
        inference_state: dict[str, Any],
        start_frame_idx: int | None = None,
        max_frame_num_to_track: int | None = None,
        reverse: bool = False,
    ) -> Iterator[tuple[int, list[int], Tensor]]:
        assert start_frame_idx is not None and max_frame_num_to_track is not None
        last = min(start_frame_idx + max_frame_num_to_track, inference_state["num_frames"] - 1)
        for frame in range(start_frame_idx, last + 1):
            self.tracked.append(frame)
            yield frame, [1, 2], torch.zeros(2, 1, *inference_state["size"], dtype=torch.bfloat16)


def fake_package(monkeypatch: pytest.MonkeyPatch) -> list[FakeReference]:
    made: list[FakeReference] = []
    package, build = ModuleType("sam2"), ModuleType("sam2.build_sam")
    build.build_sam2_video_predictor = lambda **asked: made.append(FakeReference(**asked)) or made[-1]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sam2", package)
    monkeypatch.setitem(sys.modules, "sam2.build_sam", build)
    return made


def test_the_reference_is_driven_by_its_documented_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    made = fake_package(monkeypatch)
    model = stand_in("sam2.1_hiera_base_plus", 64, torch.float32)
    theirs = Reference(reference_predictor(model, "sam2.1_hiera_base_plus"), 64, frames=2, objects=2)
    (fake,) = made
    assert fake.config_file == "configs/sam2.1/sam2.1_hiera_b+.yaml"
    assert fake.asked == {
        "ckpt_path": None,
        "device": "cpu",
        "hydra_overrides_extra": ["++model.image_size=64"],
        "apply_postprocessing": False,
    }
    assert fake.weights == set(model.state_dict())
    assert [(k, labels) for k, _, labels in fake.prompts] == [(1, [1]), (2, [1])]
    assert np.allclose(fake.prompts[0][1], [[0.4 * 64, 0.5 * 64]])
    assert fake.tracked == list(range(START))  # all frames up to the one that is due
    found = theirs.step(START)
    assert fake.tracked[-1] == START and found.shape == (2, 64, 64) and found.dtype == torch.float32


def test_the_command_takes_the_reference_for_a_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_package(monkeypatch)
    asked = ["--model", TINY, "--size", "64", "--rounds", "1", "--against", "transformers,reference"]
    lines = list(run(*asked, "--dtypes", "float32"))
    assert re.search(r"as fast as transformers x [\d.]+, reference x [\d.]+$", lines[2])
    assert re.search(r"reference, objects: 1 .*frames/s$", lines[5])


def test_without_the_reference_advice_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sam2", None)
    monkeypatch.setitem(sys.modules, "sam2.build_sam", None)
    with pytest.raises(ConfigError, match="pip install"):
        reference_predictor(stand_in(TINY, 64, torch.float32), TINY)
    with pytest.raises(ConfigError, match="no configuration of nano"):
        reference_predictor(stand_in("nano", 64, torch.float32), "nano")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--objects", "1,x"], "--objects is '1,x'"),
        (["--objects", "0"], "whole numbers from 1 on"),
        (["--dtypes", "float32,int8"], "--dtypes has int8"),
        (["--against", "everybody"], "--against has everybody; known: transformers, reference"),
        (["--model", "sam_vit_b"], "SAM 1 has none"),
        (["--model", "nonsense"], "no model configuration is called"),
    ],
)
def test_mistakes_are_told(words: list[str], complaint: str) -> None:
    result = CliRunner().invoke(app, ["benchmark", *words])
    assert result.exit_code == 2 and complaint in result.output
