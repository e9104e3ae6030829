"""A simulated person: clicks where the mask of an object is most wrong, and looks at what comes of it."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from sam2_video.evaluation.clicks import centre_of_error
from sam2_video.evaluation.sequences import Bools
from sam2_video.session import VideoSession
from sam2_video.types import FrameResult

Clicks: TypeAlias = tuple[tuple[int, int, int], ...]  # (x, y, label)


def click_on(
    session: VideoSession,
    object_id: int,
    frame: int,
    truth: Bools,
    *,
    most: int,
    void: Bools | None = None,
    predicted: Bools | None = None,
) -> tuple[Clicks, FrameResult | None]:
    """Click up to `most` times on one object, each time in the middle of the largest error that is left.

    `predicted` is the mask before the first click, None where there is none yet. Returns the clicks and what
    came of the last one; they are fewer, or none, where nothing is wrong any more. Pixels of `void` are never
    clicked.
    """
    clicks: list[tuple[int, int, int]] = []
    result: FrameResult | None = None
    while len(clicks) < most:
        shown = np.zeros_like(truth) if predicted is None else predicted
        spot = centre_of_error(shown, truth, void)
        if spot is None:
            break
        x, y, label = spot
        result = session.prompt(
            frame=frame, object_id=object_id, points=[(float(x), float(y))], labels=[label]
        )
        predicted = result.masks[0]
        clicks.append(spot)
    return tuple(clicks), result
