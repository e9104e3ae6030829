"""SAM 2's interactive online protocol: one pass over a clip, which stops where a mask is bad to correct it.

Ravi et al. 2024, section 6.1.1 and the appendix "Interactive offline and online evaluation details".

The curve over 1 to 8 interactions takes no passes of its own. Where an object is corrected for the k-th time,
a copy of it goes on without the correction: it is the run in which only k - 1 frames may be clicked on. All
copies are walked together, and each frame is encoded once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from sam2_video.evaluation.protocols.base import (
    Arrivals,
    FramePrediction,
    SequenceFrames,
    masks_by_object,
    predict,
)
from sam2_video.evaluation.protocols.clicking import Clicks, click_first, click_on
from sam2_video.evaluation.protocols.judging import (
    FrameTruth,
    Tally,
    check_truth,
    fill_up,
    frames_to_judge,
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
    counts: frozenset[int]
    tally: Tally
    made: list[tuple[int, Clicks]] = field(default_factory=list)  # (frame, clicks) of each interaction

    def uncorrected(self, track_id: int) -> Line:
        """The same object, if nobody clicks any more."""
        return Line(self.one, track_id, self.counts, self.tally.copy(), list(self.made))


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
            line = Line(one, self._new_id(), frames_to_judge(one), self._before[one.object_id])
            most = self.protocol.clicks
            clicks = click_first(self.session, line.track_id, self.sequence, one, most=most)
            line.made.append((one.first, clicks))
            self.live.append(line)

    def _new_id(self) -> int:
        self._ids += 1
        return self._ids

    def _look_over(self, result: FrameResult) -> tuple[Tensor, bool]:
        """Score a frame and correct what is bad; return the logits of the live lines, and whether it was."""
        logits = {track: result.logits[row] for row, track in enumerate(result.object_ids)}
        bad: list[tuple[Line, Bools]] = []
        judged = [line for line in (*self.over, *self.live) if result.frame in line.counts]
        if judged:
            truth = FrameTruth.read(self.sequence, result.frame)
            for line in judged:
                mask = _mask(logits[line.track_id], result.size)
                score = truth.score(line.one, mask)
                if score.j < self.protocol.bad and self._may_stop(line, result.frame):
                    bad.append((line, mask))
                else:
                    line.tally.add(score)
            if bad:
                logits |= self._correct(bad, truth)
        return torch.stack([logits[line.track_id] for line in self.live]), bool(bad)

    def _may_stop(self, line: Line, frame: int) -> bool:
        """Not on a frame that was clicked on, nor when there were enough of them, nor for a copy."""
        live = any(line is each for each in self.live)
        return live and len(line.made) < self.protocol.frames and line.made[-1][0] != frame

    def _correct(self, bad: Sequence[tuple[Line, Bools]], truth: FrameTruth) -> dict[int, Tensor]:
        """Click on bad masks and leave copies behind that go on uncorrected; return the new logits."""
        logits: dict[int, Tensor] = {}
        copies: dict[int, ObjectState] = {}
        before = self.session.state()
        for line, mask in bad:
            left = line.uncorrected(self._new_id())
            left.tally.add(truth.score(line.one, mask))
            copies[left.track_id] = before.objects[line.track_id]
            self.over.append(left)
            result = self._click(line, truth, mask)
            logits[line.track_id] = result.logits[0]
            line.tally.add(truth.score(line.one, result.masks[0]))
        self._go_on_with(copies)
        return logits

    def _click(self, line: Line, truth: FrameTruth, mask: Bools) -> FrameResult:
        clicks, result = click_on(
            self.session,
            line.track_id,
            truth.frame,
            truth.of(line.one.object_id),
            most=self.protocol.clicks,
            void=truth.void,
            predicted=mask,
        )
        assert result is not None  # what is bad has an error to click on
        line.made.append((truth.frame, clicks))
        return result

    def _go_on_with(self, copies: Mapping[int, ObjectState]) -> None:
        """Have more objects walked in the rest of the pass, as they were before they were corrected."""
        state = self.session.state()
        state = replace(state, objects={**state.objects, **copies})
        self.session = VideoSession.restore(self.source, self.session.driver, state)


def _mask(logits: Tensor, size: Size) -> Bools:
    """The mask of one object, whatever others hold the same pixels."""
    return masks_by_object([0], logits[None], size, overlapping=True)[0]
