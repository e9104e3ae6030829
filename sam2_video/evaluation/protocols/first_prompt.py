"""Semi-supervised tracking: each object is given once, on its first frame, and the clip is walked once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sam2_video.evaluation.clicks import box_of
from sam2_video.evaluation.protocols.base import (
    Arrivals,
    FramePrediction,
    SequenceFrames,
    masks_by_object,
    predict,
)
from sam2_video.evaluation.protocols.clicking import click_first, first_mask
from sam2_video.evaluation.results import Round
from sam2_video.evaluation.sequences import EvaluatedObject, VosSequence
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
        arrivals, size = Arrivals(sequence), sequence.size
        start = len(sequence.frame_names) if arrivals.start is None else arrivals.start
        for frame in range(start):
            yield predict(frame, {}, sequence)
        if arrivals.start is None:
            return
        with predictor.open(SequenceFrames(sequence), retain="window") as session:
            # Each object is given just before its frame is walked: the frame is then encoded only once.
            self._give(session, sequence, arrivals.on(start))
            for result in session.propagate():
                found = masks_by_object(result.object_ids, result.logits, size, overlapping=self.overlapping)
                yield predict(result.frame, found, sequence)
                self._give(session, sequence, arrivals.on(result.frame + 1))

    def _give(self, session: VideoSession, sequence: VosSequence, objects: Iterable[EvaluatedObject]) -> None:
        for one in objects:
            if self.clicks:
                click_first(session, one.object_id, sequence, one, most=self.clicks)
            elif self.box:
                box = box_of(first_mask(sequence, one))
                session.prompt(frame=one.first, object_id=one.object_id, box=box)
            else:
                mask = first_mask(sequence, one)
                session.prompt(frame=one.first, object_id=one.object_id, mask=mask)
