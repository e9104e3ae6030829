from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from sam2_video.training.clips import ClipConfig, ClipMaker, TrainingClip
from sam2_video.training.davis_clips import DavisClips
from sam2_video.training.layers import cut_out, fill_hole, shape
from sam2_video.training.motion import place, still_path
from sam2_video.training.render import Layer, Scene, render
from sam2_video.training.stills import find_stills
from sam2_video.types import DataError


@pytest.fixture(scope="module")
def maker(stills_folder: Path) -> ClipMaker:
    return ClipMaker(find_stills([stills_folder]), ClipConfig(seed=5))


def same(a: TrainingClip, b: TrainingClip) -> bool:
    voids = (a.void is None and b.void is None) or (
        a.void is not None and b.void is not None and np.array_equal(a.void, b.void)
    )
    return voids and np.array_equal(a.frames, b.frames) and np.array_equal(a.masks, b.masks)


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_every_clip_shows_an_object_on_its_first_frame(maker: ClipMaker, frames: int) -> None:
    for index in range(25):
        clip = maker.make(index, frames=frames, size=64)
        assert clip.frames.shape == (frames, 64, 64, 3) and clip.frames.dtype == np.uint8
        assert clip.masks.shape == (frames, 64, 64) and set(np.unique(clip.masks)) <= {0, 1}
        assert clip.masks[0].mean() >= 0.003
        assert clip.void is None or (clip.void.dtype == bool and not (clip.masks[clip.void]).any())


def test_the_least_size_on_the_first_frame_is_kept(stills_folder: Path) -> None:
    maker = ClipMaker(find_stills([stills_folder]), ClipConfig(seed=5, min_share=0.12))
    assert min(maker.make(index, frames=1, size=64).masks.mean() for index in range(20)) >= 0.12


def test_mirrored_copies_beyond_the_picture_are_void(stills_folder: Path) -> None:
    maker = ClipMaker(find_stills([stills_folder]), ClipConfig(seed=5, whole=1.0, motion=4.0))
    clips = [maker.make(index, frames=8, size=64) for index in range(20)]
    voids = [(clip.masks, clip.void) for clip in clips if clip.void is not None]
    assert len(voids) > 5
    assert not any(masks[void].any() for masks, void in voids)


def square_layer(x: int, *, is_target: bool, value: int) -> Layer:
    """An opaque square of 10 pixels at (x, 5) of a frame of 32."""
    picture = np.full((10, 10, 4), (value, value, value, 255), np.uint8)
    spot = place(
        still_path(1),
        centre=np.zeros(2),
        anchor=(x / 32, 5 / 32),
        scale=1.0,
        aspect=1.0,
        size=(10, 10),
        side=32,
    )
    return Layer(picture, spot, None, side=32, is_target=is_target)


def test_what_is_in_front_hides_the_target_and_what_is_behind_does_not() -> None:
    whole = place(
        still_path(1), centre=np.zeros(2), anchor=(0, 0), scale=1.0, aspect=1.0, size=(32, 32), side=32
    )
    back = Layer(np.full((32, 32, 4), 255, np.uint8), whole, None, side=32, backdrop=True)
    target, other = square_layer(4, is_target=True, value=50), square_layer(10, is_target=False, value=100)
    front, behind = render(Scene((back, target, other)), 0, 32), render(Scene((back, other, target)), 0, 32)
    assert np.flatnonzero(front.mask.any(axis=0)).tolist() == [4, 5, 6, 7, 8, 9]
    assert np.flatnonzero(behind.mask.any(axis=0)).tolist() == list(range(4, 14))
    assert (front.visible, behind.visible) == (0.6, 1.0)
    assert front.picture[10, 11, 0] == 100 and behind.picture[10, 11, 0] == 50
    assert behind.picture[0, 0, 0] == 255


def test_a_clip_depends_on_seed_and_index_alone(stills_folder: Path, maker: ClipMaker) -> None:
    later = [maker.make(index, frames=3, size=64) for index in (7, 3, 9)]
    fresh = ClipMaker(find_stills([stills_folder]), ClipConfig(seed=5), budget=0)
    assert all(same(fresh.make(i, frames=3, size=64), clip) for i, clip in zip((7, 3, 9), later, strict=True))
    other = ClipMaker(find_stills([stills_folder]), ClipConfig(seed=6))
    assert not same(other.make(7, frames=3, size=64), later[0])
    assert not same(later[0], later[1])


def test_objects_move_and_bend(maker: ClipMaker) -> None:
    clips = [maker.make(index, frames=4, size=64) for index in range(20)]
    moved = [np.count_nonzero(c.masks[0] != c.masks[-1]) / c.masks[0].sum() for c in clips]
    assert np.median(moved) > 0.1


def test_a_still_scene_keeps_its_mask(stills_folder: Path) -> None:
    config = ClipConfig(seed=1, motion=0.0, bend=0.0, colour=0.0, whole=1.0)
    clip = ClipMaker(find_stills([stills_folder / "discs"]), config).make(0, frames=3, size=64)
    # Growth and turning follow the speed, so nothing is left of them.
    assert np.array_equal(clip.masks[0], clip.masks[2])


def test_the_mask_lies_on_the_object(stills_folder: Path, tmp_path: Path) -> None:
    """A white disc on black, moved as a whole picture: bright pixels and mask agree up to the edge."""
    for part in ("images", "masks"):
        (tmp_path / "white" / part).mkdir(parents=True)
    labels = np.zeros((120, 160), np.uint8)
    cv2.circle(labels, (80, 60), 30, 1, -1)
    cv2.imwrite(str(tmp_path / "white" / "images" / "0.jpg"), labels * 255)
    cv2.imwrite(str(tmp_path / "white" / "masks" / "0.png"), labels)
    maker = ClipMaker(
        find_stills([tmp_path]), ClipConfig(seed=2, whole=1.0, colour=0.0, shapes=0.0, strides=(1,))
    )
    agreement = []
    for index in range(15):
        clip = maker.make(index, frames=3, size=64)
        known = np.ones_like(clip.masks, bool) if clip.void is None else ~clip.void
        bright = (clip.frames.min(axis=-1) > 127) & known
        agreement.append((bright & (clip.masks > 0)).sum() / (bright | (clip.masks > 0)).sum())
    # Distractors are white discs as well, and occluders black: most clips have none.
    assert np.median(agreement) > 0.93


def test_data_sets_of_weight_zero_are_left_out(stills_folder: Path) -> None:
    stills = find_stills([stills_folder])
    weights = ClipMaker(stills, ClipConfig(weights={"discs": 3, "pairs": 1}))._scenes._edges
    assert np.diff(weights, prepend=0) == pytest.approx([3 / 16] * 4 + [1 / 8] * 2)
    with pytest.raises(DataError, match="weight 0"):
        ClipMaker(stills, ClipConfig(weights={"discs": 0, "pairs": 0}))
    with pytest.raises(DataError, match="no stills"):
        ClipMaker([])


def test_stills_without_a_large_enough_object_are_reported(tmp_path: Path) -> None:
    for part in ("images", "masks"):
        (tmp_path / "empty" / part).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "empty" / part / "0.png"), np.zeros((50, 50), np.uint8))
    with pytest.raises(DataError, match="no usable object in 1 stills"):
        ClipMaker(find_stills([tmp_path])).make(0, frames=2, size=64)


def test_a_cut_out_shows_nothing_of_its_background() -> None:
    image = np.full((40, 50, 3), 200, np.uint8)
    mask = cv2.circle(np.zeros((40, 50), np.uint8), (25, 20), 10, 1, -1) > 0
    image[mask] = 10
    cut = cut_out(image, mask)
    assert cut.shape == (27, 27, 4)
    assert (cut[cut[..., 3] > 0][:, :3] == 10).all()
    assert 0.8 * mask.sum() < (cut[..., 3] > 127).sum() <= mask.sum()


def test_a_filled_hole_takes_the_colour_around_it() -> None:
    image = np.full((60, 80, 3), (30, 90, 150), np.uint8)
    mask = np.zeros((60, 80), bool)
    mask[20:40, 30:60] = True
    image[mask] = 255
    filled = fill_hole(image, mask)
    assert np.abs(filled[22:38, 40:50].astype(int) - (30, 90, 150)).mean() < 25
    image[:, 45:] = 220
    filled = fill_hole(image, mask)
    assert filled[25:35, 56:59].mean() > 190  # the near side counts most
    assert np.array_equal(filled[:8], image[:8])


@pytest.fixture(scope="module")
def davis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One sequence of ten frames: object 2 is a square that moves right by four pixels a frame."""
    root = tmp_path_factory.mktemp("davis")
    images, labels = root / "JPEGImages/480p/square", root / "Annotations/480p/square"
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    for t in range(10):
        mask = np.zeros((48, 96), np.uint8)
        mask[10:30, 4 * t + 4 : 4 * t + 24] = 2
        cv2.imwrite(str(images / f"{t:05d}.jpg"), np.repeat(mask[..., None] * 60 + 10 * t, 3, axis=2))
        cv2.imwrite(str(labels / f"{t:05d}.png"), mask)
    return root


def test_windows_of_real_clips(davis: Path) -> None:
    clips = DavisClips(davis, seed=3, colour=0.0)
    steps, times = set(), set()
    for index in range(30):
        clip = clips.make(index, frames=3, size=48)
        assert clip.frames.shape == (3, 48, 48, 3)
        left = [int(np.flatnonzero(m.any(axis=0))[0]) for m in clip.masks]
        assert left[1] - left[0] == left[2] - left[1]  # even strides
        steps.add((left[1] - left[0]) // 2)
        on, off = (clip.frames[1][clip.masks[1] == k].mean() for k in (1, 0))
        assert on > off + 80
        light = np.median(clip.frames.astype(int), axis=(1, 2, 3))
        times.add(bool(light[0] < light[2]))
    assert steps == {-3, -2, -1, 1, 2, 3}
    assert times == {True, False}
    assert same(
        clips.make(4, frames=3, size=48), DavisClips(davis, seed=3, colour=0.0).make(4, frames=3, size=48)
    )


def test_windows_longer_than_the_clip_are_reported(davis: Path) -> None:
    with pytest.raises(DataError, match="no window of 11"):
        DavisClips(davis).make(0, frames=11, size=48)


def test_a_stride_leaves_frames_out(stills_folder: Path) -> None:
    """Over the same object, frames that lie further apart differ by more."""
    found = find_stills([stills_folder / "discs"])
    moved = []
    for strides in ((1,), (6,)):
        plain = {"shapes": 0.0, "twins": 0.0, "whole": 0.0, "colour": 0.0}
        maker = ClipMaker(found, ClipConfig(seed=3, strides=strides, **plain))
        clips = [maker.make(index, frames=3, size=64) for index in range(30)]
        assert all(len(clip.frames) == 3 for clip in clips)
        moved.append(np.mean([np.abs(np.diff(clip.masks.astype(int), axis=0)).mean() for clip in clips]))
    assert moved[1] > 2 * moved[0]


def test_a_shape_is_cut_out_of_the_picture() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (90, 120, 3)).astype(np.uint8)
    cuts = [shape(rng, picture) for _ in range(5)]
    assert len({cut.shape for cut in cuts}) > 1
    colours = {tuple(pixel) for pixel in picture.reshape(-1, 3)}
    for cut in cuts:
        inside = cut[..., 3] > 127
        assert 0.2 < inside.mean() < 0.9
        assert {tuple(pixel) for pixel in cut[inside][:, :3]} <= colours


def test_targets_have_twins(stills_folder: Path) -> None:
    def things(twins: float) -> float:
        config = ClipConfig(seed=3, twins=twins, whole=0.0, shapes=1.0)
        maker = ClipMaker(find_stills([stills_folder / "discs"]), config)
        scenes = [maker._scenes.draw(np.random.default_rng(k), 2, 64) for k in range(40)]
        return float(np.mean([len(scene.layers) for scene in scenes if scene is not None]))

    assert things(1.0) == pytest.approx(things(0.0) + 1)
