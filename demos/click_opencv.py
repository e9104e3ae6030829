"""Click objects in a window, track them, correct what went wrong, save it.

python demos/click_opencv.py clip.mp4 out

    left click   on the object                 n, 1-9   the next object; object 1 to 9
    right click  off it (or Alt + left click)  u        undo
    drag         a box around it               space    track on from here; again: pause
    a, d         a frame back, forward         s        save masks and the session; q: quit

It needs an OpenCV with windows: pip uninstall opencv-python-headless, then pip install opencv-python.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import sam2_video
from sam2_video.session import VideoSession
from sam2_video.sinks import MaskPngSink, paint
from sam2_video.window import Click, Drag, Event, OpenCvWindow

KEYS = "click, drag; space: track, n: next object, u: undo, s: save, q: quit"


class Desk:
    """What clicks and keys do to a session, and what is shown of it."""

    def __init__(self, session: VideoSession, out: Path) -> None:
        self.session, self.out = session, out
        self.frame, self.chosen, self.note = 0, 1, ""
        self.result: sam2_video.FrameResult | None = None  # of all objects on this frame
        self.passing: Iterator[sam2_video.FrameResult] | None = None  # while it tracks

    def point(self, said: Click | Drag) -> None:
        """Say something of the chosen object on this frame."""
        if isinstance(said, Drag):
            self.session.prompt(frame=self.frame, object_id=self.chosen, box=said.box)
        elif said.on or self.chosen in self.session.objects:
            spot, label = (said.x, said.y), int(said.on)
            self.session.prompt(frame=self.frame, object_id=self.chosen, points=[spot], labels=[label])
        else:
            raise sam2_video.PromptError(f"show object {self.chosen} with the left button first")
        self.look(self.frame)

    def press(self, key: str) -> None:
        if key in "123456789":
            self.chosen = int(key)
        elif key == "n":
            self.chosen = max(self.session.objects, default=0) + 1
        elif key == "u":
            change = self.session.undo()
            self.look(self.frame if change.frame is None else change.frame)
        elif key in "ad":
            self.look(max(0, self.frame + (1 if key == "d" else -1)))
        elif key == " ":  # what no correction changed is kept, and not computed again
            self.passing = None if self.passing else self.session.propagate(start=self.frame)
        elif key == "s":
            self.save()

    def look(self, frame: int) -> None:
        """Go to a frame, and have all objects on it; tracking waits until space is pressed."""
        self.session.source.read(frame)  # raises SourceError behind the end of the clip
        self.frame, self.passing, self.result = frame, None, None
        if self.session.objects:
            self.result = next(self.session.propagate(start=frame, stop=frame + 1))

    def save(self) -> None:
        source = self.session.source
        with MaskPngSink(self.out / "masks") as masks:
            for result in self.session.results():  # of the frames that were looked at so far
                masks.write(source.read(result.frame), result, source.frame_name(result.frame))
        self.session.save(self.out / "work.sam2")  # VideoPredictor.resume goes on with it
        self.note = f"saved in {self.out}"

    def obey(self, events: list[Event]) -> None:
        self.note = "" if events else self.note
        try:
            for event in events:
                if isinstance(event, str):
                    self.press(event)
                else:
                    self.point(event)
            if self.passing and (result := next(self.passing, None)):
                self.frame, self.result = result.frame, result
            else:
                self.passing = None  # the clip is over
        except sam2_video.Sam2VideoError as error:  # a click beside the picture, nothing to undo, ...
            self.passing, self.note = None, str(error)

    def run(self, window: OpenCvWindow) -> None:
        events: list[Event] = []
        while "q" not in events:  # the key, Escape, or the window's own button
            self.obey(events)
            rgb = self.session.source.read(self.frame)
            title = self.note or ("tracking; space: pause" if self.passing else KEYS)
            picture = rgb if self.result is None else paint(rgb, self.result)
            window.show(picture, f"frame {self.frame}, object {self.chosen}: {title}")
            events = window.events(1 if self.passing else 30)
        window.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("clip", help="a video file or a folder of pictures")
    parser.add_argument("out", type=Path, help="the folder for masks/ and work.sam2")
    parser.add_argument("--model", default="nano")
    arguments = parser.parse_args()
    window = OpenCvWindow("click_opencv")  # first: it says so where there can be none
    with sam2_video.VideoPredictor.from_pretrained(arguments.model).open(arguments.clip) as session:
        Desk(session, arguments.out).run(window)


if __name__ == "__main__":
    try:
        main()
    except sam2_video.Sam2VideoError as error:
        sys.exit(f"error: {error}")
