"""The window of `sam2-video track --show`: what is drawn, what a click and a key do."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from sam2_video.prompts import PlacedPrompt
from sam2_video.types import FrameResult, Prompt, PromptError, Sam2VideoError

if TYPE_CHECKING:
    from sam2_video.sources.base import Rgb
    from sam2_video.stream import VideoStream

HELP = (
    "left click: on the object, right click: off it, 1-9: choose an object, d: drop it, space: pause, q: quit"
)
IDLE_MS = 30  # between two looks at keys and clicks while paused
ESCAPE = 27


@dataclass(frozen=True)
class Click:
    """A click at x, y in pixels of the frame; `on` the object (left button) or off it (right)."""

    x: float
    y: float
    on: bool


Event: TypeAlias = Click | str  # a key is the character that it types


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
        self._clicks: list[Event] = []
        self._is_open = False
        if not cv2.currentUIFramework():
            raise Sam2VideoError(
                "--show needs an OpenCV with windows, and this one has none: pip uninstall "
                "opencv-python-headless, then pip install opencv-python"
            )
        if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise Sam2VideoError("--show needs a display, and neither DISPLAY nor WAYLAND_DISPLAY is set")

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
        """Return clicks, then the key pressed if any."""
        cv2 = self._cv2
        key = cv2.waitKey(wait_ms)  # the mouse is heard of in here
        found, self._clicks = self._clicks, []
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
        if event in (self._cv2.EVENT_LBUTTONDOWN, self._cv2.EVENT_RBUTTONDOWN):
            self._clicks.append(Click(float(x), float(y), event == self._cv2.EVENT_LBUTTONDOWN))


@dataclass
class Desk:
    """A stream under somebody's eyes: every frame is shown, clicks and keys change what is tracked."""

    stream: VideoStream
    window: Window
    chosen: int = 1  # the object that clicks are about
    is_over: bool = False
    said: list[PlacedPrompt] = field(default_factory=list)  # with clicks so far
    _is_paused: bool = False
    _note: str = ""

    def attend(self, rgb: Rgb) -> FrameResult:
        """Show the frame that was just tracked and do what is asked for; return what it came to.

        While paused this stays with the frame.
        """
        self._note = ""
        self._draw(rgb)
        self._obey(self.window.events(1), rgb)
        while self._is_paused and not self.is_over:
            self._obey(self.window.events(IDLE_MS), rgb)
        return self.stream.result()

    def _obey(self, events: list[Event], rgb: Rgb) -> None:
        for event in events:
            self._note = ""
            if isinstance(event, Click):
                self._click(event)
            else:
                self._press(event)
        if events:
            self._draw(rgb)

    def _click(self, click: Click) -> None:
        if not click.on and self.chosen not in self.stream.objects:
            self._note = f"show object {self.chosen} with the left button first"
            return
        prompt = Prompt(points=((click.x, click.y),), labels=(int(click.on),))
        try:
            self.stream.prompt(self.chosen, points=prompt.points, labels=prompt.labels)
        except PromptError as error:  # beside the picture, where a window has a margin
            self._note = str(error)
            return
        self.said.append(PlacedPrompt(self.stream.frame or 0, self.chosen, prompt))

    def _press(self, key: str) -> None:
        if key == "q":
            self.is_over = True
        elif key == " ":
            self._is_paused = not self._is_paused
        elif key in "123456789":
            self.chosen = int(key)
        elif key == "d" and self.chosen in self.stream.objects:
            self.stream.remove(self.chosen)
        elif key == "d":
            self._note = f"there is no object {self.chosen} to drop"

    def _draw(self, rgb: Rgb) -> None:
        from sam2_video.sinks.overlay import paint

        state = "paused, " if self._is_paused else ""
        about = self._note or f"{state}object {self.chosen}"
        self.window.show(paint(rgb, self.stream.result()), f"frame {self.stream.frame}: {about} ({HELP})")
