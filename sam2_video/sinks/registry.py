"""Every kind of result by the name that `--save` takes: who writes it, in which order, under which name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sam2_video.sinks.background import BlurSink, GreenScreenSink
from sam2_video.sinks.base import Sink
from sam2_video.sinks.coco import CocoSink
from sam2_video.sinks.cutout import CutoutPngSink, CutoutProresSink, CutoutVp9Sink
from sam2_video.sinks.cvat import CvatSink
from sam2_video.sinks.labelme import LabelMeSink
from sam2_video.sinks.masks import MaskPngSink, check_ids
from sam2_video.sinks.mot import MotSink, MotsSink, check_mots
from sam2_video.sinks.object_masks import ObjectMaskSink
from sam2_video.sinks.overlay import OverlaySink
from sam2_video.sinks.review import ReviewSink
from sam2_video.sinks.sav import SavSink
from sam2_video.sinks.sound import Sound
from sam2_video.sinks.tables import ObjectsCsvSink, RleJsonSink
from sam2_video.sinks.yolo import YoloSink
from sam2_video.sinks.youtube_vis import YouTubeVisSink
from sam2_video.types import ObjectInfo

FALLBACK_FPS = 25.0  # of videos made from clips without a clock, such as folders


@dataclass(frozen=True)
class SinkOrder:
    """What a sink is told when it is made; each takes from it what it needs."""

    out: Path  # the folder of results
    clip: str  # name of the clip, for formats that hold it
    source: str = ""  # where the clip came from, for formats that say so
    fps: float = FALLBACK_FPS  # of videos, the stride taken into account
    bits: int = 8  # of mask pictures: 8 up to object 255, else 16
    start: int = 0  # first frame of the run
    stride: int = 1
    frames: int | None = None  # of the whole clip, where that is known
    file: Path | None = None  # the one that is read, which holds the clip's sound; fetched, of an address

    @property
    def clip_fps(self) -> float:
        """The rate of the clip itself."""
        return self.fps * self.stride

    @property
    def sound(self) -> Sound | None:
        """The clip's sound for videos that play at the clip's speed; None where it is in no file."""
        return None if self.file is None else Sound(self.file, self.clip_fps)


@dataclass(frozen=True)
class SinkKind:
    """One kind of result. `files`: glob patterns of what it leaves in the folder of results.

    `check` takes the objects of a run by id before anything is made, and raises PromptError or SinkError
    where their ids or names do not fit.
    """

    make: Callable[[SinkOrder], Sink]
    files: tuple[str, ...]
    check: Callable[[Mapping[int, ObjectInfo]], object] = lambda objects: None
    any_order: bool = False  # frames may come in any order, each is a file of its own
    note: str = ""  # for --help


SINKS: dict[str, SinkKind] = {
    "masks": SinkKind(
        lambda order: MaskPngSink(order.out / "masks", bits=order.bits),
        files=("masks/*.png",),
        check=check_ids,
        any_order=True,
        note="PNG",
    ),
    "overlay": SinkKind(
        lambda order: OverlaySink(order.out / "overlay.mp4", order.fps, sound=order.sound),
        files=("overlay.mp4",),
        note="mp4",
    ),
    "cutout": SinkKind(
        lambda order: CutoutPngSink(order.out / "cutout"),
        files=("cutout/*.png",),
        any_order=True,
        note="PNG with alpha",
    ),
    "cutout-prores": SinkKind(
        lambda order: CutoutProresSink(order.out / "cutout.mov", order.fps),
        files=("cutout.mov",),
        note="ProRes 4444 with alpha",
    ),
    "cutout-vp9": SinkKind(
        lambda order: CutoutVp9Sink(order.out / "cutout.webm", order.fps),
        files=("cutout.webm",),
        note="VP9 with alpha",
    ),
    "green": SinkKind(
        lambda order: GreenScreenSink(order.out / "green.mp4", order.fps, sound=order.sound),
        files=("green.mp4",),
        note="mp4 before green",
    ),
    "blur": SinkKind(
        lambda order: BlurSink(order.out / "blur.mp4", order.fps, sound=order.sound),
        files=("blur.mp4",),
        note="mp4, background blurred",
    ),
    "review": SinkKind(
        lambda order: ReviewSink(order.out / "review.csv"),
        files=("review.csv",),
        note="CSV of frames to look at",
    ),
    "objects": SinkKind(
        lambda order: ObjectsCsvSink(order.out / "objects.csv"), files=("objects.csv",), note="CSV"
    ),
    "rle": SinkKind(
        lambda order: RleJsonSink(order.out / "masks.jsonl"), files=("masks.jsonl",), note="JSON lines"
    ),
    "object-masks": SinkKind(
        lambda order: ObjectMaskSink(order.out / "objects_png"),
        files=("objects_png/*/*.png",),
        note="PNG per object",
    ),
    "coco": SinkKind(
        lambda order: CocoSink(order.out / "coco.json", order.clip, order.source),
        files=("coco.json",),
        note="COCO JSON",
    ),
    "youtube-vis": SinkKind(
        lambda order: YouTubeVisSink(order.out / "youtube_vis.json", order.clip, order.source),
        files=("youtube_vis.json",),
        note="YouTube-VIS JSON",
    ),
    "sav": SinkKind(
        lambda order: SavSink(order.out / "sav", order.clip, order.clip_fps, order.stride, order.frames),
        files=("sav/*_manual.json",),
        note="SA-V JSON",
    ),
    "mot": SinkKind(
        lambda order: MotSink(order.out / "mot", order.clip, order.clip_fps, order.frames),
        files=("mot/*.txt", "mot/*/seqinfo.ini", "mot/*/gt/*.txt"),
        note="MOTChallenge boxes",
    ),
    "mots": SinkKind(
        lambda order: MotsSink(order.out / "mots.txt"),
        files=("mots.txt",),
        check=check_mots,
        note="MOTS run lengths",
    ),
    "labelme": SinkKind(
        lambda order: LabelMeSink(order.out / "labelme", order.source),
        files=("labelme/*.json",),
        any_order=True,
        note="LabelMe polygons",
    ),
    "cvat": SinkKind(
        lambda order: CvatSink(order.out / "cvat.xml", order.clip, order.frames, order.stride),
        files=("cvat.xml",),
        note="CVAT for video 1.1",
    ),
    "yolo": SinkKind(
        lambda order: YoloSink(order.out / "yolo"),
        files=("yolo/labels/*.txt", "yolo/data.yaml"),
        note="YOLO-seg labels",
    ),
}
