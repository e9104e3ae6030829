"""When calls are recorded and replayed, with a recorder that runs the function again in place of a GPU."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from sam2_video.model.derived import Derived
from sam2_video.model.graphs import MOST_GRAPHS, Replayed, Tensors, weights_state


class Recorder:
    """Replays by calling the function again on the places that it was recorded with."""

    def __init__(self) -> None:
        self.recorded = 0

    def __call__(self, function: Callable[[], Tensors], device: torch.device) -> tuple[Any, Tensors]:
        self.recorded += 1
        outputs = function()

        def replay() -> None:
            for place, value in zip(outputs, function(), strict=True):
                place.copy_(value)

        return replay, outputs


def doubled(kind: Any, tensors: Tensors) -> Tensors:
    return tuple(tensor * kind for tensor in tensors)


def test_a_layout_that_comes_again_is_recorded_and_results_stay() -> None:
    recorder = Recorder()
    calls = Replayed(doubled, record=recorder)
    for turn in range(6):
        (found,) = calls(3, (torch.full((2,), float(turn)),))
        assert found.tolist() == [3.0 * turn] * 2
    assert recorder.recorded == 1 and calls.replays == 4


def test_layouts_that_pass_by_are_not_recorded() -> None:
    recorder = Recorder()
    calls = Replayed(doubled, record=recorder)
    for kind in range(1, 40):  # as in the first frames of a clip
        calls(kind, (torch.ones(kind),))
    assert recorder.recorded == 0 and calls.replays == 0


@pytest.mark.parametrize(
    "other",
    [torch.ones(2, 3), torch.ones(3, 2, dtype=torch.float64), torch.ones(2, 3).T],
    ids=["shape", "type", "strides"],
)
def test_another_layout_is_another_graph(other: torch.Tensor) -> None:
    recorder = Recorder()
    calls = Replayed(doubled, record=recorder)
    for tensor in (torch.ones(3, 2), other) * 4:
        assert torch.equal(calls(2, (tensor,))[0], 2 * tensor)
    assert recorder.recorded == 2


def test_few_graphs_are_kept() -> None:
    recorder = Recorder()
    calls = Replayed(doubled, record=recorder)
    for size in range(1, MOST_GRAPHS + 2):
        for _ in range(3):
            calls(2, (torch.ones(size),))
    assert recorder.recorded == MOST_GRAPHS + 1 == len(calls._graphs) + 1
    calls(2, (torch.ones(2),))
    assert recorder.recorded == MOST_GRAPHS + 1  # the first went, the second is still there


def test_changed_weights_make_graphs_stale() -> None:
    layer = torch.nn.Linear(2, 2)
    parameters = list(layer.parameters())
    recorder = Recorder()
    calls = Replayed(doubled, record=recorder, weights=lambda: weights_state(layer, parameters, []))
    for _ in range(4):
        calls(2, (torch.ones(2),))
    with torch.no_grad():
        layer.bias.add_(1)
    calls(2, (torch.ones(2),))
    assert recorder.recorded == 2
    layer.double()
    calls(2, (torch.ones(2),))
    assert recorder.recorded == 3


def test_graphs_do_not_outlive_values_that_are_derived_from_weights() -> None:
    """They read those by address, and the second `eval()`, of another predictor, lets them go."""
    layer = torch.nn.Linear(2, 2)
    derived = Derived(lambda weight: 2 * weight)
    layer.add_module("twice", derived)
    layer.eval()
    recorder = Recorder()
    state = partial(weights_state, layer, list(layer.parameters()), [derived])

    def product(kind: Any, tensors: Tensors) -> Tensors:
        with torch.no_grad():
            return (tensors[0] @ derived(layer.weight),)

    calls = Replayed(product, record=recorder, weights=state)
    for _ in range(4):
        calls(2, (torch.ones(2),))
    assert recorder.recorded == 1, "a value that is made for the first time changes nothing"
    layer.eval()
    calls(2, (torch.ones(2),))
    assert recorder.recorded == 2


def test_where_recording_fails_everything_runs_as_it_is_and_that_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(function: Any, device: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing")

    calls = Replayed(doubled, record=refuse)
    with caplog.at_level(logging.WARNING):
        for turn in range(8):
            assert calls(2, (torch.full((1,), float(turn)),))[0].item() == 2 * turn
    assert len(caplog.records) == 1 and "not permitted" in caplog.text and not calls.records


def test_without_a_recorder_nothing_is_recorded() -> None:
    calls = Replayed(doubled, record=None)
    for _ in range(5):
        calls(2, (torch.ones(1),))
    assert calls.replays == 0 and not calls.records
