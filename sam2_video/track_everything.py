"""Track everything: automatic masks are the prompts, and looking again now and then finds what is new.

All of it goes through the public doors of a session: `prompt`, `propagate`, `remove`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from sam2_video.mask_generator import AutoMask, MaskGenerator
from sam2_video.mask_runs import Runs, mask_iou
from sam2_video.session import VideoSession
from sam2_video.sources import EndOfClip
from sam2_video.transforms import check_integer
from sam2_video.types import FrameResult, PromptError, Sam2VideoError

LARGEST_ID = 65_535  # of an object in a mask picture


@dataclass(frozen=True)
class EverythingRules:
    """When objects are born and die.

    `every`: frames from one look for new objects to the next; 0 looks at the first frame only. `limit`: the
    most objects at a time, the largest first. `same`: a mask whose IoU with a tracked object is this or more
    is that object. `covered`: a mask is nothing new if tracked objects cover more of it than this share.
    `least`: share of the frame that a new object covers at least. `patience`: looks in a row without any
    pixel of an object after which it is given up. Raises PromptError for values that mean nothing.
    """

    every: int = 0
    limit: int = 32
    same: float = 0.5
    covered: float = 0.5
    least: float = 0.001
    patience: int = 2

    def __post_init__(self) -> None:
        check_integer(self.every, "every")
        for name in ("limit", "patience"):
            if check_integer(getattr(self, name), name) < 1:
                raise PromptError(f"{name} must be at least 1")
        for name in ("same", "covered", "least"):
            if not 0 <= getattr(self, name) <= 1:
                raise PromptError(f"{name} is a share, 0 to 1; got {getattr(self, name)!r}")
        if self.limit > LARGEST_ID:
            raise PromptError(f"limit may be at most {LARGEST_ID}, the largest id that mask pictures hold")


@dataclass
class Life:
    """What became of one object. `died`: the frame of the look that gave it up, None if none did."""

    object_id: int
    born: int
    predicted_iou: float
    died: int | None = None
    reason: str = ""
    missed: int = 0  # looks in a row at which it had no pixel


@dataclass
class Everything:
    """Follows all that automatic masks find through the clip of an open session without objects."""

    session: VideoSession
    generator: MaskGenerator
    rules: EverythingRules = field(default=EverythingRules())
    lives: dict[int, Life] = field(default_factory=dict)  # of all objects so far, by id

    def results(self, start: int = 0, stop: int | None = None) -> Iterator[FrameResult]:
        """Yield every frame from `start` to before `stop`, in order.

        Raises Sam2VideoError where nothing is found on the first frame and nobody looks again.
        """
        if self.session.objects:
            raise PromptError("this session has objects already; open the clip anew to track everything")
        ends = [end for end in (stop, self.session.frame_count) if end is not None]
        end, frame = min(ends, default=None), check_integer(start, "start")
        if end is not None and frame >= end:
            raise PromptError(f"there is no frame from {frame} to before {end}")
        self._bear(frame, [])
        if not self.lives and not self.rules.every:
            raise Sam2VideoError(
                f"no mask passes the filters on frame {frame}: lower their thresholds, or look again on "
                "later frames"
            )
        while True:
            again = frame + self.rules.every if self.rules.every else None
            if again is None or (end is not None and again >= end):
                yield from self._frames(frame, end)
                return
            held = None
            for result in self._frames(frame, again + 1):
                if result.frame == again:
                    held = result  # shown below, with what is new on it
                else:
                    yield result
            if held is None:  # the clip ended before
                return
            self._look_again(held)
            frame = again

    def _frames(self, start: int, stop: int | None) -> Iterator[FrameResult]:
        if self.session.objects:
            yield from self.session.propagate("forward", start, stop)
            return
        frame, nothing = start, torch.zeros(0)
        while stop is None or frame < stop:
            try:
                self.session.source.read(frame)
            except EndOfClip:
                return
            side = self.generator.predictor.model.image_size // 4
            yield FrameResult(frame, (), torch.zeros(0, side, side), nothing, nothing, self.session.size)
            frame += 1

    def _look_again(self, result: FrameResult) -> None:
        """Deaths, then births, on a frame that was just tracked."""
        seen = {
            object_id: Runs.of_mask(mask)
            for object_id, mask in zip(result.object_ids, result.masks, strict=True)
        }
        for object_id, runs in seen.items():
            life = self.lives[object_id]
            life.missed = 0 if runs.area else life.missed + 1
            if life.missed >= self.rules.patience:
                self._end(life, result.frame, "gone")
        alive = [object_id for object_id in seen if self.lives[object_id].died is None]
        for older, younger in _twins([seen[k] for k in alive], self.rules.same):
            life = self.lives[alive[younger]]
            if life.died is None and self.lives[alive[older]].died is None:
                self._end(life, result.frame, f"the same as {alive[older]}")
        self._bear(result.frame, [seen[k] for k in alive if self.lives[k].died is None])

    def _end(self, life: Life, frame: int, reason: str) -> None:
        life.died, life.reason = frame, reason
        self.session.remove(life.object_id)

    def _bear(self, frame: int, tracked: Sequence[Runs]) -> None:
        """Prompt what is new on a frame."""
        room = min(self.rules.limit - len(self.session.objects), LARGEST_ID - len(self.lives))
        if room < 1:
            return
        found = self.generator.generate(self.session.source.read(frame))
        for mask in new_objects(found, tracked, self.rules)[:room]:
            object_id = len(self.lives) + 1
            self.session.prompt(frame=frame, object_id=object_id, mask=mask.mask)
            self.lives[object_id] = Life(object_id, frame, mask.predicted_iou)


def new_objects(found: Sequence[AutoMask], tracked: Sequence[Runs], rules: EverythingRules) -> list[AutoMask]:
    """The masks that are none of the tracked objects, nor each other; largest first.

    What is mostly covered by tracked objects is no new one. Among new ones, parts of a whole may stay.
    """
    chosen: list[AutoMask] = []
    for mask in sorted(found, key=lambda mask: -mask.area):
        height, width = mask.runs.size
        if mask.area < max(1, rules.least * height * width):
            break
        others = [*tracked, *(other.runs for other in chosen)]
        if others and mask_iou([mask.runs], others).max() >= rules.same:
            continue
        if _covered(mask.runs, tracked) <= rules.covered * mask.area:
            chosen.append(mask)
    return chosen


def _covered(runs: Runs, others: Sequence[Runs]) -> int:
    """Pixels of a mask that lie in any of the others."""
    inside = runs.window()
    hidden = np.zeros_like(inside)
    for other in others:
        if other.area:
            hidden |= other.window(runs.box)
    return int(np.count_nonzero(inside & hidden))


def _twins(masks: list[Runs], same: float) -> Iterator[tuple[int, int]]:
    """Pairs (older, younger) of objects that have become one."""
    iou = mask_iou(masks, masks)
    for older in range(len(masks)):
        for younger in range(older + 1, len(masks)):
            if masks[older].area and iou[older, younger] >= same:
                yield older, younger
