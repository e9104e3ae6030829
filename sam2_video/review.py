"""Which frames a person should look at, found while results stream by.

reviewer = Reviewer()
for result in session.propagate():
    for notice in reviewer.add(session.source.read(result.frame), result):
        print(notice)

A frame is compared with the result before it and with what was usual until then, so memory does not grow, and
the same results in the same order bring the same notices. docs/review.md says what was measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sam2_video.types import FrameResult

Kind = Literal["cut", "lost", "returned", "score", "area", "jump", "touch"]

# A frame is a cut if its picture in small and its colours both differ from those of the frame before, and the
# picture by more than is usual. The mildest of 380 joins of real clips changes 0.139 and 0.273.
CUT_PICTURE = 0.10  # mean difference of the pictures in small, 0..1
CUT_COLOURS = 0.24  # share of pixels whose colours are not to be found in the other frame
CUT_FACTOR = 1.5  # against the usual difference: fast motion at a large stride looks like cut after cut
# The predicted IoU is what the model itself thinks of a mask. Below one half it expects to be more wrong than
# right; at 0.3 it says again that matters have become worse.
LOW_SCORES = (0.5, 0.3)
SCORE_MARGIN = 0.1  # a score that rises this far above a limit may fall below it anew
SCORE_DROP = 0.2  # fall below the usual score
AREA_FACTOR = 1.5  # growth or loss against the usual area
AREA_LEAST = 2e-4  # change as a share of the frame: of a few pixels a factor says nothing
OVERLAP_SHARE = 0.5  # of the usual overlap with the frame before: what is fast always has little
FIRST_OVERLAP = 0.5  # taken as usual right after a prompt
# Objects that touch can swap identities. Share of the smaller one's outline that lies at the other.
TOUCH, TOUCH_OVER = 0.25, 0.1
USUAL = 0.25  # weight of the newest frame in what is usual: about the last four count
TOUCH_SIDE = 480  # pixels of the longer side that outlines are compared at


@dataclass(frozen=True)
class Notice:
    """One reason to look at one frame; `object_id` is None where it concerns the whole frame.

    `value` is by `kind`: mean picture difference of a "cut", presence logit of "lost" and "returned",
    predicted IoU of "score", area against the usual of "area", IoU with the mask before of "jump", share of
    the outline of "touch".
    """

    frame: int
    object_id: int | None
    kind: Kind
    value: float
    message: str

    def __str__(self) -> str:
        return f"frame {self.frame}: {self.message}"


@dataclass
class _Seen:
    """What is remembered of one object: its last mask, and what was usual."""

    here: bool = False
    mask: _Mask | None = None  # the last one that was not empty
    area: float = 0.0
    overlap: float | None = None
    score: float | None = None
    low: int = 0  # how many of `LOW_SCORES` are above the score


@dataclass(frozen=True)
class _Mask:
    """The part of a mask that has pixels. `x`, `y`: where in the frame it begins."""

    pixels: NDArray[np.bool_]
    x: int
    y: int
    area: int

    def iou(self, other: _Mask) -> float:
        """Intersection over union of two masks of a frame."""
        x0, y0 = max(self.x, other.x), max(self.y, other.y)
        mine, theirs = (m.pixels[max(y0 - m.y, 0) :, max(x0 - m.x, 0) :] for m in (self, other))
        height, width = (min(a, b) for a, b in zip(mine.shape, theirs.shape, strict=True))
        both = int(np.count_nonzero(mine[:height, :width] & theirs[:height, :width]))
        return both / (self.area + other.area - both)


class Reviewer:
    """Finds the frames of one clip that a person should look at.

    Frames may come forward or backward and at any stride; where they turn round, or one comes twice, what is
    known is forgotten and they count as another clip.
    """

    def __init__(self) -> None:
        self._frame: int | None = None
        self._pace = 0
        self._picture: _Picture | None = None
        self._change: float | None = None  # of the picture, what is usual
        self._seen: dict[int, _Seen] = {}
        self._touching: set[tuple[int, int]] = set()

    def add(self, frame_rgb: NDArray[np.uint8], result: FrameResult) -> list[Notice]:
        """Take the next frame, (H, W, 3) uint8 RGB, and its result; return what is remarkable about it."""
        self._follow(result.frame)
        cut = self._cut(_Picture.of(frame_rgb))
        notices = [] if cut is None else [Notice(result.frame, None, "cut", cut, "the scene changes")]
        self._seen = {k: seen for k, seen in self._seen.items() if k in result.object_ids}
        for row in range(len(result.object_ids)):
            notices += self._look_at(result, row, cut is not None)
        notices += self._look_at_pairs(result)
        return notices

    def _follow(self, frame: int) -> None:
        step = 0 if self._frame is None else frame - self._frame
        turned = self._frame is not None and (step == 0 or step * self._pace < 0)
        if turned:
            self._picture, self._change, self._pace = None, None, 0
            self._seen.clear()
            self._touching.clear()
        else:
            self._pace = step
        self._frame = frame

    def _cut(self, picture: _Picture) -> float | None:
        """Return how much the picture has changed if that is a cut, else None."""
        before, self._picture = self._picture, picture
        if before is None:
            return None
        change, colours = picture.change_from(before)
        usual, self._change = self._change or 0.0, _mixed(self._change, change)
        is_cut = change > max(CUT_PICTURE, CUT_FACTOR * usual) and colours > CUT_COLOURS
        return change if is_cut else None

    def _look_at(self, result: FrameResult, row: int, cut: bool) -> Iterator[Notice]:
        object_id, mask = result.object_ids[row], _mask_of(result, row)
        presence = float(result.presence[row])
        seen = self._seen.setdefault(object_id, _Seen())
        before, seen.here = seen.here, mask is not None and presence >= 0
        if row < len(result.prompted) and result.prompted[row]:  # the user has looked at it
            self._seen[object_id] = _Seen(seen.here, mask, 0 if mask is None else mask.area)
        elif before and not seen.here:
            yield _notice(result, row, "lost", presence, "is lost")
        elif mask is not None and seen.here:
            if not before and seen.mask is not None:
                yield _notice(result, row, "returned", presence, "is back")
            if cut or not before:
                seen.area, seen.overlap, seen.score, seen.mask = mask.area, None, None, None
            yield from _compare(result, row, mask, seen)

    def _look_at_pairs(self, result: FrameResult) -> Iterator[Notice]:
        shown = [row for row, k in enumerate(result.object_ids) if self._seen[k].here]
        touching = set()
        for a, b in combinations(shown, 2):
            pair = result.object_ids[a], result.object_ids[b]
            share = _contact(result, a, b)
            if share >= TOUCH or (share > TOUCH_OVER and pair in self._touching):
                touching.add(pair)
                seen_by_user = all(row < len(result.prompted) and result.prompted[row] for row in (a, b))
                if pair not in self._touching and not seen_by_user:
                    message = f"{_name(result, a)} touches {_name(result, b)}: they may swap"
                    yield Notice(result.frame, pair[0], "touch", share, message)
        self._touching = touching


def _compare(result: FrameResult, row: int, mask: _Mask, seen: _Seen) -> Iterator[Notice]:
    """Tell what is unlike before, and learn from it. Without a mask before only the score can be judged."""
    score = float(result.iou[row])
    low = _level(score, seen.low)
    if low > seen.low:
        limit = LOW_SCORES[low - 1]
        yield _notice(result, row, "score", score, f"has a predicted IoU of {score:.2f}, below {limit}")
    elif seen.score is not None and seen.score - score > SCORE_DROP:
        message = f"falls to a predicted IoU of {score:.2f} from {seen.score:.2f}"
        yield _notice(result, row, "score", score, message)
    if seen.mask is not None:
        if _is_sudden(mask.area, seen.area, result.size):
            ratio = mask.area / max(seen.area, 1.0)
            yield _notice(result, row, "area", ratio, f"has {ratio:.2f} times the area that it had")
            seen.area = mask.area  # one leap, one notice
        overlap, usual = mask.iou(seen.mask), FIRST_OVERLAP if seen.overlap is None else seen.overlap
        if overlap < OVERLAP_SHARE * usual:
            yield _notice(result, row, "jump", overlap, f"jumps: IoU {overlap:.2f} with its mask before")
        seen.overlap = _mixed(seen.overlap, overlap)
    seen.area, seen.score = _mixed(seen.area, mask.area), _mixed(seen.score, score)
    seen.mask, seen.low = mask, low


def _notice(result: FrameResult, row: int, kind: Kind, value: float, message: str) -> Notice:
    return Notice(result.frame, result.object_ids[row], kind, value, f"{_name(result, row)} {message}")


@dataclass(frozen=True)
class _Picture:
    """A frame in small, and how often each of its colours comes."""

    small: NDArray[np.float32]
    colours: NDArray[np.float32]

    @classmethod
    def of(cls, rgb: NDArray[np.uint8]) -> _Picture:
        import cv2

        some = cv2.resize(rgb, (160, 90), interpolation=cv2.INTER_AREA)
        small = cv2.resize(some, (32, 18), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        counts = cv2.calcHist([some], [0, 1, 2], None, [6, 6, 6], [0, 256] * 3)
        return cls(np.asarray(small, np.float32), np.asarray(counts / counts.sum(), np.float32))

    def change_from(self, before: _Picture) -> tuple[float, float]:
        """Return the mean difference of the pictures, and the share of colours that are not in both."""
        change = float(np.abs(self.small - before.small).mean())
        return change, 1 - float(np.minimum(self.colours, before.colours).sum())


def _mask_of(result: FrameResult, row: int) -> _Mask | None:
    x0, y0, x1, y1 = (int(v) for v in result.boxes[row])
    pixels = result.masks[row, y0 : y1 + 1, x0 : x1 + 1]
    area = int(np.count_nonzero(pixels))
    return _Mask(pixels.copy(), x0, y0, area) if area else None


def _level(score: float, before: int) -> int:
    """How many limits a score is below; one that it was below counts until the score is well above it."""
    level = sum(score < limit for limit in LOW_SCORES)
    held = sum(score < limit + SCORE_MARGIN for limit in LOW_SCORES[:before])
    return max(level, held)


def _mixed(usual: float | None, newest: float) -> float:
    return newest if usual is None else usual + USUAL * (newest - usual)


def _is_sudden(area: float, usual: float, size: tuple[int, int]) -> bool:
    large, small = max(area, usual), min(area, usual)
    return large > AREA_FACTOR * small and large - small > AREA_LEAST * size[0] * size[1]


def _contact(result: FrameResult, a: int, b: int) -> float:
    """Share of the smaller object's outline that lies at the other object, 0..1."""
    import cv2

    step = max(1, round(max(result.size) / TOUCH_SIDE))
    boxes = result.boxes[[a, b]] // step
    reach = 2  # pixels of the smaller picture: outlines of neighbours never meet exactly
    if (boxes[0, :2] > boxes[1, 2:] + reach).any() or (boxes[1, :2] > boxes[0, 2:] + reach).any():
        return 0.0
    one, other = (result.masks[row, ::step, ::step].astype(np.uint8) for row in (a, b))
    if np.count_nonzero(one) > np.count_nonzero(other):
        one, other = other, one
    outline = one > cv2.erode(one, np.ones((3, 3), np.uint8), borderValue=1)
    near = cv2.dilate(other, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 0
    length = int(np.count_nonzero(outline))
    return int(np.count_nonzero(outline & near)) / length if length else 0.0


def _name(result: FrameResult, row: int) -> str:
    name = result.info_of(row).name
    return f"object {result.object_ids[row]}" + (f" ({name})" if name else "")
