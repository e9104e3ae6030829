"""The sound of a clip in the videos made from it: packet by packet where mp4 takes that, else as AAC."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# What mp4 players know, of what the container can hold, by the names of FFmpeg's decoders.
COPIED_CODECS = ("aac", "mp3float", "ac3", "eac3", "alac", "opus", "flac")
# Rates and channels of AAC, by the number of channels.
AAC_RATES = (7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
AAC_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
WARM_UP = Fraction(1, 2)  # seconds decoded before those that are heard: decoders need what was before
JITTER = Fraction(1, 100)  # seconds by which times may be off, as clocks of milliseconds are, without a gap
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sound:
    """Where the sound of a video comes from. Frame k of the clip is shown after k / `rate` seconds."""

    source: str | Path
    rate: float

    def cut(self, frame: int) -> SoundTrack | None:
        """Return the sound from a frame on; None, and why in the log, where there is none to be had."""
        path = Path(self.source)
        try:
            if not path.is_file():
                return None
        except OSError:  # an address far too long for a file's name
            return None
        try:
            return _open(path, Fraction(frame) / Fraction(self.rate).limit_denominator(60_000))
        except NoSound as reason:
            level = logging.WARNING if reason.lost else logging.INFO
            _log.log(level, "the sound of %s is left out: %s", path.name, reason)
            return None


class NoSound(Exception):
    """There is no sound that can be kept; `lost`: but there is sound. Never leaves this package."""

    def __init__(self, reason: str, lost: bool = False) -> None:
        super().__init__(reason)
        self.lost = lost


class SoundTrack:
    """A file's sound from `start` on, in seconds after its first picture, as packets for a new video."""

    def __init__(self, path: Path, container: Any, start: Fraction) -> None:
        """Takes over an open container with sound. Raises NoSound."""
        import av

        self.path = path
        self._error = av.error.FFmpegError
        self._container = container
        self._stream = container.streams.audio[0]
        video = container.streams.video[0] if container.streams.video else None
        first = Fraction(0) if video is None else (video.start_time or 0) * video.time_base
        self._start = first + start
        # From the beginning, not after a jump: jumps in strangers' files may land too late.
        self._packets: Iterator[Any] = container.demux(self._stream)

    def add_to(self, container: Any) -> Any:
        """Add a stream for these packets to a PyAV container and return it."""
        raise NotImplementedError

    def until(self, end: Fraction) -> Iterator[Any]:
        """Yield the packets that begin before `end`, in seconds of the new video, with times of its clock."""
        raise NotImplementedError

    def finish(self) -> Iterator[Any]:
        """Yield what is still missing of the sound up to the last `end`."""
        return iter(())

    def close(self) -> None:
        """Close the file."""
        self._packets = iter(())
        self._container.close()

    def _ends_early(self, error: Exception) -> None:
        _log.warning("the sound of %s ends early: %s", self.path.name, error)
        self._packets = iter(())


class SoundCopy(SoundTrack):
    """The packets of the file as they are, in the order of time."""

    def __init__(self, path: Path, container: Any, start: Fraction) -> None:
        super().__init__(path, container, start)
        self._shift = round(self._start / self._stream.time_base)
        self._ahead: Any = None  # read, but not wanted yet
        self._last: int | None = None  # decoding time of the packet before

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
        self._ahead = None
        super().close()

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
            self._ends_early(error)
        return None


class SoundAsAac(SoundTrack):
    """The sound decoded, cut to the sample, and encoded to AAC. Gaps in its times become silence."""

    def __init__(self, path: Path, container: Any, start: Fraction) -> None:
        super().__init__(path, container, start)
        import av

        try:
            av.Codec("aac", "w")
        except ValueError as error:  # a build without it
            raise NoSound("this build of PyAV has no AAC encoder", lost=True) from error
        context = self._stream.codec_context
        if not context.sample_rate or not context.channels:
            raise NoSound(f"PyAV finds no rate and channels in its {context.name}", lost=True)
        self._layout = AAC_LAYOUTS.get(context.channels, "stereo")
        self._channels = next(count for count, name in AAC_LAYOUTS.items() if name == self._layout)
        self._rate = next((rate for rate in AAC_RATES if rate >= context.sample_rate), AAC_RATES[-1])
        self._waves = self._decode()
        self._ahead: tuple[int, NDArray[np.float32]] | None = None  # decoded, but not wanted yet
        self._at = 0  # samples that have gone into the encoder
        self._encoder: Any = None

    def add_to(self, container: Any) -> Any:
        """Add a stream of AAC to a PyAV container and return it."""
        # bitexact: the encoder leaves its version out
        self._encoder = container.add_stream("aac", rate=self._rate, options={"flags": "+bitexact"})
        self._encoder.layout = self._layout
        self._encoder.bit_rate = self._channels * min(96_000, 4 * self._rate)  # transparent to most ears
        return self._encoder

    def until(self, end: Fraction) -> Iterator[Any]:
        """Yield packets of the sound up to `end`; the encoder holds back the last ones."""
        wanted = round(end * self._rate)
        while self._at < wanted and (piece := self._ahead or next(self._waves, None)) is not None:
            (begin, wave), self._ahead = piece, None
            if begin > self._at:
                self._ahead = piece
                wave = np.zeros((self._channels, min(begin, wanted) - self._at), np.float32)
            elif begin + wave.shape[1] > wanted:
                self._ahead = wanted, wave[:, wanted - begin :]
                wave = wave[:, self._at - begin : wanted - begin]
            else:
                wave = wave[:, self._at - begin :]
            if wave.shape[1]:
                yield from self._encode(wave)

    def finish(self) -> Iterator[Any]:
        """Yield what the encoder holds back."""
        if self._at:
            yield from self._encoder.encode()

    def close(self) -> None:
        """Close the file."""
        self._ahead, self._waves = None, iter(())
        super().close()

    def _encode(self, wave: NDArray[np.float32]) -> Iterator[Any]:
        import av

        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave), format="fltp", layout=self._layout)
        frame.sample_rate, frame.time_base, frame.pts = self._rate, Fraction(1, self._rate), self._at
        self._at += wave.shape[1]
        yield from self._encoder.encode(frame)

    def _decode(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield (first sample after the start, (channels, samples)); what cannot be read ends the sound."""
        follows: int | None = None  # the sample after those that came
        try:
            for frame in self._resampled():
                begin = follows
                if frame.pts is not None:
                    begin = round((frame.pts * frame.time_base - self._start) * self._rate)
                    if follows is not None and abs(begin - follows) <= JITTER * self._rate:
                        begin = follows
                wave = frame.to_ndarray()
                follows = (begin or 0) + wave.shape[1]
                yield begin or 0, wave
        except (self._error, ValueError) as error:
            self._ends_early(error)

    def _resampled(self) -> Iterator[Any]:
        import av

        kind, resampler = None, None
        for frame in self._frames():
            # Sound may change its rate or channels on the way, a resampler may not.
            if kind != (kind := (frame.format.name, frame.layout.name, frame.sample_rate)):
                yield from () if resampler is None else resampler.resample(None)
                resampler = av.AudioResampler("fltp", self._layout, self._rate)
            yield from resampler.resample(frame)  # type: ignore[union-attr]
        yield from () if resampler is None else resampler.resample(None)

    def _frames(self) -> Iterator[Any]:
        for packet in self._packets:
            if packet.pts is not None and packet.size:
                end = (packet.pts + (packet.duration or 0)) * self._stream.time_base
                if packet.duration and end < self._start - WARM_UP:
                    continue
            try:
                yield from packet.decode()
            except self._error as error:  # a damaged packet is a gap
                _log.info("a part of the sound of %s cannot be decoded: %s", self.path.name, error)


def _open(path: Path, start: Fraction) -> SoundTrack:
    """Raises NoSound."""
    try:
        import av
    except (ImportError, OSError) as error:
        raise NoSound(f"PyAV, which reads it, is not installed or does not start ({error})") from error
    try:
        container: Any = av.open(str(path))
    except (av.error.FFmpegError, ValueError) as error:
        raise NoSound(f"PyAV cannot open the file ({error})") from error
    try:
        if not container.streams.audio:
            raise NoSound("it has none")
        if container.streams.audio[0].codec_context is None:
            raise NoSound("this build of PyAV does not know its codec", lost=True)
        kind = SoundCopy if _can_be_copied(container.streams.audio[0]) else SoundAsAac
        return kind(path, container, start)
    except BaseException:
        container.close()
        raise


def _can_be_copied(stream: Any) -> bool:
    """Do players know this codec in mp4, and does FFmpeg write it there?"""
    import av

    if stream.codec_context.name not in COPIED_CODECS:
        return False
    try:
        with av.open(io.BytesIO(), "w", format="mp4") as trial:
            trial.add_stream_from_template(stream)
            trial.start_encoding()
    except (av.error.FFmpegError, ValueError):  # such as MP3 of less than 16 kHz
        return False
    return True
