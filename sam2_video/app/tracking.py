"""Parts of a pass that the app adds: how long it is, how it is stopped, what is worth a look."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from sam2_video.app.shown import shown_size
from sam2_video.passes import Pass
from sam2_video.review import Notice, Reviewer
from sam2_video.session import VideoSession
from sam2_video.types import FrameResult

REVIEW_WIDTH = 480  # pixels of the masks that are compared: limits of a review are shares of the frame


class Stopped(Exception):
    """Somebody asked for the end of a long job; `state` is what it is in then."""

    def __init__(self, state: Literal["paused", "cancelled"]) -> None:
        super().__init__(state)
        self.state = state


def visits(rest: Pass, count: int) -> int:
    """How many frames are left to be visited in a clip of `count` frames; on a way back they count, too."""
    return sum(
        len(range(leg.first, (count if leg.step > 0 else -1) if leg.stop is None else leg.stop, leg.step))
        for leg in rest.legs
    )


class Observer:
    """Finds frames that are worth a look while results pass by."""

    def __init__(self, session: VideoSession) -> None:
        self._source = session.source
        self._size = shown_size(session.size, REVIEW_WIDTH)
        self._reviewer = Reviewer()

    def notices(self, result: FrameResult) -> list[Notice]:
        """What is remarkable about the next frame of a pass."""
        small = replace(result, size=self._size)
        return self._reviewer.add(self._source.read(result.frame), small)
