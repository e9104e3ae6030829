"""The driver: opens clips, and runs the network for their sessions.

`VideoPredictor` holds a model and how to use it. It remembers nothing: what changes over a clip lives in
`session`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from sam2_video.ahead import Lookahead
from sam2_video.memory import MemoryPolicy
from sam2_video.model.sam1 import AnyModel, check_model, with_memory
from sam2_video.network import Network
from sam2_video.session import Retain, SessionOptions, Size, VideoSession
from sam2_video.sources import VideoSource, open_source, shared
from sam2_video.steps import Graphs, Steps
from sam2_video.stream import VideoStream
from sam2_video.transforms import FrameTransform, Resize
from sam2_video.types import (
    CheckpointError,
    ConfigError,
    SourceError,
)

if TYPE_CHECKING:
    from sam2_video.model.sam2 import SAM2
    from sam2_video.saved import SavedSession


class VideoPredictor:
    """Track objects through clips with one model.

    `memory`: which memories a frame looks back at; None: as the model is configured. `fill_holes`: holes
    and sprinkles up to this many low-resolution pixels are removed from results (never from memories).
    `non_overlapping`: a pixel of a result belongs to one object at most. `resize`, `keep_corrections`: see
    `FrameTransform` and `SessionOptions`; they are there for comparing with the reference. `graphs`: on a
    CUDA device "auto" replays what settles as CUDA graphs, "off" asks for each operation. Raises ValueError
    for a memory that the model has no time codes for, ConfigError for a configured one that cannot be, for a
    SAM 1 model, which has no memory, and for what is no model.
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
        graphs: Graphs = "auto",
    ) -> None:
        check_model(model, type(self).__name__)
        self.model = with_memory(model, "tracking").eval()
        recent = self.model.memory_slots - 1
        self.memory = memory or _configured(self.model)
        if self.memory.recent > recent:
            raise ValueError(
                f"recent={self.memory.recent} asks for more recent frames than the {recent} that this model "
                "has time codes for"
            )
        self.fill_holes = fill_holes
        self.non_overlapping = non_overlapping
        self.keep_corrections = keep_corrections
        self.transform = FrameTransform(model.image_size, resize)
        self._steps = Steps(self.model, graphs)

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
        graphs: Graphs = "auto",
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
            graphs=graphs,
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
        return Network(
            self.model, self.transform, self.fill_holes, self.non_overlapping, offload, self._steps
        )

    def _network_of(self, saved: SavedSession) -> Network:
        """The network as a saved session had it. Raises CheckpointError where it cannot be the same."""
        resize: Resize = next((r for r in get_args(Resize) if r == saved.model.get("resize")), "bilinear")
        network = Network(
            self.model,
            FrameTransform(self.model.image_size, resize),
            int(saved.model.get("fill_holes") or 0),
            bool(saved.model.get("non_overlapping")),
            offload=saved.state.options.retain == "all",
            shared_steps=self._steps,
        )
        known = {"memory_pool": 1, **saved.model}  # files of before there was a choice do not say
        for key, found in network.settings().items():
            if known.get(key) != found:
                what = "other weights" if key == "weights" else f"{key} {known.get(key)!r}, not {found!r}"
                raise CheckpointError(
                    f"{saved.path} was saved with {what}; load the model that it began with"
                )
        return network


def _configured(model: SAM2) -> MemoryPolicy:
    """The policy that the configuration of a model asks for. Raises ConfigError."""
    asked = {"recent": model.memory_slots - 1, **model.memory_policy}
    if wrong := [key for key, value in asked.items() if type(value) is not int]:
        raise ConfigError(f"memory.{wrong[0]} must be a whole number, got {asked[wrong[0]]!r}")
    if asked["recent"] >= model.memory_slots:
        most = model.memory_slots - 1
        raise ConfigError(f"memory.recent={asked['recent']}, but this model has time codes for {most} frames")
    try:
        return MemoryPolicy(**asked)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the model's memory settings cannot be used: {error}") from error


def _open_shared(source: Any, ahead: int) -> VideoSource:
    """Open a clip, to be read ahead where nobody else has it."""
    opened = open_source(source)
    return opened if opened is source else shared(opened, Lookahead.of(ahead).frames + 2)

