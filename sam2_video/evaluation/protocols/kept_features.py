"""Features of frames for the passes to come, within a bound of memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sam2_video.evaluation.protocols.base import SequenceFrames
from sam2_video.session import Driver, Size
from sam2_video.timeline import Outcome, Row
from sam2_video.types import FrameMemory, FrameResult, ImageFeatures, MaskPrediction, Prompt, Recall

KEPT_BYTES = 1 << 30  # host memory: 60 frames of the released models, 2,000 of nano


class KeptFeatures:
    """A driver that does not encode a frame again, as long as the memory it may use lasts.

    What is kept stays kept: passes come by in order, and with the oldest thrown out nothing would be left
    of a clip that is a little too long.
    """

    def __init__(self, driver: Driver, source: SequenceFrames, most: int = KEPT_BYTES) -> None:
        self._driver, self._source = driver, source
        self._left = most
        self._kept: dict[int, ImageFeatures] = {}
        self.device: torch.device | None = None

    def look(self, rgb: Any) -> ImageFeatures:
        """Encode the frame that was read last from the source, or return what is kept of it."""
        frame = self._source.latest
        kept = self._kept.get(frame)
        if kept is not None:
            return _to(kept, self.device)
        features = self._driver.look(rgb)
        self.device = features.coarse.device
        need = sum(tensor.nbytes for tensor in (features.coarse, *features.fine))
        if need <= self._left:
            self._left -= need
            self._kept[frame] = _to(features, torch.device("cpu"))
        return features

    def segment(
        self, features: ImageFeatures, prompt: Prompt, size: Size, previous: Tensor | None, recall: Recall
    ) -> Outcome:
        return self._driver.segment(features, prompt, size, previous, recall)

    def follow(self, features: ImageFeatures, recalls: Sequence[Recall]) -> list[Outcome]:
        return self._driver.follow(features, recalls)

    def remember(self, features: ImageFeatures, prediction: MaskPrediction, *, prompted: bool) -> FrameMemory:
        return self._driver.remember(features, prediction, prompted=prompted)

    def show(self, frame: int, size: Size, rows: Sequence[Row]) -> FrameResult:
        return self._driver.show(frame, size, rows)

    def settings(self) -> Mapping[str, Any]:
        return self._driver.settings()


def _to(features: ImageFeatures, device: torch.device | None) -> ImageFeatures:
    high, middle = features.fine
    return ImageFeatures(features.coarse.to(device), (high.to(device), middle.to(device)))
