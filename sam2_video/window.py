"""A window of OpenCV that shows frames and tells of clicks, boxes and keys."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from sam2_video.types import Sam2VideoError

if TYPE_CHECKING:
    from sam2_video.sources.base import Rgb

ESCAPE = 27
LEAST_DRAG = 5  # pixels between press and release from which on it is a box and not a click


@dataclass(frozen=True)
class Click:
    """A click at x, y in pixels of the frame; not `on` the object: with the right button, or Alt and left."""

    x: float
    y: float
    on: bool


@dataclass(frozen=True)
class Drag:
    """A box drawn with the left button: x0, y0, x1, y1 in pixels of the frame, left upper corner first."""

    box: tuple[float, float, float, float]


Event: TypeAlias = Click | Drag | str  # a key is the character that it types


class Window(Protocol):
    """Shows frames, and tells of clicks and keys."""

    def show(self, rgb: Rgb, title: str) -> None:
        """Draw one frame, (H, W, 3) RGB."""

    def events(self, wait_ms: int) -> list[Event]:
        """Return what happened since the last call, after at most so long; "q" if it was closed."""

    def close(self) -> None: ...


class OpenCvWindow:
    """A window of OpenCV. Raises Sam2VideoError where OpenCV has none, or there is no display."""

    def __init__(self, name: str) -> None:
        import cv2

        self._cv2: Any = cv2
        self._name = name
        self._told: list[Event] = []
        self._pressed: tuple[int, int] | None = None
        self._is_open = False
        if not cv2.currentUIFramework():
            raise Sam2VideoError(
                "a window needs an OpenCV that has windows, and this one has none: pip uninstall "
                "opencv-python-headless, then pip install opencv-python"
            )
        if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise Sam2VideoError("a window needs a display, and neither DISPLAY nor WAYLAND_DISPLAY is set")

    def show(self, rgb: Rgb, title: str) -> None:
        """Draw one frame; the first one opens the window."""
        cv2 = self._cv2
        if not self._is_open:
            # Without the toolbar and the menu that a right click would open in some builds.
            cv2.namedWindow(self._name, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
            cv2.resizeWindow(self._name, rgb.shape[1], rgb.shape[0])
            cv2.setMouseCallback(self._name, self._on_mouse)
            self._is_open = True
        cv2.setWindowTitle(self._name, title)
        cv2.imshow(self._name, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))

    def events(self, wait_ms: int) -> list[Event]:
        """Return clicks and boxes, then the key pressed if any."""
        cv2 = self._cv2
        key = cv2.waitKey(wait_ms)  # the mouse is heard of in here
        found, self._told = self._told, []
        if self._is_open and cv2.getWindowProperty(self._name, cv2.WND_PROP_VISIBLE) < 1:
            return [*found, "q"]
        if key == -1:
            return found
        return [*found, "q" if key & 0xFF == ESCAPE else chr(key & 0xFF)]

    def close(self) -> None:
        """Close the window."""
        if self._is_open:
            self._cv2.destroyWindow(self._name)
            self._is_open = False

    def _on_mouse(self, event: int, x: int, y: int, flags: int, data: Any) -> None:
        cv2 = self._cv2
        if event == cv2.EVENT_LBUTTONDOWN:
            self._pressed = (x, y)
        elif event == cv2.EVENT_RBUTTONDOWN:
            self._told.append(Click(float(x), float(y), False))
        elif event == cv2.EVENT_LBUTTONUP and self._pressed:
            (x0, y0), self._pressed = self._pressed, None
            if max(abs(x - x0), abs(y - y0)) >= LEAST_DRAG:
                self._told.append(Drag((min(x, x0), min(y, y0), max(x, x0), max(y, y0))))
            else:
                self._told.append(Click(float(x), float(y), not flags & cv2.EVENT_FLAG_ALTKEY))
