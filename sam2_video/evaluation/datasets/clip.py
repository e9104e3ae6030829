"""A clip of a data set: frames, truth, and the rule that says which objects and frames count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam2_video.evaluation.datasets.frames import Frames
from sam2_video.evaluation.datasets.rules import Rule
from sam2_video.evaluation.datasets.truth import Truth
from sam2_video.evaluation.sequences import Bools, EvaluatedObject
from sam2_video.types import DataError


@dataclass(frozen=True)
class Clip:
    """A `VosSequence` on disk; reads nothing before it is asked for, keeps no pixels, can be pickled."""

    name: str
    frames: Frames
    truth: Truth
    rule: Rule
    wanted: tuple[int, ...] | None = None  # frames that a server reads; None: all of them

    @property
    def frame_names(self) -> tuple[str, ...]:
        return self.frames.names

    @property
    def size(self) -> tuple[int, int]:
        """(H, W). Raises DataError."""
        return self.frames.size

    @cached_property
    def objects(self) -> tuple[EvaluatedObject, ...]:
        """Objects by id, found on first use. Raises DataError for masks that cannot be read or show none."""
        try:
            return self.rule.objects(self.truth)
        except DataError as error:
            raise DataError(f"sequence {self.name}: {error}") from error

    @property
    def annotated(self) -> tuple[int, ...]:
        """Frames with an annotation, ascending."""
        return self.truth.annotated

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of this clip: frames, then masks."""
        return (*self.frames.files, *(path for _, path in self.truth.files()))

    def image(self, frame: int) -> NDArray[np.uint8]:
        """Return (H, W, 3) RGB. Raises DataError."""
        return self.frames.read(frame)

    def masks(self, frame: int) -> Mapping[int, Bools] | None:
        """Return the true masks by object, None where the frame is not annotated.

        Raises DataError, also for masks of another size than the frames.
        """
        masks = self.truth.masks(frame)
        for k, mask in (masks or {}).items():
            if mask.shape != self.size:
                raise DataError(
                    f"sequence {self.name}, frame {self.frame_names[frame]}: the mask of object {k} is "
                    f"{mask.shape[1]}x{mask.shape[0]}, the frames are {self.size[1]}x{self.size[0]}"
                )
        return masks

    def void(self, frame: int) -> Bools | None:
        """Return the pixels that do not count, None where all do. Raises DataError."""
        return self.truth.void(frame)
