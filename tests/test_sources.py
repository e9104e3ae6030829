"""Folders of pictures and arrays as clips."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from sam2_video.sources import (
    EndOfClip,
    FrameArrays,
    FrameFolder,
    VideoFile,
    VideoSource,
    open_source,
    read_picture,
)
from sam2_video.types import SourceError
from tests.clips import numbered_frame, write_clip
from tests.paths import SHARED, needs_shared


def save(path: Path, rgb: NDArray[np.generic]) -> None:
    assert cv2.imwrite(str(path), rgb[..., ::-1] if rgb.ndim == 3 else rgb)


def folder(path: Path, names: list[str]) -> Path:
    path.mkdir(exist_ok=True)
    for k, name in enumerate(names):
        save(path / name, numbered_frame(k))
    return path


def test_a_list_holds_pictures_and_no_videos(tmp_path: Path) -> None:
    picture, clip = tmp_path / "0.png", write_clip(tmp_path / "clip.mp4", 3)
    save(picture, numbered_frame(0))
    advice = r"clip\.mp4 is not a readable picture.*a list holds pictures.*video is opened by its path alone"
    with pytest.raises(SourceError, match=advice):
        open_source([clip, clip])
    with open_source([str(picture), str(clip)]) as source, pytest.raises(SourceError, match=advice):
        source.read(1)
    (tmp_path / "1.png").write_bytes(b"damaged")
    for wrong in ("1.png", "missing.mp4"):
        with pytest.raises(SourceError) as caught:
            open_source([tmp_path / wrong])
        assert "a video" not in str(caught.value)


def test_a_folder_is_read_in_natural_order(tmp_path: Path) -> None:
    names = ["frame1.png", "frame2.png", "frame10.png", "frame0100.png"]
    with FrameFolder(folder(tmp_path, names)) as clip:
        assert (clip.count, clip.size, clip.fps) == (4, (48, 64), None)
        assert [clip.frame_name(k) for k in range(4)] == ["frame1", "frame2", "frame10", "frame0100"]
        for frame, rgb in clip.frames():
            assert np.array_equal(rgb, numbered_frame(frame)), frame
        assert [k for k, _ in clip.frames(3, step=-2)] == [3, 1]
        assert [k for k, _ in clip.frames(1, 3)] == [1, 2]
        with pytest.raises(EndOfClip, match=r"frame 4 is outside"):
            clip.read(4)


def test_other_files_in_a_folder_are_left_alone(tmp_path: Path) -> None:
    folder(tmp_path, ["2.png", "1.png", ".hidden.png"])
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "sub.png").mkdir()
    assert [FrameFolder(tmp_path).frame_name(k) for k in range(2)] == ["1", "2"]
    assert FrameFolder(tmp_path).count == 2


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "a.png", "a.bmp", "a.webp", "a.tif", "a.TIFF"])
def test_picture_types(name: str, tmp_path: Path) -> None:
    plain = np.full((48, 64, 3), (200, 120, 40), np.uint8)
    save(tmp_path / name, plain)
    rgb = FrameFolder(tmp_path).read(0)
    assert rgb.dtype == np.uint8 and rgb.shape == (48, 64, 3)
    assert np.abs(rgb.astype(int) - plain).max() <= 4  # jpg and webp lose a little


@pytest.mark.parametrize("kind", ["grey", "deep", "deep grey", "transparent"])
def test_all_become_eight_bit_rgb(kind: str, tmp_path: Path) -> None:
    rgb = numbered_frame(3)
    grey = rgb[..., 0]
    picture, expected = {
        "grey": (grey, np.repeat(grey[..., None], 3, axis=2)),
        "deep": (rgb.astype(np.uint16) * 257, rgb),
        "deep grey": (grey.astype(np.uint16) * 257, np.repeat(grey[..., None], 3, axis=2)),
        "transparent": (np.dstack([rgb[..., ::-1], np.full((48, 64), 7, np.uint8)])[..., [3, 0, 1, 2]], rgb),
    }[kind]
    if kind == "transparent":
        assert cv2.imwrite(str(tmp_path / "a.png"), picture[..., [1, 2, 3, 0]])
    else:
        save(tmp_path / "a.png", picture)
    out = read_picture(tmp_path / "a.png")
    assert out.dtype == np.uint8 and np.array_equal(out, expected)


def test_camera_orientation_is_honoured(tmp_path: Path) -> None:
    picture = Image.fromarray(numbered_frame(1))
    exif = Image.Exif()
    exif[274] = 6  # the camera was turned: show it rotated clockwise
    picture.save(tmp_path / "a.jpg", exif=exif, quality=95)
    turned = np.rot90(numbered_frame(1), -1).astype(int)
    rgb = read_picture(tmp_path / "a.jpg")
    assert rgb.shape == (64, 48, 3) and np.abs(rgb - turned).mean() < 6


@needs_shared
def test_jpeg_pixels_are_those_of_pil() -> None:
    path = SHARED / "reference" / "frames" / "bedroom" / "00000.jpg"
    with Image.open(path) as picture:
        assert np.array_equal(read_picture(path), np.asarray(picture.convert("RGB")))


def test_a_picture_is_a_clip_of_one_frame(tmp_path: Path) -> None:
    with open_source(folder(tmp_path, ["café 1.png"]) / "café 1.png") as clip:
        assert clip.count == 1 and clip.frame_name(0) == "café 1"
        assert np.array_equal(clip.read(0), numbered_frame(0))


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no pictures; expected files such as"):
        open_source(tmp_path)
    folder(tmp_path, ["1.png", "1.bmp"])
    with pytest.raises(SourceError, match=r"holds both 1\.bmp and 1\.png"):
        open_source(tmp_path)
    (tmp_path / "1.bmp").unlink()
    save(tmp_path / "2.png", numbered_frame(1, (40, 64)))
    with open_source(tmp_path) as clip:
        with pytest.raises(SourceError, match=r"2\.png is 64x40, but 1\.png is 64x48"):
            clip.read(1)
        (tmp_path / "2.png").write_bytes((tmp_path / "1.png").read_bytes()[:30])
        with pytest.raises(SourceError, match=r"2\.png is not a readable picture"):
            clip.read(1)
        (tmp_path / "2.png").write_bytes(b"")
        with pytest.raises(SourceError, match=r"2\.png is not a readable picture"):
            clip.read(1)
        (tmp_path / "2.png").unlink()
        with pytest.raises(SourceError, match=r"cannot read the picture .*2\.png"):
            clip.read(1)


def test_arrays_of_all_shapes(tmp_path: Path) -> None:
    frames = [numbered_frame(k) for k in range(4)]
    for value in (frames, tuple(frames), np.stack(frames)):
        with open_source(value) as clip:
            assert (clip.count, clip.size, clip.frame_name(2)) == (4, (48, 64), "000002")
            for k in (3, 0, 2):
                assert np.array_equal(clip.read(k), frames[k])
            with pytest.raises(EndOfClip):
                clip.read(4)
    assert open_source(frames[0]).count == 1


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("kind", ["uint8", "float32", "float64", "float16"])
@pytest.mark.parametrize("order", ["last", "first"])
def test_arrays_and_tensors(library: str, kind: str, order: str) -> None:
    """Channels last or first, 0 to 255 or 0 to 1, together, in a list, or one by one."""
    frames = np.stack([numbered_frame(k) for k in range(4)])
    clip = frames if kind == "uint8" else (frames / 255).astype(kind)
    clip = clip if order == "last" else clip.transpose(0, 3, 1, 2)
    whole = clip if library == "numpy" else torch.from_numpy(clip.copy())
    for value in (whole, list(whole), (frame for frame in whole)):
        with open_source(value) as source:
            assert source.size == (48, 64)
            for k in range(4):
                rgb = source.read(k)
                assert rgb.dtype == np.uint8 and rgb.flags.c_contiguous and np.array_equal(rgb, frames[k])
    assert open_source(whole).count == 4 and open_source(whole[0]).count == 1
    assert np.array_equal(open_source(whole[1]).read(0), frames[1])


def test_tensors_that_need_care() -> None:
    clip = torch.rand(3, 5, 48, 64).transpose(0, 1).requires_grad_()  # (5, 3, 48, 64), not contiguous
    expected = (clip.detach().numpy() * 255 + 0.5).astype(np.uint8).transpose(0, 2, 3, 1)
    assert all(np.array_equal(rgb, expected[k]) for k, rgb in open_source(clip).frames())
    half = open_source(clip.detach().to(torch.bfloat16))  # numpy has no such type
    assert np.abs(half.read(4).astype(int) - expected[4]).max() <= 1
    with pytest.raises(SourceError, match=r"values from -1 to 1; .*undo a normalisation"):
        open_source(torch.linspace(-1, 1, 48 * 64 * 3).reshape(1, 3, 48, 64))


def test_grey_arrays() -> None:
    grey = np.stack([numbered_frame(k)[..., 0] for k in range(4)])
    expected = np.repeat(grey[..., None], 3, axis=3)
    for value in (grey, list(grey), torch.from_numpy(grey), grey[..., None], grey[:, :, :, None] / 255):
        with open_source(value) as clip:
            assert clip.count == 4 and all(np.array_equal(rgb, expected[k]) for k, rgb in clip.frames())
    for one in (grey[0], grey[0][..., None], torch.from_numpy(grey[0])):
        with open_source(one) as clip:
            assert clip.count == 1 and np.array_equal(clip.read(0), expected[0])


def test_pillow_pictures_paths_and_arrays_together(tmp_path: Path) -> None:
    pictures = [Image.fromarray(numbered_frame(k)) for k in range(3)]
    pictures[1].save(tmp_path / "1.png")
    for value in ([pictures[0], str(tmp_path / "1.png"), numbered_frame(2)], iter(pictures)):
        with open_source(value) as clip:
            assert all(np.array_equal(clip.read(k), numbered_frame(k)) for k in range(3))
    with open_source(pictures[2]) as clip:
        assert clip.count == 1 and np.array_equal(clip.read(0), numbered_frame(2))
    modes = zip(pictures, ("L", "P", "CMYK"), strict=True)
    grey = open_source([picture.convert(mode) for picture, mode in modes])
    assert grey.read(0).shape == (48, 64, 3) and grey.read(2).shape == (48, 64, 3)


@pytest.mark.parametrize(
    "shape", [(5,), (2, 3, 4, 5, 6), (4, 48, 64, 2), (4, 48, 64, 4), (4, 4, 48, 64), (4, 0, 64)]
)
def test_arrays_of_no_clip(shape: tuple[int, ...]) -> None:
    with pytest.raises(SourceError, match=r"of shape .*; expected"):
        open_source(np.zeros(shape, np.uint8))


def test_reading_a_frame_again_converts_nothing() -> None:
    class Counting(list[NDArray[np.float32]]):
        reads = 0

        def __getitem__(self, at: int) -> NDArray[np.float32]:  # type: ignore[override]
            type(self).reads += 1
            return super().__getitem__(at)

    with FrameArrays(Counting([np.full((48, 64, 3), 0.5, np.float32)] * 3)) as clip:
        assert clip.read(1) is clip.read(1) and clip.read(1).max() == 128
        assert Counting.reads == 2  # the first frame, for its size, and this one


def test_an_iterator_is_read_once_and_lazily() -> None:
    made = []

    def camera() -> Iterator[NDArray[np.uint8]]:
        for k in range(5):
            made.append(k)
            yield numbered_frame(k)

    with open_source(camera()) as clip:
        assert clip.count is None and clip.size == (48, 64) and made == [0]
        assert np.array_equal(clip.read(0), numbered_frame(0))
        assert np.array_equal(clip.read(2), numbered_frame(2)) and made == [0, 1, 2]
        assert np.array_equal(clip.read(2), numbered_frame(2))
        with pytest.raises(SourceError, match=r"frame 1 of frames has passed \(now at 2\).*pass a list"):
            clip.read(1)
        assert [k for k, _ in clip.frames(2)] == [2, 3, 4]
        assert clip.count == 5
        with pytest.raises(EndOfClip):
            clip.read(5)
        with pytest.raises(EndOfClip):  # a stop past the end was a wish that cannot be kept
            list(clip.frames(4, 7))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.full((48, 64, 3), 9, np.float32), "frames is float32 with values from 9 to 9; .*0 to 1"),
        (np.full((48, 64, 3), -0.1), "float64 with values from -0.1 to -0.1; .*undo a normalisation"),
        (np.full((48, 64, 3), np.nan, np.float32), "values from nan to nan"),
        (np.zeros((48, 64, 3), np.uint16), "frame 1 of frames is uint16 of shape .*; scale it to 0..255"),
        (np.zeros((48, 64, 3), bool), "frame 1 of frames is bool of shape"),
        (np.zeros((48, 64, 4), np.uint8), r"shape \(48, 64, 4\); .*drop the alpha channel"),
        (np.zeros((48, 64, 2), np.uint8), r"shape \(48, 64, 2\); expected RGB"),
        (np.zeros((0, 64, 3), np.uint8), r"shape \(0, 64, 3\)"),
        (np.zeros((1, 48, 64, 3), np.uint8), r"shape \(1, 48, 64, 3\)"),
        (np.zeros((40, 64, 3), np.uint8), "frame 1 of frames is 64x40, but frame 0 is 64x48"),
        ("no such.jpg", r"cannot read the picture no such\.jpg"),
    ],
)
def test_bad_arrays(bad: object, message: str) -> None:
    for value in ([numbered_frame(0), bad], iter([numbered_frame(0), bad])):
        with FrameArrays(value) as clip, pytest.raises(SourceError, match=message):
            clip.read(1)


def test_what_is_no_source() -> None:
    for empty in ([], np.zeros((0, 48, 64, 3), np.uint8), iter(())):
        with pytest.raises(SourceError, match=r"holds no frames|ended before its first frame"):
            open_source(empty)
    for value in (None, 3.5, b"bytes", {"a": 1}):
        with pytest.raises(SourceError, match="cannot read frames from"):
            open_source(value)
    with pytest.raises(SourceError, match="the source is empty"):
        open_source("")
    with pytest.raises(SourceError, match="step is 0"):
        list(open_source([numbered_frame(0)]).frames(step=0))


def test_open_source_knows_what_it_gets(tmp_path: Path) -> None:
    clip = open_source(str(write_clip(tmp_path / "clip.mp4", 3)))
    assert isinstance(clip, VideoFile) and open_source(clip) is clip
    kinds = [clip, open_source(folder(tmp_path / "f", ["1.png"])), open_source([numbered_frame(0)])]
    assert all(isinstance(kind, VideoSource) for kind in kinds)
    clip.close()
