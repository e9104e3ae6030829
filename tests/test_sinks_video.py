"""Videos of results: what they show, what they keep, and that the same frames make the same file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sam2_video.sinks import (
    BlurSink,
    CutoutPngSink,
    CutoutProresSink,
    CutoutVp9Sink,
    GreenScreenSink,
    OverlaySink,
    Sink,
    VideoWriter,
)
from sam2_video.sinks.cutout import objects_mask
from sam2_video.sinks.encoders import ENCODERS, PRORES_4444, VP9_ALPHA, Profile
from sam2_video.sinks.registry import SINKS, SinkOrder
from sam2_video.types import FrameResult, SinkError
from tests.clips import disc_result, numbered_frame

ODD_RATE = 30000 / 1001
MAKERS: dict[str, Callable[[Path], Sink]] = {
    "overlay.mp4": lambda path: OverlaySink(path, ODD_RATE),
    "green.mp4": lambda path: GreenScreenSink(path, ODD_RATE),
    "blur.mp4": lambda path: BlurSink(path, ODD_RATE),
    "cutout.mov": lambda path: CutoutProresSink(path, ODD_RATE),
    "cutout.webm": lambda path: CutoutVp9Sink(path, ODD_RATE),
    "overlay-ffmpeg.mp4": lambda path: OverlaySink(path, ODD_RATE, "ffmpeg"),
    "cutout-ffmpeg.mov": lambda path: CutoutProresSink(path, ODD_RATE, "ffmpeg"),
    "cutout-ffmpeg.webm": lambda path: CutoutVp9Sink(path, ODD_RATE, "ffmpeg"),
}
ODD_SIZE = (61, 98)  # neither side a multiple of 16, one of them odd


def moving(count: int, size: tuple[int, int] = ODD_SIZE) -> list[tuple[NDArray[np.uint8], FrameResult]]:
    """Frames of a smooth picture and two discs that move over it; they are gone on the last one."""
    y, x = np.mgrid[: size[0], : size[1]]
    out = []
    for frame in range(count):
        rgb = np.stack([100 + x, 200 - 2 * y, 60 + 5 * frame + 0 * x], axis=-1).clip(0, 255).astype(np.uint8)
        centres = ((4 + frame / 2, 5.0), (11 - frame / 2, 10.0))
        ids = () if frame == count - 1 else (1, 2)
        out.append((rgb, disc_result(frame, ids, size=size, centres=centres)))
    return out


def fill(sink: Sink, clip: list[tuple[NDArray[np.uint8], FrameResult]]) -> None:
    with sink:
        for rgb, result in clip:
            sink.write(rgb, result, f"{result.frame:05d}")


def read_back(path: Path, pixels: str = "rgb24") -> tuple[list[NDArray[np.uint8]], Fraction]:
    """Decode all frames; VP9 by libvpx, the one decoder that knows its alpha."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate is not None
        if path.suffix == ".webm":
            decoder = av.codec.CodecContext.create("libvpx-vp9", "r")
            frames = [frame for packet in container.demux(stream) for frame in decoder.decode(packet)]
        else:
            frames = list(container.decode(stream))
        if pixels == "rgba":
            assert all(frame.format.name.startswith("yuva") for frame in frames)
        # PyAV's conversion on several threads, which version 17 brought, spoils a few pixels of alpha. Before
        # that the colours of a frame were heeded only where others were wanted.
        new = int(av.__version__.split(".")[0]) >= 17
        how = {"threads": 1} if new else {"src_colorspace": "ITU709", "dst_colorspace": "ITU601"}
        shown = [frame.reformat(format=pixels, **how).to_ndarray() for frame in frames]
        return shown, stream.average_rate


@pytest.mark.parametrize("name", MAKERS)
def test_the_same_frames_make_the_same_file(name: str, tmp_path: Path) -> None:
    clip = moving(9)
    for folder in ("a", "b", "c"):
        fill(MAKERS[name](tmp_path / folder / name), clip)
    first, *others = ((tmp_path / folder / name).read_bytes() for folder in ("a", "b", "c"))
    assert [other == first for other in others] == [True, True] and len(first) > 1000


@pytest.mark.skipif(sys.platform == "win32", reason="there a name holds no colon")
@pytest.mark.parametrize("name", MAKERS)
def test_a_folder_with_a_colon_is_no_address(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fill(MAKERS[name](Path("12:30") / name), moving(3))
    assert len(read_back(tmp_path / "12:30" / name)[0]) == 3


@pytest.mark.parametrize("name", MAKERS)
def test_odd_rates_are_kept_exactly(name: str, tmp_path: Path) -> None:
    fill(MAKERS[name](tmp_path / name), moving(5))
    frames, rate = read_back(tmp_path / name)
    assert len(frames) == 5 and rate == Fraction(30000, 1001)


@pytest.mark.parametrize("name", [name for name in MAKERS if name.startswith("cutout")])
def test_cut_out_videos_keep_size_alpha_and_colours(name: str, tmp_path: Path) -> None:
    clip = moving(9)
    fill(MAKERS[name](tmp_path / name), clip)
    frames, _ = read_back(tmp_path / name, "rgba")
    assert len(frames) == 9
    for shown, (rgb, result) in zip(frames, clip, strict=True):
        inside = objects_mask(result)
        assert shown.shape == (*ODD_SIZE, 4)
        wrong = np.abs(shown[..., 3].astype(int) - inside * 255)
        if name.endswith(".mov"):
            assert wrong.max() == 0, "the alpha of ProRes loses nothing"
        else:
            assert np.mean(wrong > 100) < 0.001 and wrong.mean() < 2
        if inside.any():
            assert np.abs(shown[inside][:, :3].astype(int) - rgb[inside]).mean() < 4
            edge = inside & ~np.roll(inside, 2, axis=1)  # black from outside must not bleed in
            assert np.abs(shown[edge][:, :3].astype(int) - rgb[edge]).mean() < 8
    assert not frames[-1][..., 3].any(), "where nothing is, all is transparent"


def test_cut_out_pictures(tmp_path: Path) -> None:
    clip = moving(3)
    fill(CutoutPngSink(tmp_path / "all"), clip)
    fill(CutoutPngSink(tmp_path / "one", objects=(2, 77)), clip)
    assert sorted(p.name for p in (tmp_path / "all").iterdir()) == ["00000.png", "00001.png", "00002.png"]
    rgb, result = clip[0]
    for folder, inside in (("all", result.masks.any(axis=0)), ("one", result.masks[1])):
        with Image.open(tmp_path / folder / "00000.png") as picture:
            shown = np.asarray(picture)
        assert shown.shape == (*ODD_SIZE, 4) and np.array_equal(shown[..., 3], inside * np.uint8(255))
        assert np.array_equal(shown[inside][:, :3], rgb[inside])
        assert not shown[~inside].any(), "the background is not in the file"


def test_green_and_blurred_backgrounds(tmp_path: Path) -> None:
    size = (96, 128)
    rgb = np.full((*size, 3), (40, 60, 80), np.uint8)
    rgb[:, ::2] += 60
    result = disc_result(0, (1,), size=size, centres=((8.0, 8.0),), radius=4.0)
    inside = result.masks[0]
    rgb[inside] = (250, 10, 10)
    for name, kind in (("green.mp4", GreenScreenSink), ("blur.mp4", BlurSink)):
        fill(kind(tmp_path / name), [(rgb, result)] * 3)
        shown = read_back(tmp_path / name)[0][1].astype(int)
        core = np.s_[44:52, 60:68]
        assert inside[core].all() and np.abs(shown[core] - rgb[core]).max() < 25
        outside = shown[:20, :20]
        if name == "green.mp4":
            assert np.abs(outside - (0, 255, 0)).max() < 20
        else:
            assert np.ptp(outside[..., 0]) < 12
            assert np.abs(outside.mean(axis=(0, 1)) - (70, 90, 110)).max() < 8


def test_no_halo_of_the_object_in_the_blurred_background() -> None:
    from sam2_video.sinks.background import blur_outside

    rgb = np.full((80, 100, 3), 50, np.uint8)
    mask = np.zeros((80, 100), bool)
    mask[20:60, 30:70] = True
    rgb[mask] = 255
    blurred = blur_outside(rgb, mask)
    assert np.abs(blurred[~mask].astype(int) - 50).max() <= 1
    assert blur_outside(rgb, np.ones_like(mask)).shape == rgb.shape, "an object that fills the frame"


def test_colours_are_written_as_they_are_tagged(tmp_path: Path) -> None:
    rgb = np.full((48, 64, 3), (200, 60, 30), np.uint8)
    for encoder in ("av", "ffmpeg"):
        with VideoWriter(tmp_path / "a.mp4", encoder=encoder) as writer:
            writer.write(rgb)
        with av.open(str(tmp_path / "a.mp4")) as container:
            frame = next(container.decode(video=0))
            assert (frame.colorspace, frame.color_range) == (1, 1)  # BT.709, limited
        assert np.abs(read_back(tmp_path / "a.mp4")[0][0].astype(int) - rgb).max() < 6


def test_alpha_needs_an_encoder_that_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rgba = np.zeros((48, 64, 4), np.uint8)
    for profile in (PRORES_4444, VP9_ALPHA):
        with pytest.raises(SinkError, match=r"no videos with alpha.*the extra 'video'"):
            VideoWriter(tmp_path / "a.mov", encoder="opencv", profile=profile).write(rgba)
    with pytest.raises(SinkError, match=r"expected \(H, W, 4\)"):
        VideoWriter(tmp_path / "a.mov", profile=PRORES_4444).write(rgba[..., :3])
    monkeypatch.setitem(sys.modules, "av", None)
    with VideoWriter(tmp_path / "b.mov", profile=PRORES_4444) as writer:  # by the ffmpeg program
        writer.write(rgba)
    assert len(read_back_bytes(tmp_path / "b.mov")) > 500
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.mov"]


def read_back_bytes(path: Path) -> bytes:
    data = path.read_bytes()
    assert b"ap4h" in data, "the mark of ProRes 4444"
    return data


def test_a_codec_that_the_build_lacks_is_named(tmp_path: Path) -> None:
    from dataclasses import replace

    profile = replace(PRORES_4444, codec="prores_from_mars")
    with pytest.raises(SinkError, match="PyAV has no encoder prores_from_mars"):
        VideoWriter(tmp_path / "a.mov", encoder="av", profile=profile).write(np.zeros((48, 64, 4), np.uint8))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["overlay", "cutout", "cutout-prores", "cutout-vp9", "green", "blur"])
def test_registered_kinds_write_the_files_that_they_name(name: str, tmp_path: Path) -> None:
    order = SinkOrder(tmp_path, clip="clip", source=str(tmp_path / "no file"), fps=12.5, stride=2)
    fill(SINKS[name].make(order), moving(3))
    found = {p for pattern in SINKS[name].files for p in tmp_path.glob(pattern)}
    assert found == {p for p in tmp_path.rglob("*") if p.is_file()} and found
    assert len(found) == (3 if SINKS[name].any_order else 1)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("profile", [PRORES_4444, VP9_ALPHA], ids=["prores", "vp9"])
@pytest.mark.parametrize("encoder", ["av", "ffmpeg"])
def test_encoders_with_alpha_report_a_full_disk(encoder: str, profile: Profile, tmp_path: Path) -> None:
    (tmp_path / "full.video").symlink_to("/dev/full")
    rng = np.random.default_rng(0)
    with pytest.raises(OSError):
        made = ENCODERS[encoder](tmp_path / "full.video", (96, 128), Fraction(25), profile, None)
        try:
            for _ in range(60):
                made.write(rng.integers(0, 255, (96, 128, 4), np.uint8))
        finally:
            made.close()


def test_frames_of_an_interrupted_video_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), CutoutVp9Sink(tmp_path / "a.webm") as sink:
        sink.write(numbered_frame(0), disc_result(), "0")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
