"""Values computed from weights: kept while these stay, made again when they change."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from sam2_video.model.derived import Derived, made_once


class Doubled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.calls = 0
        self.derived = Derived(self._double)

    def _double(self, weight: Tensor, factor: int) -> Tensor:
        self.calls += 1
        return factor * weight

    def forward(self, factor: int = 2) -> Tensor:
        value: Tensor = self.derived(self.weight, of=(factor,))
        return value


@torch.no_grad()
def test_it_is_made_once() -> None:
    module = Doubled().eval()
    assert module() is module() and module().tolist() == [2, 2, 2]
    assert module.calls == 1
    assert module(3).tolist() == [3, 3, 3]


@torch.no_grad()
def test_every_kind_of_change_is_seen() -> None:
    module = Doubled().eval()
    module()
    module.weight.add_(1)
    assert module().tolist() == [4, 4, 4]
    module.load_state_dict({"weight": torch.zeros(3)})
    assert module().tolist() == [0, 0, 0]
    module.weight = nn.Parameter(torch.full((3,), 5.0))
    assert module().tolist() == [10, 10, 10]
    assert module.bfloat16()().dtype == torch.bfloat16
    module.weight.data.fill_(7)  # counted nowhere
    module.eval()
    assert module().tolist() == [14, 14, 14]


def test_training_sees_gradients_and_what_a_prediction_made() -> None:
    module = Doubled()
    with torch.inference_mode():
        made = module()
    assert not made.is_inference()
    module().sum().backward()
    assert module.weight.grad is not None and module.weight.grad.tolist() == [2, 2, 2]
    module.weight.requires_grad_(False)
    other = torch.ones(3, requires_grad=True)
    (other * module()).sum().backward()


def test_weights_made_in_inference_mode_are_read_each_time() -> None:
    module = Doubled()
    with torch.inference_mode():
        module.weight = nn.Parameter(torch.ones(3), requires_grad=False)
        module()
        module.weight.fill_(4)
        assert module().tolist() == [8, 8, 8]


@torch.no_grad()
def test_copies_do_not_share() -> None:
    module = Doubled().eval()
    module()
    copy = deepcopy(module)
    copy.weight.fill_(3)
    assert copy().tolist() == [6, 6, 6] and module().tolist() == [2, 2, 2]
    assert list(module.state_dict()) == ["weight"]


def test_within_a_step_it_is_made_once_with_gradients() -> None:
    module = Doubled()
    with made_once():
        assert module() is module() and module.calls == 1
        assert module(3).tolist() == [3, 3, 3]
        (module() + module(3)).sum().backward()
    assert module.weight.grad is not None and module.weight.grad.tolist() == [5, 5, 5]
    assert module() is not module(), "the step is over"
    with torch.no_grad():
        module.weight.add_(1)
    with made_once():
        assert module().tolist() == [4, 4, 4], "what belongs to an earlier step is forgotten"
