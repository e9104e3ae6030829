"""SAM 2's interactive online protocol: one pass over a clip, which stops where a mask is bad to correct it.

Ravi et al. 2024, section 6.1.1 and the appendix "Interactive offline and online evaluation details".

The curve over 1 to 8 interactions takes no passes of its own. Where an object is corrected for the k-th time,
a copy of it goes on without the correction: it is the run in which only k - 1 frames may be clicked on. All
copies are walked together, and each frame is encoded once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from sam2_video.evaluation.protocols.base import (
    Arrivals,
    FramePrediction,
    SequenceFrames,
    first_mask,
    masks_by_object,
    predict,
)
from sam2_video.evaluation.protocols.clicking import Clicks, click_on
from sam2_video.evaluation.protocols.judging import (
    FrameTruth,
    Tally,
    check_truth,
    fill_up,
    independent,
    tallies_before,
)
from sam2_video.evaluation.results import Round
from sam2_video.evaluation.sequences import Bools, EvaluatedObject, VosSequence
from sam2_video.session import Size, VideoSession
from sam2_video.state import ObjectState
from sam2_video.types import FrameResult
from sam2_video.video_predictor import VideoPredictor


@dataclass
class Line:
    """One object as it is tracked by a person who may click on `budget` frames."""

    one: EvaluatedObject
    track_id: int  # in the session
    tally: Tally
    made: list[tuple[int, Clicks]] = field(default_factory=list)  # (frame, clicks) of each interaction

    def add(self, truth: FrameTruth, mask: Bools) -> None:
        """Score a mask, where the frame counts."""
        if truth.frame in self.one.scored:
            self.tally.add(truth.score(self.one, mask))

    def uncorrected(self, track_id: int) -> Line:
        """The same object, if nobody clicks any more."""
        return Line(self.one, track_id, self.tally.copy(), list(self.made))


@dataclass
class Online:
    """Track once; on a frame whose J is below `bad`, stop, click, and go on. What has passed stays as it is.

    `frames`: how many are clicked on at most, the first included; `clicks`: how many times on each.
    """

    name: str = "online"
    frames: int = 8
    clicks: int = 3
    bad: float = 0.75
    overlapping: bool = False
    rounds: list[Round] = field(default_factory=list)

    def run(self, predictor: VideoPredictor, sequence: VosSequence, seed: int) -> Iterator[FramePrediction]:
        """Yield predictions as the pass goes. Raises DataError for truth that cannot be used."""
        check_truth(sequence)
        walk = _Walk(self, predictor, sequence)
        try:
            yield from walk.predictions()
        finally:
            walk.session.close()
        self.rounds = walk.rounds()


class _Walk:
    """The pass over one sequence: the session, and the lines that are tracked in it."""

    def __init__(self, protocol: Online, predictor: VideoPredictor, sequence: VosSequence) -> None:
        self.protocol, self.sequence = protocol, sequence
        self.source = SequenceFrames(sequence)
        self.session: VideoSession = independent(predictor).open(self.source, retain="window")
        self.live: list[Line] = []  # still corrected, one for each object that has begun
        self.over: list[Line] = []  # copies that were left behind
        self._before = tallies_before(sequence)
        self._ids = 0

    def predictions(self) -> Iterator[FramePrediction]:
        arrivals, sequence = Arrivals(self.sequence), self.sequence
        start = arrivals.start
        assert start is not None
        for frame in range(start):
            yield predict(frame, {}, sequence)
        self._begin(arrivals.on(start))
        results = self.session.propagate()
        while (result := next(results, None)) is not None:
            logits, stopped = self._look_over(result)
            if stopped:
                results = self.session.carry_on()
            ids = [line.one.object_id for line in self.live]
            found = masks_by_object(ids, logits, sequence.size, overlapping=self.protocol.overlapping)
            yield predict(result.frame, found, sequence)
            self._begin(arrivals.on(result.frame + 1))

    def rounds(self) -> list[Round]:
        """All rounds by object: round k is scored on the line that was given k interactions."""
        found: list[Round] = []
        for live in sorted(self.live, key=lambda line: line.one.object_id):
            if live.one.scored:
                lines = [line for line in self.over if line.one.object_id == live.one.object_id] + [live]
                rounds = [
                    line.tally.round(live.one, number, *live.made[number - 1])
                    for number, line in enumerate(lines, start=1)
                ]
                found += fill_up(rounds, self.protocol.frames)
        return found

    def _begin(self, objects: Iterable[EvaluatedObject]) -> None:
        for one in objects:
            line = Line(one, self._new_id(), self._before[one.object_id])
            truth, void = first_mask(self.sequence, one), self.sequence.void(one.first)
            clicks, _ = click_on(
                self.session, line.track_id, one.first, truth, most=self.protocol.clicks, void=void
            )
            line.made.append((one.first, clicks))
            self.live.append(line)

    def _new_id(self) -> int:
        self._ids += 1
        return self._ids

    def _look_over(self, result: FrameResult) -> tuple[Tensor, bool]:
        """Score a frame and correct what is bad; return the logits of the live lines, and whether it was."""
        truth = FrameTruth.read(self.sequence, result.frame)
        logits = {track: result.logits[row] for row, track in enumerate(result.object_ids)}
        copies: dict[int, ObjectState] = {}
        if truth.masks is not None:
            for line in self.over:
                line.add(truth, _mask(line, logits, result.size))
            state = self.session.state()
            for line in self.live:
                mask = _mask(line, logits, result.size)
                if self._is_bad(line, truth, mask):
                    left = self._leave_behind(line, truth, mask)
                    copies[left.track_id] = state.objects[line.track_id]
                    logits[line.track_id] = self._correct(line, truth, mask)
                else:
                    line.add(truth, mask)
        if copies:
            self._go_on_with(copies)
        return torch.stack([logits[line.track_id] for line in self.live]), bool(copies)

    def _is_bad(self, line: Line, truth: FrameTruth, mask: Bools) -> bool:
        """Is this a frame to stop on? Not one that was clicked on, nor when there were enough of them."""
        if len(line.made) >= self.protocol.frames or line.made[-1][0] == truth.frame:
            return False
        return truth.overlap(line.one, mask) < self.protocol.bad

    def _leave_behind(self, line: Line, truth: FrameTruth, mask: Bools) -> Line:
        left = line.uncorrected(self._new_id())
        left.add(truth, mask)
        self.over.append(left)
        return left

    def _correct(self, line: Line, truth: FrameTruth, mask: Bools) -> Tensor:
        """Click on a bad frame; return the logits that this leads to."""
        target = truth.of(line.one.object_id)
        clicks, result = click_on(
            self.session,
            line.track_id,
            truth.frame,
            target,
            most=self.protocol.clicks,
            void=truth.void,
            predicted=mask,
        )
        assert result is not None  # what is bad has an error to click on
        line.made.append((truth.frame, clicks))
        line.add(truth, result.masks[0])
        return result.logits[0]

    def _go_on_with(self, copies: Mapping[int, ObjectState]) -> None:
        """Have more objects walked in the rest of the pass, as they were before they were corrected."""
        state = self.session.state()
        state = replace(state, objects={**state.objects, **copies})
        self.session = VideoSession.restore(self.source, self.session.driver, state)


def _mask(line: Line, logits: Mapping[int, Tensor], size: Size) -> Bools:
    found = masks_by_object([0], logits[line.track_id][None], size, overlapping=True)
    return found[0]
