"""One object through time: what was said about it, what was found, what is remembered, how a walk reads it.

Like `session`, this knows frame numbers and no tensors.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from math import ceil, floor

from sam2_video.memory import MemoryBank
from sam2_video.types import FrameMemory, MaskPrediction, Prompt, Recall

Outcome = tuple[MaskPrediction, FrameMemory]  # of one object on one frame


@dataclass(frozen=True)
class Row:
    """One object in a result; no prediction means that the object is not there yet."""

    object_id: int
    prediction: MaskPrediction | None
    prompted: bool


@dataclass(frozen=True)
class Walk:
    """One pass over the clip. `pace` is 1 for every frame forward, -3 for every third one backward."""

    frames: Iterable[int]
    pace: int
    everything: bool  # objects are tracked also before their first prompt, from what is remembered of it
    before: int | None = None  # tracked memories are read only from frames before this one


@dataclass
class ObjectTrack:
    """The timeline of one object.

    A frame is prompted exactly when it has prompts. It is settled if propagation keeps what came of them;
    every prompted frame is, unless corrections are not kept. No frame is settled and tracked at once.
    """

    object_id: int
    bank: MemoryBank
    prompts: dict[int, Prompt] = field(default_factory=dict)
    predictions: dict[int, MaskPrediction] = field(default_factory=dict)
    paces: dict[int, int] = field(default_factory=dict)  # frame -> pace of the walk that last came by

    def is_prompted(self, frame: int) -> bool:
        return frame in self.prompts

    def is_settled(self, frame: int) -> bool:
        return frame in self.bank.prompted

    def was_tracked(self, frame: int) -> bool:
        return frame in self.paces

    @property
    def can_be_tracked(self) -> bool:
        return bool(self.bank.prompted)

    def has_begun(self, frame: int, pace: int) -> bool:
        """Is `frame` on or after a settled frame, for someone who walks at `pace`?"""
        return any((frame - settled) * pace >= 0 for settled in self.bank.prompted)

    def row(self, frame: int) -> Row:
        return Row(self.object_id, self.predictions.get(frame), self.is_prompted(frame))

    def recall_on(self, walk: Walk, frame: int, frame_count: int | None) -> Recall:
        """What an unprompted frame of a walk looks back at."""
        bank = self.bank
        if walk.before is not None:
            bank = replace(bank, tracked={f: m for f, m in bank.tracked.items() if f < walk.before})
        return read_at_pace(bank, frame, walk.pace, frame_count)

    def recall_for_prompt(self, frame: int, frame_count: int | None, *, afresh: bool) -> Recall:
        """Nothing on first sight; on a frame that was tracked, what its tracking could look back at."""
        if not self.was_tracked(frame):
            return Recall()
        bank = self.bank
        if afresh:  # what came of the frame's earlier prompts must not speak for them
            bank = replace(bank, prompted={f: m for f, m in bank.prompted.items() if f != frame})
        return read_at_pace(bank, frame, self.paces[frame], frame_count)

    def keep_prompted(self, frame: int, prompt: Prompt, outcome: Outcome, *, settled: bool) -> None:
        """Store what came of a prompt; it replaces whatever was known about that frame."""
        self.prompts[frame] = prompt
        self.predictions[frame], memory = outcome
        self.bank.add(frame, memory, prompted=settled)

    def keep_tracked(self, frame: int, outcome: Outcome) -> None:
        """Store what tracking made of a frame."""
        self.predictions[frame], memory = outcome
        self.bank.add(frame, memory, prompted=False)

    def pass_by(self, frame: int, pace: int) -> None:
        """Note that a walk came by, whether the frame was tracked anew or is settled."""
        self.paces[frame] = pace

    def clear(self, frame: int) -> None:
        """Take back the prompts of a frame. Without any prompt left the object has no timeline either."""
        del self.prompts[frame]
        self.bank.drop(frame)
        self.predictions.pop(frame, None)
        if not self.can_be_tracked:
            self.prompts.clear()
            self.predictions.clear()
            self.paces.clear()
            self.bank.clear_tracked()

    def forget(self, frame: int, pace: int) -> None:
        """Drop what a walk that has just been on `frame` cannot reach any more."""
        step = 1 if pace > 0 else -1
        # A walk of pace n looks back n times as far as one of pace 1, which `MemoryBank.forget` assumes.
        lag = (abs(pace) - 1) * (self.bank.policy.horizon - 1)
        self.bank.forget(frame - step * lag, step)
        alive = self.bank.prompted.keys() | self.bank.tracked.keys() | {frame}
        self.predictions = {f: p for f, p in self.predictions.items() if f in alive}
        self.paces = {f: p for f, p in self.paces.items() if f in alive}


def read_at_pace(bank: MemoryBank, frame: int, pace: int, frame_count: int | None) -> Recall:
    """Recall at any pace: a walk over every n-th frame reads as if the frames between did not exist.

    A prompted frame between counts as the next farther frame of the walk that no other prompted one has.
    """
    if abs(pace) == 1:
        return bank.read(frame, pace, frame_count)
    tracked = {(f - frame) // pace: m for f, m in bank.tracked.items() if (f - frame) % pace == 0}
    prompted: dict[int, FrameMemory] = {}
    for f in sorted(bank.prompted, key=lambda f: abs(f - frame)):
        steps = (f - frame) / pace
        place, away = (ceil(steps), 1) if steps > 0 else (floor(steps), -1)
        while place in prompted:
            place += away
        prompted[place] = bank.prompted[f]
    count = None if frame_count is None else -(-frame_count // abs(pace))
    return MemoryBank(bank.policy, prompted, tracked).read(0, 1, count)
