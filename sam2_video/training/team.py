"""Several processes that train one model: each works on its share of every batch, gradients are averaged.

Started by `torchrun --nproc-per-node N`; a run without it is a team of one. On CPUs one single-threaded
process per core beats one process with many threads: nobody waits for a core that is busy elsewhere until the
step is over.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from sam2_video.types import ConfigError


@dataclass(frozen=True)
class Team:
    """Who this process is: `rank` 0 to `size` - 1. Rank 0 writes files and speaks."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def share(self, count: int) -> range:
        """Return this process's part of `count` items; ConfigError where they cannot be shared evenly."""
        if count % self.size:
            raise ConfigError(f"a batch of {count} clips cannot be shared by {self.size} processes evenly")
        part = count // self.size
        return range(self.rank * part, (self.rank + 1) * part)

    def average(self, tensors: Iterable[Tensor | None]) -> None:
        """Replace tensors by their mean over the team, in place and in one message."""
        if self.size == 1:
            return
        present = [tensor for tensor in tensors if tensor is not None]
        flat = torch.cat([tensor.flatten() for tensor in present])
        dist.all_reduce(flat)
        flat /= self.size
        for tensor, mean in zip(present, torch.split(flat, [t.numel() for t in present]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def wait(self) -> None:
        """Return when everybody is here."""
        if self.size > 1:
            dist.barrier()


def join_team() -> Team:
    """Find the other processes through torchrun's environment variables; alone without them."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Team()
    if not dist.is_initialized():
        dist.init_process_group("gloo")  # carries tensors of every device
    return Team(dist.get_rank(), size)
