"""The worst objects as strips of pictures: what was found, what was missed, what is none of the object."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sam2_video.evaluation.report.html import Html, element
from sam2_video.evaluation.report.plots import curve_of, figure
from sam2_video.evaluation.scores import ObjectScore, PredictionReader
from sam2_video.evaluation.sequences import Bools, DataSet, VosSequence
from sam2_video.types import DataError, SourceError

Picture = NDArray[np.uint8]  # (h, w, 3) RGB
# Near Okabe and Ito's blue, orange and purple, which all eyes tell apart; what is missed is hatched as well.
FOUND, EXTRA, MISSED = (0, 114, 178), (240, 180, 20), (204, 60, 140)
_TINT = 0.55
_HATCH = 8  # pixels from stripe to stripe
_QUALITY = 80
_PERFECT = 0.9995  # shown as 100.0: nothing to see
_ROOM = 1.6  # side of a window, in sides of what it must show
_LARGEST_PIXEL = 4.0  # how large a pixel of the frame may become
_SMALLEST = 0.3  # side of a window, in sides of the frame


@dataclass(frozen=True)
class PictureOptions:
    """How many pictures a report may hold, and how large they may be."""

    objects: int = 6
    frames: int = 4  # of each object
    side: int = 420  # pixels of the longer side
    total: int = 1_500_000  # bytes of all JPEG files together


@dataclass
class Overlays:
    """Makes the strips, until the room for pictures is used up."""

    data: DataSet
    read: Callable[[VosSequence], PredictionReader]
    options: PictureOptions
    used: int = field(default=0, init=False)  # bytes

    def strips(self, scores: Sequence[ObjectScore]) -> Iterator[tuple[ObjectScore, list[Html]]]:
        """Yield the worst objects, worst first, and their pictures or why they cannot be read."""
        sequences = {sequence.name: sequence for sequence in self.data.sequences}
        worst = sorted(scores, key=lambda score: (figure(score), score.sequence, score.object_id))
        for score in worst[: self.options.objects]:
            sequence = sequences.get(score.sequence)
            if sequence is not None and figure(score) < _PERFECT:
                pictures = self._strip(sequence, score)
                if pictures:
                    yield score, pictures

    def _strip(self, sequence: VosSequence, score: ObjectScore) -> list[Html]:
        try:
            chosen = chosen_frames(sequence, score, self.options.frames)
            predicted = self.read(sequence)
            frames = [_Frame.read(sequence, predicted, score.object_id, frame) for frame in chosen]
            window = _window([frame.shown for frame in frames], sequence.size)
            shown = zip(frames, chosen.values(), strict=True)
            pictures = (self._figure(frame, sequence, score, window, why) for frame, why in shown)
            return [picture for picture in pictures if picture is not None]
        except (DataError, SourceError) as error:  # scores can be had without pictures, and so can a report
            return [element("p", f"No pictures: {error}", class_="note")]

    def _figure(
        self, frame: _Frame, sequence: VosSequence, score: ObjectScore, window: _Window, why: str
    ) -> Html | None:
        jpeg = encoded(painted(frame, window, self.options.side))
        if self.used + len(jpeg) > self.options.total:
            return None
        self.used += len(jpeg)
        name = sequence.frame_names[frame.number]
        values = _values(score, frame.number)
        said = f"{score.sequence}, object {score.object_id}, frame {name}: {values}"
        source = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
        height, width = window.scaled(self.options.side)
        caption = [element("b", why), f" frame {name}", element("br"), values]
        if not frame.has_prediction:
            caption.append(element("span", " no prediction", class_="bad"))
        return element(
            "figure",
            element("img", src=source, alt=said, width=width, height=height),
            element("figcaption", *caption),
        )


def chosen_frames(sequence: VosSequence, score: ObjectScore, count: int) -> dict[int, str]:
    """Return up to `count` frames in their order, and why: first, lost, worst, last, and some between."""
    first = next(one.first for one in sequence.objects if one.object_id == score.object_id)
    curve = {int(frame): value for frame, value in curve_of(score).items()}
    worst = min(curve, key=lambda frame: (curve[frame], frame))
    reasons = {worst: "worst", first: "first"}
    lost = next((frame for frame, value in curve.items() if value < 0.5), None)
    if lost is not None:
        reasons.setdefault(lost, "first below 50")
    reasons.setdefault(score.frames[-1], "last")
    chosen = dict(list(reasons.items())[:count])
    for k in range(1, count):  # between, where there is room
        if len(chosen) < count:
            chosen.setdefault(score.frames[k * (len(score.frames) - 1) // count], "")
    return dict(sorted(chosen.items()))


@dataclass(frozen=True)
class _Frame:
    """One frame of one object."""

    number: int
    rgb: Picture
    truth: Bools
    predicted: Bools
    void: Bools | None
    has_prediction: bool

    @classmethod
    def read(cls, sequence: VosSequence, predicted: PredictionReader, object_id: int, frame: int) -> _Frame:
        read, nothing = predicted(frame), np.zeros(sequence.size, dtype=np.bool_)
        found = None if read is None else read.get(object_id, nothing)
        truth: Mapping[int, Bools] = sequence.masks(frame) or {}
        return cls(
            frame,
            sequence.image(frame),
            truth.get(object_id, nothing),
            nothing if found is None else found,
            sequence.void(frame),
            found is not None,
        )

    @property
    def shown(self) -> Bools:
        return self.truth | self.predicted


@dataclass(frozen=True)
class _Window:
    """The part of the frames that a strip shows, in pixels."""

    y: int
    x: int
    height: int
    width: int

    @property
    def part(self) -> tuple[slice, slice]:
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)

    def scaled(self, side: int) -> tuple[int, int]:
        """(H, W) of its picture, whose longer side is `side`, unless that makes pixels too large."""
        scale = min(_LARGEST_PIXEL, side / max(self.height, self.width))
        return max(1, round(self.height * scale)), max(1, round(self.width * scale))


def _window(masks: Sequence[Bools], size: tuple[int, int]) -> _Window:
    """A window with the sides of the frame, so large that all masks are in it with a margin."""
    any_mask = np.logical_or.reduce(masks)
    ys, xs = np.flatnonzero(any_mask.any(axis=1)), np.flatnonzero(any_mask.any(axis=0))
    if not len(ys):
        return _Window(0, 0, *size)
    sides = (ys[-1] - ys[0] + 1) / size[0], (xs[-1] - xs[0] + 1) / size[1]
    share = min(1.0, max(_SMALLEST, _ROOM * max(sides)))
    height, width = max(1, round(share * size[0])), max(1, round(share * size[1]))
    y = int(min(max((ys[0] + ys[-1] + 1 - height) // 2, 0), size[0] - height))
    x = int(min(max((xs[0] + xs[-1] + 1 - width) // 2, 0), size[1] - width))
    return _Window(y, x, height, width)


def painted(frame: _Frame, window: _Window, side: int) -> Picture:
    """Return the window of a frame, tinted where prediction and truth agree and differ, truth outlined."""
    import cv2

    height, width = window.scaled(side)
    how = cv2.INTER_AREA if width < window.width else cv2.INTER_CUBIC
    rgb = cv2.resize(frame.rgb[window.part], (width, height), interpolation=how)
    grey = cv2.cvtColor(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    out = np.asarray(
        cv2.addWeighted(rgb, 0.35, grey, 0.65, 0), dtype=np.uint8
    )  # the colours that are left belong to the masks
    truth = _resized(frame.truth[window.part], (width, height))
    predicted = _resized(frame.predicted[window.part], (width, height))
    counts = np.ones_like(truth)
    if frame.void is not None:
        counts = ~_resized(frame.void[window.part], (width, height))
    ys, xs = np.mgrid[:height, :width]
    stripes = (ys + xs) % _HATCH < _HATCH // 2
    _tint(out, truth & predicted & counts, FOUND)
    _tint(out, predicted & ~truth & counts, EXTRA)
    _tint(out, truth & ~predicted & counts, MISSED, stripes)
    outlines, _ = cv2.findContours(truth.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(out, outlines, -1, (0, 0, 0), 2, cv2.LINE_AA)
    cv2.drawContours(out, outlines, -1, (255, 255, 255), 1, cv2.LINE_AA)
    return out


def encoded(picture: Picture) -> bytes:
    """Return a picture as a JPEG file."""
    import cv2

    done, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise DataError(f"OpenCV cannot encode a picture of {picture.shape} as JPEG")
    return data.tobytes()


def _resized(mask: Bools, size: tuple[int, int]) -> Bools:
    """A mask at (W, H): a pixel belongs to it where at least half of what it stands for does."""
    import cv2

    how = cv2.INTER_AREA if size[0] < mask.shape[1] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(mask.astype(np.float32), size, interpolation=how) >= 0.5)


def _tint(out: Picture, region: Bools, colour: tuple[int, int, int], stripes: Bools | None = None) -> None:
    """Mix a colour into a region, more of it on stripes."""
    parts = [(region, _TINT)] if stripes is None else [(region & stripes, 0.85), (region & ~stripes, 0.35)]
    for where, share in parts:
        out[where] = np.round((1 - share) * out[where] + share * np.asarray(colour)).astype(np.uint8)


def _values(score: ObjectScore, frame: int) -> str:
    if frame not in score.frames:
        return "not scored"
    k = score.frames.index(frame)
    j, f = score.j[k], score.f[k]
    return f"J {100 * j:.1f}" + (f", F {100 * f:.1f}" if np.isfinite(f) else "")
