"""Who is timed: a session of ours, and one of `transformers` with the same weights, frames and memories.

Both are brought to the frame from which on every frame of a long clip costs the same. Two frames are tracked;
the memory of the second is then taken for that of all frames up to there, which changes no shape and no sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam2_video.config import build_model
from sam2_video.model.sam1 import with_memory
from sam2_video.model.sam2 import SAM2
from sam2_video.session import Retain
from sam2_video.steps import Graphs
from sam2_video.timeline import Way
from sam2_video.transforms import PIXEL_MEAN, PIXEL_STD
from sam2_video.video_predictor import VideoPredictor

START = 17  # the first frame that looks back at as many memories and pointers as any later one
PRESENCE = "sam_mask_decoder.pred_obj_score_head.layers.2.bias"
CLICK = (0.4, 0.5)  # of width and height


class Contestant(Protocol):
    """Somebody who tracks."""

    def step(self, frame: int) -> Tensor:
        """Track one frame; returns low-resolution logits (N, h, w)."""


def stand_in(
    name: str, size: int | None, dtype: torch.dtype, device: str = "cpu", overrides: Sequence[str] = ()
) -> SAM2:
    """A model with random weights: they change no arithmetic. Raises ConfigError for one without memory."""
    torch.manual_seed(0)
    sized = [] if size is None else [f"image_size={size}"]
    model = with_memory(build_model(name, [*sized, *overrides]), "tracking")
    with torch.no_grad():  # every object present: of those that are not, all masks are alike
        model.get_parameter(PRESENCE).fill_(10.0)
    return model.to(device, dtype).eval()


def textured_clip(size: int, frames: int) -> list[NDArray[np.uint8]]:
    """A textured square that moves over noise, of model size."""
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 120, (size, size, 3), dtype=np.uint8)
    side = size // 3
    patch = rng.integers(100, 255, (side, side, 3), dtype=np.uint8)
    clip = []
    for t in range(frames):
        frame = ground.copy()
        x = (size // 5 + 2 * t) % (size - side)
        frame[size // 3 : size // 3 + side, x : x + side] = patch
        clip.append(frame)
    return clip


class Ours:
    """A session of ours that is due on frame START."""

    def __init__(
        self,
        model: SAM2,
        frames: int,
        objects: int = 1,
        *,
        graphs: Graphs = "auto",
        retain: Retain = "all",
    ) -> None:
        """`frames`: how many will be tracked at most; `graphs`, `retain`: as for `VideoPredictor`, `open`."""
        self.model = model
        size = model.image_size
        predictor = VideoPredictor(model, graphs=graphs)
        self._session = predictor.open(textured_clip(size, START + frames), retain=retain)
        for k in range(objects):
            spot = (CLICK[0] * size + k, CLICK[1] * size)
            self._session.prompt(frame=0, object_id=k + 1, points=[spot], labels=[1])
        for _ in self._session.propagate(stop=2):
            pass
        for k in range(objects):
            track = self._session.track(k + 1)
            for frame in range(2, START):
                track.bank.add(frame, track.bank.tracked[1].map(torch.clone), prompted=False)
                track.pass_by(frame, Way(1))

    def step(self, frame: int) -> Tensor:
        (result,) = self._session.propagate(start=frame, stop=frame + 1)
        return result.logits


class Theirs:
    """A session of `transformers` in the same state."""

    def __init__(self, twin: Any, frames: int, objects: int = 1) -> None:
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

        self._twin, size = twin, twin.config.image_size
        clip = torch.from_numpy(np.stack(textured_clip(size, START + frames)))
        pixels = (clip / 255 - torch.tensor(PIXEL_MEAN)) / torch.tensor(PIXEL_STD)
        self._session = Sam2VideoInferenceSession(
            video=pixels.permute(0, 3, 1, 2).to(twin.device, twin.dtype),
            video_height=size,
            video_width=size,
            inference_device=twin.device,
            inference_state_device=twin.device,
            video_storage_device=twin.device,
            dtype=twin.dtype,
        )
        for k in range(objects):
            spot = torch.tensor([[[[CLICK[0] * size + k, CLICK[1] * size]]]], device=twin.device)
            said = {"point_coords": spot, "point_labels": torch.tensor([[[1]]], device=twin.device)}
            self._session.add_point_inputs(self._session.obj_id_to_idx(k + 1), 0, said)
            self._session.obj_with_new_inputs.append(k + 1)
        for frame in (0, 1):
            self.step(frame)
        for known in self._session.output_dict_per_obj.values():
            tracked = known["non_cond_frame_outputs"]
            tracked.update({frame: dict(tracked[1]) for frame in range(2, START)})

    def step(self, frame: int) -> Tensor:
        with torch.inference_mode():
            found: Tensor = self._twin(self._session, frame_idx=frame).pred_masks
        return found.flatten(0, 1).float()
