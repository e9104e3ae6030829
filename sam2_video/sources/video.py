"""A video file as a source: any frame at any time, every frame the same however it was reached."""

from __future__ import annotations

import logging
import zlib
from array import array
from pathlib import Path

from sam2_video.sources.base import DecodeError, Rgb, Source
from sam2_video.sources.decoders import BACKENDS, Decoder, open_decoder
from sam2_video.types import SourceError

BLOCK_BYTES = 64 * 2**20  # decoded frames kept while going backward
FAR = 64  # frames: a jump over fewer is not worth it; a jump that misses is tried again this much earlier
UNKNOWN = 256  # frames: decoding so many takes as long as finding out where the frames of a file are
_log = logging.getLogger(__name__)


class VideoFile(Source):
    """Frames of a video file.

    Reading in order decodes each frame once and keeps one. A step back decodes a block of frames before the
    wanted one, as many as fit 64 MiB (8 at least), so that going backward costs a few decodings per frame.
    Jumps of the decoders can land on a wrong frame. Each frame that was decoded leaves a checksum, and a jump
    counts only if it brings frames with the right ones; into frames never decoded only a decoder jumps that
    finds them by their times. What cannot be reached so is reached from the start.
    """

    def __init__(self, path: str | Path, backend: str = "auto") -> None:
        """Raises SourceError for a file that is missing, is no video, or holds no frames."""
        self.path = Path(path)
        if not self.path.is_file():
            raise SourceError(f"{self.path} does not exist or is not a file; expected a video file")
        self.name = self.path.name
        self._backends: tuple[str, ...] = BACKENDS if backend == "auto" else (backend,)
        self._decoder: Decoder = open_decoder(self.path, self._backends)
        self._sums = array("L")  # of the frames 0, 1, ... decoded so far: 8 bytes a frame
        self._next = 0  # the frame that the decoder gives next
        self._jumped = False  # the decoder has jumped since it was opened
        self._block: dict[int, Rgb] = {}
        self.count: int = max(1, self._decoder.promised)
        self.size: tuple[int, int] = self.read(0).shape[:2]
        self.fps = self._decoder.fps

    @property
    def backend(self) -> str:
        """Name of the decoder in use: "pyav", "opencv", "decord"; "pillow" or "tiff" for many pictures."""
        return self._decoder.name

    def time(self, frame: int) -> float | None:
        """Return when a frame is shown, in seconds after frame 0.

        By the clip's own clock where the decoder tells it, which with a varying rate is not frame / fps.
        """
        self._check(frame)
        time = self._decoder.time(frame)
        return super().time(frame) if time is None else time

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that frames come from."""
        return (self.path,)

    def read(self, frame: int) -> Rgb:
        """Return one frame.

        Raises EndOfClip past the end, and SourceError where the file ends or breaks before the frame count it
        promises.
        """
        self._check(frame)
        if frame not in self._block:
            if frame < self._next:
                self._decode_block(max(0, frame + 1 - self._block_frames()), frame)
            elif self._is_jump_worth(frame):
                self._decode_block(frame, frame)
            else:
                self._block = {}  # not before decoding: one frame in memory is enough
                self._block = {frame: self._decode_up_to(frame)}
        return self._block[frame]

    def close(self) -> None:
        """Close the file."""
        self._decoder.close()
        self._block = {}
        super().close()

    def _block_frames(self) -> int:
        return max(8, BLOCK_BYTES // (self.size[0] * self.size[1] * 3))

    def _is_jump_worth(self, frame: int) -> bool:
        """Would a jump forward spare much decoding, and could it be trusted?"""
        if frame < len(self._sums) and frame > self._next + FAR:
            return True
        if frame <= self._next + UNKNOWN:
            return False
        start = self._decoder.start_of(frame)
        return start is not None and start > self._next

    def _decode_up_to(self, frame: int) -> Rgb:
        rgb = self._decode()
        while self._next <= frame:
            rgb = self._decode()
        return rgb

    def _decode(self) -> Rgb:
        """Decode the next frame; note its checksum, or check it if this frame was decoded before."""
        at = self._next
        if at == len(self._sums) and self._may_have_missed():
            self._rewind()
            return self._decode_up_to(at)
        try:
            rgb = self._decoder.read()
        except DecodeError as error:
            return self._after_failure(error)
        if at and rgb.shape[:2] != self.size:
            raise SourceError(f"frame {at} of {self.path} changes size to {rgb.shape[1]}x{rgb.shape[0]}")
        if at == len(self._sums):
            self._sums.append(_checksum(rgb))
        elif self._jumped and at < len(self._sums) and self._sums[at] != _checksum(rgb):
            self._rewind()
            return self._decode_up_to(at)
        self._next += 1
        return rgb

    def _may_have_missed(self) -> bool:
        """Among equal frames a jump may have missed without a trace, which shows when they end."""
        if not self._jumped or self._decoder.exact:
            return False
        return self._sums[-1] in self._sums[-FAR - 1 : -1]

    def _after_failure(self, error: DecodeError) -> Rgb:
        """Try the next decoder where one opens a file but not its codec; else say what could be read."""
        at = self._next
        name = self._decoder.name
        others = self._backends[self._backends.index(name) + 1 :] if name in self._backends else ()
        if others and not self._sums:
            _log.info("%s cannot decode %s (%s); trying others", name, self.path, error)
            self._backends = others
            self._decoder.close()
            self._decoder = open_decoder(self.path, others)
            return self._decode()
        if at == 0:
            raise SourceError(f"{self.path}: not one frame can be decoded ({error})") from error
        raise SourceError(
            f"{self.path} ends early or is damaged: frame {at} cannot be read, the {at} before it can, "
            f"of {self.count} that the file promises. Stop there (--stop {at}), or repair the file ({error})"
        ) from error

    def _rewind(self) -> None:
        try:
            self._decoder.rewind()
        except DecodeError as error:
            raise SourceError(f"{self.path} can no longer be opened: {error}") from error
        self._next, self._jumped = 0, False

    def _decode_block(self, first: int, last: int) -> None:
        """Fill the block with these frames, by a jump or from the start."""
        self._block = {}
        for target in (first, first - FAR):
            if target > 0 and self._jump(target, first, last):
                return
        self._rewind()
        while self._next <= last:
            at, rgb = self._next, self._decode()
            if at >= first:
                self._block[at] = rgb

    def _jump(self, target: int, first: int, last: int) -> bool:
        """Decode from `target` after a jump, keep `first` to `last`; False where one is not as it was."""
        block = {}
        try:
            self._decoder.seek(target)
            for frame in range(target, last + 1):
                rgb = self._decoder.read()
                if frame >= first:
                    block[frame] = rgb
                    if frame < len(self._sums) and _checksum(rgb) != self._sums[frame]:
                        return False
        except DecodeError:
            return False
        self._block, self._next, self._jumped = block, last + 1, True
        return True


def _checksum(rgb: Rgb) -> int:
    return zlib.crc32(rgb[::7].tobytes())  # 0.1 ms for 1280x720; rows of both fields, where fields differ
