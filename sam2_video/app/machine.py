"""How much memory is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sam2_video.app.models import Models


def memory_json(models: Models) -> dict[str, Any]:
    """Bytes of this process, of the GPU where there is one, and of one object while the network runs."""
    loaded = models.latest
    return {
        "process_bytes": process_bytes(),
        "gpu_bytes": _gpu_bytes(models.device),
        "per_object_bytes": None if loaded is None else loaded.model.object_bytes,
    }


def process_bytes() -> int | None:
    """Memory that this process holds; where the system does not tell, the most that it ever held, or None."""
    try:
        import resource

        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except ImportError:
        return None
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return int(peak)  # of macOS, which counts bytes


def _gpu_bytes(device: str) -> int | None:
    if not device.startswith("cuda"):
        return None
    import torch

    return int(torch.cuda.memory_allocated(device))
