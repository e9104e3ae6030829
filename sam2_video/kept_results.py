"""Masks of a saved session that came without their memories: they are shown until a pass finds new ones."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import torch

from sam2_video.sinks.result_log import description, pack, unpack
from sam2_video.types import FrameResult, upsample_logits


class KeptResults:
    """Frame -> result, packed as in a `ResultLog`: a few KB each."""

    def __init__(self, records: Mapping[int, bytes] | None = None) -> None:
        self.records = dict(records or {})

    def frames_of(self, object_id: int) -> set[int]:
        """The frames that an object has a row on."""
        return {f for f, record in self.records.items() if object_id in description(record)["objects"]}

    def of(self, rows: Mapping[int, Collection[int]]) -> Iterator[tuple[int, bytes]]:
        """The records of these rows alone, object -> frames; none of a frame that has no rows left."""
        for frame, record in self.records.items():
            held = description(record)["objects"]
            wanted = [row for row, object_id in enumerate(held) if frame in rows.get(object_id, ())]
            if len(wanted) == len(held):
                yield frame, record
            elif wanted:
                yield frame, pack(rows_of(unpack(record), wanted))

    def complete(self, result: FrameResult, missing: Collection[int]) -> FrameResult:
        """Put the kept rows of objects that were not found on this frame in place of their empty ones."""
        if result.frame not in self.records or not missing:
            return result
        kept = unpack(self.records[result.frame])
        if kept.size != result.size:  # results were given another size since
            return result
        old = [row for row, object_id in enumerate(kept.object_ids) if object_id in missing]
        if not old:
            return result
        replaced = {kept.object_ids[row] for row in old}
        new = [row for row, object_id in enumerate(result.object_ids) if object_id not in replaced]
        whole = replace(result, logits=upsample_logits(result.logits, result.size))
        joined = join(rows_of(whole, new), rows_of(kept, old))
        info = {object_id: result.info_of(row) for row, object_id in enumerate(result.object_ids)}
        return replace(joined, info=tuple(info[object_id] for object_id in joined.object_ids))


def rows_of(result: FrameResult, rows: Sequence[int]) -> FrameResult:
    """Some rows of a result as a result."""
    index = torch.tensor(rows, dtype=torch.long)
    return replace(
        result,
        object_ids=tuple(result.object_ids[row] for row in rows),
        logits=result.logits[index],
        iou=result.iou[index],
        presence=result.presence[index],
        prompted=tuple(result.prompted[row] for row in rows),
        info=tuple(result.info_of(row) for row in rows),
    )


def join(first: FrameResult, second: FrameResult) -> FrameResult:
    """Results of different objects on one frame as one result, rows in ascending order of ids."""
    ids = first.object_ids + second.object_ids
    joined = replace(
        first,
        object_ids=ids,
        logits=torch.cat([first.logits, second.logits]),
        iou=torch.cat([first.iou, second.iou]),
        presence=torch.cat([first.presence, second.presence]),
        prompted=first.prompted + second.prompted,
        info=tuple(part.info_of(row) for part in (first, second) for row in range(len(part.object_ids))),
    )
    return rows_of(joined, sorted(range(len(ids)), key=ids.__getitem__))
