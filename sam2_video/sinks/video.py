"""Writing mp4 files that ordinary players open: H.264, yuv420p, index first."""

from __future__ import annotations

import errno
import logging
import subprocess
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sam2_video.sinks.base import finish, make_folder, part_name, remove, reported
from sam2_video.types import SinkError

PRESET = "superfast"  # half the time of veryfast, for files a third larger: an overlay is looked at, not kept
QUALITY = "20"  # x264's constant rate factor: no visible loss at a moderate size
_log = logging.getLogger(__name__)


class EncoderMissing(Exception):
    """This way of encoding is not available here; never leaves this package."""


class Encoder(Protocol):
    """Frames into one file; every failure is an OSError."""

    def write(self, rgb: NDArray[np.uint8]) -> None: ...

    def close(self) -> None: ...


class AvEncoder:
    """H.264 by PyAV."""

    def __init__(self, path: Path, size: tuple[int, int], fps: Fraction) -> None:
        try:
            import av
        except (ImportError, OSError) as error:
            raise EncoderMissing(f"PyAV is not installed or does not start ({error})") from error
        self._av = av
        self._failed = False
        self._container = self._call(
            av.open, str(path), "w", format="mp4", options={"movflags": "+faststart"}
        )
        try:
            self._stream: Any = self._container.add_stream(
                "libx264", rate=fps, options={"preset": PRESET, "crf": QUALITY}
            )
        except (ValueError, av.error.FFmpegError) as error:  # a build without x264
            raise EncoderMissing(f"PyAV has no H.264 encoder ({error})") from error
        self._stream.height, self._stream.width = size
        self._stream.pix_fmt = "yuv420p"

    def write(self, rgb: NDArray[np.uint8]) -> None:
        frame = self._av.VideoFrame.from_ndarray(rgb, format="rgb24")
        for packet in self._call(self._stream.encode, frame):
            self._call(self._container.mux, packet)

    def close(self) -> None:
        if self._failed:  # writing on after the file's head has failed brings the library down
            with suppress(self._av.error.FFmpegError):
                self._container.close()
            return
        try:
            for packet in self._call(self._stream.encode):
                self._call(self._container.mux, packet)
        finally:
            self._call(self._container.close)

    def _call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except self._av.error.FFmpegError as error:
            self._failed = True
            if isinstance(error, OSError):
                raise
            raise OSError(error.errno, error.strerror) from error


class FfmpegEncoder:
    """H.264 by the ffmpeg program that imageio-ffmpeg brings."""

    def __init__(self, path: Path, size: tuple[int, int], fps: Fraction) -> None:
        try:
            import imageio_ffmpeg

            program = imageio_ffmpeg.get_ffmpeg_exe()
        except (ImportError, RuntimeError) as error:
            raise EncoderMissing(f"imageio-ffmpeg is not installed or brings no ffmpeg ({error})") from error
        raw = f"-f rawvideo -pix_fmt rgb24 -s {size[1]}x{size[0]} -r {fps} -i -"
        coded = f"-c:v libx264 -preset {PRESET} -crf {QUALITY} -pix_fmt yuv420p -movflags +faststart -f mp4"
        command = [program, "-y", "-loglevel", "error", *raw.split(), *coded.split(), str(path)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)

    def write(self, rgb: NDArray[np.uint8]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(rgb.tobytes())
        except BrokenPipeError:
            self.close()  # says why
            raise

    def close(self) -> None:
        _, message = self._process.communicate()
        if self._process.returncode:
            text = message.decode(errors="replace").strip()
            full = "No space left" in text
            last = text.splitlines()[-1] if text else f"exit code {self._process.returncode}"
            raise OSError(errno.ENOSPC if full else errno.EIO, f"ffmpeg failed: {last}")


class OpenCvEncoder:
    """MPEG-4 part 2 by OpenCV, where nothing better is installed; not every player shows it."""

    def __init__(self, path: Path, size: tuple[int, int], fps: Fraction) -> None:
        import cv2

        self._path = path
        self._cv2 = cv2
        self._frames = 0
        code = cv2.VideoWriter.fourcc(*"mp4v")
        self._writer = cv2.VideoWriter(str(path), code, float(fps), (size[1], size[0]))
        if not self._writer.isOpened():
            raise EncoderMissing("OpenCV cannot write mp4 files")
        _log.warning("no H.264 encoder: %s gets MPEG-4 part 2; install the extra 'video' (PyAV)", path.name)

    def write(self, rgb: NDArray[np.uint8]) -> None:
        self._frames += 1
        self._writer.write(self._cv2.cvtColor(rgb, self._cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        self._writer.release()
        # OpenCV fails in silence. The index comes last in the file, so if it is there, all is there.
        check = self._cv2.VideoCapture(str(self._path))
        found = int(check.get(self._cv2.CAP_PROP_FRAME_COUNT)) if check.isOpened() else 0
        check.release()
        if found < self._frames:
            raise OSError(errno.EIO, f"OpenCV wrote {found} of {self._frames} frames; is the disk full?")


ENCODERS: dict[str, Callable[[Path, tuple[int, int], Fraction], Encoder]] = {
    "av": AvEncoder,
    "ffmpeg": FfmpegEncoder,
    "opencv": OpenCvEncoder,
}


class VideoWriter:
    """An mp4 file that gets its name when it is closed; its size is that of the first frame, made even."""

    def __init__(self, path: str | Path, fps: float | None = None, encoder: str = "auto") -> None:
        """`encoder` is "av", "ffmpeg", "opencv" or the first of these that works. Raises SinkError."""
        if encoder != "auto" and encoder not in ENCODERS:
            raise SinkError(f"unknown encoder {encoder!r}; expected auto, {', '.join(ENCODERS)}")
        self.path = Path(path)
        self._part = part_name(self.path)
        self._names = list(ENCODERS) if encoder == "auto" else [encoder]
        self._fps = Fraction(fps or 25.0).limit_denominator(60_000)
        self._encoder: Encoder | None = None
        self._shape: tuple[int, ...] | None = None
        make_folder(self.path.parent)
        with reported(self.path):
            if self.path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "is a folder")
            self._part.touch()
            self._part.unlink()

    def write(self, rgb: NDArray[np.uint8]) -> None:
        """Add one (H, W, 3) RGB frame. Raises SinkError."""
        if self._shape is None:
            self._encoder, self._shape = self._open((rgb.shape[0], rgb.shape[1])), rgb.shape
        if self._encoder is None:
            raise SinkError(f"{self.path} is closed; nothing more can be written")
        if rgb.shape != self._shape:
            raise SinkError(f"a frame of shape {rgb.shape} cannot follow frames of shape {self._shape}")
        with reported(self.path):
            self._encoder.write(_even(rgb))

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

    def _open(self, size: tuple[int, int]) -> Encoder:
        even = size[0] + size[0] % 2, size[1] + size[1] % 2
        reasons = []
        for name in self._names:
            try:
                with reported(self.path):
                    return ENCODERS[name](self._part, even, self._fps)
            except EncoderMissing as error:
                reasons.append(str(error))
                remove(self._part)
        raise SinkError(f"cannot write {self.path}: no video encoder works ({'; '.join(reasons)})")


def _even(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Repeat the last row and column where their number is odd: yuv420p halves both."""
    height, width = rgb.shape[:2]
    if height % 2 or width % 2:
        rgb = np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(rgb)
