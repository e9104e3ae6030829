"""Pictures of every depth and kind, animations and files of many pages, as 8-bit RGB."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, features

from sam2_video.sources import FrameFolder, PictureFiles, VideoFile, open_source, read_picture
from sam2_video.sources.pages import open_pages
from sam2_video.sources.pictures import Levels
from sam2_video.types import SourceError
from tests.clips import numbered_frame

Y, X = np.mgrid[:48, :64]


def rgb_of(grey: NDArray[np.generic]) -> NDArray[np.generic]:
    return np.repeat(grey[..., None], 3, axis=2)


def turned(rgb: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """What a viewer shows of stored pixels, by the table of the EXIF standard."""
    shown = rgb.transpose(1, 0, 2) if orientation >= 5 else rgb
    steps = [(1, 1), (1, -1), (-1, -1), (-1, 1)]
    rows, columns = [*steps, *steps][orientation - 1]
    return shown[::rows, ::columns]


NEEDS_AVIF = pytest.mark.skipif(not features.check("avif"), reason="Pillow before 11.3 knows no AVIF")


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", pytest.param("avif", marks=NEEDS_AVIF)])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_stand_upright(orientation: int, suffix: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    lossy = {"jpg": {"quality": 100, "subsampling": 0}, "avif": {"quality": 100, "subsampling": "4:4:4"}}
    how = {**lossy, "webp": {"lossless": True}}.get(suffix, {})
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(numbered_frame(1)).save(path, exif=exif, **how)
    expected = turned(numbered_frame(1), orientation)
    for rgb in (read_picture(path), open_source([Image.open(path)]).read(0), open_source([path]).read(0)):
        assert rgb.shape == expected.shape and np.abs(rgb.astype(int) - expected).mean() < 2


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp", "grey.png", "grey.tif"])
def test_alpha_is_ignored(name: str, tmp_path: Path) -> None:
    """The colours as stored, also where they are transparent."""
    alpha = (X * 4).astype(np.uint8)
    rgba = np.dstack([numbered_frame(5), alpha])
    picture = Image.fromarray(rgba)
    how = {"lossless": True, "exact": True} if name.endswith("webp") else {}
    (picture.convert("LA") if "grey" in name else picture).save(tmp_path / name, **how)
    expected = picture.convert("LA").convert("RGB") if "grey" in name else numbered_frame(5)
    assert np.array_equal(read_picture(tmp_path / name), expected)


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_cmyk_is_converted(name: str, tmp_path: Path) -> None:
    plain = np.full((48, 64, 3), (200, 120, 40), np.uint8)
    Image.fromarray(plain).convert("CMYK").save(tmp_path / name)
    assert np.abs(read_picture(tmp_path / name).astype(int) - plain).max() <= 4


@pytest.mark.parametrize(
    "kind", ["gif", "avif", "jp2", "ppm", "pgm", "bmp", "1-bit.png", "palette.png", "1-bit.tif"]
)
def test_further_types(kind: str, tmp_path: Path) -> None:
    plain = Image.new("RGB", (64, 48), (255, 255, 255))
    mode = {"1-bit": "1", "palette": "P", "pgm": "L"}.get(kind.split(".")[0])
    path = tmp_path / f"a.{kind.split('.')[-1]}"
    (plain.convert(mode) if mode else plain).save(path)
    with open_source(path) as clip:
        assert isinstance(clip, FrameFolder) and clip.count == 1
        assert np.array_equal(clip.read(0), np.full((48, 64, 3), 255))


def test_pillow_reads_what_opencv_does_not(tmp_path: Path) -> None:
    Image.fromarray(numbered_frame(3)).save(tmp_path / "a.tga")
    assert np.array_equal(read_picture(tmp_path / "a.tga"), numbered_frame(3))


# --- more than 8 bits ---


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_the_depth_in_use_decides_what_is_white(bits: int, name: str, tmp_path: Path) -> None:
    grey = (numbered_frame(3)[..., 0].astype(np.uint16) << (bits - 8)) + (2 ** (bits - 8) - 1)
    for raw, expected in ((grey, rgb_of(grey)), (np.dstack([grey, grey // 2, grey // 4]),) * 2):
        assert cv2.imwrite(str(tmp_path / name), raw[..., ::-1] if raw.ndim == 3 else raw)
        assert np.array_equal(read_picture(tmp_path / name), expected >> (bits - 8))


def test_one_mapping_holds_for_all_frames_of_a_clip(tmp_path: Path) -> None:
    """A dark picture stays dark beside bright ones, in whatever order they come."""
    folder = tmp_path / "deep"
    folder.mkdir()
    values = [100, 4000, 900]
    pages = [np.full((48, 64), value, np.uint16) for value in values]
    for k, page in enumerate(pages):
        assert cv2.imwrite(str(folder / f"{k}.png"), page)
    Image.fromarray(pages[0]).save(
        tmp_path / "stack.tif", save_all=True, append_images=[Image.fromarray(page) for page in pages[1:]]
    )
    files = sorted(folder.iterdir())
    for source in (folder, tmp_path / "stack.tif", files):
        with open_source(source) as clip:
            for k in (2, 0, 1, 0):
                assert np.array_equal(clip.read(k), np.full((48, 64, 3), values[k] >> 4)), source
    assert read_picture(files[0]).max() == 100  # alone it is an 8-bit picture, as far as can be told
    by_first = open_source(Image.open(file) for file in reversed(files[:2]))
    assert [by_first.read(k)[0, 0, 0] for k in (0, 1)] == [4000 >> 4, 100 >> 4]


def test_levels() -> None:
    half = np.array([[0.0, 0.5, 1.0]], np.float32)
    assert Levels.of([half]).apply(half).tolist() == [[0, 128, 255]]
    wide = np.array([[-50.0, 0.0, np.nan, 50.0, np.inf]])
    assert Levels.of([wide]) == Levels(-50, 50)
    assert Levels.of([wide]).apply(wide).tolist() == [[0, 128, 0, 255, 255]]
    assert Levels(0, 4095).apply(np.array([[5000, 16]], np.uint16)).tolist() == [[255, 1]]
    signed = np.array([[-1000, 0, 3000]], np.int16)  # Hounsfield units
    assert Levels.of([signed]).apply(signed).tolist() == [[0, 64, 255]]
    assert Levels.of([np.zeros((2, 2))]).apply(np.zeros((2, 2))).max() == 0
    assert Levels.of([np.full((2, 2), np.nan)]).apply(np.full((2, 2), np.nan)).max() == 0
    same = np.full((2, 2), 7.0)
    assert Levels.of([same]).apply(same).max() == 0  # neither black nor white can be told
    eight = np.array([[3]], np.uint8)
    assert Levels(0, 65535).apply(eight) is eight


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_tiff_of_numbers(dtype: type, tmp_path: Path) -> None:
    numbers = (X * 1000).astype(dtype) if dtype == np.int32 else (X / 63).astype(dtype)
    Image.fromarray(numbers).save(tmp_path / "a.tif")
    rgb = read_picture(tmp_path / "a.tif")
    expected = numbers // 256 if dtype == np.int32 else np.floor(numbers * 255 + 0.5)
    assert np.array_equal(rgb, rgb_of(expected.astype(np.uint8)))


# --- many pictures in one file ---


def animation(path: Path, count: int = 7, **how: object) -> list[NDArray[np.uint8]]:
    """Frames of few colours, which survive a palette, and lossless where that is an option."""
    frames = [(numbered_frame(k) // 128 * 255).astype(np.uint8) for k in range(count)]
    pictures = [Image.fromarray(frame) for frame in frames]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], **{"duration": 40, **how})
    return frames


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.avif", "pages.tif", "pages_jpeg.tif"])
def test_animations_are_read_in_any_order(name: str, tmp_path: Path) -> None:
    if name == "a.avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    lossy = {"a.avif": {"quality": 90}, "pages_jpeg.tif": {"compression": "jpeg"}}
    how = {"a.webp": {"lossless": True}, **lossy}
    frames = animation(tmp_path / name, **how.get(name, {}))
    paged = name.endswith("tif")
    with open_source(tmp_path / name) as clip:
        assert isinstance(clip, VideoFile) and clip.backend == ("tiff" if paged else "pillow")
        assert (clip.count, clip.size, clip.fps) == (7, (48, 64), None if paged else 25)
        for frame in [*range(7), *range(6, -1, -1), 3, 6, 0, 5, 1]:
            rgb = clip.read(frame).astype(int)
            assert np.abs(rgb - frames[frame]).mean() < (8 if name in lossy else 0.01), frame
        assert clip.time(3) == (None if paged else pytest.approx(0.12))
    decoder = open_pages(tmp_path / name)
    assert decoder is not None
    expected = [decoder.read() for _ in range(7)]
    decoder.seek(2)
    assert [decoder.start_of(k) for k in (2, 5)] == ([2, 5] if paged else [2, 2])
    assert np.array_equal(decoder.read(), expected[2]) and np.array_equal(decoder.read(), expected[3])
    decoder.close()
    if name == "a.gif":
        for backend in ("pyav", "opencv"):
            with VideoFile(tmp_path / name, backend) as other:
                assert other.count == 7 and all(np.array_equal(rgb, frames[k]) for k, rgb in other.frames())


def test_a_gif_is_composed_as_its_frames_say(tmp_path: Path) -> None:
    """A dot on a transparent ground that stays or is removed again; what was never drawn is white."""

    def dot(x: int) -> Image.Image:
        picture = Image.new("RGBA", (64, 48), (0, 0, 0, 0))
        picture.paste((255, 0, 0, 255), (x, 4, x + 4, 8))
        return picture

    for disposal, seen in ((1, [0, 10, 20]), (2, [20])):
        dots = [dot(x) for x in (0, 10, 20)]
        path = tmp_path / "a.gif"
        dots[0].save(path, save_all=True, append_images=dots[1:], disposal=disposal, duration=50)
        with open_source(path) as clip, VideoFile(path, "pyav") as other:
            assert clip.count == 3 and clip.fps == 20
            last = clip.read(2)
            red = [x for x in (0, 10, 20) if last[5, x + 1].tolist() == [255, 0, 0]]
            assert red == seen and last[40, 60].tolist() == [255, 255, 255]
            assert np.array_equal(last, other.read(2))  # FFmpeg composes the same


def test_times_of_an_animation(tmp_path: Path) -> None:
    animation(tmp_path / "a.gif", 4, duration=[100, 0, 300, 50])  # 0 is shown for 100 ms, as browsers do
    with open_source(tmp_path / "a.gif") as clip:
        assert [clip.time(k) for k in range(4)] == pytest.approx([0, 0.1, 0.2, 0.5])
    animation(tmp_path / "poster.png", 3, default_image=True, duration=40)
    with open_source(tmp_path / "poster.png") as clip:
        assert clip.count == 2


def test_sixteen_bit_colour_pages(tmp_path: Path) -> None:
    pages = [np.dstack([(X * 60 + k).astype(np.uint16)] * 3) for k in range(3)]
    assert cv2.imwritemulti(str(tmp_path / "a.tif"), pages)
    with open_source(tmp_path / "a.tif") as clip:
        assert clip.count == 3 and np.array_equal(clip.read(2), (pages[2] >> 4).astype(np.uint8))


def test_pages_with_alpha_keep_their_colours(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.dstack([numbered_frame(k), (X * 4).astype(np.uint8)])) for k in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with open_source(tmp_path / "a.tif") as clip:
        assert all(np.array_equal(rgb, numbered_frame(k)) for k, rgb in clip.frames())


def test_pages_of_several_sizes(tmp_path: Path) -> None:
    Image.new("L", (64, 48)).save(tmp_path / "a.tif", save_all=True, append_images=[Image.new("L", (32, 24))])
    with open_source(tmp_path / "a.tif") as clip:
        with pytest.raises(SourceError, match=r"frame 1 .* changes size to 32x24"):
            clip.read(1)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # as Pillow calls the directory of a TIFF
@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tif"])
def test_damaged_animations(name: str, tmp_path: Path) -> None:
    animation(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    for share in (0.05, 0.5):
        (tmp_path / name).write_bytes(data[: int(len(data) * share)])
        with pytest.raises(SourceError):
            with open_source(tmp_path / name) as clip:
                assert len(list(clip.frames())) == 7


# --- folders and lists ---


def test_an_animation_in_a_folder_is_no_frame(tmp_path: Path) -> None:
    Image.fromarray(numbered_frame(0)).save(tmp_path / "0.gif")
    animation(tmp_path / "1.gif")
    with open_source(tmp_path) as clip:
        with pytest.raises(SourceError, match=r"1\.gif holds 7 frames .*open it by itself"):
            clip.read(1)


def test_a_folder_holds_one_type(tmp_path: Path) -> None:
    for name in ("0.jpg", "1.JPEG", "2.jpg"):
        Image.fromarray(numbered_frame(0)).save(tmp_path / name)
    assert open_source(tmp_path).count == 3
    Image.fromarray(numbered_frame(0)).save(tmp_path / "mask.png")
    with pytest.raises(SourceError, match=r"several types \(3 jpg, 1 png\)"):
        open_source(tmp_path)


def test_lists_of_paths(tmp_path: Path) -> None:
    for k in range(3):
        (tmp_path / str(k)).mkdir()
        Image.fromarray(numbered_frame(k)).save(tmp_path / f"b{k}.png")
        Image.fromarray(numbered_frame(k)).save(tmp_path / str(k) / "same.png")
    files = [tmp_path / f"b{k}.png" for k in (2, 0, 1)]
    with open_source([str(file) for file in files]) as clip:
        assert isinstance(clip, PictureFiles) and [clip.frame_name(k) for k in range(3)] == ["b2", "b0", "b1"]
        assert all(np.array_equal(clip.read(k), numbered_frame(n)) for k, n in enumerate((2, 0, 1)))
    with open_source(tmp_path / str(k) / "same.png" for k in range(3)) as clip:
        assert clip.count is None and np.array_equal(clip.read(1), numbered_frame(1))
    with open_source([tmp_path / str(k) / "same.png" for k in range(3)]) as clip:
        assert [clip.frame_name(k) for k in range(2)] == ["000000", "000001"]  # names of results differ
    with pytest.raises(SourceError, match=r"cannot read the picture .*gone\.png"):
        open_source([tmp_path / "gone.png"])
    with pytest.raises(SourceError, match="holds no frames"):
        PictureFiles([])
