"""SAM 2's interactive offline protocol: passes over a clip, and the worst frame is corrected before each.

Ravi et al. 2024, section 6.1.1 and the appendix "Interactive offline and online evaluation details".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sam2_video.evaluation.protocols.base import (
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
from sam2_video.evaluation.protocols.kept_features import KeptFeatures
from sam2_video.evaluation.results import Round
from sam2_video.evaluation.sequences import Bools, EvaluatedObject, VosSequence
from sam2_video.session import VideoSession
from sam2_video.types import FrameResult
from sam2_video.video_predictor import VideoPredictor


@dataclass
class Worst:
    """The frame to be corrected next, and what was found there."""

    frame: int
    j: float
    predicted: Bools


@dataclass
class Corrected:
    """One object and what was done about it."""

    one: EvaluatedObject
    before: Tally  # of the frames before its first
    counts: frozenset[int]
    tally: Tally = field(default_factory=Tally)  # of the last pass
    frames: list[int] = field(default_factory=list)  # that were clicked on
    rounds: list[Round] = field(default_factory=list)
    worst: Worst | None = None
    clicks: Clicks = ()  # of this round

    def look_at(self, truth: FrameTruth, predicted: Bools) -> None:
        """Score a frame, and note it if it is the worst that was not clicked on yet."""
        score = truth.score(self.one, predicted)
        self.tally.add(score)
        if truth.frame not in self.frames and score.j < (1 if self.worst is None else self.worst.j):
            self.worst = Worst(truth.frame, score.j, predicted)


@dataclass
class Offline:
    """Click on the first frame of an object, track, then click where it is worst and track again.

    `frames`: how many are clicked on at most; `clicks`: how many times on each.
    """

    name: str = "offline"
    frames: int = 8
    clicks: int = 3
    overlapping: bool = False
    rounds: list[Round] = field(default_factory=list)

    def run(self, predictor: VideoPredictor, sequence: VosSequence, seed: int) -> Iterator[FramePrediction]:
        """Yield the predictions after the last pass. Raises DataError for truth that cannot be used."""
        check_truth(sequence)
        source, before = SequenceFrames(sequence), tallies_before(sequence)
        objects = [Corrected(one, before[one.object_id], frames_to_judge(one)) for one in sequence.objects]
        opened = independent(predictor).open(source, retain="all")
        with VideoSession(source, KeptFeatures(opened.driver, source), opened.options) as session:
            self._interact(session, sequence, objects)
            counting = [each for each in objects if each.one.scored]
            self.rounds = [one for each in counting for one in fill_up(each.rounds, self.frames)]
            for frame in range(min(each.one.first for each in objects)):
                yield predict(frame, {}, sequence)
            for result in session.results():
                found = masks_by_object(
                    result.object_ids, result.logits, sequence.size, overlapping=self.overlapping
                )
                yield predict(result.frame, found, sequence)

    def _interact(self, session: VideoSession, sequence: VosSequence, objects: Sequence[Corrected]) -> None:
        for each in objects:
            each.frames.append(each.one.first)
            each.clicks = click_first(session, each.one.object_id, sequence, each.one, most=self.clicks)
        for number in range(1, self.frames + 1):
            self._track(session, sequence, objects, number)
            objects = [each for each in objects if each.worst is not None]
            if number == self.frames or not objects:
                break
            for each in objects:
                self._correct(session, sequence, each)

    def _correct(self, session: VideoSession, sequence: VosSequence, each: Corrected) -> None:
        worst, object_id = each.worst, each.one.object_id
        assert worst is not None
        truth = FrameTruth.read(sequence, worst.frame)
        each.frames.append(worst.frame)
        each.clicks, _ = click_on(
            session,
            object_id,
            worst.frame,
            truth.of(object_id),
            most=self.clicks,
            void=truth.void,
            predicted=worst.predicted,
        )

    def _track(
        self, session: VideoSession, sequence: VosSequence, objects: Sequence[Corrected], number: int
    ) -> None:
        """One pass: score each object that was corrected, and find the frame that is worst by now."""
        for each in objects:
            each.tally, each.worst = each.before.copy(), None
        for result in session.propagate():
            judged = [each for each in objects if result.frame in each.counts]
            if judged:
                truth = FrameTruth.read(sequence, result.frame)
                for each in judged:
                    each.look_at(truth, _own_mask(result, each.one.object_id))
        for each in objects:
            if each.one.scored:
                each.rounds.append(each.tally.round(each.one, number, each.frames[-1], each.clicks))


def _own_mask(result: FrameResult, object_id: int) -> Bools:
    """The mask of one object, whatever others hold the same pixels."""
    row = result.object_ids.index(object_id)
    return masks_by_object([object_id], result.logits[row : row + 1], result.size, overlapping=True)[
        object_id
    ]
