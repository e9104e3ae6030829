"""The sound of a clip, copied into the videos made from it: packet by packet, not encoded again."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

# What mp4 players know, of what the container can hold, by the names of FFmpeg's decoders.
COPIED_CODECS = ("aac", "mp3float", "ac3", "eac3", "alac", "opus", "flac")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sound:
    """Where the sound of a video comes from. Frame k of the clip is shown after k / `rate` seconds."""

    source: str | Path
    rate: float

    def cut(self, frame: int) -> SoundCopy | None:
        """Return the sound from a frame on; None, and why in the log, where there is none to be copied."""
        path = Path(self.source)
        try:
            if not path.is_file():
                return None
        except OSError:  # an address far too long for a file's name
            return None
        try:
            return SoundCopy(path, Fraction(frame) / Fraction(self.rate).limit_denominator(60_000))
        except NoSound as reason:
            level = logging.WARNING if reason.lost else logging.INFO
            _log.log(level, "the sound of %s is left out: %s", path.name, reason)
            return None


class NoSound(Exception):
    """There is no sound that can be copied; `lost`: but there is sound. Never leaves this package."""

    def __init__(self, reason: str, lost: bool = False) -> None:
        super().__init__(reason)
        self.lost = lost


class SoundCopy:
    """Packets of a file's sound from `start` on, in seconds after its first picture, in the order of time."""

    def __init__(self, path: Path, start: Fraction) -> None:
        """Raises NoSound."""
        try:
            import av
        except (ImportError, OSError) as error:
            raise NoSound(f"PyAV, which copies it, is not installed or does not start ({error})") from error
        self.path = path
        self._error = av.error.FFmpegError
        self._packets: Iterator[Any] = iter(())
        self._ahead: Any = None  # read, but not wanted yet
        self._last: int | None = None  # decoding time of the packet before
        try:
            self._container: Any = av.open(str(path))
        except (self._error, ValueError) as error:
            raise NoSound(f"PyAV cannot open the file ({error})") from error
        try:
            self._choose(start)
        except BaseException:
            self._container.close()
            raise

    def add_to(self, container: Any) -> Any:
        """Add a stream like this one to a PyAV container and return it."""
        return container.add_stream_from_template(self._stream)

    def until(self, end: Fraction) -> Iterator[Any]:
        """Yield the packets that begin before `end`, in seconds of the new video, with times of its clock."""
        while (packet := self._ahead or self._next()) is not None:
            self._ahead = packet
            if packet.pts * self._stream.time_base >= end:
                return
            self._ahead = None
            yield packet

    def close(self) -> None:
        """Close the file."""
        self._ahead, self._packets = None, iter(())
        self._container.close()

    def _choose(self, start: Fraction) -> None:
        streams = self._container.streams
        if not streams.audio:
            raise NoSound("it has none")
        self._stream = streams.audio[0]
        context = self._stream.codec_context  # None where this build does not know the codec
        name = context.name if context else "an unknown codec"
        if name not in COPIED_CODECS:
            known = ", ".join(COPIED_CODECS).replace("mp3float", "mp3")
            raise NoSound(
                f"{name} cannot be copied into mp4 (what can: {known}); "
                "to keep it: ffmpeg -i CLIP -c:v copy -c:a aac NEW.mp4, and track that",
                lost=True,
            )
        video = streams.video[0] if streams.video else None
        first = Fraction(0) if video is None else (video.start_time or 0) * video.time_base
        self._shift = round((first + start) / self._stream.time_base)
        # From the beginning, not after a jump: jumps in strangers' files may land too late.
        self._packets = self._container.demux(self._stream)

    def _next(self) -> Any:
        """Return the next packet that is wanted, None at the end; what cannot be read ends the sound."""
        try:
            for packet in self._packets:
                if packet.pts is None or packet.dts is None:  # the mark of the end
                    continue
                # One packet more than what is heard: decoders of AAC need the one before.
                if packet.pts + 2 * (packet.duration or 0) <= self._shift:
                    continue
                packet.pts, packet.dts = packet.pts - self._shift, packet.dts - self._shift
                if self._last is not None and packet.dts <= self._last:
                    continue
                self._last = packet.dts
                return packet
        except self._error as error:
            _log.warning("the sound of %s ends early: %s", self.path.name, error)
            self._packets = iter(())
        return None
