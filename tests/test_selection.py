"""Parts of clips: which frames, what they are called, when they are shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sam2_video.sources import EndOfClip, FrameArrays, Selection, VideoFile, open_source, select, video
from sam2_video.sources.base import Source
from sam2_video.types import SourceError
from tests.clips import numbered_frame, write_clip


class Clock(Source):
    """Frames that say their number, shown at given times."""

    size = (4, 4)

    def __init__(self, times: list[float]) -> None:
        self.name, self.times, self.count, self.closed = "clock", times, len(times), False
        self.fps = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 25.0

    def read(self, frame: int) -> NDArray[np.uint8]:
        self._check(frame)
        return np.full((4, 4, 3), frame, np.uint8)

    def time(self, frame: int) -> float:
        return self.times[frame]

    def close(self) -> None:
        self.closed = True


def steady(count: int, fps: float) -> Clock:
    return Clock([k / fps for k in range(count)])


def chosen(view: object) -> list[int]:
    assert isinstance(view, Selection) and view.count is not None
    return [view.original(k) for k in range(view.count)]


@pytest.mark.parametrize(
    ("start", "stop", "stride"), [(0, 60, 7), (10, None, 1), (10, 50, 4), (59, None, 3), (3, 4, 9), (0, 1, 1)]
)
def test_frame_k_is_start_plus_k_strides(start: int, stop: int | None, stride: int, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", 60, options={"g": "12", "bf": "2"})
    expected = list(range(60))[start:stop:stride]
    with VideoFile(path) as whole, open_source(path, start=start, stop=stop, stride=stride) as view:
        assert chosen(view) == expected and (view.size, view.name) == ((48, 64), "clip.mp4")
        assert view.fps == 25 / stride
        assert [view.frame_name(k) for k in range(view.count)] == [f"{n:06d}" for n in expected]
        pictures = {n: rgb.copy() for n, rgb in whole.frames()}
        for frames in (view.frames(), view.frames(view.count - 1, step=-1)):
            for k, rgb in frames:
                assert np.array_equal(rgb, pictures[expected[k]])
        assert view.time(view.count - 1) == pytest.approx((expected[-1] - expected[0]) / 25)
        for frame in (-1, view.count):
            with pytest.raises(EndOfClip, match=f"frame {frame} is outside"):
                view.read(frame)


def test_nothing_chosen_is_the_source_itself() -> None:
    clip = steady(5, 25)
    assert select(clip) is clip and open_source(clip, stride=1) is clip
    view = select(select(clip, start=1), stride=2)
    assert isinstance(view, Selection) and [view.read(k)[0, 0, 0] for k in range(2)] == [1, 3]
    view.close()
    assert clip.closed


@pytest.mark.parametrize(
    ("rate", "fps", "expected"),
    [
        (25, 5, list(range(0, 60, 5))),
        (25, 25, list(range(60))),
        (25, 60, list(range(60))),  # never twice
        (30, 15, list(range(0, 60, 2))),
        (24, 10, [0, 2, 5, 7, 10, 12, 14, 17, 19, 22]),
        (10, 20 / 3, [0, 1, 3, 4, 6, 7, 9]),  # of two that are equally near the earlier
        (29.97, 1, [0, 30]),
        (25, 0.1, [0]),
    ],
)
def test_a_rate_takes_the_frames_nearest_to_its_ticks(rate: float, fps: float, expected: list[int]) -> None:
    view = select(steady(60, rate), fps=fps)
    assert chosen(view)[: len(expected)] == expected
    assert view.fps == pytest.approx(min(rate, fps))
    ticks = [view.time(k) * fps for k in range(view.count or 0)]
    assert fps > rate or np.abs(np.array(ticks) - np.arange(len(ticks))).max() <= fps / rate / 2 + 1e-6


def test_a_rate_goes_by_the_clock_of_the_clip(tmp_path: Path) -> None:
    """Ten frames in the first second, two in the next, ten in the third."""
    times = [*(k / 10 for k in range(10)), 1.0, 1.5, *(2 + k / 10 for k in range(10))]
    assert chosen(select(Clock(times), fps=2)) == [0, 5, 10, 11, 12, 17]
    assert chosen(select(Clock(times), fps=5)) == [0, 2, 4, 6, 8, 10, 11, 12, 14, 16, 18, 20]
    assert chosen(select(Clock(times), start=4, stop=12, fps=2)) == [4, 9, 11]
    path = write_clip(tmp_path / "varying.mp4", 40, vary_rate=True)
    with VideoFile(path) as clip:
        shown = np.array([clip.time(k) for k in range(40)])
    with open_source(path, fps=8) as view:
        nearest = [int(np.abs(shown - tick / 8).argmin()) for tick in range(int(shown[-1] * 8 + 1e-6) + 1)]
        assert chosen(view) == sorted(set(nearest)) and view.fps == pytest.approx(8, rel=0.1)
        assert view.time(3) == pytest.approx(shown[chosen(view)[3]])
    assert np.abs(shown - np.arange(40) / 25).max() > 0.2  # a steady clock would have chosen others


def test_a_selection_of_an_iterator_ends_with_it() -> None:
    def camera() -> Iterator[NDArray[np.uint8]]:
        for k in range(8):
            yield numbered_frame(k)

    with open_source(camera(), start=1, stride=3) as view:
        assert view.count is None and view.fps is None
        assert [k for k, rgb in view.frames() if np.array_equal(rgb, numbered_frame(1 + 3 * k))] == [0, 1, 2]
        assert view.count == 3
        with pytest.raises(EndOfClip):
            view.read(3)
    with open_source(camera(), stop=4) as view:
        assert view.count == 4 and len(list(view.frames())) == 4


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"start": -1}, "frames count from 0"),
        ({"start": 5, "stop": 5}, "no frame of clock lies from 5 up to before 5"),
        ({"start": 20}, "no frame of clock lies from 20 up to before 20"),
        ({"stop": 21}, r"stop is 21, but clock has 20 frames \(0\.\.19\)"),
        ({"stride": 0}, "stride is 0; expected 1 or more"),
        ({"stride": -1}, "to go backward, track backward"),
        ({"fps": 0}, "frame rate is 0; expected frames per second above 0"),
        ({"fps": float("nan")}, "frame rate is nan"),
        ({"fps": 5, "stride": 2}, "a stride and a frame rate were both given"),
    ],
)
def test_what_cannot_be_chosen(how: dict[str, float], message: str) -> None:
    clip = steady(20, 25)
    with pytest.raises(SourceError, match=message):
        select(clip, **how)
    assert not clip.closed
    for source in (FrameArrays([numbered_frame(0)] * 3), iter([numbered_frame(0)])):
        with pytest.raises(SourceError, match="has no clock or no known length"):
            open_source(source, fps=5)


def test_a_file_is_closed_where_the_choice_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []
    monkeypatch.setattr(video.VideoFile, "close", lambda self: closed.append(self.name))
    with pytest.raises(SourceError, match="stop is 9"):
        open_source(write_clip(tmp_path / "clip.mp4", 5), stop=9)
    assert closed == ["clip.mp4"]
