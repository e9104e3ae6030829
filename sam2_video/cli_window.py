"""The window of `sam2-video track --show`: what is drawn, what a click and a key do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sam2_video.prompts import PlacedPrompt
from sam2_video.types import FrameResult, Prompt, PromptError
from sam2_video.window import Click, Drag, Event, Window

if TYPE_CHECKING:
    from sam2_video.sources.base import Rgb
    from sam2_video.stream import VideoStream

HELP = (
    "left click: on the object, right click: off it, drag: a box, 1-9: choose an object, d: drop it, "
    "space: pause, q: quit"
)
IDLE_MS = 30  # between two looks at keys and clicks while paused


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
            if isinstance(event, str):
                self._press(event)
            else:
                self._point(event)
        if events:
            self._draw(rgb)

    def _point(self, said: Click | Drag) -> None:
        if isinstance(said, Drag):
            prompt = Prompt(box=said.box)
        elif said.on or self.chosen in self.stream.objects:
            prompt = Prompt(points=((said.x, said.y),), labels=(int(said.on),))
        else:
            self._note = f"show object {self.chosen} with the left button first"
            return
        try:
            self.stream.prompt(
                self.chosen, points=prompt.points or None, labels=prompt.labels or None, box=prompt.box
            )
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
