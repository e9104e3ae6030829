"""Objects without their background: pictures and videos with alpha.

Alpha is straight, not multiplied into the colours, and hard: 255 inside the masks, 0 outside, at video size.
"""

from __future__ import annotations

import io
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam2_video.sinks.base import BaseSink, make_folder, write_whole
from sam2_video.sinks.encoders import PRORES_4444, VP9_ALPHA, Profile
from sam2_video.sinks.video import VideoSink, VideoWriter
from sam2_video.types import FrameResult

# Pixels around the masks that keep their colours under alpha 0: lossy codecs mix the colours of a block, and
# black beside an edge would darken it.
BLEED = 16


class CutoutPngSink(BaseSink):
    """`FOLDER/<frame name>.png`: RGBA of all objects together, or of those in `objects`; black elsewhere."""

    def __init__(self, folder: str | Path, objects: Collection[int] | None = None) -> None:
        """Raises SinkError where the folder cannot be made or written to."""
        self._folder = Path(folder)
        self._objects = objects
        make_folder(self._folder)

    def write(self, frame_rgb: NDArray[np.uint8], result: FrameResult, frame_name: str) -> None:
        """Write one file. Raises SinkError on a full disk."""
        from PIL import Image

        buffer = io.BytesIO()
        pixels = cut_out(frame_rgb, objects_mask(result, self._objects))
        # Level 3: a third of the time of the usual 6, for a few per cent in size.
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=3)
        write_whole(self._folder / f"{frame_name}.png", buffer.getvalue())


class CutoutVideoSink(VideoSink):
    """One video with alpha of all objects together, or of those in `objects`."""

    profile: Profile

    def __init__(
        self,
        path: str | Path,
        fps: float | None = None,
        encoder: str = "auto",
        objects: Collection[int] | None = None,
    ) -> None:
        """`encoder` is "av" or "ffmpeg": OpenCV writes no alpha. Raises SinkError if no file can be made."""
        super().__init__(VideoWriter(path, fps, encoder, profile=self.profile))
        self._objects = objects

    def picture(self, frame_rgb: NDArray[np.uint8], result: FrameResult) -> NDArray[np.uint8]:
        """Return the frame as (H, W, 4) RGBA."""
        return cut_out(frame_rgb, objects_mask(result, self._objects), BLEED)


class CutoutProresSink(CutoutVideoSink):
    """A .mov of ProRes 4444, 10 bits a colour and 16 of alpha, which editing programs take. Large files."""

    profile = PRORES_4444


class CutoutVp9Sink(CutoutVideoSink):
    """A .webm of VP9 with alpha, which browsers show on top of a page."""

    profile = VP9_ALPHA


def objects_mask(result: FrameResult, objects: Collection[int] | None = None) -> NDArray[np.bool_]:
    """Return the (H, W) union of all masks, or of those of `objects`; ids that are not there are left out."""
    rows = [row for row, k in enumerate(result.object_ids) if objects is None or k in objects]
    return np.asarray(result.masks[rows].any(axis=0))


def cut_out(rgb: NDArray[np.uint8], mask: NDArray[np.bool_], bleed: int = 0) -> NDArray[np.uint8]:
    """Return (H, W, 4) RGBA; pixels farther than `bleed` from the mask are black as well as transparent."""
    import cv2

    inside = mask.astype(np.uint8)
    kept = cv2.dilate(inside, np.ones((2 * bleed + 1, 2 * bleed + 1), np.uint8)) if bleed else inside
    out = np.zeros((*mask.shape, 4), np.uint8)
    np.copyto(out[..., :3], rgb, where=kept[..., None].astype(bool))
    out[..., 3] = inside * 255
    return out
