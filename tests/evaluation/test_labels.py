from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from sam2_video.evaluation.labels import label_header, label_size, read_label_png
from sam2_video.types import DataError


def palette_png(labels: np.ndarray, depth: int = 8) -> bytes:
    """A palette PNG in which two indices share a colour, so that colours cannot stand for ids."""
    height, width = labels.shape
    colours = bytes([0, 0, 0, 200, 10, 10, 200, 10, 10, 9, 9, 9] + [7] * (3 * 2**depth - 12))
    rows = np.zeros((height, -(-width * depth // 8)), np.uint8)
    for x in range(width):
        at, shift = divmod(x * depth, 8)
        rows[:, at] |= (labels[:, x] << (8 - depth - shift)).astype(np.uint8)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 3, 0, 0, 0)),
        (b"PLTE", colours),
        (b"IDAT", zlib.compress(raw)),
        (b"IEND", b""),
    ]
    parts = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def as_grey(data: bytes) -> bytes:
    """The same pixels without a palette."""
    header = bytearray(data[12:29])
    header[13] = 0
    start, end = data.index(b"PLTE") - 4, data.index(b"IDAT") - 4
    return data[:12] + bytes(header) + struct.pack(">I", zlib.crc32(header)) + data[33:start] + data[end:]


@pytest.mark.parametrize("depth", [2, 4, 8])
def test_palette_pictures_give_indices(tmp_path: Path, depth: int) -> None:
    labels = np.array([[0, 1, 2, 3, 1], [3, 2, 1, 0, 2]], np.uint8)
    (tmp_path / "p.png").write_bytes(palette_png(labels, depth))
    assert np.array_equal(read_label_png(tmp_path / "p.png"), labels)
    assert label_header(tmp_path / "p.png") == (2, 5, True) and label_size(tmp_path / "p.png") == (2, 5)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_grey_of_few_bits_gives_values(tmp_path: Path, depth: int) -> None:
    labels = np.array([[0, 1, 1], [1, 2**depth - 1, 0]], np.uint8)
    (tmp_path / "g.png").write_bytes(as_grey(palette_png(labels, depth)))
    assert np.array_equal(read_label_png(tmp_path / "g.png"), labels)
    assert not label_header(tmp_path / "g.png")[2]


def test_grey_pictures_give_values(tmp_path: Path) -> None:
    labels = np.array([[0, 1, 255], [7, 0, 128]], np.uint8)
    cv2.imwrite(str(tmp_path / "g.png"), labels)
    assert np.array_equal(read_label_png(tmp_path / "g.png"), labels)


def test_pictures_that_are_no_label_maps_are_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "c.png"), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(DataError, match="true-colour"):
        read_label_png(tmp_path / "c.png")
    (tmp_path / "j.png").write_bytes(b"\xff\xd8 a jpeg")
    with pytest.raises(DataError, match="not a PNG"):
        read_label_png(tmp_path / "j.png")
    for read in (read_label_png, label_size):
        with pytest.raises(DataError, match="cannot read"):
            read(tmp_path / "missing.png")
        with pytest.raises(DataError, match="true-colour"):
            read(tmp_path / "c.png")
    whole = palette_png(np.zeros((4, 4), np.uint8))
    (tmp_path / "t.png").write_bytes(whole[:40])
    with pytest.raises(DataError, match="damaged"):
        read_label_png(tmp_path / "t.png")
