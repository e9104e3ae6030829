"""What holds of every format: whole or not there, the same bytes for the same results, constant memory."""

from __future__ import annotations

import gc
import tracemalloc
from contextlib import nullcontext
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sam2_video.sinks import ResultLog, Sink, base
from sam2_video.sinks.registry import SINKS, SinkOrder
from sam2_video.types import FrameResult, ObjectInfo, PromptError, SinkError
from tests.sinks.story import disc, files, frame_name, result_of, story, write

SINGLE = ["coco", "youtube-vis", "sav", "mots", "cvat"]  # one file each
FORMATS = [*SINGLE, "mot", "yolo", "labelme", "object-masks"]


def small_ids(results: list[FrameResult]) -> list[FrameResult]:
    return [replace(r, object_ids=tuple(min(k, 900) for k in r.object_ids)) for r in results]


def open_sink(name: str, out: Path) -> Sink:
    order = SinkOrder(out, "clip", source="clip.mp4", fps=12.5, start=3, stride=2, frames=30)
    return SINKS[name].make(order)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files(folder)}


def run(name: str, out: Path, results: list[FrameResult]) -> dict[str, bytes]:
    with open_sink(name, out) as sink:
        write(sink, results)
    return contents(out)


@pytest.mark.parametrize("name", FORMATS)
def test_the_registry_knows_every_file(name: str, tmp_path: Path) -> None:
    found = run(name, tmp_path, small_ids(story()))
    assert found and all(any(fnmatch(file, p) for p in SINKS[name].files) for file in found)
    for pattern in SINKS[name].files:
        assert any(fnmatch(file, pattern) for file in found), f"nothing is called {pattern}"


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_results_make_the_same_bytes(name: str, tmp_path: Path) -> None:
    """Also results that were set aside and read back, which is how a run goes on."""
    results = small_ids(story())
    with ResultLog(tmp_path / "results.log") as log:
        for result in results:
            log.append(result)
        kept = list(log.in_order())
    first = run(name, tmp_path / "a", results)
    assert first == run(name, tmp_path / "b", results) == run(name, tmp_path / "c", kept)


@pytest.mark.parametrize("name", FORMATS)
def test_a_run_cut_short_is_a_shorter_run(name: str, tmp_path: Path) -> None:
    """Two frames and close: what is there does not depend on what would have come."""
    two = run(name, tmp_path / "two", small_ids(story())[:2])
    sink = open_sink(name, tmp_path / "cut")
    write(sink, small_ids(story())[:2])
    sink.close()
    after = contents(tmp_path / "cut")
    sink.close()
    sink.discard()
    assert contents(tmp_path / "cut") == after == two


@pytest.mark.parametrize("name", [*SINGLE, "mot"])
def test_discarding_leaves_nothing(name: str, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), open_sink(name, tmp_path) as sink:
        write(sink, small_ids(story())[:3])
        raise KeyboardInterrupt
    assert files(tmp_path) == []
    before = run(name, tmp_path, small_ids(story()))
    with pytest.raises(KeyboardInterrupt), open_sink(name, tmp_path) as sink:
        write(sink, small_ids(story())[:1])
        raise KeyboardInterrupt
    assert contents(tmp_path) == before, "an old file stays until the new one is whole"
    with pytest.raises(SinkError, match="is closed"):
        write(sink, small_ids(story())[3:])


@pytest.mark.parametrize("name", [*SINGLE, "mot"])
@pytest.mark.parametrize("moment", ["writing", "closing", "renaming"])
def test_full_disk(name: str, moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __init__(self, real: Any) -> None:
            self.real = real

        def write(self, text: str) -> None:
            raise OSError(28, "No space left on device")

        def __getattr__(self, name: str) -> Any:
            return getattr(self.real, name)

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    sink: Any = open_sink(name, tmp_path)
    holder = sink._truth if name == "mot" else sink
    write(sink, small_ids(story())[:2])
    with pytest.raises(SinkError, match="the disk is full"), sink:
        if moment == "renaming":
            monkeypatch.setattr(Path, "replace", full)
        else:
            holder._file = Full(holder._file)
        if moment == "writing":
            holder.append("x")
        elif name in ("mots", "mot"):
            monkeypatch.setattr(Path, "replace", full)  # lines have no ending that could fail
    assert files(tmp_path) == []


@pytest.mark.parametrize("name", FORMATS)
def test_unwritable_output(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SinkError, match="cannot write"):
        open_sink(name, tmp_path / "file")
    monkeypatch.setattr(base.os, "access", lambda path, mode: False)  # tests may run as root, who may do all
    with pytest.raises(SinkError, match="no permission to write there; choose another output folder"):
        open_sink(name, tmp_path)
    assert files(tmp_path) == ["file"]


@pytest.mark.parametrize("name", [*SINGLE, "mot", "yolo"])
def test_memory_does_not_grow_with_the_clip(name: str, tmp_path: Path) -> None:
    comb = np.zeros((16, 16), bool)
    comb[::2], comb[:, 0] = True, True  # a long text: a list of such would show
    masks, rgb = {1: comb, 2: comb.T}, np.zeros((16, 16, 3), np.uint8)

    def feed(sink: Sink, frames: range) -> int:
        for frame in frames:
            sink.write(rgb, result_of(frame, masks, size=(16, 16)), frame_name(frame))
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    sink = SINKS[name].make(SinkOrder(tmp_path, "clip"))
    tracemalloc.start()
    try:
        early, late = feed(sink, range(50)), feed(sink, range(50, 450))
        tracemalloc.reset_peak()
        sink.close()
        closing = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert late - early < 4_000, "bytes, for 400 frames"
    assert closing - late < 100_000, "the file is completed piece by piece"


def test_only_files_of_single_frames_come_in_any_order() -> None:
    assert {name for name in FORMATS if SINKS[name].any_order} == {"labelme"}


def test_the_order_says_what_the_clip_is_like(tmp_path: Path) -> None:
    with SINKS["sav"].make(SinkOrder(tmp_path, "a/b c", fps=10.0, stride=3, frames=60)) as sink:
        write(sink, [result_of(6, {1: np.ones((40, 56), bool)})])
    text = (tmp_path / "sav" / "a_b_c_manual.json").read_text()
    assert '"video_duration": 2.0' in text, "60 frames at 30 frames a second, of which every third is used"


OBJECTS = {
    "nothing special": {1: ObjectInfo("left cup", "cup"), 255: ObjectInfo()},
    "id 0": {0: ObjectInfo()},
    "id 1000": {1: ObjectInfo(), 1000: ObjectInfo()},
    "id 65536": {65_536: ObjectInfo()},
    "a huge id": {10**30: ObjectInfo("x")},
    "a strange name": {1: ObjectInfo("a\0/\udcff" * 99, "<\n&")},
    "nine classes": {k + 1: ObjectInfo("", name) for k, name in enumerate(["car", "person", *"abcdefg"])},
    "ten classes": {k + 1: ObjectInfo("", name) for k, name in enumerate(["car", "person", *"abcdefgh"])},
}
REFUSED = {
    "masks": {"id 0", "id 65536", "a huge id"},
    "mots": {"id 1000", "id 65536", "a huge id", "ten classes"},
}


@pytest.mark.parametrize("name", SINKS)
@pytest.mark.parametrize("objects", OBJECTS)
def test_objects_that_a_writer_would_refuse_are_refused_before_it_is_made(
    name: str, objects: str, tmp_path: Path
) -> None:
    info = OBJECTS[objects]
    result = result_of(0, {object_id: disc(9, 9, 3) for object_id in info}, info)
    refused = objects in REFUSED.get(name, ())
    complaint = r"object id|classes"
    with pytest.raises((PromptError, SinkError), match=complaint) if refused else nullcontext():
        SINKS[name].check(info)
    with (
        pytest.raises(SinkError, match=complaint) if refused else nullcontext(),
        SINKS[name].make(SinkOrder(tmp_path, "clip", bits=16)) as sink,
    ):
        write(sink, [result])


@pytest.mark.parametrize("name", FORMATS)
def test_frames_of_another_size_are_refused_where_a_format_has_one(name: str, tmp_path: Path) -> None:
    small, large = (40, 56), (48, 64)
    results = [result_of(k, {1: disc(9, 9, 3, s)}, size=s) for k, s in ((0, small), (2, large), (4, small))]
    if name not in ("youtube-vis", "sav", "mot", "cvat"):
        assert run(name, tmp_path, results)
        return
    with open_sink(name, tmp_path / "mixed") as sink:
        write(sink, results[:1])
        message = "one size for all frames: one of 64x48 cannot follow those of 56x40"
        with pytest.raises(SinkError, match=message):
            write(sink, results[1:2])
        write(sink, results[2:])
    assert contents(tmp_path / "mixed") == run(name, tmp_path / "even", results[::2])
