"""One object through time: what was said about it, what was found, what is remembered, how a walk reads it.

Like `session`, this knows frame numbers and no tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, MutableMapping
from dataclasses import dataclass, field
from math import ceil, floor

from sam2_video.aside import Aside
from sam2_video.memory import MemoryBank, MemoryPolicy, Recipe, Selection
from sam2_video.types import FrameMemory, MaskPrediction, ObjectInfo, Prompt, Recall

Outcome = tuple[MaskPrediction, FrameMemory]  # of one object on one frame


@dataclass(frozen=True)
class Row:
    """One object in a result; no prediction means that the object is not there yet."""

    object_id: int
    prediction: MaskPrediction | None
    prompted: bool
    info: ObjectInfo = field(default_factory=ObjectInfo)


@dataclass(frozen=True)
class Way:
    """How a walk reads. `pace` is 1 for every frame forward, -3 for every third one backward.

    Tracked memories are read only from frame `since` on, in walking direction, where it is given.
    """

    pace: int
    since: int | None = None


@dataclass(frozen=True)
class FrameRecord:
    """All that is known of one object on one frame; plain values and tensors, None for what there is not.

    `prompt`: what was said. `prediction`: the mask that results show. `memory`: what later frames read,
    numbered by `version`; `settled` says that it is the memory of a prompt, which propagation keeps.
    `recipe`: what a tracked frame was computed from. `way`: how the pass walked that last came by.
    """

    prompt: Prompt | None = None
    prediction: MaskPrediction | None = None
    memory: FrameMemory | None = None
    version: int | None = None
    settled: bool = False
    recipe: Recipe | None = None
    way: Way | None = None


@dataclass
class ObjectTrack:
    """The timeline of one object.

    A frame is prompted exactly when it has prompts. It is settled if propagation keeps what came of them;
    every prompted frame is, unless corrections are not kept. No frame is settled and tracked at once.
    """

    object_id: int
    bank: MemoryBank
    info: ObjectInfo = field(default_factory=ObjectInfo)
    prompts: dict[int, Prompt] = field(default_factory=dict)
    predictions: MutableMapping[int, MaskPrediction] = field(default_factory=dict)
    recipes: dict[int, Recipe] = field(default_factory=dict)  # of tracked frames
    ways: dict[int, Way] = field(default_factory=dict)  # of frames that a pass came by
    aside: Aside = field(default_factory=Aside)  # predictions that wait on disk to be shown
    kept: set[int] = field(default_factory=set)  # frames that a saved session has a mask of, to be shown

    def is_prompted(self, frame: int) -> bool:
        return frame in self.prompts

    def is_settled(self, frame: int) -> bool:
        return frame in self.bank.prompted

    def was_tracked(self, frame: int) -> bool:
        return frame in self.ways

    def knows(self, frame: int) -> bool:
        return frame in self.predictions

    def found_on(self) -> set[int]:
        """The frames that there is a mask of."""
        return {*self.predictions, *self.aside}

    @property
    def can_be_tracked(self) -> bool:
        return bool(self.bank.prompted)

    def has_begun(self, frame: int, pace: int) -> bool:
        """Is `frame` on or after a settled frame, for someone who walks at `pace`?"""
        return any((frame - settled) * pace >= 0 for settled in self.bank.prompted)

    def row(self, frame: int) -> Row:
        prediction = self.predictions.get(frame) or self.aside.get(frame)
        return Row(self.object_id, prediction, self.is_prompted(frame), self.info)

    def select(self, frame: int, way: Way, frame_count: int | None, *, afresh: bool = False) -> Selection:
        """What a frame looks back at; `afresh` leaves out what came of the frame's own prompts."""
        prompted = [past for past in self.bank.prompted if not (afresh and past == frame)]

        def is_tracked(past: int) -> bool:
            read = way.since is None or (past - way.since) * way.pace >= 0
            return read and past in self.bank.tracked

        return select_at_pace(self.bank.policy, frame, way.pace, prompted, is_tracked, frame_count)

    def recall_for_prompt(self, frame: int, frame_count: int | None, *, afresh: bool) -> Recall:
        """Nothing on first sight; on a frame that was tracked, what its tracking could look back at."""
        if not self.was_tracked(frame):
            return Recall()
        return self.bank.recall(self.select(frame, self.ways[frame], frame_count, afresh=afresh))

    def is_current(self, frame: int, recipe: Recipe) -> bool:
        """Was this frame tracked from just these memories? Then tracking it again would change nothing."""
        return self.knows(frame) and frame in self.bank.tracked and self.recipes.get(frame) == recipe

    def keep_prompted(self, frame: int, prompt: Prompt, outcome: Outcome, *, settled: bool) -> None:
        """Store what came of a prompt; it replaces whatever was known about that frame."""
        self.prompts[frame] = prompt
        self.predictions[frame], memory = outcome
        self.recipes.pop(frame, None)
        self.bank.add(frame, memory, prompted=settled)

    def keep_tracked(self, frame: int, outcome: Outcome, recipe: Recipe) -> None:
        """Store what tracking made of a frame."""
        self.predictions[frame], memory = outcome
        self.bank.add(frame, memory, prompted=False)
        self.kept.discard(frame)
        self.recipes[frame] = recipe  # last: it vouches for the others

    def pass_by(self, frame: int, way: Way) -> None:
        """Note that a walk came by, whether the frame was tracked anew, kept or is settled."""
        self.ways[frame] = way

    def drop(self, frame: int) -> None:
        """Forget one frame: it counts as neither prompted nor tracked."""
        self.bank.drop(frame)
        for known in (self.prompts, self.predictions, self.recipes, self.ways):
            known.pop(frame, None)

    def clear(self, frame: int) -> None:
        """Take back the prompts of a frame; it counts as tracked until a pass comes by."""
        del self.prompts[frame]
        self.bank.drop(frame)
        self.predictions.pop(frame, None)
        self.kept.discard(frame)

    def forget(self, frame: int, pace: int, *, spare: int | None) -> None:
        """Drop what a walk that has just been on `frame` cannot reach any more.

        `spare`: how many prompted frames are kept for when others are taken back; None keeps them all.
        """
        self.bank.forget(frame, pace)
        for past in [] if spare is None else self.bank.unreachable_prompted(frame, pace, spare):
            self.drop(past)
        alive = self.bank.versions.keys() | {frame}
        for known in (self.predictions, self.recipes, self.ways):
            for past in [past for past in known if past not in alive]:
                del known[past]

    def forget_readers(self, version: int) -> None:
        """Forget all tracked frames that a memory had a part in, through others or directly.

        What reads a memory was made later than it. So a version that was made after the one in question and
        is not known to be clean, or not known any more, counts as touched by it.
        """
        clean = {self.bank.versions[frame] for frame in self.bank.prompted}
        for frame in sorted(self.bank.tracked, key=self.bank.versions.__getitem__):
            recipe = self.recipes.get(frame)
            if recipe is not None and any(v >= version and v not in clean for v in recipe.versions):
                self.drop(frame)
            else:
                clean.add(self.bank.versions[frame])

    def frames(self) -> list[int]:
        """All frames that something is known of, in ascending order."""
        known = self.prompts.keys() | self.predictions.keys() | self.bank.versions.keys() | self.ways.keys()
        return sorted(known)

    def record(self, frame: int) -> FrameRecord:
        """All that is known of one frame."""
        return FrameRecord(
            prompt=self.prompts.get(frame),
            prediction=self.predictions.get(frame),
            memory=self.bank.prompted.get(frame) or self.bank.tracked.get(frame),
            version=self.bank.versions.get(frame),
            settled=self.is_settled(frame),
            recipe=self.recipes.get(frame),
            way=self.ways.get(frame),
        )

    def put(self, frame: int, record: FrameRecord) -> None:
        """Make a frame what a record says of it."""
        self.drop(frame)
        if record.prompt is not None:
            self.prompts[frame] = record.prompt
        if record.prediction is not None:
            self.predictions[frame] = record.prediction
        if record.memory is not None and record.version is not None:
            self.bank.put(frame, record.memory, record.version, prompted=record.settled)
        if record.recipe is not None:
            self.recipes[frame] = record.recipe
        if record.way is not None:
            self.ways[frame] = record.way


def select_at_pace(
    policy: MemoryPolicy,
    frame: int,
    pace: int,
    prompted: Collection[int],
    is_tracked: Callable[[int], bool],
    frame_count: int | None,
) -> Selection:
    """Select at any pace: a walk over every n-th frame reads as if the frames between did not exist.

    A prompted frame between counts as the next farther frame of the walk that no other prompted one has.
    """
    step, every, phase = (1 if pace > 0 else -1), abs(pace), frame % abs(pace)
    here = frame // every  # number of the frame in a clip that holds the frames of the walk alone
    places: dict[int, int] = {}  # the same number of prompted frames -> frame
    for past in sorted(prompted, key=lambda past: abs(past - frame)):
        frames = (past - frame) / every
        place, away = (ceil(frames), 1) if frames > 0 else (floor(frames), -1)
        while here + place in places:
            place += away
        places[here + place] = past
    count = None if frame_count is None else -(-frame_count // every)

    def tracked(place: int) -> int | None:
        past = place * every + phase
        return past if is_tracked(past) else None

    return policy.select(here, step, places, tracked, count)
