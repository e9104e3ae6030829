"""What `sam2-video app` was asked for, and where it keeps its things."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from sam2_video.types import ConfigError

UPLOAD_LIMIT = 2 * 10**9  # bytes
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


@dataclass(frozen=True)
class AppSettings:
    """`state`: the folder of kept work and uploads. `threads`: of the network; None leaves a core free."""

    folder: Path
    state: Path
    model: str = "nano"
    device: str | None = None
    dtype: str = "float32"
    threads: int | None = None
    upload_limit: int = UPLOAD_LIMIT

    @property
    def uploads(self) -> Path:
        return self.state / "uploads"

    @property
    def sessions(self) -> Path:
        return self.state / "sessions"


def state_folder(folder: Path) -> Path:
    """Where the work on the clips of a folder is kept unless `--state` says otherwise.

    In the user's own data, not in the folder, which may be read-only and is not ours, nor in a cache, which
    may be emptied.
    """
    home = Path.home()
    if sys.platform == "darwin":
        base = home / "Library" / "Application Support"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_STATE_HOME") or home / ".local" / "state")
    whole = folder.resolve()
    tag = hashlib.sha256(str(whole).encode()).hexdigest()[:8]
    return base / "sam2_video" / "app" / f"{whole.name or 'root'}-{tag}"


def parse_bytes(text: str) -> int:
    """Bytes of a text such as 500MB or 2GB. Raises ConfigError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)b?\s*", text.lower())
    if match is None:
        raise ConfigError(f"{text!r} is no size of a file; expected something like 500MB or 2GB")
    return int(float(match[1]) * _UNITS[match[2]])
