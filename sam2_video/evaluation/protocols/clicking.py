"""A simulated person: clicks where the mask of an object is most wrong, and looks at what comes of it."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from sam2_video.evaluation.clicks import centre_of_error
from sam2_video.evaluation.sequences import Bools, EvaluatedObject, VosSequence
from sam2_video.session import VideoSession
from sam2_video.types import DataError, FrameResult

Clicks: TypeAlias = tuple[tuple[int, int, int], ...]  # (x, y, label)


def first_mask(sequence: VosSequence, one: EvaluatedObject) -> Bools:
    """Return the mask that an object begins with. Raises DataError where the truth does not show it."""
    mask = (sequence.masks(one.first) or {}).get(one.object_id)
    if mask is None or not mask.any():
        raise DataError(
            f"sequence {sequence.name}: object {one.object_id} is to be given to the tracker on frame "
            f"{sequence.frame_names[one.first]}, whose mask does not show it; "
            "`sam2-video evaluate --check` looks for all of these"
        )
    return mask


def click_first(
    session: VideoSession, object_id: int, sequence: VosSequence, one: EvaluatedObject, *, most: int
) -> Clicks:
    """Click up to `most` times on an object where it begins; `object_id` is its name in the session.

    Raises DataError where the truth does not show it, or nothing of it but void.
    """
    truth, void = first_mask(sequence, one), sequence.void(one.first)
    clicks, _ = click_on(session, object_id, one.first, truth, most=most, void=void)
    if not clicks:
        raise DataError(
            f"sequence {sequence.name}: object {one.object_id} cannot be clicked on on frame "
            f"{sequence.frame_names[one.first]}: all of it is void"
        )
    return clicks


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
