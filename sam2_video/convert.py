"""Results in the classes of other libraries, each imported when it is asked for.

detections = to_supervision(result)            # supervision.Detections
table = to_pandas(session.propagate())         # pandas.DataFrame
add_to_fiftyone(sample, session.propagate())   # labels on the frames of a FiftyOne video sample
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sam2_video.sinks.names import class_name
from sam2_video.sinks.tables import COLUMNS, table_rows
from sam2_video.types import FrameResult, SinkError

if TYPE_CHECKING:
    import fiftyone
    import pandas
    import supervision


def to_supervision(result: FrameResult, classes: Sequence[str] | None = None) -> supervision.Detections:
    """One result -> `supervision.Detections`: a detection for each object that has a mask on this frame.

    `tracker_id` is the object, `confidence` the predicted IoU, `data` holds class_name, object_name and
    presence. `class_id` counts in `classes`; without them, in the classes of this result in alphabetical
    order, which may differ from frame to frame. Boxes hold their last column and row, as
    `supervision.mask_to_xyxy` makes them. Raises SinkError: supervision is not installed, or a class is not
    one of `classes`.
    """
    library = _library("supervision")
    names = [class_name(result.info_of(row)) for row in range(len(result.object_ids))]
    known = sorted(set(names)) if classes is None else list(classes)
    for name in names:
        if name not in known:
            raise SinkError(f"class {name!r} is not one of {', '.join(known)}; add it to `classes`")
    seen = result.masks.any(axis=(1, 2))
    rows = np.flatnonzero(seen).tolist()
    detections: supervision.Detections = library.Detections(
        xyxy=result.boxes[seen].astype(np.float32),
        mask=result.masks[seen],
        confidence=result.iou.numpy()[seen],
        class_id=np.array([known.index(names[row]) for row in rows], dtype=int),
        tracker_id=np.array([result.object_ids[row] for row in rows], dtype=int),
        data={
            "class_name": np.array([names[row] for row in rows], dtype=np.str_),
            "object_name": np.array([result.info_of(row).name for row in rows], dtype=np.str_),
            "presence": result.presence.numpy()[seen],
        },
    )
    return detections


def to_pandas(results: FrameResult | Iterable[FrameResult]) -> pandas.DataFrame:
    """Results -> a table with the columns of objects.csv, one row for each object and frame.

    The box of an empty mask is missing (`pandas.NA`). Raises SinkError where pandas is not installed.
    """
    library = _library("pandas")
    each = [results] if isinstance(results, FrameResult) else results
    table = library.DataFrame([row for result in each for row in table_rows(result)], columns=list(COLUMNS))
    kinds = dict.fromkeys(("frame", "object", "area"), "int64")
    kinds |= dict.fromkeys(("x0", "y0", "x1", "y1"), "Int64")  # the kind that knows missing values
    kinds |= {"iou": "float64", "presence": "float64", "prompted": "bool", "name": "str", "class": "str"}
    return table.astype(kinds)


def to_fiftyone(result: FrameResult) -> fiftyone.Detections:
    """One result -> `fiftyone.Detections`: a detection for each object that has a mask on this frame.

    `label` is the class, `index` the object, `confidence` the predicted IoU, `mask` what the box holds of the
    mask; `name` and `presence` are attributes. Raises SinkError where FiftyOne is not installed.
    """
    library = _library("fiftyone")
    height, width = result.size
    detections = []
    for row, object_id in enumerate(result.object_ids):
        mask, info = result.masks[row], result.info_of(row)
        if mask.any():
            x0, y0, x1, y1 = (int(v) for v in result.boxes[row])
            detection = library.Detection(
                label=class_name(info),
                bounding_box=[x0 / width, y0 / height, (x1 + 1 - x0) / width, (y1 + 1 - y0) / height],
                mask=mask[y0 : y1 + 1, x0 : x1 + 1].copy(),
                confidence=float(result.iou[row]),
                index=object_id,
                name=info.name,
                presence=float(result.presence[row]),
            )
            detections.append(detection)
    return library.Detections(detections=detections)


def add_to_fiftyone(
    sample: fiftyone.Sample, results: Iterable[FrameResult], field: str = "sam2_video"
) -> None:
    """Put results on the frames of a FiftyOne video sample, which counts frames from 1.

    Saving the sample is up to the caller. Raises SinkError where FiftyOne is not installed.
    """
    for result in results:
        sample.frames[result.frame + 1][field] = to_fiftyone(result)


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        extra = name if name == "fiftyone" else "'sam2_video[convert]'"
        raise SinkError(f"this conversion needs {name} ({error}): pip install {extra}") from error
