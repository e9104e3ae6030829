"""Video files: any frame in any order equals the frame read in order, and broken files say what is wrong."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from sam2_video.sources import EndOfClip, VideoFile, decoders, open_source, pyav, video
from sam2_video.types import SourceError
from tests.clips import cut, numbered_frame, retime, write_clip

B_FRAMES = {"g": "12", "bf": "3"}
OPEN = "keyint=12:min-keyint=12:scenecut=0:bframes=3:open-gop=1"
HIDDEN = {"auto-alt-ref": "1", "lag-in-frames": "16", "g": "20"}  # with frames that are never shown
KINDS: dict[str, dict[str, Any]] = {
    "plain.mp4": {},
    "bframes.mp4": {"options": B_FRAMES},
    "open_gop.mp4": {"options": {"x264-params": OPEN}},
    "open_gop.mkv": {"options": {"x264-params": OPEN}},
    "open_gop.ts": {"options": {"x264-params": OPEN}},
    "open_hevc.mp4": {"codec": "libx265", "options": {"x265-params": OPEN + ":log-level=none"}},
    "varying.mp4": {"options": B_FRAMES, "vary_rate": True},
    "varying.mkv": {"options": B_FRAMES, "vary_rate": True},
    "standing.mp4": {"options": B_FRAMES, "vary_rate": True, "same": (20, 45)},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"qmax": "3"}},
    "mpeg4_bframes.avi": {"codec": "mpeg4", "options": {"bf": "2", "qmax": "3"}},
    "open_gop.avi": {"options": {"x264-params": OPEN}},
    "bframes.avi": {"options": B_FRAMES},  # AVI has no times of presentation
    "bframes.h264": {"options": B_FRAMES},  # and this has no times at all
    "interlaced.ts": {"options": {"x264-params": "tff=1:bframes=2:keyint=12"}},
    "bframes.mpg": {"codec": "mpeg2video", "options": {**B_FRAMES, "qmax": "3"}},
    "hidden.webm": {"codec": "libvpx", "options": HIDDEN},
    "hidden9.webm": {"codec": "libvpx-vp9", "options": HIDDEN},
}


def late(number: int, packet: av.Packet) -> None:
    """The clip begins at 5 s."""
    shift = round(5 / packet.time_base)
    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift


def early(number: int, packet: av.Packet) -> None:
    """The clip begins half a second before 0."""
    shift = round(0.5 / packet.time_base)
    packet.pts, packet.dts = packet.pts - shift, packet.dts - shift


def doubled(number: int, packet: av.Packet) -> None:
    """Every fifth frame is shown at the time of the next one; key frames among them."""
    if number % 5 == 1 or number == 12:
        packet.pts += packet.duration


RETIMED = {
    "late.mkv": (late, B_FRAMES),
    "late.mp4": (late, B_FRAMES),
    "early.mp4": (early, B_FRAMES),
    "doubled.mp4": (doubled, {"g": "12", "bf": "0"}),
    "doubled.mkv": (doubled, {"g": "12", "bf": "0"}),
}
BLOCK = 12 * 48 * 64 * 3  # 12 small frames: the clips have several blocks


@pytest.fixture(params=["pyav", "opencv", "decord"])
def backend(request: pytest.FixtureRequest) -> str:
    if request.param == "decord":
        pytest.importorskip("decord")
    return str(request.param)


@pytest.fixture(scope="module")
def tricky(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Make each clip once."""
    folder = tmp_path_factory.mktemp("tricky")

    def make(kind: str) -> Path:
        path = folder / kind
        if not path.exists() and kind in KINDS:
            write_clip(path, **KINDS[kind])
        elif not path.exists():
            change, options = RETIMED[kind]
            retime(write_clip(folder / f"before_{path.stem}.mp4", options=options), path, change)
        return path

    return make


@pytest.mark.parametrize("kind", [*KINDS, *RETIMED])
def test_random_access_equals_reading_in_order(
    kind: str, backend: str, tricky: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Backward, at random, and by jumps forward into what was never decoded."""
    monkeypatch.setattr(video, "BLOCK_BYTES", BLOCK)
    monkeypatch.setattr(video, "FAR", 16)
    monkeypatch.setattr(video, "UNKNOWN", 4)
    path = tricky(kind)
    if (backend, kind) == ("opencv", "interlaced.ts"):
        pytest.skip("OpenCV 5.0 does not convert interlaced frames and returns what memory held")
    if backend == "decord" and kind.endswith((".h264", ".ts")):
        with pytest.raises(SourceError, match="cannot be read as a video"):
            VideoFile(path, backend)
        return
    with VideoFile(path, backend) as clip:
        expected = [rgb for _, rgb in clip.frames()]
        hidden = 60 - len(expected)
        assert clip.backend == backend and clip.count == len(expected) and clip.size == (48, 64)
        for frame, rgb in clip.frames(clip.count - 1, step=-1):
            assert np.array_equal(rgb, expected[frame]), f"backward, frame {frame}"
    if (backend, kind) != ("decord", "early.mp4"):  # it begins with others
        assert hidden == (13 if kind == "early.mp4" else 0)
        assert_numbered(expected, hidden, KINDS.get(kind, {}).get("same", (0, 0)))
    shuffled = random.Random(5)
    with VideoFile(path, backend) as clip:
        for frame in [shuffled.randrange(clip.count) for _ in range(60)]:
            assert np.array_equal(clip.read(frame), expected[frame]), f"random, frame {frame}"
    for leap in (7, 29):
        with VideoFile(path, backend) as clip:
            for frame in range(leap, clip.count, leap):
                assert np.array_equal(clip.read(frame), expected[frame]), f"leap of {leap}, frame {frame}"


@pytest.mark.parametrize("packet", [188, 192, 204])
def test_decord_refuses_transport_streams_which_it_numbers_wrongly(packet: int, tmp_path: Path) -> None:
    """Whatever their name, in packets as broadcast, with time codes before or check sums behind them."""
    pytest.importorskip("decord")
    data = write_clip(tmp_path / "clip.ts", options=B_FRAMES).read_bytes()
    before, behind = bytes(4 * (packet == 192)), bytes(16 * (packet == 204))
    packets = [before + data[k : k + 188] + behind for k in range(0, len(data), 188)]
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"".join(packets)[len(data) % 7 :])  # a recording may begin within a packet
    with pytest.raises(
        SourceError, match=r"frames of transport streams wrongly; backend='auto' tries others"
    ):
        VideoFile(path, "decord")


def assert_numbered(frames: list[np.ndarray], first: int, same: tuple[int, int]) -> None:
    """The frames are those that were encoded, in order, to within the loss of the codec."""
    for number, rgb in enumerate(frames, first):
        like = same[0] if number in range(*same) else number
        near = [np.abs(rgb.astype(int) - numbered_frame(k)).mean() for k in (like - 1, like, like + 1)]
        assert near[1] == min(near), f"frame {number} looks like {like - 1 + int(np.argmin(near))}"


@pytest.mark.parametrize(
    "kind", ["bframes.mp4", "open_gop.ts", "varying.mkv", "late.mkv", "open_hevc.mp4", "bframes.mpg"]
)
def test_pyav_jumps_into_the_unknown_and_decodes_little(
    kind: str, tricky: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "UNKNOWN", 4)
    used = 0
    original = pyav.PyAvDecoder._decode

    def counting(self: pyav.PyAvDecoder, packets: Iterable[av.Packet]) -> Iterator[av.VideoFrame]:
        def counted() -> Iterator[av.Packet]:
            nonlocal used
            for packet in packets:
                used += 1
                yield packet

        return original(self, counted())

    monkeypatch.setattr(pyav.PyAvDecoder, "_decode", counting)
    with VideoFile(tricky(kind), "pyav") as clip:
        before = used
        rgb = clip.read(57)
        assert used - before <= 12 + 8  # a group of pictures, and what the decoder holds back
        assert all(np.array_equal(rgb, full) for frame, full in clip.frames() if frame == 57)


@pytest.mark.parametrize("kind", ["bframes.mp4", "open_gop.mp4", "open_hevc.mp4", "late.mkv", "open_gop.mkv"])
def test_a_container_that_misses_a_key_frame_is_noticed(kind: str, tricky: Callable[[str], Path]) -> None:
    """Landing before the key frame that was meant costs time; landing behind it is not accepted."""
    with VideoFile(tricky(kind), "pyav") as clip:
        frames = [rgb for _, rgb in clip.frames()]
    decoder = pyav.PyAvDecoder(tricky(kind))
    index = decoder._index
    assert index.times is not None and len(index.keys) > 3
    refused = 0
    for meant, start in enumerate(index.keys):
        for hit in range(len(index.keys)):
            target = min(int(start) + 2, 59)
            if decoder._land(int(index.times[index.keys[hit]]), int(start), target):
                assert np.array_equal(decoder.read(), frames[target]), f"meant {meant}, hit {hit}"
            else:
                assert hit > meant, f"meant {meant}, hit {hit}"
                refused += 1
    assert refused
    decoder.close()


def test_frames_are_rgb_upright_and_numbered(tmp_path: Path, backend: str) -> None:
    with VideoFile(write_clip(tmp_path / "clip.mp4", 5, options={"crf": "1"}), backend) as clip:
        for frame, rgb in clip.frames():
            assert np.abs(rgb.astype(int) - numbered_frame(frame)).mean() < 12
        assert (
            clip.read(0)[20, 0].astype(int)[0] > clip.read(0)[20, 0].astype(int)[2] + 50
        )  # orange, not blue
        assert (clip.fps, clip.name, clip.frame_name(3)) == (25.0, "clip.mp4", "000003")


def test_few_frames_are_held(tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "BLOCK_BYTES", BLOCK)
    with VideoFile(write_clip(tmp_path / "clip.mp4"), backend) as clip:
        for _ in clip.frames():
            assert len(clip._block) == 1
        for _ in clip.frames(59, step=-1):
            assert len(clip._block) <= 12


class MissingDecoder:
    """Jumps land `miss` frames late; frames 20 to 44 of 60 are all alike, which hides it."""

    name, promised, fps, exact = "opencv", 60, 25.0, False

    def start_of(self, frame: int) -> None:
        return None

    def __init__(self, miss: int) -> None:
        self.miss, self.at, self.seeks = miss, 0, 0

    @staticmethod
    def frame(number: int) -> np.ndarray:
        return numbered_frame(20 if 20 <= number < 45 else number)

    def read(self) -> np.ndarray:
        if self.at >= 60:
            raise decoders.DecodeError("the end")
        self.at += 1
        return self.frame(self.at - 1)

    def rewind(self) -> None:
        self.at = 0

    def seek(self, frame: int) -> None:
        self.at, self.seeks = frame + self.miss, self.seeks + 1

    def close(self) -> None:
        self.at = 0


@pytest.fixture
def missing_clip(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[VideoFile, MissingDecoder]:
    monkeypatch.setattr(video, "BLOCK_BYTES", BLOCK)
    monkeypatch.setattr(video, "FAR", 16)
    decoder = MissingDecoder(getattr(request, "param", 0))
    monkeypatch.setattr(video, "open_decoder", lambda path, backend: decoder)
    (tmp_path / "clip.mp4").touch()
    return VideoFile(tmp_path / "clip.mp4"), decoder


@pytest.mark.parametrize("missing_clip", [1, -1, 3], indirect=True)
@pytest.mark.parametrize("seen", [40, 59])
def test_a_jump_that_misses_among_equal_frames_does_no_harm(
    seen: int, missing_clip: tuple[VideoFile, MissingDecoder]
) -> None:
    clip, decoder = missing_clip
    clip.read(seen)
    for frame in [39, *range(39, 60), *range(59, -1, -1)]:
        assert np.array_equal(clip.read(frame), decoder.frame(frame)), frame
    assert decoder.seeks


def test_going_backward_jumps_once_a_block(missing_clip: tuple[VideoFile, MissingDecoder]) -> None:
    clip, decoder = missing_clip
    assert len(list(clip.frames())) == len(list(clip.frames(59, step=-1))) == 60
    assert decoder.seeks <= 60 / 12


def test_going_backward_decodes_few_frames_twice(
    tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "BLOCK_BYTES", BLOCK)
    with VideoFile(write_clip(tmp_path / "clip.mp4", 240, options={"g": "12"}), backend) as clip:
        clip.read(239)
        decoded = 0
        original = video._checksum

        def counting(rgb: np.ndarray) -> int:
            nonlocal decoded
            decoded += 1
            return original(rgb)

        monkeypatch.setattr(video, "_checksum", counting)
        assert len(list(clip.frames(239, step=-1))) == 240
        assert decoded < 2 * 240  # from the start each time it would be 20 blocks x 120 frames


def test_pyav_and_decord_are_not_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_clip(tmp_path / "clip.mp4", 5)
    monkeypatch.setitem(sys.modules, "decord", None)
    monkeypatch.setitem(sys.modules, "av", None)
    with VideoFile(path) as clip:
        assert clip.backend == "opencv" and len(list(clip.frames())) == 5
    with pytest.raises(SourceError, match="decord is not installed"):
        VideoFile(path, "decord")
    with pytest.raises(SourceError, match=r"PyAV is not installed \(pip install"):
        VideoFile(path, "pyav")


@pytest.mark.parametrize("where", ["__init__", "read"])
def test_the_next_decoder_takes_over_where_one_fails(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("decord")

    def failing(self: object, *_: object) -> None:
        raise decoders.DecodeError("an unknown codec")

    path = write_clip(tmp_path / "clip.mp4", 20)
    monkeypatch.setattr(decoders.PyAvDecoder, where, failing)
    with VideoFile(path) as clip:
        assert clip.backend == "opencv" and len(list(clip.frames())) == 20
    monkeypatch.setattr(decoders.OpenCvDecoder, where, failing)
    with VideoFile(path) as clip:
        assert clip.backend == "decord" and len(list(clip.frames())) == 20
    for backend in ("pyav", "opencv"):
        with pytest.raises(SourceError, match="an unknown codec"):
            VideoFile(path, backend)


@pytest.mark.parametrize("choice", ["auto", "opencv"])
def test_memory_stays_flat_for_a_slow_reader(choice: str, tmp_path: Path) -> None:
    """decord fills memory with frames that a slow reader has not asked for; the decoders in use must not."""
    path = write_clip(tmp_path / "clip.mp4", 300, (360, 640), options={"preset": "ultrafast"})

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    if not Path("/proc/self/statm").exists():
        pytest.skip("memory is measured through /proc")
    with VideoFile(path, choice) as clip:
        clip.read(30)
        before = resident()
        for frame in range(31, 80):
            clip.read(frame)
            time.sleep(0.003)
        assert resident() - before < 60 * 2**20  # a frame is 0.7 MB, the rest of the clip 150 MB


def test_the_count_is_right_where_the_header_lies(tmp_path: Path) -> None:
    for name in ("clip.mkv", "clip.ts"):
        path = write_clip(tmp_path / name, 40, vary_rate=True, options={"bf": "3", "g": "12"})
        for choice in ("pyav", "opencv"):
            with VideoFile(path, choice) as clip:
                assert clip.count == 40 == len(list(clip.frames()))


@pytest.mark.parametrize("options", [{"g": "60", "bf": "0"}, B_FRAMES])
def test_a_trimmed_clip_ends_where_it_plays_to(options: dict[str, str], tmp_path: Path) -> None:
    """An edit list hides frames before and after the cut that the index counts: the file is not damaged."""
    whole = write_clip(tmp_path / "clip.mp4", 60, options=options, index_first=True)
    data = bytearray(whole.read_bytes())
    edit = data.find(b"elst") + 4 + 4 + 4  # version and flags, number of entries
    length, start = (int.from_bytes(data[k : k + 4], "big") for k in (edit, edit + 4))
    scale = int.from_bytes(data[(at := data.find(b"mdhd") + 4 + 12) : at + 4], "big")
    assert length == 2400  # milliseconds; the start is in ticks: as late as B-frames need
    data[edit : edit + 8] = (1200).to_bytes(4, "big") + (start + scale * 400 // 1000).to_bytes(4, "big")
    length_at = data.find(b"tkhd") + 4 + 20
    data[length_at : length_at + 4] = (1200).to_bytes(4, "big")
    (tmp_path / "trimmed.mp4").write_bytes(data)
    for choice in ("pyav", "opencv"):
        with VideoFile(tmp_path / "trimmed.mp4", choice) as clip, VideoFile(whole) as full:
            frames = [rgb for _, rgb in clip.frames()]
            assert clip.count == len(frames) == 30
            for frame in (0, 29, 7, 15):
                assert np.array_equal(clip.read(frame), full.read(10 + frame))
    with VideoFile(cut(tmp_path / "trimmed.mp4", 0.5, tmp_path / "cut.mp4")) as clip:
        with pytest.raises(SourceError, match="ends early"):  # trimmed and then truncated is damaged
            list(clip.frames())


def test_frames_past_the_end(tmp_path: Path, backend: str) -> None:
    with VideoFile(write_clip(tmp_path / "clip.mp4", 5), backend) as clip:
        for frame in (5, -1):
            with pytest.raises(EndOfClip, match=rf"frame {frame} is outside clip.mp4 \(0\.\.4\)"):
                clip.read(frame)


@pytest.mark.parametrize("kind", ["bframes.mp4", "late.mkv"])
def test_a_frame_that_is_left_out_without_a_word(
    kind: str, tricky: Callable[[str], Path], tmp_path: Path
) -> None:
    """One packet says that it ends a sequence: frames are missing, and no decoder calls that a failure."""
    data = bytearray(tricky(kind).read_bytes())
    with av.open(str(tricky(kind))) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    data[bytes(data).find(bytes(packets[30])) + 4] = 0x2A  # the type of its first unit
    (tmp_path / kind).write_bytes(data)
    with av.open(str(tmp_path / kind)) as container:
        shown = [frame.pts for frame in container.decode(video=0)]
    times = sorted(packet.pts for packet in packets)
    lost = next(number for number, time in enumerate(times) if time != shown[number])
    assert 20 < lost < 40 and len(shown) < 60
    with VideoFile(tmp_path / kind, "pyav") as clip:
        with pytest.raises(SourceError, match=rf"frame {lost} cannot be read, the {lost} before it can"):
            list(clip.frames())


@pytest.mark.parametrize("choice", ["pyav", "opencv"])
def test_truncated_mp4_names_what_can_be_read(tmp_path: Path, choice: str) -> None:
    whole = write_clip(tmp_path / "whole.mp4", index_first=True)
    with VideoFile(cut(whole, 0.6, tmp_path / "cut.mp4"), choice) as clip, VideoFile(whole, "opencv") as full:
        read = []
        with pytest.raises(SourceError, match=r"cut\.mp4 ends early .* of 60 that .*--stop (\d+)") as caught:
            for _, rgb in clip.frames():
                read.append(rgb)
        assert 5 < len(read) < 60 and f"--stop {len(read)})" in str(caught.value)
        assert all(np.array_equal(rgb, full.read(k)) for k, rgb in enumerate(read))
        assert np.array_equal(clip.read(2), read[2])  # what is there stays readable
        assert [k for k, _ in clip.frames(0, len(read))] == list(range(len(read)))


def test_broken_files_are_refused(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mp4")
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "text.mp4").write_text("not a video at all")
    (tmp_path / "nothing.mp4").touch()
    cut(whole, 0.6, tmp_path / "no_index.mp4")
    for name in ("noise.mp4", "text.mp4", "nothing.mp4", "no_index.mp4"):
        with pytest.raises(SourceError, match=rf"{name} cannot be read as a video"):
            open_source(tmp_path / name)
    with pytest.raises(SourceError, match=r"missing\.mp4 does not exist"):
        open_source(tmp_path / "missing.mp4")
    with pytest.raises(SourceError, match="is not a file"):
        VideoFile(tmp_path)
    with pytest.raises(SourceError, match="unknown video backend 'gpu'"):
        VideoFile(whole, "gpu")


@pytest.mark.skipif(sys.platform == "win32", reason="there a name holds no colon")
@pytest.mark.parametrize("name", ["12:30:05.mp4", "file:a.mp4", "-a %03d.mp4"])
def test_a_name_is_no_address(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    write_clip(tmp_path / "clip.mp4").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    with open_source(name, backend) as clip:
        np.testing.assert_array_equal(clip.read(3), VideoFile(tmp_path / name, backend).read(3))


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
@pytest.mark.parametrize("choice", ["auto", "pyav", "decord", "opencv"])
def test_a_video_without_frames(tmp_path: Path, suffix: str, choice: str) -> None:
    path = write_clip(tmp_path / f"zero.{suffix}", 0, codec="mpeg4" if suffix == "avi" else "libx264")
    with pytest.raises(SourceError, match=r"without frames|cannot be read as a video|not one frame"):
        VideoFile(path, choice)


@pytest.mark.parametrize("box", [b"trak", b"mdia"])
def test_a_box_that_claims_to_reach_beyond_the_file(box: bytes, tmp_path: Path) -> None:
    data = bytearray(write_clip(tmp_path / "clip.mp4", 6).read_bytes())
    at = data.find(box)
    data[at - 4 : at] = (0x7FFFFFFF).to_bytes(4, "big")
    (tmp_path / "bad.mp4").write_bytes(data)
    with VideoFile(tmp_path / "bad.mp4") as clip:  # decoders forgive this length, and so do we
        assert len(list(clip.frames())) == 6


def test_damaged_middle(tmp_path: Path) -> None:
    """What is read before the damage is right; a frame that is lost does not let others take its number."""
    whole = write_clip(tmp_path / "clip.mp4", 60, (96, 128))
    data = bytearray(whole.read_bytes())
    start = data.find(b"mdat") + 4000
    data[start : start + 6000] = np.random.default_rng(0).bytes(6000)
    (tmp_path / "bad.mp4").write_bytes(data)
    for choice in ("pyav", "opencv"):
        with VideoFile(tmp_path / "bad.mp4", choice) as clip, VideoFile(whole) as full:
            read = 0
            with pytest.raises(SourceError, match="ends early or is damaged"):
                for frame, rgb in clip.frames():
                    assert np.abs(rgb.astype(int) - full.read(frame)).mean() < 4
                    read += 1
            assert 5 < read < 40
