"""Saved sessions: what comes back is what was saved, and files from elsewhere cannot do harm."""

from __future__ import annotations

import io
import json
import shutil
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sam2_video import VideoPredictor
from sam2_video.memory import MemoryPolicy
from sam2_video.saved import read_saved
from sam2_video.session import VideoSession
from sam2_video.sources import open_source
from sam2_video.types import CheckpointError, DataError, FrameResult, ObjectInfo, SinkError, SourceError
from tests.clips import write_clip
from tests.toys import FRAME_SIZE, toy_clip, toy_model

FRAMES = 10
CLIP = toy_clip(FRAMES)


@pytest.fixture(scope="module")
def predictor() -> VideoPredictor:
    return VideoPredictor(toy_model())


def begun(predictor: VideoPredictor, **options: Any) -> VideoSession:
    """A session with a click, a box, a mask and names."""
    session = predictor.open(CLIP, **options)
    mask = np.zeros(FRAME_SIZE, bool)
    mask[5:30, 9:41] = True
    session.prompt(frame=2, object_id=1, points=[(12.5, 12.25)], labels=[1], name="left cup", category="cup")
    session.prompt(frame=6, object_id=4, box=(5, 5, 40.5, 40))
    session.prompt(frame=4, object_id=9, mask=mask, name="Tuch")
    return session


def same(a: FrameResult, b: FrameResult) -> bool:
    names = ("frame", "object_ids", "size", "prompted", "info")
    tensors = ("logits", "iou", "presence")
    return all(getattr(a, n) == getattr(b, n) for n in names) and all(
        torch.equal(getattr(a, n), getattr(b, n)) for n in tensors
    )


def assert_same(found: Any, expected: Any) -> None:
    pairs = list(zip(found, expected, strict=True))
    assert pairs and all(same(a, b) for a, b in pairs)


@pytest.mark.parametrize("retain", ["all", "window"])
@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_a_session_goes_on_as_if_nothing_had_happened(
    predictor: VideoPredictor, tmp_path: Path, retain: Any, direction: Any
) -> None:
    with begun(predictor, retain=retain) as session:
        walk = session.propagate(direction)
        for _ in range(3):
            next(walk)
        session.save(tmp_path / "work.sam2")
        expected = list(walk)
    with predictor.resume(tmp_path / "work.sam2", CLIP) as resumed:
        assert_same(resumed.carry_on(), expected)


def test_a_session_goes_on_from_frames_that_are_not_shown_yet(tmp_path: Path) -> None:
    # A short memory: what waits to be shown is soon known from the disk alone.
    predictor = VideoPredictor(toy_model(), memory=MemoryPolicy(recent=2, pointers=2))
    with begun(predictor, retain="window") as session:
        files: list[tuple[int, Path]] = []
        done: list[FrameResult] = []

        def save() -> None:
            files.append((len(done), tmp_path / f"{len(files)}.sam2"))
            session.save(files[-1][1])

        session.while_hidden = save
        for result in session.propagate("both"):
            done.append(result)
    assert len(files) >= 3, "nothing was walked backward"
    for shown, file in files:
        with predictor.resume(file, CLIP) as resumed:
            assert_same(resumed.carry_on(), done[shown:])


def test_corrections_after_resuming_are_those_of_the_session(
    predictor: VideoPredictor, tmp_path: Path
) -> None:
    def correct(session: VideoSession) -> list[FrameResult]:
        found = [session.prompt(frame=7, object_id=1, points=[(30, 30)], labels=[0])]
        found += session.propagate("both")
        session.remove(4)
        return found + list(session.propagate("backward", start=5))

    with begun(predictor) as session:
        list(session.propagate())
        session.save(tmp_path / "work.sam2")
        expected = correct(session)
    with predictor.resume(tmp_path / "work.sam2", CLIP) as resumed:
        assert_same(correct(resumed), expected)


def test_memories_lie_in_memory_as_they_did(predictor: VideoPredictor, tmp_path: Path) -> None:
    """Arithmetic follows the order of channels: another one can round differently."""

    def layout(session: VideoSession) -> list[Any]:
        bank = session.track(1).bank
        held = [*bank.prompted.values(), *bank.tracked.values()]
        return [(m.features.stride(), m.features.dtype, m.pointer.stride(), m.pointer.dtype) for m in held]

    with begun(predictor) as session:
        list(session.propagate())
        session.save(tmp_path / "work.sam2")
        expected = layout(session)
    assert any(list(strides) != sorted(strides, reverse=True) for strides, *_ in expected)
    with predictor.resume(tmp_path / "work.sam2", CLIP) as resumed:
        assert layout(resumed) == expected and len(expected) > 5


def test_what_was_tracked_is_not_tracked_again(predictor: VideoPredictor, tmp_path: Path) -> None:
    with begun(predictor) as session:
        list(session.propagate())
        session.save(tmp_path / "work.sam2")
    with predictor.resume(tmp_path / "work.sam2", CLIP) as resumed:
        made = resumed.track(1).bank.made
        list(resumed.propagate())
        assert resumed.track(1).bank.made == made


def test_without_memories_prompted_frames_are_as_they_were(predictor: VideoPredictor, tmp_path: Path) -> None:
    with begun(predictor) as session:
        list(session.propagate())
        session.prompt(frame=7, object_id=1, points=[(30, 30)], labels=[0])  # refines what tracking found
        session.save(tmp_path / "large.sam2")
        session.save(tmp_path / "small.sam2", memories=False)
        shown = list(session.results())
        expected = list(session.propagate("both"))
    assert (tmp_path / "small.sam2").stat().st_size < (tmp_path / "large.sam2").stat().st_size / 2
    with predictor.resume(tmp_path / "small.sam2", CLIP) as resumed:
        back = list(resumed.results())
        assert [r.frame for r in back] == [r.frame for r in shown] == list(range(2, FRAMES))
        for found, original in zip(back, shown, strict=True):
            assert np.array_equal(found.masks, original.masks) and torch.equal(found.iou, original.iou)
            assert (found.object_ids, found.prompted, found.info) == (
                *(original.object_ids, original.prompted),
                original.info,
            )
        assert list(resumed.carry_on()) == []
        assert_same(resumed.propagate("both"), expected)
        assert_same(resumed.results(), expected)  # what was kept has given way to what was found


def test_masks_that_are_only_shown_survive_saving_again(predictor: VideoPredictor, tmp_path: Path) -> None:
    with begun(predictor) as session:
        list(session.propagate())
        session.save(tmp_path / "1.sam2", memories=False)
        shown = list(session.results())
    for memories in (True, False):
        with predictor.resume(tmp_path / "1.sam2", CLIP) as resumed:
            resumed.remove(4)
            resumed.describe(9, name="cloth")
            resumed.save(tmp_path / "2.sam2", memories=memories)
        with predictor.resume(tmp_path / "2.sam2", CLIP) as again:
            for found, original in zip(again.results(), shown, strict=True):
                assert found.object_ids == (1, 9) and found.info_of(1) == ObjectInfo("cloth")
                assert np.array_equal(found.masks, original.masks[[0, 2]])


def test_masks_that_are_only_shown_belong_to_their_object(predictor: VideoPredictor, tmp_path: Path) -> None:
    """An object that takes the id of another one, or loses a prompt, is not shown with what was saved."""
    with begun(predictor) as session:
        session.prompt(frame=8, object_id=1, points=[(30, 30)], labels=[1])
        list(session.propagate())
        session.save(tmp_path / "1.sam2", memories=False)
    with predictor.resume(tmp_path / "1.sam2", CLIP) as resumed:
        resumed.clear(8, 1)
        assert [r.frame for r in resumed.results() if r.prompted[0]] == [2]
        before = list(resumed.results())
        resumed.remove(4)
        resumed.undo()
        assert_same(resumed.results(), before)
        for object_id in (1, 4, 9):
            resumed.remove(object_id)
        assert list(resumed.results()) == []
        only = resumed.prompt(frame=5, object_id=1, points=[(60, 40)])
        assert_same(resumed.results(), [only])
        resumed.save(tmp_path / "2.sam2")
    with predictor.resume(tmp_path / "2.sam2", CLIP) as again:
        assert_same(again.results(), [only])


def test_settings_names_and_notes_come_back(tmp_path: Path) -> None:
    policy = MemoryPolicy(recent=3, prompted=2, pointers=5, stride=2)
    options: dict[str, Any] = {"memory": policy, "fill_holes": 4, "non_overlapping": True}
    with begun(VideoPredictor(toy_model(), **options), video_size=FRAME_SIZE) as session:
        next(session.propagate(stride=2))
        session.save(tmp_path / "work.sam2", note={"page": [1, "zwei", None]})
        expected = list(session.carry_on())
    saved = read_saved(tmp_path / "work.sam2")
    assert saved.note == {"page": [1, "zwei", None]} and saved.has_memories
    with VideoPredictor(toy_model()).resume(saved, CLIP) as resumed:  # a predictor with other settings
        assert resumed.options.memory == policy and resumed.options.video_size == FRAME_SIZE
        assert resumed.track(1).info == ObjectInfo("left cup", "cup")
        assert_same(resumed.carry_on(), expected)


def test_equal_sessions_make_equal_files(predictor: VideoPredictor, tmp_path: Path) -> None:
    for name in ("a", "b"):
        with begun(predictor) as session:
            list(session.propagate())
            session.save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with predictor.resume(tmp_path / "a", CLIP) as resumed:
        resumed.save(tmp_path / "c")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "c").read_bytes()


def test_an_empty_session(predictor: VideoPredictor, tmp_path: Path) -> None:
    with predictor.open(CLIP) as session:
        session.save(tmp_path / "work.sam2")
    with predictor.resume(tmp_path / "work.sam2", CLIP) as resumed:
        assert resumed.objects == () and list(resumed.results()) == []


# Clips and models


def test_a_window_spares_what_it_would_have_spared(tmp_path: Path) -> None:
    """Prompts that an undo could bring back into reach are read by a pass that comes back."""
    clip, policy = toy_clip(30), MemoryPolicy(recent=2, pointers=2, prompted=1)
    predictor = VideoPredictor(toy_model(), memory=policy)
    with predictor.open(clip, retain="window") as session:
        for frame in (0, 5, 10, 15):
            session.prompt(frame=frame, object_id=1, points=[(10 + frame, 14)])
        session.save(tmp_path / "1.sam2")
        with predictor.resume(tmp_path / "1.sam2", clip) as resumed:
            resumed.save(tmp_path / "2.sam2")
        with predictor.resume(tmp_path / "2.sam2", clip) as again:
            for direction in ("forward", "backward"):
                assert_same(again.propagate(direction), session.propagate(direction))


@pytest.fixture
def file_session(predictor: VideoPredictor, tmp_path: Path) -> Path:
    write_clip(tmp_path / "clip.mp4", 6)
    with predictor.open(tmp_path / "clip.mp4") as session:
        session.prompt(frame=1, object_id=1, points=[(20, 20)], labels=[1])
        session.save(tmp_path / "work.sam2")
    return tmp_path / "work.sam2"


def test_the_clip_is_found_where_it_was(predictor: VideoPredictor, file_session: Path) -> None:
    with predictor.resume(file_session) as resumed:
        assert len(list(resumed.propagate())) == 5
        resumed.save(file_session)
    with predictor.resume(str(file_session)) as resumed:
        assert resumed.frame_count == 6


def test_a_clip_that_was_moved(predictor: VideoPredictor, file_session: Path, tmp_path: Path) -> None:
    moved = (tmp_path / "clip.mp4").rename(tmp_path / "other name.mp4")
    with pytest.raises(SourceError, match=r"clip\.mp4.* If the clip was moved, give source="):
        predictor.resume(file_session)
    with predictor.resume(file_session, moved) as resumed:
        assert resumed.frame_count == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 7}, "it has 7 frames, not 6"),
        ({"size": (48, 80)}, "its frames are 80x48, not 64x48"),
        ({"options": {"crf": "40"}}, "its content differs"),
    ],
)
def test_another_clip_is_refused(
    predictor: VideoPredictor, file_session: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    write_clip(tmp_path / "clip.mp4", **{"count": 6, **change})
    with pytest.raises(SourceError, match=rf"clip\.mp4 is not the clip that .*{message}"):
        predictor.resume(file_session)


@pytest.mark.parametrize(
    "taken", [{"start": 4, "stop": 8}, {"stop": 8, "stride": 2}, {"start": 1, "stop": 8, "stride": 2}, {}]
)
def test_another_part_of_the_clip_is_another_clip(
    taken: dict[str, int], predictor: VideoPredictor, tmp_path: Path
) -> None:
    path = write_clip(tmp_path / "clip.mp4", FRAMES)
    with predictor.open(open_source(path, stop=4)) as session:
        session.prompt(frame=2, object_id=1, points=[(10, 10)])
        session.save(tmp_path / "part.sam2")
    with pytest.raises(SourceError, match="is not the clip"):
        predictor.resume(tmp_path / "part.sam2", open_source(path, **taken))
    with predictor.resume(tmp_path / "part.sam2", open_source(path, stop=4)) as resumed:
        assert resumed.objects == (1,)


def test_a_session_is_not_saved_over_its_clip(predictor: VideoPredictor, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", FRAMES)
    before = path.read_bytes()
    (tmp_path / "folder").symlink_to(tmp_path)
    with predictor.open(path) as session:
        for same_place in (path, tmp_path / "folder" / "clip.mp4"):
            with pytest.raises(SinkError, match="is the clip itself"):
                session.save(same_place)
    assert path.read_bytes() == before


def test_frames_in_memory_must_be_given_and_be_the_same(predictor: VideoPredictor, tmp_path: Path) -> None:
    with begun(predictor) as session:
        session.save(tmp_path / "work.sam2")
    with pytest.raises(SourceError, match=r"does not say where its clip .* give source="):
        predictor.resume(tmp_path / "work.sam2")
    with pytest.raises(SourceError, match="its content differs"):
        predictor.resume(tmp_path / "work.sam2", toy_clip(FRAMES, seed=1))


def test_another_model_is_refused(file_session: Path) -> None:
    with pytest.raises(CheckpointError, match="image_size 64, not 96"):
        VideoPredictor(toy_model(96)).resume(file_session)
    other = toy_model.__wrapped__()
    with torch.no_grad():
        next(iter(other.parameters())).add_(1e-3)
    with pytest.raises(CheckpointError, match="saved with other weights"):
        VideoPredictor(other).resume(file_session)


# Files that are broken, or from strangers


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "good.sam2"
    with begun(VideoPredictor(toy_model()), retain="window") as session:
        for _ in zip(range(2), session.propagate("both"), strict=False):
            pass
        session.save(path)
    return path


def test_a_file_that_was_cut_off(predictor: VideoPredictor, good: Path, tmp_path: Path) -> None:
    whole = good.read_bytes()
    for length in range(0, len(whole), len(whole) // 23):
        (tmp_path / "cut").write_bytes(whole[:length])
        with pytest.raises(DataError, match="is no saved session"):
            predictor.resume(tmp_path / "cut", CLIP)


def test_a_file_with_flipped_bits(predictor: VideoPredictor, good: Path, tmp_path: Path) -> None:
    whole = good.read_bytes()
    with zipfile.ZipFile(good) as archive:
        places = [entry.header_offset + 60 for entry in archive.infolist()]
    for place in places:
        broken = bytearray(whole)
        broken[place + 40] ^= 4
        (tmp_path / "broken").write_bytes(broken)
        with pytest.raises(DataError):
            predictor.resume(tmp_path / "broken", CLIP)


def test_files_that_are_missing_or_folders(predictor: VideoPredictor, tmp_path: Path) -> None:
    for path in (tmp_path / "missing.sam2", tmp_path):
        with pytest.raises(DataError, match="cannot read the saved session"):
            predictor.resume(path, CLIP)


def rewritten(
    good: Path, out: Path, change: Callable[[dict[str, Any]], Any] = lambda head: None, **entries: bytes
) -> Path:
    """A copy with changed settings and more entries; without the entries whose new content is empty."""
    with zipfile.ZipFile(good) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    head = json.loads(held["session.json"])
    change(head)
    held = {**held, "session.json": json.dumps(head).encode(), **entries}
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in held.items():
            if data:
                archive.writestr(name, data)
    return out


def entries(head: dict[str, Any], object_id: int = 1) -> dict[str, Any]:
    return next(entry for entry in head["objects"] if entry["id"] == object_id)


CHANGES: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda head: head.update(format="other"), "another format"),
    (lambda head: head.update(version=2, written_by={"sam2_video": "9.9"}), r"version 2 .* sam2_video 9\.9"),
    (lambda head: head.update(size=[2**20, 2**20]), "size is .* expected a height and a width"),
    (lambda head: head.update(size=[48, 80.0]), r"size\[1\] is 80.0"),
    (lambda head: head.update(frame_count=0), "frame_count is 0"),
    (lambda head: head.update(objects={}), "objects is {}; expected a list"),
    (lambda head: head["objects"].append(head["objects"][0]), "each object once"),
    (lambda head: head["options"].update(retain="some"), "options: retain is 'some'"),
    (lambda head: head["options"]["memory"].update(recent=-1), r"options\.memory\.recent is -1"),
    (lambda head: head["pending"]["legs"][0].update(step=0), r"legs\[0\].* expected a step that is not 0"),
    (lambda head: head["pending"].update(anchors={"x": []}), "expected object ids as keys"),
    (lambda head: head["pending"].update(anchors={"9" * 5000: []}), "expected object ids as keys"),
    (lambda head: head["pending"].update(everything=1), r"pending\.everything is 1"),
    (lambda head: entries(head).update(name=7), r"objects\[0\]\.name is 7; expected text"),
    (lambda head: entries(head)["frames"][0].update(frame=99), r"frames\[0\]\.frame is 99"),
    (lambda head: entries(head)["frames"].append(entries(head)["frames"][0]), "each frame once"),
    (lambda head: entries(head)["frames"][0].update(version=10**6), "version is 1000000"),
    (lambda head: entries(head)["frames"][0].update(way={"pace": 0, "since": None}), "pace that is not 0"),
    (lambda head: entries(head)["frames"][0].update(settled=None), "settled is None"),
    (lambda head: prompt_of(head, 1).update(points=[[1e9, 0]]), "prompt: .*outside"),
    (lambda head: prompt_of(head, 1).update(labels=[7]), "prompt: .*label"),
    (lambda head: prompt_of(head, 9)["mask"].update(counts=[5]), "mask: runs of 5 pixels do not fill"),
    (lambda head: prompt_of(head, 9)["mask"].update(size=[2**14, 2**14]), "expected a mask of"),
    (lambda head: head["model"].update(shapes={"logits": [0]}), "shapes"),
    (lambda head: head["clip"].update(hash=5), r"clip\.hash is 5"),
    (lambda head: head.pop("clip"), "clip is None"),
]


def prompt_of(head: dict[str, Any], object_id: int) -> dict[str, Any]:
    return next(f["prompt"] for f in entries(head, object_id)["frames"] if f["prompt"] is not None)


@pytest.mark.parametrize(("change", "message"), CHANGES, ids=[message for _, message in CHANGES])
def test_settings_that_make_no_sense(
    predictor: VideoPredictor, good: Path, tmp_path: Path, change: Any, message: str
) -> None:
    path = rewritten(good, tmp_path / "forged.sam2", change)
    with pytest.raises(DataError, match=message):
        predictor.resume(path, CLIP)


def test_the_copies_are_as_good_as_the_original(
    predictor: VideoPredictor, good: Path, tmp_path: Path
) -> None:
    with (
        predictor.resume(rewritten(good, tmp_path / "copy"), CLIP) as copy,
        predictor.resume(good, CLIP) as original,
    ):
        assert_same(copy.carry_on(), original.carry_on())


def tensors(**changes: torch.Tensor) -> bytes:
    from safetensors.torch import save

    shapes = {"logits": (1, 1, 16, 16), "iou": (1,), "pointer": (1, 64), "presence": (1,)}
    return save({**{name: torch.zeros(shape) for name, shape in shapes.items()}, **changes})


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("../../evil.sh", b"x", "it holds '../../evil.sh'"),
        ("/etc/passwd", b"x", "it holds '/etc/passwd'"),
        ("session.json/", b"x", "it holds"),
        ("session.json", b"", "it has no session.json"),
        ("session.json", b"[" * 10**6, "nested too deeply|cannot be read"),
        ("session.json", b'{"format": ', "session.json cannot be read"),
        ("session.json", b"\xff\xfe", "session.json cannot be read"),
        ("objects/1/2.safetensors", b"no tensors", "cannot be read"),
        ("objects/1/2.safetensors", b"", "a version and a mask for each prompt"),
        ("objects/1/2.safetensors", tensors(logits=torch.zeros(1, 1, 4, 4)), "logits as .* shape"),
        ("objects/1/2.safetensors", tensors(iou=torch.zeros(1, dtype=torch.int32)), "iou as torch.int32"),
        ("objects/1/2.safetensors", tensors(code=torch.zeros(1)), "code as"),
        ("aside/1/1.safetensors", b"\x80\x04pickle", "cannot be read"),
        ("results/3", b"nothing", "a result"),
        (f"results/{'9' * 5000}", b"x", "it holds"),
    ],
)
def test_parts_that_do_not_belong(
    predictor: VideoPredictor, good: Path, tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    path = rewritten(good, tmp_path / "forged.sam2", **{name: data})
    with pytest.raises(DataError, match=message):
        predictor.resume(path, CLIP)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["forged.sam2"]


def test_bombs_are_not_unpacked(predictor: VideoPredictor, good: Path, tmp_path: Path) -> None:
    path = tmp_path / "bomb.sam2"
    shutil.copy(good, path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("objects/77/1.safetensors", bytes(10**7))
    with pytest.raises(DataError, match="compressed or overlap"):
        predictor.resume(path, CLIP)
    with zipfile.ZipFile(path, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("session.json", "{}")
        archive.writestr("session.json", "{}")
    with pytest.raises(DataError, match="compressed or overlap"):
        predictor.resume(path, CLIP)


def record_of(count: int, size: tuple[int, int], stored: int) -> bytes:
    """A record of a log: `count` objects of this size, with `stored` bytes of empty masks."""
    bits = zlib.compress(bytes(stored), 9)
    said = {"frame": 2, "objects": [1, 4, 9, 10, 11][:count], "size": size, "masks": len(bits), "info": []}
    head = json.dumps({**said, **dict.fromkeys(("iou", "presence", "prompted"), [0] * count)}).encode()
    return struct.pack("<I", len(head)) + head + bits + zlib.compress(b"")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (record_of(3, (6000, 8000), 3 * 6_000_000), "another clip"),
        (record_of(3, FRAME_SIZE, 30_000_000), "bytes or more"),
        (record_of(3, FRAME_SIZE, 100), "bytes or more"),
        (record_of(5, FRAME_SIZE, 5 * 480), "not in this session"),
    ],
)
def test_masks_are_not_unpacked_before_they_are_shown(
    record: bytes, message: str, predictor: VideoPredictor, tmp_path: Path
) -> None:
    small, bomb = tmp_path / "small.sam2", tmp_path / "bomb.sam2"
    with begun(predictor) as session:
        session.save(small, memories=False)
    with zipfile.ZipFile(small) as old, zipfile.ZipFile(bomb, "w") as new:
        for name in old.namelist():
            new.writestr(zipfile.ZipInfo(name), record if name == "results/2" else old.read(name))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=message):
            predictor.resume(bomb, CLIP)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def overlapping() -> Iterator[bytes]:
    """A zip whose directory names one stored part many times under different names."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("session.json", b" " * 50_000)
        entry = archive.infolist()[0]
        for k in range(100):
            twin = zipfile.ZipInfo(f"results/{k}")
            for key in ("header_offset", "file_size", "compress_size", "CRC"):
                setattr(twin, key, getattr(entry, key))
            archive.filelist.append(twin)
            archive.NameToInfo[twin.filename] = twin
        archive._didModify = True
    yield buffer.getvalue()


def test_parts_that_share_their_bytes(predictor: VideoPredictor, tmp_path: Path) -> None:
    (tmp_path / "twins.sam2").write_bytes(next(overlapping()))
    with pytest.raises(DataError, match="compressed or overlap"):
        predictor.resume(tmp_path / "twins.sam2", CLIP)


# Writing


def test_a_full_disk_leaves_the_older_file(
    predictor: VideoPredictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "work.sam2"
    with begun(predictor) as session:
        session.save(path)
        before = path.read_bytes()

        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("sam2_video.saved.os.fsync", full)
        with pytest.raises(SinkError, match=r"work\.sam2: No space left.*make room"):
            session.save(path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["work.sam2"]


def test_saving_into_a_folder_that_is_a_file(predictor: VideoPredictor, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with begun(predictor) as session, pytest.raises(SinkError, match="cannot write"):
        session.save(tmp_path / "file" / "work.sam2")


def test_a_note_must_be_json(predictor: VideoPredictor, tmp_path: Path) -> None:
    with begun(predictor) as session, pytest.raises(TypeError):
        session.save(tmp_path / "work.sam2", note={"x": object()})
    assert list(tmp_path.iterdir()) == []
