"""The clip with another background: green for keying, or blurred."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam2_video.sinks.cutout import objects_mask
from sam2_video.sinks.sound import Sound
from sam2_video.sinks.video import VideoSink, VideoWriter
from sam2_video.types import FrameResult

GREEN = (0, 255, 0)  # what keyers take for green unless told otherwise
BLUR = 1 / 40  # standard deviation of the blur, as a share of the frame's shorter side
COARSE = 4  # the background is blurred at a quarter of its size, which cannot be told from the whole


class BackgroundSink(VideoSink):
    """An mp4 in which all objects together, or those in `objects`, stand before another background."""

    def __init__(
        self,
        path: str | Path,
        fps: float | None = None,
        encoder: str = "auto",
        sound: Sound | None = None,
        objects: Collection[int] | None = None,
    ) -> None:
        """`fps` is the clip's own rate, 25 where it has none. Raises SinkError if no file can be made."""
        super().__init__(VideoWriter(path, fps, encoder, sound=sound))
        self._objects = objects

    def background(self, frame_rgb: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Return what is shown outside of the (H, W) mask, (H, W, 3)."""
        raise NotImplementedError

    def picture(self, frame_rgb: NDArray[np.uint8], result: FrameResult) -> NDArray[np.uint8]:
        """Return the objects of the frame before the other background."""
        mask = objects_mask(result, self._objects)
        out = self.background(frame_rgb, mask)
        np.copyto(out, frame_rgb, where=mask[..., None])
        return out


class GreenScreenSink(BackgroundSink):
    """An mp4 of the objects before pure green."""

    def background(self, frame_rgb: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Return green."""
        return np.full_like(frame_rgb, GREEN)


class BlurSink(BackgroundSink):
    """An mp4 of the objects before their blurred background."""

    def background(self, frame_rgb: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Return the blurred background, in which the objects have no part."""
        return blur_outside(frame_rgb, mask)


def blur_outside(rgb: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Blur an (H, W, 3) frame from pixels outside of the (H, W) mask alone, so that no object has a halo."""
    import cv2

    height, width = mask.shape
    small = max(1, width // COARSE), max(1, height // COARSE)
    share = np.where(mask, 0, 1).astype(np.float32)
    colours = cv2.resize(rgb * share[..., None], small, interpolation=cv2.INTER_AREA)
    weight = cv2.resize(share, small, interpolation=cv2.INTER_AREA)
    sigma = max(1.0, min(height, width) * BLUR / COARSE)
    colours, weight = cv2.GaussianBlur(colours, (0, 0), sigma), cv2.GaussianBlur(weight, (0, 0), sigma)
    # Deep inside a large object no background is near; what is made up there lies under the object.
    blurred = colours / np.maximum(weight, 1e-3)[..., None]
    whole = cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.clip(whole + 0.5, 0, 255).astype(np.uint8))
