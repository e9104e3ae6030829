"""The driver: opens clips, and runs the network for their sessions.

`VideoPredictor` holds a model and how to use it; `Network` is the tensor arithmetic between a session's
state and the model. Neither remembers anything: what changes over a clip lives in `session`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam2_video.ahead import Lookahead
from sam2_video.fingerprint import weights_fingerprint
from sam2_video.memory import MemoryPolicy
from sam2_video.model.sam1 import AnyModel, check_model, with_memory
from sam2_video.model.sam2 import COARSE_STRIDE, SAM2
from sam2_video.postprocess import fill_holes, non_overlapping
from sam2_video.recalled import RecalledMemories
from sam2_video.session import Retain, SessionOptions, Size, VideoSession
from sam2_video.sources import VideoSource, open_source, shared
from sam2_video.stream import VideoStream
from sam2_video.timeline import Outcome, Row
from sam2_video.tracker import remember, segment_next, segment_prompt, stack_recalls
from sam2_video.transforms import FrameTransform, Resize
from sam2_video.types import (
    ABSENT_LOGIT,
    CheckpointError,
    FrameMemory,
    FrameResult,
    ImageFeatures,
    MaskPrediction,
    Prompt,
    PromptTensors,
    Recall,
    SourceError,
)

if TYPE_CHECKING:
    from sam2_video.saved import SavedSession

WORK_BYTES = 2**30  # for what the network works on at once; bounds its memory, not the number of objects
MAX_BATCH = 64
LOW_STRIDE = 4  # mask logits are a quarter of the model frame


class VideoPredictor:
    """Track objects through clips with one model.

    `memory`: which memories a frame looks back at. `fill_holes`: holes and sprinkles up to this many
    low-resolution pixels are removed from results (never from memories). `non_overlapping`: a pixel of a
    result belongs to one object at most. `resize`, `keep_corrections`: see `FrameTransform` and
    `SessionOptions`; they are there for comparing with the reference. Raises ValueError for a memory that
    the model has no time codes for, ConfigError for a SAM 1 model, which has no memory, and for what is no
    model.
    """

    def __init__(
        self,
        model: AnyModel,
        *,
        memory: MemoryPolicy | None = None,
        fill_holes: int = 0,
        non_overlapping: bool = False,
        resize: Resize = "bilinear",
        keep_corrections: bool = True,
    ) -> None:
        check_model(model, type(self).__name__)
        self.model = with_memory(model, "tracking").eval()
        recent = self.model.memory_slots - 1
        self.memory = memory or MemoryPolicy(recent=recent)
        if self.memory.recent > recent:
            raise ValueError(
                f"recent={self.memory.recent} asks for more recent frames than the {recent} that this model "
                "has time codes for"
            )
        self.fill_holes = fill_holes
        self.non_overlapping = non_overlapping
        self.keep_corrections = keep_corrections
        self.transform = FrameTransform(model.image_size, resize)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str,
        *,
        memory: MemoryPolicy | None = None,
        fill_holes: int = 0,
        non_overlapping: bool = False,
        resize: Resize = "bilinear",
        keep_corrections: bool = True,
        **load: Any,
    ) -> VideoPredictor:
        """Load a model by name, path or hub id (`load` goes to `load_model`) and make a predictor of it."""
        from sam2_video.checkpoint import load_model

        return cls(
            load_model(name_or_path, **load),
            memory=memory,
            fill_holes=fill_holes,
            non_overlapping=non_overlapping,
            resize=resize,
            keep_corrections=keep_corrections,
        )

    def open(
        self, source: Any, *, retain: Retain = "all", video_size: Size | None = None, ahead: int = 0
    ) -> VideoSession:
        """Open a clip: a file, a folder of pictures, a list of (H, W, 3) uint8 RGB arrays, or a ready source.

        `retain`: "all" keeps what later corrections need (in host memory), "window" needs constant memory.
        `video_size` (H, W) gives coordinates, masks and results another size than that of the frames. Passes
        over files read the next frames in a thread while one is tracked; `ahead` threads also encode them,
        which pays for small models on a CPU with `torch.set_num_threads(1)`, see docs/performance.md. A ready
        source is read only when a frame is asked for, unless it is a `SharedSource`. Raises SourceError where
        there are no frames to be had.
        """
        options = SessionOptions(self.memory, retain, self.keep_corrections, video_size)
        network = self._network(offload=retain == "all")
        clip = _open_shared(source, ahead)
        return self._opened(VideoSession(clip, network, options), source, ahead)

    def resume(self, saved: str | Path | SavedSession, source: Any = None, *, ahead: int = 0) -> VideoSession:
        """Go on with a session that was saved, by the settings that it had.

        `source`: the clip, where it is not found under the path by which it was opened. `ahead`: see `open`.
        Raises DataError for a file that cannot be read, SourceError for a clip that is missing or another
        one, CheckpointError for other weights.
        """
        from sam2_video.saved import read_saved, restore_session

        kept = read_saved(saved) if isinstance(saved, str | Path) else saved
        path = kept.clip["path"] if source is None else source
        if path is None:
            raise SourceError(
                f"{kept.path} does not say where its clip ({kept.clip['name']}) is: give source="
            )
        try:
            clip = _open_shared(path, ahead)
        except SourceError as error:
            hint = "" if source is not None else ". If the clip was moved, give source="
            raise SourceError(f"{error}{hint}") from error
        try:
            return self._opened(restore_session(kept, clip, self._network_of(kept)), path, ahead)
        except BaseException:
            if clip is not source:
                clip.close()
            raise

    def stream(self, *, frame_count: int | None = None) -> VideoStream:
        """Start a stream: frames are pushed one at a time, in constant memory; see `VideoStream`.

        `frame_count`: number of frames that will come, where it is known. The time of pointers is measured in
        it: only with it are results on clips of less than 16 frames those that `open` gives.
        """
        options = SessionOptions(self.memory, "window", self.keep_corrections)
        return VideoStream(self._network(), options, frame_count)

    def look_ahead(self, session: VideoSession, encoders: int) -> None:
        """Have a session look ahead, with so many threads that encode; see `open`."""
        session.look_ahead(Lookahead.of(encoders, self.model.device.type))

    def _opened(self, session: VideoSession, source: Any, ahead: int) -> VideoSession:
        """Note where the clip of a session is, so that it can be opened again, and how far to look ahead."""
        self.look_ahead(session, ahead)
        if isinstance(source, str | Path):
            session.origin = str(Path(source).resolve()) if Path(source).exists() else str(source)
        return session

    @property
    def batch_size(self) -> int:
        """How many objects go through the network at once."""
        return self._network().batch_size

    def _network(self, *, offload: bool = False) -> Network:
        """What sessions of this predictor drive."""
        return Network(self.model, self.transform, self.fill_holes, self.non_overlapping, offload)

    def _network_of(self, saved: SavedSession) -> Network:
        """The network as a saved session had it. Raises CheckpointError where it cannot be the same."""
        resize: Resize = next((r for r in get_args(Resize) if r == saved.model.get("resize")), "bilinear")
        network = Network(
            self.model,
            FrameTransform(self.model.image_size, resize),
            int(saved.model.get("fill_holes") or 0),
            bool(saved.model.get("non_overlapping")),
            offload=saved.state.options.retain == "all",
        )
        for key, found in network.settings().items():
            if saved.model.get(key) != found:
                what = (
                    "other weights" if key == "weights" else f"{key} {saved.model.get(key)!r}, not {found!r}"
                )
                raise CheckpointError(
                    f"{saved.path} was saved with {what}; load the model that it began with"
                )
        return network


@dataclass(frozen=True)
class Network:
    """What a session asks of the model; see `session.Driver`. Stateless."""

    model: SAM2
    transform: FrameTransform
    fill_holes: int = 0
    non_overlapping: bool = False
    offload: bool = False  # memories wait on the CPU until they are recalled

    @cached_property
    def _recalled(self) -> RecalledMemories:
        """A memo: what it keeps can be made again from what it is given."""
        return RecalledMemories(self.model)

    def look(self, rgb: NDArray[np.uint8]) -> ImageFeatures:
        """Encode one (H, W, 3) uint8 RGB frame."""
        with torch.inference_mode():
            return self.model.encode_image(self.transform.pixels(rgb).to(self.model.device))

    def segment(
        self, features: ImageFeatures, prompt: Prompt, size: Size, previous: Tensor | None, recall: Recall
    ) -> Outcome:
        """Segment one prompted object and make its memory."""
        with torch.inference_mode():
            tensors = self._tensors(prompt, size, previous)
            recall = self._recalled.ready([recall])[0]
            prediction = segment_prompt(self.model, features, tensors, recall)
            memory = remember(self.model, features, prediction, prompted=True)
            return self._separate(prediction, memory)[0]

    def _tensors(self, prompt: Prompt, size: Size, previous: Tensor | None) -> PromptTensors:
        """A prompt in the model's units, where the model is."""
        made, device = self.transform.prompt_tensors(prompt, size, previous), self.model.device
        return PromptTensors(
            made.points.to(device),
            made.labels.to(device),
            None if made.previous is None else made.previous.to(device),
            None if made.mask is None else made.mask.to(device),
        )

    @property
    def batch_size(self) -> int:
        """How many objects go through the network at once."""
        return min(max(WORK_BYTES // self.model.object_bytes, 1), MAX_BATCH)

    def follow(self, features: ImageFeatures, recalls: Sequence[Recall]) -> list[Outcome]:
        """Segment objects that are not prompted; those whose recalls have the same layout share a batch."""
        outcomes: dict[int, Outcome] = {}
        with torch.inference_mode():
            ready = self._recalled.ready(recalls)
            for batch in _batches(ready, self.batch_size):
                recall = stack_recalls([ready[i] for i in batch])
                prediction = segment_next(self.model, features, recall)
                memory = remember(self.model, features, prediction, prompted=False)
                outcomes.update(zip(batch, self._separate(prediction, memory), strict=True))
        return [outcomes[i] for i in range(len(recalls))]

    def remember(self, features: ImageFeatures, prediction: MaskPrediction, *, prompted: bool) -> FrameMemory:
        """Make the memory of one object on a frame again, from the mask that was found."""
        found = prediction.logits, prediction.iou, prediction.pointer, prediction.presence
        logits, iou, pointer, presence = (part.to(self.model.device) for part in found)
        with torch.inference_mode():
            mask = MaskPrediction(logits, iou, pointer.to(self.model.dtype), presence)
            return self._separate(mask, remember(self.model, features, mask, prompted=prompted))[0][1]

    def settings(self) -> dict[str, Any]:
        """What decides the results of this network, and the shapes of what it makes of one object."""
        return {
            "weights": self._weights,
            "image_size": self.model.image_size,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "resize": self.transform.resize,
            "fill_holes": self.fill_holes,
            "non_overlapping": self.non_overlapping,
            "shapes": self._shapes(),
        }

    @cached_property
    def _weights(self) -> str:
        return weights_fingerprint(self.model)

    def _shapes(self) -> dict[str, list[int]]:
        low, coarse = self.model.image_size // LOW_STRIDE, self.model.image_size // COARSE_STRIDE
        pointer = [1, self.model.width]
        return {
            "logits": [1, 1, low, low],
            "iou": [1],
            "pointer": pointer,
            "presence": [1],
            "memory.features": [1, self.model.memory_width, coarse, coarse],
            "memory.pointer": pointer,
        }

    def _separate(self, prediction: MaskPrediction, memory: FrameMemory) -> list[Outcome]:
        """Split a batch into its objects; each owns its memory, so that it can be forgotten alone."""
        place = torch.device("cpu") if self.offload else self.model.device
        found = prediction.logits, prediction.iou, prediction.pointer, prediction.presence
        logits, iou, pointer, presence = (whole.float().cpu() for whole in found)

        def part(one: slice) -> Outcome:
            mask = MaskPrediction(logits[one], iou[one], pointer[one], presence[one])
            return mask, memory.map(lambda whole: whole[one].to(place, copy=True))

        return [part(slice(i, i + 1)) for i in range(len(iou))]

    def show(self, frame: int, size: Size, rows: Sequence[Row]) -> FrameResult:
        """Put objects together; those that are not there yet count as absent."""
        side = self.model.image_size // LOW_STRIDE
        absent = MaskPrediction(
            logits=torch.full((1, 1, side, side), ABSENT_LOGIT),
            iou=torch.zeros(1),
            pointer=torch.zeros(1, 0),
            presence=torch.full((1,), ABSENT_LOGIT),
        )
        shown = [row.prediction or absent for row in rows]
        # Concatenated outside of inference mode: results are ordinary tensors.
        logits = torch.cat([p.logits[:, 0] for p in shown]) if rows else torch.zeros(0, side, side)
        logits = fill_holes(logits, self.fill_holes)
        return FrameResult(
            frame=frame,
            object_ids=tuple(row.object_id for row in rows),
            logits=non_overlapping(logits) if self.non_overlapping else logits,
            iou=torch.cat([p.iou for p in shown]) if rows else torch.zeros(0),
            presence=torch.cat([p.presence for p in shown]) if rows else torch.zeros(0),
            size=size,
            prompted=tuple(row.prompted for row in rows),
            info=tuple(row.info for row in rows),
        )


def _open_shared(source: Any, ahead: int) -> VideoSource:
    """Open a clip, to be read ahead where nobody else has it."""
    opened = open_source(source)
    return opened if opened is source else shared(opened, Lookahead.of(ahead).frames + 2)


def _batches(recalls: Sequence[Recall], size: int) -> Iterator[list[int]]:
    """Indices of recalls that can go through the network together."""
    groups: dict[Any, list[int]] = defaultdict(list)
    for index, recall in enumerate(recalls):
        groups[recall.layout].append(index)
    for group in groups.values():
        for first in range(0, len(group), size):
            yield group[first : first + size]
