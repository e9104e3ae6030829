"""A log of results: a file that grows frame by frame, survives a crash at any moment, and gives all back.

The file is 12 bytes of head (`SAM2LOG\\n`, a version) and records. A record is the length of its content and
the CRC-32 of it (4 bytes each, little end first), then the content: the length of a JSON description (4
bytes), that description, the masks and the winners, both compressed by zlib. Masks are one bit per pixel at
full size, N x H x W, packed eight to a byte. Winners say which row wins on each pixel that two masks or more
claim, in reading order, two bytes each. docs/saving.md describes every field.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from array import array
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray

from sam2_video.sinks.base import reported
from sam2_video.types import DataError, FrameResult, ObjectInfo

MAGIC, VERSION = b"SAM2LOG\n", 1
_HEAD = struct.Struct("<8sI")
_RECORD = struct.Struct("<II")  # length and CRC-32 of what follows
_LENGTH = struct.Struct("<I")
_PIECE = 2**20  # bytes that are decompressed at a time to be counted
LARGEST_RECORD = 2**30  # bytes; more is not a record but a damaged length
LARGEST_MASKS = 2**31  # pixels of all masks of a frame: 256 objects in a clip of 3840 x 2160


class ResultLog:
    """Results in a file, in the order in which they were found; reading takes any order.

    What comes back has the same masks, boxes, scores, names and flags to the last bit, and the same
    `label_map()`; its logits say no more than that. A result of a frame that is there already replaces the
    earlier one for `in_order`. Memory: 16 bytes for each result.
    """

    def __init__(self, path: str | Path, *, resume: bool = False) -> None:
        """Begin a log, or with `resume` go on with one: what a crash left half-written at its end is cut off.

        Raises SinkError where the file cannot be made or read, DataError for a file that is no log.
        """
        self.path = Path(path)
        with reported(self.path):
            self._file: IO[bytes] = self.path.open("r+b" if resume else "w+b", buffering=0)
        self._frames, self._places = array("q"), array("q")  # frame and offset of each record
        self._end = _HEAD.size
        try:
            if resume:
                self._scan()
            else:
                with reported(self.path):
                    _write_all(self._file, _HEAD.pack(MAGIC, VERSION))
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._places)

    @property
    def frames(self) -> list[int]:
        """The frame of each result, in the order of writing."""
        return self._frames.tolist()

    def append(self, result: FrameResult) -> None:
        """Add one result, whole or not at all. Raises SinkError."""
        content = pack(result)
        try:
            with reported(self.path):
                self._file.seek(self._end)
                _write_all(self._file, _RECORD.pack(len(content), zlib.crc32(content)) + content)
        except BaseException:
            with suppress(OSError):  # what a full disk let through is no record
                self._file.truncate(self._end)
            raise
        self._frames.append(result.frame)
        self._places.append(self._end)
        self._end += _RECORD.size + len(content)

    def sync(self) -> None:
        """Have everything written reach the disk, so that it also survives a power cut. Raises SinkError."""
        with reported(self.path):
            os.fsync(self._file.fileno())

    def cut(self, count: int) -> None:
        """Keep the first `count` results only. Raises SinkError."""
        if count >= len(self):
            return
        with reported(self.path):
            self._file.truncate(self._places[count])
        self._end = self._places[count]
        del self._places[count:], self._frames[count:]

    def __iter__(self) -> Iterator[FrameResult]:
        """Yield results in the order of writing, with those added meanwhile."""
        k = 0
        while k < len(self):
            yield self.read(k)
            k += 1

    def in_order(self) -> Iterator[FrameResult]:
        """Yield results in ascending order of frames, the last word on each frame."""
        frames = np.array(self._frames, np.int64)
        order = np.argsort(frames, kind="stable")
        frames = frames[order]
        for k in order[np.append(frames[1:] != frames[:-1], True)[: len(order)]]:
            yield self.read(int(k))

    def read(self, k: int) -> FrameResult:
        """Return the k-th result. Raises DataError where the file has changed since it was written."""
        with reported(self.path):
            content = self._content(self._places[k])
        if content is None:
            raise DataError(f"{self.path} is damaged at result {k} (frame {self._frames[k]})")
        return unpack(content)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> ResultLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _scan(self) -> None:
        """Find the records, and cut off what follows the last whole one."""
        with reported(self.path):
            head = self._file.read(_HEAD.size)
            if len(head) < _HEAD.size or not head.startswith(MAGIC):
                raise DataError(f"{self.path} is no log of results: it does not begin with {MAGIC!r}")
            if (version := _HEAD.unpack(head)[1]) != VERSION:
                raise DataError(f"{self.path} is a log of version {version}; this release reads {VERSION}")
            while (content := self._content(self._end)) is not None:
                self._places.append(self._end)
                self._frames.append(description(content)["frame"])
                self._end += _RECORD.size + len(content)
            self._file.truncate(self._end)

    def _content(self, place: int) -> bytes | None:
        """The content of the record at an offset; None where there is no whole one."""
        self._file.seek(place)
        head = _read_up_to(self._file, _RECORD.size)
        if len(head) < _RECORD.size:
            return None
        length, checksum = _RECORD.unpack(head)
        if not _LENGTH.size < length <= LARGEST_RECORD:
            return None
        content = _read_up_to(self._file, length)
        return content if len(content) == length and zlib.crc32(content) == checksum else None


def pack(result: FrameResult) -> bytes:
    """One result as bytes: see the head of this module."""
    masks, winners = result.masks, winning_rows(result)
    bits = zlib.compress(np.packbits(masks).tobytes(), level=1)
    description = {
        "frame": result.frame,
        "objects": result.object_ids,
        "size": result.size,
        "iou": result.iou.tolist(),  # of 32 bits each: JSON's decimals give them back exactly
        "presence": result.presence.tolist(),
        "prompted": result.prompted,
        "info": [[known.name, known.category] for known in result.info],
        "masks": len(bits),
    }
    head = json.dumps(description, separators=(",", ":")).encode()
    return _LENGTH.pack(len(head)) + head + bits + zlib.compress(winners.tobytes(), level=1)


def unpack(content: bytes) -> FrameResult:
    """Bytes of `pack` -> the result, its logits (int8) 1 inside, 2 where it wins, -1 outside.

    Raises DataError.
    """
    said = description(content)
    try:
        count, (height, width) = len(said["objects"]), said["size"]
        pixels = count * height * width
        if not 0 <= pixels <= LARGEST_MASKS or min(height, width) < 1:
            raise ValueError(f"{count} masks of {height} x {width}")
        begin = _LENGTH.size + _LENGTH.unpack_from(content)[0]
        middle = begin + said["masks"]
        packed = inflate(content[begin:middle], -(-pixels // 8))
        bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=pixels).reshape(count, height, width)
        contested = bits.sum(axis=0, dtype=np.uint16) > 1
        claims = inflate(content[middle:], 2 * int(contested.sum()))
        return FrameResult(
            frame=said["frame"],
            object_ids=tuple(said["objects"]),
            logits=_logits(bits, contested, np.frombuffer(claims, "<u2")),
            iou=torch.tensor(said["iou"], dtype=torch.float32),
            presence=torch.tensor(said["presence"], dtype=torch.float32),
            size=(height, width),
            prompted=tuple(said["prompted"]),
            info=tuple(ObjectInfo(name, category) for name, category in said["info"]),
        )
    except (KeyError, TypeError, ValueError, IndexError, struct.error, zlib.error) as error:
        raise DataError(f"a result cannot be read: {error}") from error


def check(content: bytes) -> dict[str, Any]:
    """What a result says beside its masks, which are as long as they should be; takes next to no memory.

    Raises DataError.
    """
    said = description(content)
    try:
        count, (height, width) = len(said["objects"]), said["size"]
        if any(type(number) is not int or number < 0 for number in (*said["objects"], height, width)):
            raise ValueError("ids and sizes that are no whole numbers")
        if len(set(said["objects"])) < count or any(
            len(said[key]) != count for key in ("iou", "presence", "prompted")
        ):
            raise ValueError("not one value for each object")
        begin = _LENGTH.size + _LENGTH.unpack_from(content)[0]
        _check_length(content[begin : begin + said["masks"]], -(-count * height * width // 8))
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise DataError(f"a result cannot be read: {error}") from error
    return said


def _check_length(data: bytes, size: int) -> None:
    """Decompress piece by piece; ValueError where that gives anything else than `size` bytes."""
    out, found = zlib.decompressobj(), 0
    while found <= size and (piece := out.decompress(data, _PIECE)):
        found, data = found + len(piece), out.unconsumed_tail
    if found != size:
        raise ValueError(f"{found} bytes or more where {size} were expected")


def winning_rows(result: FrameResult) -> NDArray[np.uint16]:
    """Which row wins on each pixel that two masks or more claim, in reading order."""
    if len(result.object_ids) < 2:
        return np.zeros(0, "<u2")
    return result.contested()[1].astype("<u2")


def inflate(data: bytes, size: int) -> bytes:
    """Decompress to exactly `size` bytes; ValueError for anything else, found before it fills the memory."""
    out = zlib.decompressobj()
    whole = out.decompress(data, size) if size else b""
    if len(whole) != size or (size and out.decompress(out.unconsumed_tail, 1)):
        raise ValueError(f"{len(whole)} bytes or more where {size} were expected")
    return whole


def _logits(
    bits: NDArray[np.uint8], contested: NDArray[np.bool_], winners: NDArray[np.uint16]
) -> torch.Tensor:
    # At full size, where resizing leaves them as they are; in bytes, as large as the masks.
    logits = bits.view(np.int8)
    logits *= 2
    logits -= 1
    if len(winners):
        ys, xs = contested.nonzero()
        logits[winners, ys, xs] = 2
    return torch.from_numpy(logits)


def description(content: bytes) -> dict[str, Any]:
    """What a result says beside its masks, which are not unpacked for it. Raises DataError."""
    length = _LENGTH.unpack_from(content)[0]
    try:
        said = json.loads(content[_LENGTH.size : _LENGTH.size + length])
        if not isinstance(said, dict) or not isinstance(said["frame"], int):
            raise ValueError("no frame number")
    except (ValueError, KeyError) as error:
        raise DataError(f"a result has no readable description: {error}") from error
    return said


def _write_all(file: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _read_up_to(file: IO[bytes], count: int) -> bytes:
    parts = []
    while count and (part := file.read(count)):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
