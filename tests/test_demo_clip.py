"""The clip that the package draws: the same every time, with true masks, and with an occlusion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sam2_video.demo_clip import BALL, OBJECTS, Scene, draw_demo_clip
from sam2_video.sources import VideoFile
from sam2_video.types import SinkError


def test_the_file_shows_the_scene(tmp_path: Path) -> None:
    clip = draw_demo_clip(tmp_path / "demo.mp4", frames=6, size=(160, 90), fps=12)
    with VideoFile(clip.path) as video:
        assert (video.count, video.size, video.fps) == (6, (90, 160), 12)
        for frame, rgb in video.frames():
            assert np.abs(rgb.astype(int) - clip.scene.render(frame)[0]).mean() < 8
    assert [f.name for f in tmp_path.iterdir()] == ["demo.mp4"]


def test_it_is_the_same_every_time() -> None:
    for frame in (0, 7):
        (first, masks), (second, again) = (Scene((90, 160), 12).render(frame) for _ in range(2))
        assert np.array_equal(first, second) and first.dtype == np.uint8 and first.shape == (90, 160, 3)
        assert all(np.array_equal(masks[k], again[k]) for k in OBJECTS)


def test_masks_are_true(tmp_path: Path) -> None:
    """An object's pixels change from frame to frame, masks are disjoint, and a click is inside its object."""
    scene = Scene()
    clip = draw_demo_clip(tmp_path / "demo.mp4", frames=1, size=(480, 270))
    assert set(clip.clicks) == set(OBJECTS)
    for frame in (0, 60):  # at 60 the cat stands before the ball
        masks = scene.render(frame)[1]
        assert set(masks) == set(OBJECTS) and sum(m.astype(int) for m in masks.values()).max() == 1
    rgb, masks = scene.render(0)
    for object_id, (x, y) in clip.clicks.items():
        assert clip.masks(0)[object_id][y, x] and masks[object_id].sum() > 400
        ring = masks[object_id] ^ np.roll(masks[object_id], 12, axis=1)
        assert np.abs(rgb[masks[object_id]].mean(0) - rgb[ring & ~masks[object_id]].mean(0)).max() > 10


def test_the_ball_hides_behind_the_pillar_and_comes_back() -> None:
    scene = Scene()
    areas = [int(scene.render(frame)[1][BALL].sum()) for frame in range(0, scene.frames, 3)]
    hidden = min(areas)
    assert areas[0] > 3000 and hidden == 0 and areas[-1] > 3000
    assert 0 < areas.index(hidden) < len(areas) - 1


@pytest.mark.parametrize("size", [(48, 64), (271, 481), (120, 90)])
def test_any_size(size: tuple[int, int]) -> None:
    rgb, masks = Scene(size, 3).render(2)
    assert rgb.shape == (*size, 3) and all(mask.shape == size for mask in masks.values())


def test_unwritable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match="cannot write"):
        draw_demo_clip(tmp_path / "file" / "demo.mp4", frames=1)
