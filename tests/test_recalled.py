"""Memories made ready for the network: keys made once, kept as long as they are read, within a budget."""

from __future__ import annotations

import torch

from sam2_video.model.sam2 import SAM2
from sam2_video.recalled import RecalledMemories
from sam2_video.types import FrameMemory, Recall
from tests.toys import SIDE, toy_model

CELLS = (SIDE // 16) ** 2


class Counting:
    """Counts the memories that keys are made of."""

    def __init__(self, model: SAM2, monkeypatch_target: list[int]) -> None:
        self.model, self.made = model, monkeypatch_target

    def __getattr__(self, name: str) -> object:
        return getattr(self.model, name)

    def memory_keys(self, memory: FrameMemory) -> tuple[torch.Tensor, ...]:
        self.made.append(id(memory.features))
        return self.model.memory_keys(memory)


def memory(seed: int) -> FrameMemory:
    draw = torch.Generator().manual_seed(seed)
    side = SIDE // 16
    features = torch.randn(1, 16, side, side, generator=draw).bfloat16()
    return FrameMemory(features, torch.randn(1, 64, generator=draw))


def recall(*memories: FrameMemory) -> Recall:
    masks = tuple((slot - 1, one) for slot, one in enumerate(memories))
    return Recall(masks, tuple((gap + 1, one) for gap, one in enumerate(memories)))


def counted(budget: int = 2**20) -> tuple[RecalledMemories, list[int]]:
    made: list[int] = []
    return RecalledMemories(Counting(toy_model(), made), budget), made  # type: ignore[arg-type]


@torch.no_grad()
def test_keys_are_made_once_for_each_memory() -> None:
    recalled, made = counted()
    a, b, c = memory(0), memory(1), memory(2)
    first = recalled.ready([recall(a, b), recall(b, c)])
    assert len(made) == 3
    again = recalled.ready([recall(b, c)])[0]
    assert len(made) == 3
    assert again.masks[0][1].keys is first[0].masks[1][1].keys
    expected = toy_model().memory_keys(c)
    found = again.masks[1][1].keys
    assert found is not None and torch.equal(found[0], expected[0]) and len(found) == 1
    assert again.layout == recall(b, c).layout and torch.equal(again.pointers[0][1].pointer, b.pointer)
    recalled.ready([recall(a)])  # it was not read, and so forgotten
    assert len(made) == 4


@torch.no_grad()
def test_a_memory_that_was_replaced_is_another_one() -> None:
    recalled, made = counted()
    old = memory(0)
    kept = recalled.ready([recall(old)])[0].masks[0][1].keys
    new = recalled.ready([recall(memory(1))])[0].masks[0][1].keys
    assert kept is not None and new is not None and not torch.equal(kept[0], new[0])
    assert len(made) == 2


@torch.no_grad()
def test_a_frame_without_memories_forgets_nothing() -> None:
    recalled, made = counted()
    a = memory(0)
    recalled.ready([recall(a)])
    assert recalled.ready([Recall()]) == [Recall()]
    recalled.ready([recall(a)])
    assert len(made) == 1


@torch.no_grad()
def test_beyond_the_budget_keys_are_made_in_passing_and_nothing_changes() -> None:
    model = toy_model()
    layers = len(model.memory_attention.layers)
    one = layers * CELLS * 64 * 4
    a, b = memory(0), memory(1)
    recalled, made = counted(budget=2 * one - 1)
    assert recalled.ready([recall(a)])[0].masks[0][1].keys is not None
    without = recalled.ready([recall(a, b)])[0]
    assert [past.keys for _, past in without.masks] == [None, None]
    assert len(made) == 1
    with_keys = counted(budget=2 * one)[0].ready([recall(a, b)])[0]
    assert all(past.keys is not None for _, past in with_keys.masks)
    features = model.encode_image(torch.rand(1, 3, SIDE, SIDE))
    torch.testing.assert_close(
        model.attend_memory(features, without), model.attend_memory(features, with_keys), rtol=1e-5, atol=1e-5
    )
