"""Which past frames are recalled, and when they are forgotten.

Integers and dictionaries only: what a memory holds is none of this module's business.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field

from sam2_video.types import FrameMemory, Recall

PROMPTED_SLOT = -1  # the last learned time code


@dataclass(frozen=True)
class Selection:
    """The frames that one frame looks back at: a `Recall` before its memories are looked up."""

    masks: tuple[tuple[int, int], ...]  # (slot of the learned time code, frame)
    pointers: tuple[tuple[int, int], ...]  # (signed distance in frames, frame)
    span: int  # distance that the pointer's time code is divided by


@dataclass(frozen=True)
class Recipe:
    """What a tracked frame was computed from; an equal recipe gives an equal result.

    `versions` numbers the memories that were read: each memory that an object gets has a number of its own.
    """

    slots: tuple[int, ...]  # one per mask
    distances: tuple[int, ...]  # one per pointer
    span: int
    versions: tuple[int, ...]  # one per mask, then one per pointer


@dataclass(frozen=True)
class MemoryPolicy:
    """Which memories a frame looks back at. The defaults are those of the released models.

    `recent` tracked frames at most, `stride` frames apart (the nearest is always the frame before); all
    prompted frames, or the `prompted` closest in time; pointers of `pointers` recent frames and of the
    prompted frames of the past.
    """

    recent: int = 6
    prompted: int | None = None
    pointers: int = 15
    stride: int = 1

    def __post_init__(self) -> None:
        if self.recent < 0 or self.pointers < 0 or self.stride < 1:
            raise ValueError(f"recent and pointers must be at least 0 and stride at least 1, got {self}")
        if self.prompted is not None and self.prompted < 1:
            raise ValueError(f"at least one prompted frame must be attended to, got prompted={self.prompted}")

    @property
    def horizon(self) -> int:
        """How many frames back a tracked memory can still be reached."""
        return max(self.pointers, (self.recent - 1) * self.stride + 1, 0)

    def recent_frames(self, frame: int, step: int) -> list[tuple[int, int]]:
        """(k, frame) of the recent frames to recall, k steps back, the farthest first.

        Beyond the nearest one, frames are taken on multiples of `stride`, so that consecutive frames share
        them.
        """
        pairs = []
        for k in range(self.recent, 0, -1):
            past = frame - step
            if k > 1:
                # Walking backwards, "on multiples of stride" rounds the other way.
                anchor = (past - step) // self.stride if step > 0 else -(-(past - step) // self.stride)
                past = (anchor - step * (k - 2)) * self.stride
            pairs.append((k, past))
        return pairs

    def select(
        self,
        frame: int,
        step: int,
        prompted: Mapping[int, int],
        tracked: Callable[[int], int | None],
        frame_count: int | None = None,
    ) -> Selection:
        """Choose what `frame` looks back at when walking in direction `step` (1 or -1).

        `prompted` and `tracked` say which frame of the clip stands at a place in the walk, `tracked` None
        where none does; in a walk over every frame each stands at its own number. `frame_count` is the length
        of the clip where it is known: the time of pointers is measured in it (a short clip spreads its
        pointers over the same range as a long one).
        """
        attended = self._closest(frame, prompted)
        rest = {past: prompted[past] for past in prompted if past not in attended}

        def known(past: int) -> int | None:  # prompted frames that are not attended to count as tracked
            found = tracked(past)
            return rest.get(past) if found is None else found

        span = max(self.pointers if frame_count is None else min(self.pointers, frame_count - 1), 0)
        recent = [(k - 1, known(past)) for k, past in self.recent_frames(frame, step)]
        distant = [(distance, known(frame - step * distance)) for distance in range(1, span + 1)]
        # Pointers are read from the past alone, in walking order; masks of prompted frames also from the
        # future.
        past = [((frame - past) * step, prompted[past]) for past in attended if (frame - past) * step >= 0]
        masks = [(PROMPTED_SLOT, prompted[past]) for past in attended]
        return Selection((*masks, *_found(recent)), (*past, *_found(distant)), span)

    def _closest(self, frame: int, prompted: Collection[int]) -> list[int]:
        """The prompted frames to attend to, in ascending order whatever the order of prompting was.

        Where there are more than the limit: the nearest before and from `frame` on, then by distance.
        """
        if self.prompted is None or len(prompted) <= self.prompted:
            return sorted(prompted)
        before = max((past for past in prompted if past < frame), default=None)
        after = min((past for past in prompted if past >= frame), default=None)
        chosen = [past for past in (before, after) if past is not None][: self.prompted]
        others = sorted(set(prompted).difference(chosen), key=lambda past: (abs(past - frame), past))
        return sorted(chosen + others[: self.prompted - len(chosen)])


def _found(pairs: Iterable[tuple[int, int | None]]) -> Iterator[tuple[int, int]]:
    return ((code, frame) for code, frame in pairs if frame is not None)


@dataclass
class MemoryBank:
    """The memories of one object. A frame is in `prompted` or in `tracked`, never in both.

    Every memory gets a version, a number that no other memory of this bank has had.
    """

    policy: MemoryPolicy = field(default_factory=MemoryPolicy)
    prompted: MutableMapping[int, FrameMemory] = field(default_factory=dict)
    tracked: MutableMapping[int, FrameMemory] = field(default_factory=dict)
    versions: dict[int, int] = field(default_factory=dict)  # of each frame that is remembered
    made: int = 0  # memories so far: the version of the next one

    def add(self, frame: int, memory: FrameMemory, *, prompted: bool) -> None:
        """Remember a frame; what was remembered of it before is replaced."""
        self.put(frame, memory, self.made, prompted=prompted)
        self.made += 1

    def put(self, frame: int, memory: FrameMemory, version: int, *, prompted: bool) -> None:
        """Bring back a memory that has its version already."""
        self.drop(frame)
        (self.prompted if prompted else self.tracked)[frame] = memory
        self.versions[frame] = version

    def drop(self, frame: int) -> None:
        """Forget one frame, if it is known."""
        self.prompted.pop(frame, None)
        self.tracked.pop(frame, None)
        self.versions.pop(frame, None)

    def read(self, frame: int, step: int = 1, frame_count: int | None = None) -> Recall:
        """Recall what `frame` looks back at when walking in direction `step`; see `MemoryPolicy.select`."""
        prompted = {past: past for past in self.prompted}
        selection = self.policy.select(
            frame, step, prompted, lambda past: past if past in self.tracked else None, frame_count
        )
        return self.recall(selection)

    def recall(self, selection: Selection) -> Recall:
        """Look up the memories of a selection."""
        return Recall(
            tuple((slot, self._memory(past)) for slot, past in selection.masks),
            tuple((distance, self._memory(past)) for distance, past in selection.pointers),
            selection.span,
        )

    def recipe(self, selection: Selection) -> Recipe:
        """Name the memories of a selection by their versions."""
        pairs = selection.masks + selection.pointers
        return Recipe(
            tuple(slot for slot, _ in selection.masks),
            tuple(distance for distance, _ in selection.pointers),
            selection.span,
            tuple(self.versions[past] for _, past in pairs),
        )

    def forget(self, frame: int, pace: int = 1) -> None:
        """Drop tracked memories that neither `frame` nor what follows can reach when walking on at `pace`.

        A pace is a direction and a number of frames: -3 is every third one backward. `frame` itself may still
        be prompted, and then reads what it read when it was tracked.
        """
        for past in [past for past in self.tracked if self._is_out_of_reach(past, frame, pace)]:
            self.drop(past)

    def unreachable_prompted(self, frame: int, pace: int = 1, spare: int = 0) -> list[int]:
        """Prompted frames that neither `frame` nor what follows can read when walking on at `pace`.

        As many as the policy's limit lie nearer behind, not counting `frame`, which may be started over; what
        is prompted later can only add to these. `spare` more are kept, for when so many are taken back.
        """
        if self.policy.prompted is None:
            return []
        behind = [past for past in self.prompted if (frame - past) * pace >= 0]
        far = sorted(behind, key=lambda past: past * pace)[: -(self.policy.prompted + 1 + spare)]
        return [past for past in far if self._is_out_of_reach(past, frame, pace)]

    def _is_out_of_reach(self, past: int, frame: int, pace: int) -> bool:
        """Is `past` too far behind to count among the recent frames of a walk that is on `frame`?"""
        behind = frame - past if pace > 0 else past - frame
        return behind > self.policy.horizon * abs(pace)

    def _memory(self, frame: int) -> FrameMemory:
        return self.prompted[frame] if frame in self.prompted else self.tracked[frame]
