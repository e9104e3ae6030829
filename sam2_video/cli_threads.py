"""How `track` uses the cores of a machine: all in each operator, or one for each frame that is worked on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sam2_video.cli_run import ModelOptions, device_of

# Side of the model frame up to which operators are too small to be shared among threads: measured on two
# cores, see docs/performance.md.
SMALL = 384


@contextmanager
def arranged(options: ModelOptions, model: Any) -> Iterator[int]:
    """Set the threads of operators for a run; gives how many threads are to encode frames ahead.

    For a small model on a CPU each operator gets one thread, and so many frames are encoded at a time as
    there were threads. All else keeps the threads of its operators. The setting is that of the process: it is
    put back afterwards.
    """
    import torch

    threads = torch.get_num_threads()
    small = device_of(options) == "cpu" and model.image_size <= SMALL and threads > 1
    if small:
        torch.set_num_threads(1)
    try:
        yield threads if small else 0
    finally:
        torch.set_num_threads(threads)
