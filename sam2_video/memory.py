"""Which past frames are recalled, and when they are forgotten.

Integers and dictionaries only: what a memory holds is none of this module's business.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sam2_video.types import FrameMemory, Recall


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


@dataclass
class MemoryBank:
    """The memories of one object. A frame is in `prompted` or in `tracked`, never in both."""

    policy: MemoryPolicy = field(default_factory=MemoryPolicy)
    prompted: dict[int, FrameMemory] = field(default_factory=dict)
    tracked: dict[int, FrameMemory] = field(default_factory=dict)

    def add(self, frame: int, memory: FrameMemory, *, prompted: bool) -> None:
        """Remember a frame; what was remembered of it before is replaced."""
        self.drop(frame)
        (self.prompted if prompted else self.tracked)[frame] = memory

    def drop(self, frame: int) -> None:
        """Forget one frame, if it is known."""
        self.prompted.pop(frame, None)
        self.tracked.pop(frame, None)

    def clear_tracked(self) -> None:
        """Forget everything that came from tracking: a new pass starts from the prompts alone."""
        self.tracked.clear()

    def read(self, frame: int, step: int = 1, frame_count: int | None = None) -> Recall:
        """Recall what `frame` looks back at when walking in direction `step` (1 or -1).

        `frame_count` is the length of the clip where it is known: the time of pointers is measured in it (a
        short clip spreads its pointers over the same range as a long one).
        """
        attended = self._closest_prompted(frame)
        rest = {past: memory for past, memory in self.prompted.items() if past not in attended}
        masks = [(PROMPTED_SLOT, memory) for memory in attended.values()]
        for k, past in self.policy.recent_frames(frame, step):
            memory = self.tracked.get(past) or rest.get(past)
            if memory is not None:
                masks.append((k - 1, memory))
        return Recall(
            tuple(masks), self._pointers(frame, step, attended, rest, frame_count), self._span(frame_count)
        )

    def forget(self, frame: int, step: int = 1) -> None:
        """Drop tracked memories that no frame after `frame` can reach when walking on in direction `step`."""
        horizon = self.policy.horizon
        for past in [past for past in self.tracked if (frame + step - past) * step > horizon]:
            del self.tracked[past]

    def _closest_prompted(self, frame: int) -> dict[int, FrameMemory]:
        """The prompted memories to attend to: the nearest before and from `frame` on, then by distance."""
        limit = self.policy.prompted
        if limit is None or len(self.prompted) <= limit:
            return dict(self.prompted)
        before = max((past for past in self.prompted if past < frame), default=None)
        after = min((past for past in self.prompted if past >= frame), default=None)
        chosen = [past for past in (before, after) if past is not None][:limit]
        others = sorted(
            (past for past in self.prompted if past not in chosen), key=lambda past: abs(past - frame)
        )
        return {past: self.prompted[past] for past in chosen + others[: limit - len(chosen)]}

    def _pointers(
        self,
        frame: int,
        step: int,
        attended: dict[int, FrameMemory],
        rest: dict[int, FrameMemory],
        frame_count: int | None,
    ) -> tuple[tuple[int, FrameMemory], ...]:
        # Pointers are read from the past alone, in walking order; masks of prompted frames also from the
        # future.
        found = [((frame - past) * step, m) for past, m in attended.items() if (frame - past) * step >= 0]
        for distance in range(1, self._span(frame_count) + 1):
            past = frame - step * distance
            memory = self.tracked.get(past) or rest.get(past)
            if memory is not None:
                found.append((distance, memory))
        return tuple(found)

    def _span(self, frame_count: int | None) -> int:
        known = self.policy.pointers if frame_count is None else min(self.policy.pointers, frame_count - 1)
        return max(known, 0)


PROMPTED_SLOT = -1  # the last learned time code
