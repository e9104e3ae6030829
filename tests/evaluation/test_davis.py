from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from sam2_video.evaluation.davis import read_davis
from sam2_video.evaluation.labels import read_label_png
from sam2_video.evaluation.metrics import average_score, score_sequence
from sam2_video.types import DataError
from tests.paths import SHARED, needs_shared


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


@pytest.mark.parametrize("depth", [2, 4, 8])
def test_palette_pictures_give_indices(tmp_path: Path, depth: int) -> None:
    labels = np.array([[0, 1, 2, 3, 1], [3, 2, 1, 0, 2]], np.uint8)
    (tmp_path / "p.png").write_bytes(palette_png(labels, depth))
    assert np.array_equal(read_label_png(tmp_path / "p.png"), labels)


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
    with pytest.raises(DataError, match="cannot read"):
        read_label_png(tmp_path / "missing.png")
    whole = palette_png(np.zeros((4, 4), np.uint8))
    (tmp_path / "t.png").write_bytes(whole[:40])
    with pytest.raises(DataError, match="damaged"):
        read_label_png(tmp_path / "t.png")


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    """Two sequences: `one` binary, annotated throughout; `two` with ids 1, 4 and void, annotated once."""
    for name, count in (("one", 3), ("two", 4)):
        for part in ("JPEGImages", "Annotations"):
            (tmp_path / part / "480p" / name).mkdir(parents=True)
        for t in range(count):
            picture = np.full((12, 16, 3), (0, 0, 40 * t), np.uint8)
            cv2.imwrite(str(tmp_path / f"JPEGImages/480p/{name}/{t:05d}.jpg"), picture)
    for t in range(3):
        mask = np.zeros((12, 16), np.uint8)
        mask[t : t + 4, 2:8] = 255
        cv2.imwrite(str(tmp_path / f"Annotations/480p/one/{t:05d}.png"), mask)
    labels = np.zeros((12, 16), np.uint8)
    labels[:3], labels[5:8], labels[10:] = 1, 4, 255
    cv2.imwrite(str(tmp_path / "Annotations/480p/two/00000.png"), labels)
    return tmp_path


def test_sequences_are_read(folder: Path) -> None:
    one, two = read_davis(folder)
    assert (one.name, len(one), two.name, len(two)) == ("one", 3, "two", 4)
    assert one.object_ids() == (1,)
    assert np.unique(one.labels(1)).tolist() == [0, 1]
    assert two.object_ids() == (1, 4)
    assert two.annotations[1:] == (None, None, None)
    assert one.image(2)[0, 0, 0] > 60 and one.image(2)[0, 0, 2] < 20  # RGB
    assert [s.name for s in read_davis(folder, names=["two"])] == ["two"]


def test_what_is_missing_is_named(folder: Path) -> None:
    with pytest.raises(DataError, match="not in DAVIS layout"):
        read_davis(folder / "JPEGImages")
    with pytest.raises(DataError, match="no sequence three"):
        read_davis(folder, names=["three"])
    with pytest.raises(DataError, match="no annotation"):
        read_davis(folder, names=["two"])[0].labels(2)
    (folder / "Annotations/480p/one/00000.png").unlink()
    with pytest.raises(DataError, match="sequence one has no annotation of its first frame"):
        read_davis(folder)
    (folder / "JPEGImages/480p/empty").mkdir()
    with pytest.raises(DataError, match="sequence empty has no frames"):
        read_davis(folder, names=["empty"])


@needs_shared
def test_copying_the_first_mask_scores_what_others_measured() -> None:
    """An independent implementation of J&F gave 30.5 over these sixteen sequences."""
    sequences = read_davis(SHARED / "data" / "davis2016_dev")
    assert (len(sequences), sum(len(s) for s in sequences)) == (16, 1068)
    assert {s.object_ids() for s in sequences} == {(1,)}
    scores = []
    for sequence in sequences:
        truth = [sequence.labels(t) for t in range(len(sequence))]
        scores.append(score_sequence([truth[0]] * len(truth), truth))
    assert average_score(scores).jandf == pytest.approx(0.305, abs=0.0006)
