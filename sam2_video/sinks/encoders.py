"""Frames into video files: what is written, and the three libraries that can write it."""

from __future__ import annotations

import errno
import logging
import subprocess
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sam2_video.sinks.sound import SoundTrack

# Encoders divide their work by the number of threads, and what they write depends on it: with a number of
# our own the same frames make the same file on every machine.
THREADS = 4
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Profile:
    """A container, a codec and its settings. With `alpha` frames are (H, W, 4) RGBA, else (H, W, 3) RGB."""

    container: str
    codec: str
    pixels: str
    options: Mapping[str, str]
    alpha: bool = False
    even: bool = False  # players want even sides of 4:2:0 video
    muxer: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)  # of the video stream


H264 = Profile(
    container="mp4",
    codec="libx264",
    pixels="yuv420p",
    # superfast: half the time of veryfast for files a third larger; an overlay is looked at, not kept.
    # crf 20: no visible loss at a moderate size.
    options={"preset": "superfast", "crf": "20"},
    even=True,
    muxer={"movflags": "+faststart"},
)
PRORES_4444 = Profile(
    container="mov",
    codec="prores_ks",
    pixels="yuva444p10le",
    options={"profile": "4444", "alpha_bits": "16", "vendor": "apl0"},
    alpha=True,
)
VP9_ALPHA = Profile(
    container="webm",
    codec="libvpx-vp9",
    pixels="yuva420p",
    # b=0 leaves the quality to crf alone; alternate reference frames are not to be had with alpha.
    options={"crf": "20", "b": "0", "auto-alt-ref": "0", "deadline": "good", "cpu-used": "5", "row-mt": "1"},
    alpha=True,
    metadata={"alpha_mode": "1"},
)


class EncoderMissing(Exception):
    """This way of encoding is not available here; never leaves this package."""


class Encoder(Protocol):
    """Frames into one file; every failure is an OSError."""

    def write(self, pixels: NDArray[np.uint8]) -> None: ...

    def close(self) -> None: ...


class AvEncoder:
    """Any profile by PyAV, with sound."""

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        fps: Fraction,
        profile: Profile = H264,
        sound: SoundTrack | None = None,
    ) -> None:
        try:
            import av
        except (ImportError, OSError) as error:
            raise EncoderMissing(f"PyAV is not installed or does not start ({error})") from error
        self._av, self._profile, self._fps = av, profile, fps
        self._failed = False
        self._frames = 0
        # bitexact: no random numbers and no times of day in the file
        muxer = {"fflags": "+bitexact", **profile.muxer}
        name = str(path.absolute())  # of "12:30/a.mp4" FFmpeg takes the first part for a protocol
        self._container = self._call(av.open, name, "w", format=profile.container, options=muxer)
        self._stream = self._add_stream(size)
        self._sound = sound
        self._sound_stream: Any = None if sound is None else sound.add_to(self._container)

    def write(self, pixels: NDArray[np.uint8]) -> None:
        frame = self._av.VideoFrame.from_ndarray(pixels, format="rgba" if self._profile.alpha else "rgb24")
        frame = frame.reformat(format=self._profile.pixels, dst_colorspace="ITU709", **self._one_thread())
        frame.pts, frame.time_base = self._frames, 1 / self._fps
        self._frames += 1
        for packet in self._call(self._stream.encode, frame):
            self._call(self._container.mux, packet)
        if self._sound is not None:
            self._add_sound(self._sound.until(self._frames / self._fps))

    def close(self) -> None:
        try:
            self._finish()
        finally:
            if self._sound is not None:
                self._sound.close()

    def _finish(self) -> None:
        if self._failed:  # writing on after the file's head has failed brings the library down
            with suppress(self._av.error.FFmpegError):
                self._container.close()
            return
        try:
            if self._sound is not None:
                self._add_sound(self._sound.finish())
            for packet in self._call(self._stream.encode):
                self._call(self._container.mux, packet)
        finally:
            self._call(self._container.close)

    def _add_sound(self, packets: Iterable[Any]) -> None:
        for packet in self._call(list, packets):
            packet.stream = self._sound_stream
            self._call(self._container.mux, packet)

    def _add_stream(self, size: tuple[int, int]) -> Any:
        profile = self._profile
        try:
            stream: Any = self._container.add_stream(
                profile.codec, rate=self._fps, options=dict(profile.options)
            )
        except (ValueError, self._av.error.FFmpegError) as error:  # a build without this codec
            raise EncoderMissing(f"PyAV has no encoder {profile.codec} ({error})") from error
        stream.height, stream.width = size
        stream.pix_fmt = profile.pixels
        context = stream.codec_context
        context.thread_count, context.thread_type = THREADS, "AUTO"
        # 1 is BT.709 for all three, 1 the limited range: without a word players guess by the size
        context.colorspace = context.color_primaries = context.color_trc = context.color_range = 1
        stream.metadata.update(profile.metadata)
        return stream

    def _one_thread(self) -> dict[str, int]:
        # From version 17 on PyAV converts pixels on several threads, and where the width is no multiple of 16
        # one thread writes over the first pixels of the next one's rows (seen with alpha in 10 bits).
        return {"threads": 1} if int(self._av.__version__.split(".")[0]) >= 17 else {}

    def _call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except self._av.error.FFmpegError as error:
            self._failed = True
            if isinstance(error, OSError):
                raise
            raise OSError(error.errno, error.strerror) from error


class FfmpegEncoder:
    """Any profile by the ffmpeg program that imageio-ffmpeg brings, without sound."""

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        fps: Fraction,
        profile: Profile = H264,
        sound: SoundTrack | None = None,
    ) -> None:
        try:
            import imageio_ffmpeg

            program = imageio_ffmpeg.get_ffmpeg_exe()
        except (ImportError, RuntimeError) as error:
            raise EncoderMissing(f"imageio-ffmpeg is not installed or brings no ffmpeg ({error})") from error
        _leave_out(sound, "ffmpeg")
        pixels = "rgba" if profile.alpha else "rgb24"
        raw = f"-f rawvideo -pix_fmt {pixels} -s {size[1]}x{size[0]} -r {fps} -i -"
        colours = (
            f"-vf scale=out_color_matrix=bt709:out_range=tv,format={profile.pixels} "
            "-colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv"
        )
        options = {**profile.options, "threads": str(THREADS), "fflags": "+bitexact", **profile.muxer}
        named = [f"-c:v {profile.codec}", *(f"-{key} {value}" for key, value in options.items())]
        named += [f"-metadata:s:v:0 {key}={value}" for key, value in profile.metadata.items()]
        coded = f"{colours} {' '.join(named)} -f {profile.container}"
        command = [
            program,
            "-y",
            "-loglevel",
            "error",
            "-filter_threads",
            "1",
            *raw.split(),
            *coded.split(),
            str(path.absolute()),
        ]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)

    def write(self, pixels: NDArray[np.uint8]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(pixels.tobytes())
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
    """MPEG-4 part 2 by OpenCV, where nothing better is installed; not every player shows it. No sound."""

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        fps: Fraction,
        profile: Profile = H264,
        sound: SoundTrack | None = None,
    ) -> None:
        import cv2

        if profile.alpha:
            raise EncoderMissing("OpenCV writes no videos with alpha")
        self._path = path = path.absolute()
        self._cv2 = cv2
        self._frames = 0
        code = cv2.VideoWriter.fourcc(*"mp4v")
        self._writer = cv2.VideoWriter(str(path), code, float(fps), (size[1], size[0]))
        if not self._writer.isOpened():
            raise EncoderMissing("OpenCV cannot write mp4 files")
        _leave_out(sound, "OpenCV")
        _log.warning("no H.264 encoder: %s gets MPEG-4 part 2; install the extra 'video' (PyAV)", path.name)

    def write(self, pixels: NDArray[np.uint8]) -> None:
        self._frames += 1
        self._writer.write(self._cv2.cvtColor(pixels, self._cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        self._writer.release()
        # OpenCV fails in silence. The index comes last in the file, so if it is there, all is there.
        check = self._cv2.VideoCapture(str(self._path))
        found = int(check.get(self._cv2.CAP_PROP_FRAME_COUNT)) if check.isOpened() else 0
        check.release()
        if found < self._frames:
            raise OSError(errno.EIO, f"OpenCV wrote {found} of {self._frames} frames; is the disk full?")


ENCODERS: dict[str, Callable[[Path, tuple[int, int], Fraction, Profile, SoundTrack | None], Encoder]] = {
    "av": AvEncoder,
    "ffmpeg": FfmpegEncoder,
    "opencv": OpenCvEncoder,
}


def _leave_out(sound: SoundTrack | None, encoder: str) -> None:
    if sound is not None:
        sound.close()
        _log.warning("the sound of %s is left out: only PyAV keeps sound, not %s", sound.path, encoder)
