"""Video files that get their name when they are whole, and the sinks that write them."""

from __future__ import annotations

import errno
import logging
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam2_video.sinks.base import BaseSink, finish, make_folder, part_name, remove, reported
from sam2_video.sinks.encoders import ENCODERS, H264, Encoder, EncoderMissing, Profile
from sam2_video.sinks.sound import Sound, SoundTrack
from sam2_video.types import FrameResult, SinkError

_log = logging.getLogger(__name__)


class VideoWriter:
    """A video file that gets its name when it is closed; its size is that of the first frame.

    The same frames make the same bytes. H.264 files get even sides: the last row or column is repeated.
    """

    def __init__(
        self,
        path: str | Path,
        fps: float | None = None,
        encoder: str = "auto",
        *,
        profile: Profile = H264,
        sound: Sound | None = None,
    ) -> None:
        """`encoder` is "av", "ffmpeg", "opencv" or the first of these that works. Raises SinkError."""
        if encoder != "auto" and encoder not in ENCODERS:
            raise SinkError(f"unknown encoder {encoder!r}; expected auto, {', '.join(ENCODERS)}")
        self.path = Path(path)
        self._part = part_name(self.path)
        self._names = list(ENCODERS) if encoder == "auto" else [encoder]
        self._fps = Fraction(fps or 25.0).limit_denominator(60_000)  # 29.97... is 30000/1001 again
        self._profile = profile
        self._sound = sound
        self._encoder: Encoder | None = None
        self._shape: tuple[int, ...] | None = None
        make_folder(self.path.parent)
        with reported(self.path):
            if self.path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "is a folder")
            self._part.touch()
            self._part.unlink()

    def write(self, pixels: NDArray[np.uint8], frame: int = 0) -> None:
        """Add one (H, W, 3) RGB frame, (H, W, 4) RGBA for a profile with alpha. Raises SinkError.

        `frame` is its number in the clip: the sound begins at that of the first one.
        """
        if self._shape is None:
            self._encoder, self._shape = self._open(pixels.shape, frame), pixels.shape
        if self._encoder is None:
            raise SinkError(f"{self.path} is closed; nothing more can be written")
        if pixels.shape != self._shape:
            raise SinkError(f"a frame of shape {pixels.shape} cannot follow frames of shape {self._shape}")
        with reported(self.path):
            self._encoder.write(_even(pixels) if self._profile.even else np.ascontiguousarray(pixels))

    def close(self) -> None:
        """Finish the file and give it its name; without a frame there is no file. Raises SinkError."""
        encoder, self._encoder = self._encoder, None
        if encoder is None:
            return
        try:
            with reported(self.path):
                encoder.close()
        except BaseException:
            remove(self._part)
            raise
        finish(self._part, self.path)

    def discard(self) -> None:
        """Remove what was written."""
        encoder, self._encoder = self._encoder, None
        if encoder is not None:
            try:
                encoder.close()
            except OSError as error:  # the reason for giving up, most likely
                _log.debug("discarding %s: %s", self.path, error)
            remove(self._part)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def _open(self, shape: tuple[int, ...], frame: int) -> Encoder:
        channels = 4 if self._profile.alpha else 3
        if len(shape) != 3 or shape[2] != channels:
            raise SinkError(f"a frame of shape {shape} came for {self.path}; expected (H, W, {channels})")
        height, width = shape[:2]
        if self._profile.even:
            height, width = height + height % 2, width + width % 2
        sound = None if self._sound is None else self._sound.cut(frame)
        try:
            return self._first_that_works((height, width), sound)
        except BaseException:
            if sound is not None:
                sound.close()
            raise

    def _first_that_works(self, size: tuple[int, int], sound: SoundTrack | None) -> Encoder:
        reasons = []
        for name in self._names:
            try:
                with reported(self.path):
                    return ENCODERS[name](self._part, size, self._fps, self._profile, sound)
            except EncoderMissing as error:
                reasons.append(str(error))
                remove(self._part)
        raise SinkError(
            f"cannot write {self.path}: no video encoder works ({'; '.join(reasons)}); "
            "install the extra 'video' (PyAV)"
        )


class VideoSink(BaseSink):
    """A sink that makes one picture of each result, for one video."""

    def __init__(self, writer: VideoWriter) -> None:
        self._writer = writer

    def picture(self, frame_rgb: NDArray[np.uint8], result: FrameResult) -> NDArray[np.uint8]:
        """Return what the video shows on this frame."""
        raise NotImplementedError

    def write(self, frame_rgb: NDArray[np.uint8], result: FrameResult, frame_name: str) -> None:
        """Make and encode one picture. Raises SinkError."""
        self._writer.write(self.picture(frame_rgb, result), result.frame)

    def close(self) -> None:
        """Finish the video and give it its name. Raises SinkError."""
        self._writer.close()

    def discard(self) -> None:
        """Remove the unfinished video."""
        self._writer.discard()


def _even(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Repeat the last row and column where their number is odd: yuv420p halves both."""
    height, width = rgb.shape[:2]
    if height % 2 or width % 2:
        rgb = np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(rgb)
