"""What `init_state` returns: the fields of the reference's dictionary that scripts read."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sam2_video.compat.notes import CompatError
from sam2_video.session import VideoSession
from sam2_video.transforms import FrameTransform
from sam2_video.types import PromptError


class MissingField(CompatError, KeyError):
    """A field of the reference's state that does not exist here."""

    __str__ = Exception.__str__  # KeyError would show the message in quotes


class LazyFrames(Sequence[Tensor]):
    """The frames as the model sees them, (3, S, S) float32 each, read when they are asked for."""

    def __init__(self, session: VideoSession, transform: FrameTransform) -> None:
        self._session, self._transform = session, transform

    def __len__(self) -> int:
        return self._session.frame_count or 0

    def __getitem__(self, frame: Any) -> Any:
        if isinstance(frame, slice):
            return torch.stack([self[k] for k in range(*frame.indices(len(self)))])
        number = int(frame) + (len(self) if frame < 0 else 0)
        if not 0 <= number < len(self):
            raise IndexError(f"frame {frame} is outside this clip (0..{len(self) - 1})")
        return self._transform.pixels(self._session.source.read(number))[0]


class InferenceState(Mapping[str, Any]):
    """One clip and its objects; hand it back to the predictor, or read a field.

    Object ids are the script's own, anything hashable; a session counts objects in order of appearance.
    """

    def __init__(
        self, session: VideoSession, transform: FrameTransform, device: torch.device, **flags: bool
    ) -> None:
        self.session = session
        self.numbers: dict[Hashable, int] = {}  # script's id -> session's, in order of appearance
        self._next = 0
        self._fields: dict[str, Callable[[], Any]] = {
            "device": lambda: device,
            "images": lambda: LazyFrames(session, transform),
            "num_frames": lambda: session.frame_count,
            "obj_id_to_idx": lambda: {name: row for row, name in enumerate(self.numbers)},
            "obj_ids": lambda: list(self.numbers),
            "obj_idx_to_id": lambda: dict(enumerate(self.numbers)),
            "storage_device": lambda: torch.device("cpu"),
            "video_height": lambda: session.size[0],
            "video_width": lambda: session.size[1],
            **{name: partial(bool, value) for name, value in flags.items()},
        }

    def __getitem__(self, name: str) -> Any:
        if name not in self._fields:
            raise MissingField(
                f"the inference state has no field {name!r}; it has {', '.join(self._fields)}; "
                "state.session is the VideoSession behind it"
            )
        return self._fields[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __setitem__(self, name: str, value: Any) -> None:
        raise CompatError(f"the inference state cannot be written to (field {name!r}); use the predictor")

    def number_of(self, obj_id: Any) -> int:
        """The session's number of an object, a new one if it is new (`keep` makes it stay)."""
        return self.numbers.get(plain_id(obj_id), self._next)

    def ids_of(self, numbers: Sequence[int]) -> list[Hashable]:
        """The script's ids of objects that the session counts."""
        known = {number: name for name, number in self.numbers.items()}
        return [known[number] for number in numbers]

    def keep(self, obj_id: Any, number: int) -> None:
        """An object has been prompted: it exists now."""
        self.numbers[plain_id(obj_id)] = number
        self._next = max(self._next, number + 1)

    def forget(self, obj_id: Any) -> None:
        del self.numbers[plain_id(obj_id)]

    def clear(self) -> None:
        self.numbers.clear()


def plain_id(obj_id: Any) -> Hashable:
    """An object's id as a dictionary key: scalars of tensors and arrays become numbers."""
    if hasattr(obj_id, "item"):
        obj_id = obj_id.item()
    try:
        hash(obj_id)
    except TypeError as error:
        raise PromptError(f"obj_id must be a number, a text or anything hashable; got {obj_id!r}") from error
    return obj_id  # type: ignore[no-any-return]
