"""run.json: what is needed to repeat a run."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sam2_video.sinks.base import make_folder, write_whole


def versions() -> dict[str, str]:
    """Versions of this package, of what computes for it, and of Python."""
    out = {"python": platform.python_version()}
    for name in ("sam2_video", "torch", "numpy"):
        try:
            out[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # a checkout that was not installed
            out[name] = "unknown"
    return out


def write_run_json(path: str | Path, info: Mapping[str, Any]) -> None:
    """Write `info` with the versions added, whole or not at all; paths and numpy values become plain ones.

    Raises SinkError where the file cannot be written, TypeError for values that JSON has no form for.
    """
    path = Path(path)
    record = {**info, "versions": {**versions(), **info.get("versions", {})}}
    text = json.dumps(record, indent=2, default=_plain) + "\n"
    make_folder(path.parent)
    write_whole(path, text.encode())


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"run.json cannot hold {type(value).__name__}: {value!r}")
