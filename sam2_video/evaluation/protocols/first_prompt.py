"""Semi-supervised tracking: each object is given once, on its first frame, and the clip is walked once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sam2_video.evaluation.clicks import box_of
from sam2_video.evaluation.protocols.base import (
    FramePrediction,
    SequenceFrames,
    first_mask,
    object_masks,
    predict,
)
from sam2_video.evaluation.protocols.clicking import click_on
from sam2_video.evaluation.results import Round
from sam2_video.evaluation.sequences import Bools, EvaluatedObject, VosSequence
from sam2_video.session import VideoSession
from sam2_video.video_predictor import VideoPredictor


@dataclass
class FirstPrompt:
    """Prompt each object on its first frame with its mask, its box or some clicks, then track to the end.

    `clicks`: how many; 0 gives the mask, or with `box` the tight box around it. The first click lies in the
    middle of the object, each further one in the middle of the largest error that is left.
    """

    name: str
    clicks: int = 0
    box: bool = False
    overlapping: bool = False
    rounds: list[Round] = field(default_factory=list)  # stays empty: nobody looks at what comes out

    def run(self, predictor: VideoPredictor, sequence: VosSequence, seed: int) -> Iterator[FramePrediction]:
        """Yield the predictions of all frames. Raises DataError for an object without a first mask."""
        waiting = sorted(sequence.objects, key=lambda one: one.first, reverse=True)
        begin = waiting[-1].first if waiting else len(sequence.frame_names)
        for frame in range(begin):
            yield predict(frame, {}, sequence)
        if not waiting:
            return
        with predictor.open(SequenceFrames(sequence), retain="window") as session:
            # Each object is given just before its frame is walked: the frame is then encoded only once.
            self._begin(session, sequence, waiting, begin)
            for result in session.propagate():
                found = object_masks(result, overlapping=self.overlapping)
                yield predict(result.frame, found, sequence)
                self._begin(session, sequence, waiting, result.frame + 1)

    def _begin(
        self, session: VideoSession, sequence: VosSequence, waiting: list[EvaluatedObject], frame: int
    ) -> None:
        while waiting and waiting[-1].first == frame:
            one = waiting.pop()
            truth = first_mask(sequence, one)
            if self.clicks:
                void = sequence.void(frame)
                click_on(session, one.object_id, frame, truth, most=self.clicks, void=void)
            else:
                session.prompt(frame=frame, object_id=one.object_id, **self._prompt(truth))

    def _prompt(self, truth: Bools) -> dict[str, Any]:
        return {"box": box_of(truth)} if self.box else {"mask": truth}
