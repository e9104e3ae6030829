"""Tensors on their way from a CUDA device to the host: asked for together, waited for once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class HostCopies:
    """Copies of tensors in ordinary memory; those of a CUDA device come through pinned memory, meanwhile."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._done: torch.cuda.Event | None = None
        if not tensors or tensors[0].device.type != "cuda":
            self._copies = [tensor.to("cpu", copy=True) for tensor in tensors]
            return
        self._copies = [torch.empty(t.shape, dtype=t.dtype, pin_memory=True) for t in tensors]
        for copy, tensor in zip(self._copies, tensors, strict=True):
            copy.copy_(tensor, non_blocking=True)
        self._done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._done.record(torch.cuda.current_stream(tensors[0].device))

    def arrived(self, *, pinned: bool = False) -> list[Tensor]:
        """Wait for all, and return them; copied out of pinned memory, which is scarce, unless `pinned`."""
        if self._done is None:
            return self._copies
        self._done.synchronize()
        return self._copies if pinned else [copy.clone() for copy in self._copies]
