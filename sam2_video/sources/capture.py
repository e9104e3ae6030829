"""What is a live source, and cameras and network streams as OpenCV reads them."""

from __future__ import annotations

import re
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeAlias
from urllib.parse import urlsplit

import numpy as np

from sam2_video.sources.base import Rgb
from sam2_video.types import SourceError

Stopped: TypeAlias = Callable[[], bool]  # should a read that waits give up?
Size: TypeAlias = tuple[int, int]  # (H, W)
READ_SECONDS = 5.0  # that a network stream may stall before it counts as lost
WEB = ("http", "https")
STREAMS = ("rtsp", "rtsps", "rtmp", "rtmps", "rtp", "udp", "tcp", "srt", "mms", "mmsh")


class Capture(Protocol):
    """An open stream. `finite`: it says how long it is, so that its end is no loss."""

    fps: float | None
    finite: bool

    def read(self) -> Rgb | None:
        """Return the next frame, None at the end. Raises SourceError."""

    def close(self) -> None: ...


@dataclass(frozen=True)
class Live:
    """What a live source is called, and where it is."""

    kind: Literal["camera", "address", "pipe"]
    name: str
    at: int | str  # number of a camera, its device file, an address, the path of a pipe


def find_live(source: object) -> Live | None:
    """Return what `source` says if it can be read as a live source; a web address always can."""
    if isinstance(source, int) and not isinstance(source, bool) and source >= 0:
        return Live("camera", f"camera {source}", source)
    if isinstance(source, str) and re.fullmatch(r"[0-9]{1,4}", source):
        return find_live(int(source))
    if source == "-":
        return Live("pipe", "the pipe on standard input", "-")
    if not isinstance(source, str | Path):
        return None
    if "://" in str(source):
        live = urlsplit(str(source)).scheme.lower() in (*STREAMS, *WEB)
        return Live("address", _without_password(str(source)), str(source)) if live else None
    try:
        mode = Path(source).stat().st_mode
    except (OSError, ValueError):
        return None
    if stat.S_ISFIFO(mode):
        return Live("pipe", f"the pipe {source}", str(source))
    if stat.S_ISCHR(mode) and str(source).startswith("/dev/video"):
        return Live("camera", f"camera {source}", str(source))
    return None


class OpenCvCapture:
    """A camera or the address of a stream, by OpenCV."""

    def __init__(self, live: Live, size: Size | None = None) -> None:
        import cv2

        self._cv2 = cv2
        if live.kind == "camera":
            self._capture = cv2.VideoCapture(live.at)
        else:
            limit = round(1000 * READ_SECONDS)
            limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit]
            self._capture = cv2.VideoCapture(str(live.at), cv2.CAP_FFMPEG, limits)
        if not self._capture.isOpened():
            self._capture.release()
            raise SourceError(_camera_advice(live) if live.kind == "camera" else _address_advice(live))
        if live.kind == "camera" and size is not None:
            self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[0])
            self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[1])
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps = fps if 0 < fps < 1000 else None
        self.finite = live.kind == "address" and self._capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0

    def read(self) -> Rgb | None:
        ok, bgr = self._capture.read()
        if not ok or bgr is None:
            return None
        return np.asarray(self._cv2.cvtColor(bgr, self._cv2.COLOR_BGR2RGB), dtype=np.uint8)

    def close(self) -> None:
        self._capture.release()


def _camera_advice(live: Live) -> str:
    text = f"{live.name} cannot be opened: there is none, another program uses it, or it may not be used"
    if sys.platform != "linux":
        return text
    found = ", ".join(sorted(str(path) for path in Path("/dev").glob("video*"))) or "none"
    return f"{text}; devices of this machine: {found}"


def _address_advice(live: Live) -> str:
    return (
        f"{live.name} cannot be opened within {READ_SECONDS:g} s: is the address right, the sender running, "
        "and does it send video?"
    )


def _without_password(address: str) -> str:
    """An address as it may be shown and stored."""
    parts = urlsplit(address)
    if parts.password is None:
        return address
    return address.replace(f":{parts.password}@", ":***@", 1)
