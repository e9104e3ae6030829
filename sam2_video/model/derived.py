"""Values that are computed from weights, and kept until the weights change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")


_STEP: ContextVar[dict[Any, Any] | None] = ContextVar("values of one training step", default=None)


@contextmanager
def made_once() -> Iterator[None]:
    """Within this context weights do not change: what is derived from them with gradients is made once."""
    token = _STEP.set({})
    try:
        yield
    finally:
        _STEP.reset(token)


class Derived(nn.Module, Generic[T]):
    """What `make` computes from some tensors, made again when one of them changed.

    A module without weights of its own, so that a change of mode, device or type reaches it, too: what a
    program writes through `parameter.data` is seen after the next `train()` or `eval()` at the latest. With
    gradients everything is computed anew, or once in a `made_once`.
    """

    def __init__(self, make: Callable[..., T]) -> None:
        super().__init__()
        self._make = make
        self._kept: tuple[tuple[Any, ...], T] | None = None  # what it was made of, and what was made
        self.generation = 0  # goes up when a value is let go: graphs that read it must be recorded anew

    def forward(self, *sources: Tensor, of: tuple[Any, ...] = ()) -> T:
        """Return make(*sources, *of); `of` holds plain values."""
        wants_gradient = torch.is_grad_enabled() and any(source.requires_grad for source in sources)
        step = _STEP.get()
        if wants_gradient and step is not None:
            key = (self, *map(_identity, sources), *of)
            if key not in step:
                step[key] = self._make(*sources, *of)
            kept: T = step[key]
            return kept
        if wants_gradient or any(source.is_inference() for source in sources):  # these count no changes
            return self._make(*sources, *of)
        seen = (*map(_identity, sources), *of)
        last = self._kept  # read once: other threads, which look at frames ahead, may ask for other values
        if last is None or last[0] != seen:
            # Made outside inference mode: a training step may use what a prediction asked for first.
            with torch.inference_mode(False), torch.no_grad():
                self.generation += last is not None
                last = self._kept = seen, self._make(*sources, *of)
        return last[1]

    def forget(self) -> None:
        """Make the value again when it is next asked for."""
        self.generation += self._kept is not None
        self._kept = None

    def train(self, mode: bool = True) -> Derived[T]:
        self.forget()
        super().train(mode)
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Derived[T]:
        self.forget()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


def _identity(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.data_ptr(), tensor._version, tensor.dtype, tensor.device, tuple(tensor.shape)
