"""Containers, codecs and pixel formats: what reads them, and that all who do see the same pixels."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from sam2_video.sources import VideoFile, open_source, video
from sam2_video.types import SourceError
from tests.clips import numbered_frame, retime, write_clip
from tests.paths import SHARED, needs_shared

FINE = {
    "libx264": {"crf": "1"},
    "libx265": {"x265-params": "crf=1:log-level=none"},
    "libsvtav1": {"crf": "5"},
    "libvpx": {"b": "4M", "qmax": "4"},
    "libvpx-vp9": {"crf": "1"},
}
# Name -> how it is written, and how far decord's pixels are from the others' on average; None: it refuses it.
KINDS: dict[str, tuple[dict[str, Any], float | None]] = {
    "h264.mp4": ({}, 0),
    "h264_422.mp4": ({"pix_fmt": "yuv422p"}, 0),
    "h264_grey.mp4": ({"pix_fmt": "gray", "color_range": 2}, 0),
    "h264_10_bits.mp4": ({"pix_fmt": "yuv420p10le"}, 2),
    "hevc.mp4": ({"codec": "libx265"}, 0),
    "hevc_10_bits.mkv": ({"codec": "libx265", "pix_fmt": "yuv420p10le"}, 2),
    "av1.mp4": ({"codec": "libsvtav1"}, None),
    "h264.mkv": ({}, 0),
    "h264.ts": ({}, None),
    "h264.flv": ({}, 0),
    "h264.3gp": ({}, 0),
    "mpeg4.avi": ({"codec": "mpeg4"}, 0),
    "mjpeg.avi": ({"codec": "mjpeg", "pix_fmt": "yuvj420p"}, 0),
    "raw.avi": ({"codec": "rawvideo", "pix_fmt": "bgr24"}, 0),
    "mpeg2.mpg": ({"codec": "mpeg2video"}, 0),
    "wmv2.wmv": ({"codec": "wmv2"}, 0),
    "prores.mov": ({"codec": "prores_ks", "pix_fmt": "yuv422p10le"}, 2),
    "prores_alpha.mov": ({"codec": "prores_ks", "pix_fmt": "yuva444p10le"}, 0.1),
    "rle.mov": ({"codec": "qtrle", "pix_fmt": "rgb24"}, 0),
    "vp8.webm": ({"codec": "libvpx"}, 0),
    "vp9.webm": ({"codec": "libvpx-vp9"}, 0),
    "vp9_alpha.webm": ({"codec": "libvpx-vp9", "pix_fmt": "yuva420p"}, 0),
    "vp9_odd.webm": ({"codec": "libvpx-vp9", "size": (47, 63)}, 0.5),
    "ffv1_grey.mkv": ({"codec": "ffv1", "pix_fmt": "gray"}, 0),
    "ffv1_grey_16_bits.mkv": ({"codec": "ffv1", "pix_fmt": "gray16le"}, 0),
    "ffv1_alpha.mkv": ({"codec": "ffv1", "pix_fmt": "bgra"}, 0),
}
LOSSLESS = {"raw.avi", "rle.mov", "ffv1_alpha.mkv"}
BLIND = {"av1.mp4": "opencv"}  # the decoder of AV1 is missing in OpenCV's wheels


def made(path: Path, count: int = 7, **how: Any) -> Path:
    try:
        codec = how.get("codec", "libx264")
        av.codec.Codec(codec, "w")
    except av.codec.codec.UnknownCodecError:
        pytest.skip(f"this FFmpeg has no encoder {codec}")
    return write_clip(path, count, options=FINE.get(codec, {"qmax": "2"}), **how)


@pytest.mark.parametrize("kind", KINDS)
def test_every_decoder_sees_the_same_pixels(kind: str, tmp_path: Path) -> None:
    how, tolerance = KINDS[kind]
    path = made(tmp_path / kind, **how)
    with open_source(path) as clip:
        assert isinstance(clip, VideoFile) and clip.backend == "pyav"
        frames = [rgb for _, rgb in clip.frames()]
        assert len(frames) == clip.count == 7 and clip.fps == 25
        assert clip.size == how.get("size", (48, 64))
    grey = "grey" in kind
    for number, rgb in enumerate(frames):
        drawn = numbered_frame(number, how.get("size", (48, 64))).astype(float)
        if grey:
            drawn = np.repeat(drawn @ [0.299, 0.587, 0.114], 3).reshape(drawn.shape)
        assert rgb.dtype == np.uint8 and np.abs(rgb - drawn).mean() < (3 if kind not in LOSSLESS else 0.01)
    for backend in ("opencv", "decord"):
        if backend == BLIND.get(kind) or (backend == "decord" and tolerance is None):
            with pytest.raises(SourceError, match=r"cannot be read as a video|not one frame"):
                VideoFile(path, backend)
            continue
        if backend == "decord":
            pytest.importorskip("decord")
        with VideoFile(path, backend) as other:
            assert other.count == 7
            worst = max(np.abs(rgb.astype(int) - frames[k]).mean() for k, rgb in other.frames())
        assert worst <= (0 if backend == "opencv" else tolerance or 0), f"{backend}: {worst}"


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("angle", [0, 90, 180, 270])
def test_rotated_clips_stand_upright(angle: int, suffix: str, tmp_path: Path) -> None:
    """The stored frame is turned counter-clockwise by the angle, as FFmpeg's display matrix counts."""
    upright = [numbered_frame(k) for k in range(3)]
    stored = [np.ascontiguousarray(np.rot90(rgb, -angle // 90)) for rgb in upright]
    path = made(tmp_path / f"a.{suffix}", size=stored[0].shape[:2], pictures=stored, shown=(angle, False))
    for backend in ("auto", "opencv"):
        with VideoFile(path, backend) as clip:
            assert clip.size == (48, 64)
            for number, rgb in clip.frames():
                assert np.abs(rgb.astype(int) - upright[number]).mean() < 3
    with VideoFile(path) as clip, VideoFile(path, "opencv") as other:
        assert all(np.array_equal(rgb, other.read(k)) for k, rgb in clip.frames())
    if angle:  # which turns some of them, and not always rightly
        pytest.importorskip("decord")
        with pytest.raises(SourceError, match="decord does not turn rotated clips"):
            VideoFile(path, "decord")


@pytest.mark.parametrize("angle", [0, 90, 180, 270])
def test_mirrored_clips_are_shown_as_players_do(angle: int, tmp_path: Path) -> None:
    """Mirrored after it was turned."""
    upright = [numbered_frame(k) for k in range(2)]
    stored = [np.ascontiguousarray(np.rot90(rgb[:, ::-1], -angle // 90)) for rgb in upright]
    path = made(tmp_path / "a.mp4", size=stored[0].shape[:2], pictures=stored, shown=(angle, True))
    with VideoFile(path, "pyav") as clip:
        for number, rgb in clip.frames():
            assert np.abs(rgb.astype(int) - upright[number]).mean() < 3


def patches(size: tuple[int, int] = (48, 64)) -> NDArray[np.uint8]:
    """Four plain colours, large enough that chroma at half the resolution does not matter."""
    rgb = np.zeros((*size, 3), np.uint8)
    half, middle = size[0] // 2, size[1] // 2
    rgb[:half, :middle], rgb[:half, middle:] = (200, 40, 40), (40, 180, 60)
    rgb[half:, :middle], rgb[half:, middle:] = (50, 60, 210), (235, 235, 235)
    return rgb


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(("matrix", "tag"), [("ITU601", 6), ("ITU709", 1), ("BT2020", 9), ("ITU601", 2)])
def test_colours_are_those_that_the_clip_says(matrix: str, tag: int, full: bool, tmp_path: Path) -> None:
    """Tag 2 is "unspecified": such clips are taken for BT.601, limited range, whatever their size."""
    ranges = {"src_color_range": 2, "dst_color_range": 2 if full else 1}
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = tag, 2 if full else 1
        rgb = av.VideoFrame.from_ndarray(patches(), format="rgb24")
        yuv = rgb.reformat(format="yuv420p", dst_colorspace=matrix, **ranges)
        yuv.pts = 0
        for packet in [*stream.encode(yuv), *stream.encode()]:
            container.mux(packet)
    seen = {}
    for backend in ("pyav", "opencv", "decord"):
        with VideoFile(tmp_path / "a.mp4", backend) as clip:
            seen[backend] = clip.read(0)
    inner = np.ones((48, 64), bool)
    inner[20:28], inner[:, 28:36] = False, False
    assert np.abs(seen["pyav"].astype(int) - patches())[inner].max() <= 6
    assert np.array_equal(seen["pyav"], seen["opencv"]) and np.array_equal(seen["pyav"], seen["decord"])


def test_pixels_that_are_not_square_stay_as_stored(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = 2
        for packet in [
            *stream.encode(av.VideoFrame.from_ndarray(numbered_frame(0), format="rgb24")),
            *stream.encode(),
        ]:
            container.mux(packet)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].codec_context.display_aspect_ratio > 2
    for backend in ("pyav", "opencv", "decord"):
        with VideoFile(tmp_path / "a.mp4", backend) as clip:
            assert clip.size == (48, 64)


def test_a_clip_tells_its_times(tmp_path: Path) -> None:
    """By the clip's own clock, from the first frame on, whenever that is."""
    path = write_clip(tmp_path / "a.mp4", 20, vary_rate=True, options={"bf": "2"})
    with av.open(str(path)) as container:
        shown = [frame.pts * frame.time_base for frame in container.decode(video=0)]
    with VideoFile(path) as clip:
        assert [clip.time(k) for k in range(20)] == pytest.approx([float(t - shown[0]) for t in shown])
        with pytest.raises(SourceError, match="frame 20 is outside"):
            clip.time(20)
    with VideoFile(retime(path, tmp_path / "a.mkv", lambda number, packet: None)) as clip:
        assert clip.fps == pytest.approx(19 / clip.time(19))  # although the container says 25
    with VideoFile(path, "opencv") as clip:  # which knows only the rate
        assert clip.time(10) == pytest.approx(10 / clip.fps)

    def late(number: int, packet: av.Packet) -> None:
        packet.pts, packet.dts = packet.pts + 90_000, packet.dts + 90_000

    with VideoFile(retime(path, tmp_path / "late.mkv", late)) as clip:
        assert clip.time(0) == 0 and clip.time(19) == pytest.approx(float(shown[19] - shown[0]), abs=0.001)


def test_a_stream_that_begins_in_the_middle(tmp_path: Path) -> None:
    """A recording that begins between two key frames: frame 0 is the first that can be decoded."""
    data = write_clip(tmp_path / "a.ts", 60, options={"g": "12", "bf": "2", "sc_threshold": "0"}).read_bytes()
    packets = len(data) // 188
    (tmp_path / "b.ts").write_bytes(data[188 * (packets // 3) :])
    with VideoFile(tmp_path / "b.ts") as clip, VideoFile(tmp_path / "b.ts", "opencv") as other:
        assert 20 < clip.count == other.count < 60
        frames = [rgb for _, rgb in clip.frames()]
        assert all(np.array_equal(rgb, frames[k]) for k, rgb in other.frames())
        for frame in (5, clip.count - 1, 2):
            assert np.array_equal(clip.read(frame), frames[frame])


@pytest.mark.parametrize("jump", [0, 7200, -7200])
def test_recordings_joined_end_to_end(jump: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their times begin anew, so that order of time is not order of showing."""
    monkeypatch.setattr(video, "UNKNOWN", 4)

    def later(number: int, packet: av.Packet) -> None:
        packet.pts, packet.dts = packet.pts + 7200 - jump, packet.dts + 7200 - jump

    part = write_clip(tmp_path / "a.ts", 40, options={"g": "12", "bf": "2", "sc_threshold": "0"})
    other = retime(part, tmp_path / "b.ts", later)
    (tmp_path / "joined.ts").write_bytes(part.read_bytes() + other.read_bytes())
    with VideoFile(tmp_path / "joined.ts") as clip:
        assert clip.backend == "pyav"
        frames = [rgb for _, rgb in clip.frames()]
        assert clip.count == len(frames) == 80
    with VideoFile(tmp_path / "joined.ts") as clip:
        for frame in (70, 30, 45, 5, 79, 0):
            assert np.array_equal(clip.read(frame), frames[frame]), frame


def test_sound_is_no_video(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(8000))
    with pytest.raises(SourceError, match=r"cannot be read as a video.*pyav: it holds no video"):
        open_source(tmp_path / "a.wav")


@needs_shared
@pytest.mark.parametrize("name", ["02_cups", "03_blocks", "05_default_juggle", "bedroom"])
def test_real_clips_are_the_same_for_every_decoder(name: str) -> None:
    path = SHARED / "data" / "clips" / f"{name}.mp4"
    with (
        VideoFile(path, "pyav") as clip,
        VideoFile(path, "opencv") as other,
        VideoFile(path, "decord") as third,
    ):
        assert clip.count == other.count == third.count
        chosen = np.random.default_rng(0).choice(min(150, clip.count), 10, replace=False)
        for frame in sorted(int(k) for k in chosen):
            assert np.array_equal(clip.read(frame), other.read(frame)), f"opencv, frame {frame}"
            assert np.array_equal(clip.read(frame), third.read(frame)), f"decord, frame {frame}"
        frame = int(chosen[0])
        first = clip.read(frame)
        clip.read(max(0, frame - 30))
        assert np.array_equal(clip.read(frame), first)
