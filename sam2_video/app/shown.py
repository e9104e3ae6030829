"""What a page is shown of a session: masks as run lengths, timelines, ranges of frames; nothing changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2_video.app.stored import StoredPredictions
from sam2_video.mask_runs import Runs
from sam2_video.review import Notice
from sam2_video.session import Size, VideoSession
from sam2_video.sinks.overlay import object_colour
from sam2_video.timeline import ObjectTrack
from sam2_video.types import FrameResult, ObjectInfo

WIDEST = 1280  # pixels of a mask that is sent
_NOTICES = "notices/"
MOST_BUCKETS = 2000  # of a timeline; in longer clips a bucket stands for several frames


def shown_size(size: Size, widest: int = WIDEST) -> Size:
    """The size in which masks of frames of `size` are sent."""
    height, width = size
    if width <= widest:
        return size
    return max(1, round(height * widest / width)), widest


def colour_of(object_id: int) -> str:
    """The colour of an object, as pictures and videos of results have it."""
    return "#{:02x}{:02x}{:02x}".format(*object_colour(object_id))


def frame_result(session: VideoSession, tracks: Sequence[ObjectTrack], frame: int, size: Size) -> FrameResult:
    """What is known of some objects on a frame; masks have `size`. Any thread may ask."""
    return session.driver.show(frame, size, [track.row(frame) for track in tracks])


def masks_json(session: VideoSession, tracks: Iterable[ObjectTrack], frame: int) -> dict[str, Any]:
    """The masks of a frame, of those objects that anything is known of there."""
    size = shown_size(session.size)
    known = [track for track in tracks if track.knows(frame)]
    result = frame_result(session, known, frame, size)
    objects = []
    for row, object_id in enumerate(result.object_ids):
        runs = Runs.of_mask(result.masks[row])
        objects.append(
            {
                "id": object_id,
                "iou": round(float(result.iou[row]), 4),
                "presence": round(float(result.presence[row]), 3),
                "prompted": result.prompted[row],
                "box": _box(runs, session.size),
                **runs.lengths(),
            }
        )
    return {"frame": frame, "objects": objects}


def _box(runs: Runs, size: Size) -> list[int] | None:
    """The box of a mask in pixels of the frame, last column and row included; None of an empty mask."""
    if not runs.area:
        return None
    x, y = size[1] / runs.size[1], size[0] / runs.size[0]
    x0, y0, x1, y1 = runs.box
    return [int(x0 * x), int(y0 * y), int((x1 + 1) * x) - 1, int((y1 + 1) * y) - 1]


def object_json(object_id: int, info: ObjectInfo) -> dict[str, Any]:
    return {"id": object_id, "name": info.name, "category": info.category, "color": colour_of(object_id)}


def prompts_json(tracks: Iterable[ObjectTrack]) -> list[dict[str, Any]]:
    """What was said, in order of frames."""
    out = []
    for track in tracks:
        for frame, prompt in track.prompts.items():
            out.append(
                {
                    "frame": frame,
                    "object": track.object_id,
                    "points": [list(point) for point in prompt.points],
                    "labels": list(prompt.labels),
                    "box": None if prompt.box is None else list(prompt.box),
                    "mask": prompt.mask is not None,
                }
            )
    return sorted(out, key=lambda said: (said["frame"], said["object"]))


def ranges(tracks: Iterable[ObjectTrack]) -> list[list[int]]:
    """The frames with results as [first, last] of each run of them."""
    frames: set[int] = set()
    for track in tracks:
        frames.update(track.predictions)
    if not frames:
        return []
    numbers = np.array(sorted(frames))
    borders = np.flatnonzero(np.diff(numbers) > 1)
    firsts, lasts = numbers[np.append(0, borders + 1)], numbers[np.append(borders, len(numbers) - 1)]
    return [[int(first), int(last)] for first, last in zip(firsts, lasts, strict=True)]


def notices_note(frame: int, notices: Sequence[Notice]) -> dict[str, Any]:
    """The notices of a frame as a note that is kept."""
    return {f"{_NOTICES}{frame}": [[n.object_id, n.kind, n.value, n.message] for n in notices]}


def notices_from(notes: Mapping[str, Any]) -> dict[int, list[Notice]]:
    """The inverse of `notices_note`, of all frames."""
    frames = {int(key[len(_NOTICES) :]): said for key, said in notes.items() if key.startswith(_NOTICES)}
    return {frame: [Notice(frame, *entry) for entry in said] for frame, said in frames.items()}


def timeline_json(
    tracks: Sequence[ObjectTrack], count: int, notices: Mapping[int, Sequence[Notice]]
) -> dict[str, Any]:
    """Presence and predicted IoU over time, the lowest of each bucket, and frames worth a look."""
    shown = {None, *(track.object_id for track in tracks)}
    stride = max(1, -(-count // MOST_BUCKETS))
    objects = []
    for track in tracks:
        assert isinstance(track.predictions, StoredPredictions)
        scores = track.predictions.scores.copy()
        frames = np.fromiter(scores, np.int64, len(scores))
        values = np.array(list(scores.values()), np.float64).reshape(-1, 2)
        objects.append(
            {
                "id": track.object_id,
                "iou": _lowest(frames, values[:, 0], stride, count),
                "presence": _lowest(frames, values[:, 1], stride, count),
                "prompted": sorted(track.prompts),
            }
        )
    review = [
        {"frame": notice.frame, "object": notice.object_id, "kind": notice.kind, "reason": notice.message}
        for frame in sorted(notices)
        for notice in notices.get(frame, ())
        if notice.object_id in shown
    ]
    return {"objects": objects, "review": review, "stride": stride}


def _lowest(
    frames: NDArray[np.int64], values: NDArray[np.float64], stride: int, count: int
) -> list[float | None]:
    out = np.full(-(-count // stride), np.inf)
    np.minimum.at(out, frames // stride, values)
    return [round(value, 3) if np.isfinite(value) else None for value in out.tolist()]
