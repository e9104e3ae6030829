"""SA-V JSON: the masklets of a video as the SA-V data set stores those of its training videos."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sam2_video.sinks.chains import Chains
from sam2_video.sinks.names import file_name
from sam2_video.sinks.tables import CocoMask, compress_runs, is_prompted
from sam2_video.sinks.text import TextSink, json_list
from sam2_video.types import FrameResult, ObjectInfo, SinkError

_log = logging.getLogger(__name__)
SMALL, MEDIUM = 32**2, 96**2  # pixels: where the buckets of SA-V's README end
FRAMES = 0  # key of the entries of frames
OFFSET = 1.0  # of logits: how far the threshold of masks moves where their stability is measured


@dataclass
class _Masklet:
    """What SA-V says of a masklet, counted as frames come."""

    first: int  # frame of the clip
    latest: int  # of the frames written, the last on which it was seen
    info: ObjectInfo = field(default_factory=ObjectInfo)
    visible: int = 0
    area: int = 0
    changes: int = 0  # of visibility, after the first appearance
    edited: int = 0
    chain: int = 0  # key of its stability scores

    def see(self, frame: int, mask: CocoMask, info: ObjectInfo) -> None:
        """Take a frame on which the masklet is visible; `frame` counts the frames written."""
        if self.visible and frame != self.latest + 1:
            self.changes += 2  # it was gone and is back
        self.latest, self.info = frame, info
        self.visible += 1
        self.area += mask.area


class SavSink(TextSink):
    """`FOLDER/<clip>_<kind>.json`, where SA-V's `SAVDataset(FOLDER, annot_sample_rate=rate)` finds it.

    The k-th entry of `masklet` is frame k * rate: frames before the first one tracked, and any that are left
    out, are there without a mask. The rate is the stride where the run is on multiples of it, else what
    divides stride and frames (mostly 1); the key `annot_sample_rate` holds it. An entry lists all masklets,
    in the order of `masklet_id`, which holds object ids; an object that is never seen is left out. `kind` is
    "manual" for masklets that somebody prompted, "auto" for those that nobody did. Only the latter have
    `masklet_stability_score`: for each masklet a number for each entry of `masklet`, 0 where it has no mask.
    """

    def __init__(
        self,
        folder: str | Path,
        clip: str = "clip",
        fps: float | None = None,
        stride: int = 1,
        frames: int | None = None,
        kind: Literal["manual", "auto"] = "manual",
    ) -> None:
        """`fps` and `frames` are those of the whole clip, where they are known. Raises SinkError."""
        self._clip = file_name(clip) or "clip"
        self._entries = Chains(folder)
        super().__init__(Path(folder) / f"{self._clip}_{kind}.json")
        self._kind = kind
        self._fps, self._stride, self._frames = fps, stride, frames
        self._masklets: dict[int, _Masklet] = {}
        self._written = 0
        self._rate = stride

    def write(self, frame_rgb: NDArray[np.uint8], result: FrameResult, frame_name: str) -> None:
        """Set one frame aside. Raises SinkError, also for frames closer together than the stride."""
        self.check_size(result.size)
        before = self._last
        self.check_order(result.frame)
        if before is not None and result.frame - before < self._stride:
            raise SinkError(
                f"frame {result.frame} is closer to the one before than the stride, {self._stride}"
            )
        # The format says of no entry which frame it is: only its place does, from frame 0 of the clip on.
        self._rate = math.gcd(self._rate, result.frame)
        masks = {}
        for row, object_id in enumerate(result.object_ids):
            mask = CocoMask.of(result, row)
            known = self._masklets.get(object_id)
            if mask.area:
                known = known or _Masklet(result.frame, self._written, chain=FRAMES + 1 + len(self._masklets))
                self._masklets[object_id] = known
                known.see(self._written, mask, result.info_of(row))
                masks[object_id] = mask.segmentation["counts"]
                if self._kind == "auto":
                    self._entries.append(known.chain, json.dumps([result.frame, _stability(result, row)]))
            if known is not None and self._kind == "manual":  # by a person: automatic prompts are none
                known.edited += is_prompted(result, row)
        self._entries.append(FRAMES, json.dumps([result.frame, list(masks.items())]))
        self._written += 1

    def ending(self) -> Iterator[str]:
        if self._rate != self._stride:
            _log.warning(
                "%s: the frames are no multiples of the stride, %d; read it with annot_sample_rate=%d",
                self._path.name,
                self._stride,
                self._rate,
            )
        yield json.dumps(self._video())[:-1] + ', "masklet": '
        yield from json_list(self._frame_entries())
        yield ', "masklet_stability_score": '
        yield from json_list(map(self._stabilities, self._masklets.values()))
        yield ", " + json.dumps(self._table())[1:] + "\n"

    def release(self) -> None:
        self._entries.close()

    def _frame_entries(self) -> Iterator[str]:
        size = list(self._size)
        nothing = {"size": size, "counts": compress_runs({"size": size, "counts": [size[0] * size[1]]})}
        empty = json.dumps([nothing] * len(self._masklets))
        next_place = 0
        for text in self._entries.read(FRAMES):
            frame, pairs = json.loads(text)
            place = frame // self._rate
            yield from [empty] * (place - next_place)
            masks = dict(pairs)
            entry = [{"size": size, "counts": masks[k]} if k in masks else nothing for k in self._masklets]
            yield json.dumps(entry)
            next_place = place + 1

    def _stabilities(self, masklet: _Masklet) -> str:
        """The stability scores of a masklet as JSON."""
        if self._kind == "manual":
            return "null"
        scores = [0.0] * ((self._last or 0) // self._rate + 1)
        for text in self._entries.read(masklet.chain):
            frame, score = json.loads(text)
            scores[frame // self._rate] = score
        return json.dumps(scores)

    def _video(self) -> dict[str, Any]:
        seen = 0 if self._last is None else self._last + 1
        frames = self._frames or seen
        height, width = self._size
        return {
            "video_id": self._clip,
            "video_duration": frames / self._fps if self._fps else None,
            "video_frame_count": float(frames),
            "video_height": float(height),
            "video_width": float(width),
            "video_resolution": float(height * width),
            "video_environment": "unknown",
            "video_split": "unknown",
        }

    def _table(self) -> dict[str, Any]:
        all_of_them = list(self._masklets.values())
        sizes = [masklet.area / masklet.visible for masklet in all_of_them]
        return {
            "masklet_id": list(self._masklets),
            "masklet_size_rel": [size / (self._size[0] * self._size[1]) for size in sizes],
            "masklet_size_abs": sizes,
            "masklet_size_bucket": [bucket(size) for size in sizes],
            "masklet_visibility_changes": [
                masklet.changes + (masklet.latest < self._written - 1) for masklet in all_of_them
            ],
            "masklet_first_appeared_frame": [masklet.first // self._rate for masklet in all_of_them],
            "masklet_frame_count": [self._written] * len(all_of_them),
            "masklet_edited_frame_count": [masklet.edited for masklet in all_of_them],
            "masklet_type": [self._kind] * len(all_of_them),
            "masklet_num": len(all_of_them),
            # SA-V has no names and no rate; its readers pass over keys that they do not know.
            "annot_sample_rate": self._rate,
            "masklet_name": [masklet.info.name for masklet in all_of_them],
            "masklet_category": [masklet.info.category for masklet in all_of_them],
        }


def _stability(result: FrameResult, row: int) -> float:
    """IoU of the masks at a higher and a lower threshold, as SAM's automatic masks are judged by."""
    logits = result.logits[row]
    outer = int((logits > -OFFSET).sum())
    return round(int((logits > OFFSET).sum()) / outer, 4) if outer else 0.0


def bucket(area: float) -> str:
    """Return SA-V's word for a mean area in pixels."""
    return "small" if area < SMALL else "medium" if area < MEDIUM else "large"
