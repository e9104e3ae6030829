"""Do objects keep their identity? HOTA, IDF1 and identity switches of masks, by the library TrackEval.

measured = [associate(sequence, read(sequence)) for sequence in data.sequences]
extra = summarise_association(measured)
extra.overall["hota"], extra.sequences["dog"]["idf1"]

J and F compare each object with the prediction of the same id. These figures do not know ids: a prediction is
matched with whichever object it covers, and then it is asked how long it stays with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sam2_video.evaluation.extras import Column, Extra, Row
from sam2_video.evaluation.scores import PredictionReader, each_frame
from sam2_video.evaluation.sequences import Bools, VosSequence
from sam2_video.types import ConfigError

Ids: TypeAlias = NDArray[np.int64]
_COLUMNS = (
    Column("hota", "HOTA"),
    Column("deta", "DetA"),
    Column("assa", "AssA"),
    Column("loca", "LocA"),
    Column("idf1", "IDF1"),
    Column("idsw", "ID switches", percent=False),
)


@dataclass(frozen=True)
class Crossing:
    """The masks of one frame: object ids of truth and of prediction, and the IoU of each pair (T, P)."""

    truth: Ids
    predicted: Ids
    iou: NDArray[np.float64]


@dataclass(frozen=True)
class Association:
    """Results of the library for one sequence, by metric; `empty`: no mask anywhere, nothing to say."""

    sequence: str
    results: Mapping[str, Mapping[str, Any]]
    empty: bool = False


def associate(
    sequence: VosSequence, predicted: PredictionReader, *, allow_incomplete: bool = False
) -> Association:
    """Match predictions with objects by mask IoU and follow their identities through a sequence.

    Raises ConfigError without TrackEval, DataError as `each_frame` does.
    """
    metrics = _metrics()
    data = as_trackeval(cross(sequence, predicted, allow_incomplete=allow_incomplete))
    results = {name: metric.eval_sequence(data) for name, metric in metrics.items()}
    return Association(sequence.name, results, not (data["num_gt_dets"] or data["num_tracker_dets"]))


def cross(
    sequence: VosSequence, predicted: PredictionReader, *, allow_incomplete: bool = False
) -> list[Crossing]:
    """Compare all masks of a frame with each other, for each frame on which some object counts.

    An object takes part, in truth and in prediction, on the frames on which it counts; what is predicted
    under ids that the sequence does not have takes part on all of them. Masks without pixels, after void
    ones are taken away, are not there. Raises DataError as `each_frame` does.
    """
    known = {one.object_id for one in sequence.objects}
    out = []
    for frame in each_frame(sequence, predicted, allow_incomplete=allow_incomplete):
        here = {one.object_id for one in frame.objects}
        truth = {k: mask for k, mask in frame.truth.items() if k in here}
        found = {k: mask for k, mask in frame.predicted.items() if k in here or k not in known}
        out.append(_Masks.of(truth, frame.void).cross(_Masks.of(found, frame.void)))
    return out


@dataclass(frozen=True)
class _Masks:
    """Masks that have pixels, by id, with their boxes: (x, y, width, height)."""

    ids: tuple[int, ...]
    masks: tuple[NDArray[np.uint8], ...]
    boxes: tuple[tuple[int, int, int, int], ...]
    areas: tuple[int, ...]

    @classmethod
    def of(cls, masks: Mapping[int, Bools], void: Bools | None) -> _Masks:
        import cv2

        found = []
        for object_id, mask in sorted(masks.items()):
            pixels = np.ascontiguousarray(mask if void is None else mask & ~void).view(np.uint8)
            area = int(np.count_nonzero(pixels))
            if area:
                x, y, width, height = cv2.boundingRect(pixels)
                found.append((object_id, pixels, (x, y, width, height), area))
        ids, kept, boxes, areas = zip(*found, strict=True) if found else ((), (), (), ())
        return cls(ids, kept, boxes, areas)

    def cross(self, other: _Masks) -> Crossing:
        iou = np.zeros((len(self.ids), len(other.ids)))
        for row in range(len(self.ids)):
            for column in range(len(other.ids)):
                both = self._overlap(row, other, column)
                iou[row, column] = both / (self.areas[row] + other.areas[column] - both)
        return Crossing(np.array(self.ids, dtype=np.int64), np.array(other.ids, dtype=np.int64), iou)

    def _overlap(self, row: int, other: _Masks, column: int) -> int:
        """Pixels that two masks share, counted where their boxes meet."""
        (x, y, width, height), (u, v, other_width, other_height) = self.boxes[row], other.boxes[column]
        left, right = max(x, u), min(x + width, u + other_width)
        top, bottom = max(y, v), min(y + height, v + other_height)
        if left >= right or top >= bottom:
            return 0
        window = np.s_[top:bottom, left:right]
        return int(np.count_nonzero(self.masks[row][window] & other.masks[column][window]))


def as_trackeval(crossings: Iterable[Crossing]) -> dict[str, Any]:
    """Return what TrackEval's metrics take: ids counted from 0 without gaps, and their IoU, by frame."""
    frames = list(crossings)
    truth, predicted = _places(frame.truth for frame in frames), _places(frame.predicted for frame in frames)
    return {
        "num_timesteps": len(frames),
        "gt_ids": [_numbered(frame.truth, truth) for frame in frames],
        "tracker_ids": [_numbered(frame.predicted, predicted) for frame in frames],
        "similarity_scores": [frame.iou for frame in frames],
        "num_gt_ids": len(truth),
        "num_tracker_ids": len(predicted),
        "num_gt_dets": sum(len(frame.truth) for frame in frames),
        "num_tracker_dets": sum(len(frame.predicted) for frame in frames),
    }


def summarise_association(found: Iterable[Association]) -> Extra:
    """Combine sequences as TrackEval does: matches are summed, long clips with many objects count for more.

    Sequences without any mask are left out. Raises ConfigError without TrackEval.
    """
    kept = [one for one in found if not one.empty]
    overall: Row = {}
    if kept:
        overall = _row(
            {
                name: metric.combine_sequences({one.sequence: one.results[name] for one in kept})
                for name, metric in _metrics().items()
            }
        )
    return Extra(
        "Association", _COLUMNS, overall, sequences={one.sequence: _row(one.results) for one in kept}
    )


def _row(results: Mapping[str, Mapping[str, Any]]) -> Row:
    """The columns: HOTA and its parts are means over the 19 thresholds of IoU from 0.05 to 0.95."""
    hota = results["HOTA"]
    row = {name.lower(): float(np.mean(hota[name])) for name in ("HOTA", "DetA", "AssA", "LocA")}
    return {**row, "idf1": float(results["Identity"]["IDF1"]), "idsw": float(results["CLEAR"]["IDSW"])}


def _places(ids: Iterable[Ids]) -> dict[int, int]:
    return {k: place for place, k in enumerate(sorted({int(k) for frame in ids for k in frame}))}


def _numbered(ids: Ids, places: Mapping[int, int]) -> Ids:
    return np.array([places[int(k)] for k in ids], dtype=np.int64)


def require_library() -> None:
    """Raise ConfigError, with how to install it, where TrackEval cannot be imported."""
    _metrics()


def _metrics() -> dict[str, Any]:
    """TrackEval's metrics; IDF1 and identity switches match masks from an IoU of one half on."""
    try:
        with redirect_stdout(StringIO()):  # it says on import which of its data sets miss a package
            from trackeval.metrics import CLEAR, HOTA, Identity
    except ImportError as error:
        raise ConfigError(
            f"HOTA is computed by TrackEval, which cannot be imported ({error}); install it with\n"
            "    pip install --no-deps trackeval scipy\n"
            "without --no-deps it brings a second OpenCV, which writes over the one that is there"
        ) from error
    quiet = {"THRESHOLD": 0.5, "PRINT_CONFIG": False}
    return {"HOTA": HOTA(), "CLEAR": CLEAR(quiet), "Identity": Identity(quiet)}
