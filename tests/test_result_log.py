"""The log of results: everything comes back, whatever a crash, a full disk or a stranger did to the file."""

from __future__ import annotations

import errno
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sam2_video.sinks import ResultLog
from sam2_video.sinks.result_log import _write_all, inflate, pack, unpack
from sam2_video.types import DataError, FrameResult, ObjectInfo, Sam2VideoError, SinkError
from tests.clips import disc_result


def random_result(seed: int, objects: int = 3, frame: int = 0, info: bool = True) -> FrameResult:
    """Masks that overlap a great deal, and scores with all their bits."""
    noise = torch.Generator().manual_seed(seed)
    return FrameResult(
        frame=frame,
        object_ids=tuple(range(3, 3 + objects)),
        logits=torch.randn((objects, 6, 9), generator=noise),
        iou=torch.rand(objects, generator=noise),
        presence=torch.randn(objects, generator=noise) * 7,
        size=(23, 31),
        prompted=tuple(k % 2 == 0 for k in range(objects)),
        info=tuple(ObjectInfo(f"Tasse {k} ☕", "cup") for k in range(objects)) if info else (),
    )


def assert_same(back: FrameResult, original: FrameResult) -> None:
    assert np.array_equal(back.masks, original.masks) and np.array_equal(back.boxes, original.boxes)
    assert np.array_equal(back.label_map(), original.label_map())
    assert torch.equal(back.iou, original.iou) and torch.equal(back.presence, original.presence)
    names = ("frame", "object_ids", "size", "prompted", "info")
    assert [getattr(back, name) for name in names] == [getattr(original, name) for name in names]


@given(st.integers(0, 2**16), st.integers(0, 5), st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_result_comes_back_whole(seed: int, objects: int, info: bool) -> None:
    original = random_result(seed, objects, 7, info)
    back = unpack(pack(original))
    assert_same(back, original)
    assert_same(unpack(pack(back)), original)  # also what was read before can be written


def test_overlaps_are_decided_as_they_were() -> None:
    original = random_result(0, 4)
    assert (original.masks.sum(axis=0) > 2).any(), "nothing overlaps here"
    later_wins = np.where(original.masks, np.array(original.object_ids)[:, None, None], 0).max(axis=0)
    assert not np.array_equal(later_wins, original.label_map()), "any rule would do here"


def test_results_come_in_both_orders_and_the_last_word_counts(tmp_path: Path) -> None:
    results = [random_result(k, frame=frame) for k, frame in enumerate([5, 4, 3, 4])]
    with ResultLog(tmp_path / "results.log") as log:
        for result in results:
            log.append(result)
        assert log.frames == [5, 4, 3, 4] and len(log) == 4
        for back, original in zip(log, results, strict=True):
            assert_same(back, original)
        for back, original in zip(log.in_order(), [results[2], results[3], results[0]], strict=True):
            assert_same(back, original)
        log.append(random_result(9, frame=0))  # reading does not disturb writing
        assert [result.frame for result in log] == [5, 4, 3, 4, 0]


def filled(path: Path, count: int = 4) -> list[int]:
    """Write a log; return its length after each record."""
    sizes = []
    with ResultLog(path) as log:
        for frame in range(count):
            log.append(disc_result(frame))
            sizes.append(path.stat().st_size)
    return sizes


def test_a_log_goes_on_where_a_crash_cut_it(tmp_path: Path) -> None:
    path = tmp_path / "results.log"
    sizes = filled(path)
    whole = path.read_bytes()
    for length in range(12, len(whole), 7):
        path.write_bytes(whole[:length])
        kept = sum(size <= length for size in sizes)
        with ResultLog(path, resume=True) as log:
            assert log.frames == list(range(kept))
            for frame in range(kept, 4):
                log.append(disc_result(frame))
        assert path.read_bytes() == whole


def test_damage_in_the_middle_costs_what_follows(tmp_path: Path) -> None:
    path = tmp_path / "results.log"
    sizes = filled(path)
    broken = bytearray(path.read_bytes())
    broken[sizes[1] + 20] ^= 1
    path.write_bytes(broken)
    with ResultLog(path, resume=True) as log:
        assert log.frames == [0, 1]


def test_damage_while_it_is_open_is_told(tmp_path: Path) -> None:
    path = tmp_path / "results.log"
    with ResultLog(path) as log:
        log.append(disc_result(0))
        with path.open("r+b") as file:
            file.seek(40)
            file.write(b"\xff\xff")
        with pytest.raises(DataError, match=r"damaged at result 0 \(frame 0\)"):
            list(log)


def test_cutting_a_log(tmp_path: Path) -> None:
    path = tmp_path / "results.log"
    sizes = filled(path)
    with ResultLog(path, resume=True) as log:
        log.cut(9)
        assert len(log) == 4
        log.cut(2)
        assert log.frames == [0, 1] and path.stat().st_size == sizes[1]
        log.append(disc_result(8))
        log.sync()
    with ResultLog(path, resume=True) as log:
        assert log.frames == [0, 1, 8]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no log"),
        (b"SAM2LOG", "is no log"),
        (b"\x89PNG and more", "is no log"),
        (b"SAM2LOG\n" + struct.pack("<I", 2), "version 2; this release reads 1"),
    ],
)
def test_other_files_are_refused_and_stay_as_they_are(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "results.log"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        ResultLog(path, resume=True)
    assert path.read_bytes() == content


def test_a_log_that_cannot_be_made_or_found(tmp_path: Path) -> None:
    for make in (
        lambda: ResultLog(tmp_path / "missing" / "log"),
        lambda: ResultLog(tmp_path / "log", resume=True),
    ):
        with pytest.raises(SinkError, match="No such file"):
            make()


def test_a_full_disk_leaves_whole_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(file: Any, data: bytes) -> None:
        _write_all(file, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "results.log"
    with ResultLog(path) as log:
        log.append(disc_result(0))
        size = path.stat().st_size
        with monkeypatch.context() as disk:
            disk.setattr("sam2_video.sinks.result_log._write_all", half)
            with pytest.raises(SinkError, match="the disk is full"):
                log.append(disc_result(1))
        assert path.stat().st_size == size and log.frames == [0]
        log.append(disc_result(1))  # room was made
        assert [result.frame for result in log] == [0, 1]


def forged(**changes: Any) -> bytes:
    """A record whose description was changed by a stranger."""
    content = pack(random_result(1))
    (length,) = struct.unpack_from("<I", content)
    said = json.loads(content[4 : 4 + length]) | changes
    head = json.dumps(said).encode()
    return struct.pack("<I", len(head)) + head + content[4 + length :]


@pytest.mark.parametrize(
    "changes",
    [
        {"size": [2**20, 2**20]},
        {"size": [24, 31]},
        {"size": [-23, -31]},
        {"size": "large"},
        {"objects": [1]},
        {"objects": 3},
        {"masks": -5},
        {"masks": 10**9},
        {"info": [1, 2]},
        {"iou": ["a"]},
        {"frame": "first"},
    ],
)
def test_records_that_contradict_themselves(changes: dict[str, Any]) -> None:
    with pytest.raises(Sam2VideoError, match="result"):
        unpack(forged(**changes))


def test_a_bomb_is_not_unpacked() -> None:
    with pytest.raises(ValueError, match="expected"):
        inflate(zlib.compress(bytes(10**7)), 100)
    assert inflate(zlib.compress(b"abc"), 3) == b"abc" and inflate(zlib.compress(b""), 0) == b""
