"""Results on disk: right, whole, or not there at all."""

from __future__ import annotations

import csv
import errno
import json
import logging
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sam2_video.postprocess import decode_rle
from sam2_video.sinks import (
    MaskPngSink,
    ObjectsCsvSink,
    OverlaySink,
    RleJsonSink,
    Sink,
    VideoWriter,
    base,
    object_colour,
    video,
    write_run_json,
)
from sam2_video.sinks.tables import compress_runs, expand_runs
from sam2_video.sources import VideoFile
from sam2_video.types import SinkError
from tests.clips import disc_result, numbered_frame

SINKS: dict[str, Callable[[Path], Sink]] = {
    "masks": lambda out: MaskPngSink(out / "masks"),
    "overlay": lambda out: OverlaySink(out / "overlay.mp4", 25.0),
    "objects": lambda out: ObjectsCsvSink(out / "objects.csv"),
    "rle": lambda out: RleJsonSink(out / "rle.jsonl"),
}


def files(folder: Path) -> list[str]:
    return sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file())


def fill(sink: Sink, count: int = 3) -> None:
    for frame in range(count):
        sink.write(numbered_frame(frame), disc_result(frame), f"{frame:05d}")


def read_png(path: Path) -> tuple[np.ndarray, str]:
    with Image.open(path) as picture:
        return np.asarray(picture), picture.mode


def test_mask_pictures_hold_object_ids(tmp_path: Path) -> None:
    result = disc_result(ids=(7, 255))
    with MaskPngSink(tmp_path / "masks") as sink:
        sink.write(numbered_frame(0), result, "frame12")
    labels, mode = read_png(tmp_path / "masks" / "frame12.png")
    assert mode == "P" and labels.dtype == np.uint8 and np.array_equal(labels, result.label_map())
    assert set(np.unique(labels)) == {0, 7, 255}
    assert files(tmp_path) == ["masks/frame12.png"]


def test_mask_pictures_where_objects_overlap(tmp_path: Path) -> None:
    result = disc_result(centres=((6, 7), (9, 7)), radius=4.0)
    assert result.masks.all(axis=0).any(), "the discs overlap"
    MaskPngSink(tmp_path).write(numbered_frame(0), result, "0")
    assert np.array_equal(read_png(tmp_path / "0.png")[0], result.label_map())


def test_mask_picture_without_objects(tmp_path: Path) -> None:
    MaskPngSink(tmp_path).write(numbered_frame(0), disc_result(ids=()), "0")
    labels, _ = read_png(tmp_path / "0.png")
    assert labels.shape == (48, 64) and not labels.any()


def test_palette_is_that_of_davis(tmp_path: Path) -> None:
    MaskPngSink(tmp_path).write(numbered_frame(0), disc_result(), "0")
    with Image.open(tmp_path / "0.png") as picture:
        palette = np.reshape(picture.getpalette(), (-1, 3)).tolist()
    expected = [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [128, 0, 128], [0, 128, 128]]
    assert palette[:7] == expected and palette[8] == [64, 0, 0] and palette[255] == [224, 224, 192]


def test_ids_that_do_not_fit_a_mask_picture(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match=r"object id 300 does not fit .*bits=16"):
        MaskPngSink(tmp_path).write(numbered_frame(0), disc_result(ids=(300,)), "0")
    with pytest.raises(SinkError, match="object id 0 means background"):
        MaskPngSink(tmp_path).write(numbered_frame(0), disc_result(ids=(0,)), "0")
    assert files(tmp_path) == []
    result = disc_result(ids=(300, 65535))
    MaskPngSink(tmp_path, bits=16).write(numbered_frame(0), result, "0")
    labels, mode = read_png(tmp_path / "0.png")
    assert mode == "I;16" and np.array_equal(labels, result.label_map())
    with pytest.raises(SinkError, match="expected 8 or 16"):
        MaskPngSink(tmp_path, bits=4)


def test_objects_csv(tmp_path: Path) -> None:
    first, second = disc_result(4), disc_result(5, ids=(1, 2), centres=((4, 4), (99, 99)))
    with ObjectsCsvSink(tmp_path / "objects.csv") as sink:
        sink.write(numbered_frame(4), first, "4")
        sink.write(numbered_frame(5), second, "5")
    rows = list(csv.DictReader((tmp_path / "objects.csv").read_text().splitlines()))
    columns = ["frame", "object", "area", "x0", "y0", "x1", "y1", "iou", "presence", "prompted"]
    assert list(rows[0]) == [*columns, "name", "class"] and len(rows) == 4
    assert [(r["frame"], r["object"], r["prompted"]) for r in rows[:2]] == [("4", "1", "1"), ("4", "2", "0")]
    assert int(rows[0]["area"]) == first.masks[0].sum()
    assert [float(rows[1][k]) for k in ("x0", "y0", "x1", "y1")] == first.boxes[1].tolist()
    assert (rows[0]["iou"], rows[0]["presence"]) == ("0.9000", "4.500")
    assert [rows[3][k] for k in ("area", "x0", "y1")] == ["0", "", ""]


def test_a_crash_leaves_finished_rows_aside(tmp_path: Path) -> None:
    sink = ObjectsCsvSink(tmp_path / "objects.csv")
    fill(sink, 2)
    assert files(tmp_path) == [".objects.part.csv"]
    assert len((tmp_path / ".objects.part.csv").read_text().splitlines()) == 5
    sink.discard()


def test_rle_lines_give_the_masks_back(tmp_path: Path) -> None:
    result = disc_result(9, ids=(1, 5, 6), centres=((4, 4), (11, 11), (99, 99)))
    with RleJsonSink(tmp_path / "rle.jsonl") as sink:
        sink.write(numbered_frame(9), result, "nine")
    lines = [json.loads(text) for text in (tmp_path / "rle.jsonl").read_text().splitlines()]
    assert [(e["frame"], e["name"], e["object"]) for e in lines] == [(9, "nine", k) for k in (1, 5, 6)]
    for line, mask, box in zip(lines, result.masks, result.boxes, strict=True):
        size = tuple(line["segmentation"]["size"])
        assert np.array_equal(decode_rle(expand_runs(line["segmentation"]["counts"], size)), mask)
        assert line["area"] == mask.sum()
        if mask.any():
            assert line["bbox"] == [box[0], box[1], box[2] - box[0] + 1, box[3] - box[1] + 1]


@pytest.mark.parametrize(
    ("size", "counts", "text"),
    [  # what pycocotools makes of the same masks
        ((3, 5), [15], "?"),
        ((3, 5), [0, 15], "0?"),
        ((700, 900), [0, 1, 629899, 100], "01[TWc0S3"),
        ((4, 6), [0, 3, 2, 1, 3, 2, 2, 1, 2, 5, 1, 2], "032N11OO04OM"),
    ],
)
def test_compressed_runs_are_those_of_coco(size: tuple[int, int], counts: list[int], text: str) -> None:
    assert compress_runs({"size": list(size), "counts": counts}) == text
    assert expand_runs(text, size)["counts"] == counts


@pytest.mark.parametrize("encoder", ["av", "ffmpeg", "opencv"])
def test_overlay_plays(encoder: str, tmp_path: Path) -> None:
    if encoder == "ffmpeg":
        pytest.importorskip("imageio_ffmpeg")
    result = disc_result()
    with OverlaySink(tmp_path / "overlay.mp4", 30000 / 1001, encoder) as sink:
        for _ in range(10):
            sink.write(np.full((48, 64, 3), 90, np.uint8), result, "x")
    assert files(tmp_path) == ["overlay.mp4"]
    with VideoFile(tmp_path / "overlay.mp4") as clip:
        assert clip.count == 10 and clip.size == (48, 64) and clip.fps == pytest.approx(29.97, abs=0.01)
        inside, outside = clip.read(5)[19, 17].astype(int), clip.read(5)[12, 50].astype(int)
    assert np.abs(outside - 90).max() < 12, "what is no object stays as it is"
    painted = 90 * 0.55 + 0.45 * np.array(object_colour(1))
    assert np.abs(inside - painted).max() < 30


def test_overlay_is_h264_with_the_index_first(tmp_path: Path) -> None:
    import av

    with OverlaySink(tmp_path / "overlay.mp4") as sink:
        fill(sink)
    data = (tmp_path / "overlay.mp4").read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat")
    with av.open(str(tmp_path / "overlay.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == Fraction(25)


def test_an_unwritable_file_is_not_taken_for_a_missing_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import av

    def refuse(*_: object, **__: object) -> None:
        raise av.error.PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(SinkError, match="Permission denied"):
        fill(OverlaySink(tmp_path / "overlay.mp4"), 1)


def test_odd_sizes_are_made_even(tmp_path: Path) -> None:
    shown: list[np.ndarray] = []
    with VideoWriter(tmp_path / "odd.mp4") as writer:
        writer.write(numbered_frame(20, (47, 63)))
        assert writer._encoder is not None
        writer._encoder.write = shown.append  # type: ignore[method-assign]
        writer.write(numbered_frame(20, (47, 63)))
    with VideoFile(tmp_path / "odd.mp4") as clip:
        assert clip.size == (48, 64)
    assert shown[0].shape == (48, 64, 3), "padded, not stretched"
    assert np.array_equal(shown[0][:47, :63], numbered_frame(20, (47, 63)))


def test_encoders_fall_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with caplog.at_level(logging.WARNING), OverlaySink(tmp_path / "overlay.mp4") as sink:
        fill(sink)
    assert "install the extra 'video'" in caplog.text
    with VideoFile(tmp_path / "overlay.mp4") as clip:
        assert clip.count == 3
    with pytest.raises(SinkError, match=r"no video encoder works \(PyAV is not installed"):
        fill(OverlaySink(tmp_path / "other.mp4", encoder="av"))
    with pytest.raises(SinkError, match="unknown encoder 'vhs'"):
        OverlaySink(tmp_path / "other.mp4", encoder="vhs")


def test_painting_leaves_the_frame_alone_and_colours_are_stable() -> None:
    from sam2_video.sinks.overlay import paint

    rgb = numbered_frame(0)
    before = rgb.copy()
    painted = paint(rgb, disc_result())
    assert np.array_equal(rgb, before) and not np.array_equal(painted, before)
    assert np.array_equal(paint(rgb, disc_result(ids=())), before)
    colours = [object_colour(k) for k in range(1, 9)]
    assert len(set(colours)) == 8 and object_colour(1) == colours[0]


def test_run_json(tmp_path: Path) -> None:
    info = {"model": "nano", "source": Path("a/b.mp4"), "iou": np.float32(0.5), "box": np.arange(2)}
    write_run_json(tmp_path / "new" / "run.json", info)
    record = json.loads((tmp_path / "new" / "run.json").read_text())
    assert record["model"] == "nano" and record["source"] == str(Path("a/b.mp4")) and record["box"] == [0, 1]
    assert {"sam2_video", "torch", "numpy", "python"} <= set(record["versions"])
    with pytest.raises(TypeError, match=r"run\.json cannot hold object"):
        write_run_json(tmp_path / "new" / "run.json", {"a": object()})
    assert json.loads((tmp_path / "new" / "run.json").read_text()) == record
    assert files(tmp_path) == ["new/run.json"]


@pytest.mark.parametrize("kind", SINKS)
def test_closing_twice_and_writing_late(kind: str, tmp_path: Path) -> None:
    sink = SINKS[kind](tmp_path)
    fill(sink)
    sink.close()
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    sink.close()
    sink.discard()
    if kind != "masks":  # every mask is a file of its own
        with pytest.raises(SinkError, match="is closed"):
            fill(sink, 1)
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before and before


@pytest.mark.parametrize("kind", SINKS)
def test_an_interrupted_run_leaves_no_half_file(kind: str, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), SINKS[kind](tmp_path) as sink:
        fill(sink, 2)
        raise KeyboardInterrupt
    assert files(tmp_path) == (["masks/00000.png", "masks/00001.png"] if kind == "masks" else [])


@pytest.mark.parametrize("kind", SINKS)
def test_an_old_file_stays_until_the_new_one_is_whole(kind: str, tmp_path: Path) -> None:
    with SINKS[kind](tmp_path) as sink:
        fill(sink, 2)
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    with pytest.raises(KeyboardInterrupt), SINKS[kind](tmp_path) as sink:
        if kind != "masks":
            fill(sink, 1)
        raise KeyboardInterrupt
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before


@pytest.mark.parametrize("kind", SINKS)
def test_unwritable_output(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SinkError, match="cannot write"):
        SINKS[kind](tmp_path / "file")
    with pytest.raises(SinkError, match="cannot write"):
        write_run_json(tmp_path / "file" / "run.json", {})
    assert files(tmp_path) == ["file"]
    monkeypatch.setattr(base.os, "access", lambda path, mode: False)  # tests may run as root, who may do all
    with pytest.raises(SinkError, match="no permission to write there; choose another output folder"):
        SINKS[kind](tmp_path)
    assert files(tmp_path) == ["file"]


@pytest.mark.parametrize("kind", ["overlay", "objects", "rle"])
def test_a_folder_in_the_way_of_a_file(kind: str, tmp_path: Path) -> None:
    for name in ("overlay.mp4", "objects.csv", "rle.jsonl"):
        (tmp_path / name).mkdir()
    with pytest.raises(SinkError, match="a folder of that name is in the way"):
        SINKS[kind](tmp_path)
    assert files(tmp_path) == []


class FullDisk:
    """Stands in for a file or an encoder whose disk is full."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def write(self, *args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def full_disk(sink: Any, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "masks":
        original = Path.write_bytes

        def half(self: Path, data: bytes) -> int:
            original(self, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Path, "write_bytes", half)
    elif kind == "overlay":
        sink._writer._encoder = FullDisk(sink._writer._encoder)
    else:
        sink._file = FullDisk(sink._file)


@pytest.mark.parametrize("kind", SINKS)
def test_full_disk_while_writing(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(SinkError, match=r"cannot write .*: No space left on device \(the disk is full"),
        SINKS[kind](tmp_path) as sink,
    ):
        fill(sink, 2)
        full_disk(sink, kind, monkeypatch)
        fill(sink, 3)
    assert files(tmp_path) == (["masks/00000.png", "masks/00001.png"] if kind == "masks" else [])
    for name in files(tmp_path):
        assert read_png(tmp_path / name)[0].shape == (48, 64), "finished files stay whole"


@pytest.mark.parametrize("kind", ["overlay", "objects", "rle"])
def test_full_disk_while_closing(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    sink = SINKS[kind](tmp_path)
    fill(sink, 2)
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(SinkError, match="the disk is full"):
        sink.close()
    assert files(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("encoder", ["av", "ffmpeg"])
def test_encoders_report_a_full_disk(encoder: str, tmp_path: Path) -> None:
    if encoder == "ffmpeg":
        pytest.importorskip("imageio_ffmpeg")
    (tmp_path / "full.mp4").symlink_to("/dev/full")
    rng = np.random.default_rng(0)
    with pytest.raises(OSError):
        made = video.ENCODERS[encoder](tmp_path / "full.mp4", (96, 128), Fraction(25))
        try:
            for _ in range(60):
                made.write(rng.integers(0, 255, (96, 128, 3), np.uint8))
        finally:
            made.close()


def test_frames_of_another_size_are_refused(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "a.mp4")
    writer.write(numbered_frame(0))
    with pytest.raises(SinkError, match=r"\(40, 64, 3\) cannot follow frames of shape \(48, 64, 3\)"):
        writer.write(numbered_frame(0, (40, 64)))
    writer.discard()
    assert files(tmp_path) == []
