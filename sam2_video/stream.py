"""Frames pushed one at a time: tracking a clip while it happens, in constant memory.

stream = predictor.stream()
result = stream.step(rgb, prompts=[{"object_id": 1, "points": [(420, 260)]}])
result = stream.step(next_rgb)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import TracebackType
from typing import Any

import numpy as np

from sam2_video.memory import MemoryPolicy
from sam2_video.session import Driver, SessionOptions, VideoSession
from sam2_video.sources.base import Rgb, Source, check_size
from sam2_video.transforms import check_integer, check_object_id, make_prompt
from sam2_video.types import FrameResult, PromptError, Sam2VideoError, SourceError

# Prompted frames that an object of a stream remembers where the policy sets no limit. Each is attended to on
# every frame, so that a limit bounds the time of a step as well as the memory.
MOST_PROMPTED = 16


@dataclass(frozen=True)
class ObjectPrompt:
    """What is said about one object on the frame that is being pushed; as for `VideoSession.prompt`."""

    object_id: int
    points: Any = None
    labels: Any = None
    box: Any = None
    mask: Any = None
    name: str | None = None
    category: str | None = None

    def where(self) -> dict[str, Any]:
        """Return what is said of the place of the object."""
        return {"points": self.points, "labels": self.labels, "box": self.box, "mask": self.mask}

    def what(self) -> dict[str, str]:
        """Return what the object is called, as far as it is said."""
        said = {"name": self.name, "category": self.category}
        return {key: text for key, text in said.items() if text is not None}


SAID = tuple(field.name for field in fields(ObjectPrompt))
Prompts = Iterable[ObjectPrompt | Mapping[str, Any]]


class VideoStream:
    """Objects tracked through frames that are pushed one at a time; made by `VideoPredictor.stream`.

    Nothing is kept but the last frame and what later frames can look back at: memory and the time of a step
    do not grow. Every object remembers its `memory.prompted` latest prompted frames, 16 where the policy sets
    no limit. Up to that many, results are those of the same frames, prompted at the same moments, in a clip.
    """

    def __init__(self, driver: Driver, options: SessionOptions, frame_count: int | None = None) -> None:
        self._driver = driver
        self._frames = _PushedFrames(frame_count)
        self._session = VideoSession(self._frames, driver, replace(options, memory=bounded(options.memory)))
        self._results: Iterator[FrameResult] | None = None
        self._closed = False

    @property
    def frame(self) -> int | None:
        """Number of the frame last pushed, from 0; None before the first."""
        return self._frames.latest

    @property
    def objects(self) -> tuple[int, ...]:
        """The ids of all objects, in ascending order: the order of rows in every result."""
        return self._session.objects

    def step(self, rgb: Any, prompts: Prompts = ()) -> FrameResult:
        """Push the next frame, (H, W, 3) uint8 RGB, and get the masks of all objects on it.

        `prompts`: what is said about objects on this frame before it is tracked: `ObjectPrompt`s, or
        dictionaries with the same keys. New ids become objects. An object that is there already is shown
        anew, as if this were its first frame; to refine what tracking made of a frame, call `prompt` after
        the step. The array may be used again afterwards.

        Raises SourceError for an array that is no frame of this stream and PromptError for a prompt that
        does not fit; nothing has changed then. After any other error the frame counts as pushed.
        """
        self._check_open()
        if isinstance(prompts, Mapping | ObjectPrompt):
            raise PromptError(f"prompts is one {type(prompts).__name__}, expected a list: put [ ] around it")
        said = [_as_prompt(prompt) for prompt in prompts]
        frame = self._frames.checked(rgb)
        for prompt in said:
            _check(prompt, frame.shape[:2], f"frame {self._frames.pushed}")
        self._frames.push(frame)
        for prompt in said:
            self._say(prompt)
        return self._advance()

    def prompt(
        self,
        object_id: int,
        *,
        points: Any = None,
        labels: Any = None,
        box: Any = None,
        mask: Any = None,
        name: str | None = None,
        category: str | None = None,
        add: bool = True,
    ) -> FrameResult:
        """Say more about the frame last pushed, and get its result again, with all objects.

        An object that was tracked there is refined from what was found. Prompts add up unless `add` is False.
        Raises PromptError, and then changes nothing.
        """
        self._check_open()
        if self.frame is None:
            raise PromptError("there is no frame to prompt on yet: push one with step(rgb)")
        self._say(ObjectPrompt(object_id, points, labels, box, mask, name, category), add=add)
        return self.result()

    def result(self) -> FrameResult:
        """Return the frame last pushed as it stands, with all that was said since. PromptError before any."""
        self._check_open()
        if self.frame is None:
            raise PromptError("there is no frame yet: push one with step(rgb)")
        rows = [self._session.track(object_id).row(self.frame) for object_id in self.objects]
        return self._driver.show(self.frame, self._session.size, rows)

    def remove(self, object_id: int) -> None:
        """Forget an object; PromptError if there is no such object."""
        self._check_open()
        self._session.remove(object_id)

    def close(self) -> None:
        """Forget everything; a second call does nothing."""
        self._closed = True
        self._results = None
        self._session.close()

    def __enter__(self) -> VideoStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _say(self, prompt: ObjectPrompt, add: bool = True) -> None:
        frame = self._frames.pushed - 1
        self._session.prompt(
            frame=frame, object_id=prompt.object_id, add=add, **prompt.where(), **prompt.what()
        )

    def _advance(self) -> FrameResult:
        """Track all objects on the frame just pushed.

        One walk goes on from step to step. It ends where there is nothing to track, and with an error; the
        next frame with objects starts another, which looks back at the same memories.
        """
        walk, self._results = self._results, None
        if not self.objects:
            return self.result()
        if walk is None:
            walk = self._session.propagate(start=self._frames.pushed - 1)
        result = next(walk)
        self._results = walk
        return result

    def _check_open(self) -> None:
        if self._closed:
            raise Sam2VideoError("this stream is closed; start another with predictor.stream()")


def bounded(policy: MemoryPolicy) -> MemoryPolicy:
    """Return a policy with a limit of prompted frames."""
    return policy if policy.prompted is not None else replace(policy, prompted=MOST_PROMPTED)


class _PushedFrames(Source):
    """A source that holds the frame last pushed and nothing else."""

    name = "the stream"
    size: tuple[int, int] = (0, 0)  # (H, W), until the first frame says

    def __init__(self, count: int | None) -> None:
        self.count = None if count is None else check_integer(count, "frame_count")
        self.pushed = 0
        self._rgb: Rgb | None = None

    @property
    def latest(self) -> int | None:
        return self.pushed - 1 if self.pushed else None

    def checked(self, rgb: Any) -> Rgb:
        """Return a copy of the next frame. Raises SourceError if it cannot be that."""
        if self.count is not None and self.pushed >= self.count:
            raise SourceError(f"this stream was started with frame_count={self.count} and has had them all")
        array = np.asarray(rgb)
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
            raise SourceError(
                f"frame {self.pushed} is {array.dtype} of shape {array.shape}; "
                "expected uint8 RGB of shape (H, W, 3), values 0 to 255"
            )
        if self.pushed:
            check_size(array, self.size, f"frame {self.pushed}", "frame 0")
        return array.copy()

    def push(self, rgb: Rgb) -> None:
        """Take a frame that was checked."""
        self.size = rgb.shape[:2]
        self._rgb = rgb
        self.pushed += 1

    def read(self, frame: int) -> Rgb:
        """Return the frame last pushed. Raises SourceError for any other."""
        if self._rgb is None or frame != self.pushed - 1:
            raise SourceError(f"frame {frame} has passed; a stream keeps only the last one ({self.latest})")
        return self._rgb

    def close(self) -> None:
        self._rgb = None


def _as_prompt(prompt: ObjectPrompt | Mapping[str, Any]) -> ObjectPrompt:
    if isinstance(prompt, ObjectPrompt):
        return prompt
    if not isinstance(prompt, Mapping):
        raise PromptError(f"a prompt is an ObjectPrompt or a dictionary; got {type(prompt).__name__}")
    wrong = [str(key) for key in prompt if key not in SAID]
    if wrong or "object_id" not in prompt:
        problem = f"does not know {', '.join(wrong)}" if wrong else "needs an object_id"
        raise PromptError(f"a prompt {problem}; its keys are {', '.join(SAID)}")
    return ObjectPrompt(**prompt)


def _check(prompt: ObjectPrompt, size: Sequence[int], where: str) -> None:
    """Raise PromptError for what the session would refuse, before anything has changed."""
    check_object_id(prompt.object_id)
    height, width = size
    make_prompt((height, width), **prompt.where(), where=where)
    for what, text in prompt.what().items():
        if not isinstance(text, str):
            raise PromptError(f"the {what} of an object is text; got {text!r}")
