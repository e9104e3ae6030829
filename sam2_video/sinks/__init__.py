"""Results out: pictures, video, tables. Sinks take results frame by frame and hold none of them back.

with MaskPngSink(out / "masks") as masks, OverlaySink(out / "overlay.mp4", fps=source.fps) as overlay:
    for result in session.propagate():
        masks.write(rgb, result, source.frame_name(result.frame))

A file that exists is whole: it is written under a hidden name and renamed when it is finished.
"""

from __future__ import annotations

from sam2_video.sinks.background import BlurSink, GreenScreenSink
from sam2_video.sinks.base import BaseSink, Sink
from sam2_video.sinks.coco import CocoSink
from sam2_video.sinks.cutout import CutoutPngSink, CutoutProresSink, CutoutVp9Sink
from sam2_video.sinks.cvat import CvatSink
from sam2_video.sinks.labelme import LabelMeSink
from sam2_video.sinks.masks import MaskPngSink
from sam2_video.sinks.mot import MotSink, MotsSink
from sam2_video.sinks.object_masks import ObjectMaskSink
from sam2_video.sinks.overlay import OverlaySink, object_colour, paint
from sam2_video.sinks.result_log import ResultLog
from sam2_video.sinks.review import ReviewSink
from sam2_video.sinks.run_json import versions, write_run_json
from sam2_video.sinks.sav import SavSink
from sam2_video.sinks.sound import Sound
from sam2_video.sinks.tables import ObjectsCsvSink, RleJsonSink
from sam2_video.sinks.video import VideoWriter
from sam2_video.sinks.yolo import YoloSink
from sam2_video.sinks.youtube_vis import YouTubeVisSink

__all__ = [
    "BaseSink",
    "BlurSink",
    "CocoSink",
    "CutoutPngSink",
    "CutoutProresSink",
    "CutoutVp9Sink",
    "CvatSink",
    "GreenScreenSink",
    "LabelMeSink",
    "MaskPngSink",
    "MotSink",
    "MotsSink",
    "ObjectMaskSink",
    "ObjectsCsvSink",
    "OverlaySink",
    "ResultLog",
    "ReviewSink",
    "RleJsonSink",
    "SavSink",
    "Sink",
    "Sound",
    "VideoWriter",
    "YoloSink",
    "YouTubeVisSink",
    "object_colour",
    "paint",
    "versions",
    "write_run_json",
]
