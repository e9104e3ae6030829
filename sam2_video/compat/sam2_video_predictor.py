"""The reference's video predictor: `sam2.sam2_video_predictor`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sam2_video.compat.inference_state import InferenceState, plain_id
from sam2_video.compat.notes import CompatError, explain
from sam2_video.compat.prompts import as_clicks, as_mask
from sam2_video.memory import MemoryPolicy
from sam2_video.model.sam2 import SAM2
from sam2_video.network import LOW_STRIDE
from sam2_video.postprocess import fill_holes
from sam2_video.sources import read_picture
from sam2_video.transforms import Resize
from sam2_video.types import ABSENT_LOGIT, Prompt, PromptError, upsample_logits
from sam2_video.video_predictor import VideoPredictor

JPEG_TYPES = (".jpg", ".jpeg")
LOSER_LOGIT = -10.0  # at most this much, where another object has the pixel

Masks = tuple[int, list[Any], Tensor]  # frame, object ids, (N, 1, H, W) logits at video size


class SAM2VideoPredictor(nn.Module):
    """Track objects with the reference's calls; made by `build_sam2_video_predictor` or `from_pretrained`.

    Attributes that are not found here are those of the network: `image_size`, `device`, `image_encoder`, ...
    """

    def __init__(
        self,
        model: SAM2,
        *,
        fill_hole_area: int = 0,
        non_overlap_masks: bool = False,
        add_all_frames_to_correct_as_cond: bool = True,
        memory: MemoryPolicy | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.eval()
        self.fill_hole_area = fill_hole_area
        self.non_overlap_masks = non_overlap_masks
        self.add_all_frames_to_correct_as_cond = add_all_frames_to_correct_as_cond
        self.memory = memory

    @classmethod
    def from_pretrained(cls, model_id: str, **kwargs: Any) -> SAM2VideoPredictor:
        """Load a model by hub id or name; `kwargs` are those of `build_sam2_video_predictor_hf`."""
        from sam2_video.compat.build_sam import build_sam2_video_predictor_hf

        return build_sam2_video_predictor_hf(model_id, **kwargs)

    def init_state(
        self,
        video_path: Any,
        offload_video_to_cpu: bool = False,
        offload_state_to_cpu: bool = False,
        async_loading_frames: bool = False,
    ) -> InferenceState:
        """Open a folder of JPEG files, a video file, or anything else that `VideoPredictor.open` takes.

        The flags change nothing: frames are read when they are needed, and memories wait on the CPU.
        Raises SourceError.
        """
        if offload_video_to_cpu or offload_state_to_cpu or async_loading_frames:
            explain(
                "offload_video_to_cpu, offload_state_to_cpu and async_loading_frames have no effect: frames "
                "are never all in memory, and memories wait on the CPU until they are recalled"
            )
        source, resize = _jpeg_folder(video_path)
        predictor = VideoPredictor(
            self.model,
            memory=self.memory,
            resize=resize,
            keep_corrections=self.add_all_frames_to_correct_as_cond,
        )
        session = predictor.open(source)
        if session.frame_count is None:
            session.close()
            raise CompatError("init_state needs a clip whose length is known; streams: VideoPredictor.open")
        return InferenceState(
            session,
            predictor.transform,
            self.model.device,
            offload_video_to_cpu=offload_video_to_cpu,
            offload_state_to_cpu=offload_state_to_cpu,
        )

    def add_new_points_or_box(
        self,
        inference_state: InferenceState,
        frame_idx: int,
        obj_id: Any,
        points: Any = None,
        labels: Any = None,
        clear_old_points: bool = True,
        normalize_coords: bool = True,
        box: Any = None,
    ) -> Masks:
        """Prompt an object on a frame; returns the frame, all ids, and (N, 1, H, W) logits of all objects.

        Earlier points of that frame are replaced, or kept with `clear_old_points=False`; the mask they led to
        is refined in both cases. Raises PromptError.
        """
        if points is None and labels is None and box is None:
            raise PromptError("give points with labels, or a box")
        if box is not None and not clear_old_points:
            raise PromptError("a box comes before all points: give it with clear_old_points=True")
        size = inference_state.session.size
        said = as_clicks(points, labels, box, size, in_pixels=normalize_coords)
        return self._prompt(inference_state, frame_idx, obj_id, clear_old_points, **said.words())

    def add_new_points(self, *args: Any, **kwargs: Any) -> Masks:
        """The older name of `add_new_points_or_box`."""
        return self.add_new_points_or_box(*args, **kwargs)

    def add_new_mask(self, inference_state: InferenceState, frame_idx: int, obj_id: Any, mask: Any) -> Masks:
        """Say exactly where an object is; returns what `add_new_points_or_box` does. Raises PromptError."""
        drawn = as_mask(mask, inference_state.session.size)
        return self._prompt(inference_state, frame_idx, obj_id, True, mask=drawn)

    def _prompt(
        self, state: InferenceState, frame: int, obj_id: Any, clear_old_points: bool, **said: Any
    ) -> Masks:
        number = state.number_of(obj_id)
        with _old_points_cleared(state, frame, number) if clear_old_points else _nothing():
            state.session.prompt(frame=frame, object_id=number, **said)
        state.keep(obj_id, number)
        return frame, state["obj_ids"], self._masks_on(state, frame)

    def propagate_in_video_preflight(self, inference_state: InferenceState) -> None:
        """Nothing is left to be done before tracking starts."""

    def propagate_in_video(
        self,
        inference_state: InferenceState,
        start_frame_idx: int | None = None,
        max_frame_num_to_track: int | None = None,
        reverse: bool = False,
    ) -> Iterator[Masks]:
        """Yield (frame, ids, logits) from the earliest prompted frame on, or from `start_frame_idx`.

        `max_frame_num_to_track` counts the frames after the first one. Going in `reverse` from frame 0 yields
        nothing. Raises PromptError at the first step.
        """
        session = inference_state.session
        count = session.frame_count or 0
        start = start_frame_idx
        if start is None:
            prompted = [frame for number in session.objects for frame in session.track(number).bank.prompted]
            start = min(prompted, default=0)
        length = count if max_frame_num_to_track is None else max_frame_num_to_track
        if reverse and start == 0:
            return
        stop = max(start - length, 0) - 1 if reverse else min(start + length + 1, count)
        results = session.propagate(
            "backward" if reverse else "forward", start=start, stop=None if stop < 0 else stop
        )
        for result in results:
            ids = inference_state.ids_of(result.object_ids)
            yield result.frame, ids, self._finished(result.logits, session.size)

    def clear_all_prompts_in_frame(
        self, inference_state: InferenceState, frame_idx: int, obj_id: Any, need_output: bool = True
    ) -> Masks | None:
        """Take back the prompts of an object on a frame, if there are any. PromptError: no such object."""
        session = inference_state.session
        number = _known(inference_state, obj_id)
        if session.track(number).is_prompted(frame_idx):
            session.clear(frame_idx, number)
        if not need_output:
            return None
        return frame_idx, inference_state["obj_ids"], self._masks_on(inference_state, frame_idx)

    def remove_object(
        self, inference_state: InferenceState, obj_id: Any, strict: bool = False, need_output: bool = True
    ) -> tuple[list[Any], list[tuple[int, Tensor]]]:
        """Forget an object; returns the other ids, and (frame, logits) of frames where it was prompted.

        An unknown object is PromptError with `strict`, else nothing happens.
        """
        state, session = inference_state, inference_state.session
        if plain_id(obj_id) not in state.numbers and not strict:
            return state["obj_ids"], []
        number = _known(state, obj_id)
        frames = sorted(session.track(number).prompts)
        session.remove(number)
        state.forget(obj_id)
        if not need_output or not state.numbers:
            return state["obj_ids"], []
        return state["obj_ids"], [(frame, self._masks_on(state, frame)) for frame in frames]

    def reset_state(self, inference_state: InferenceState) -> None:
        """Forget all objects; the clip stays open."""
        inference_state.session.reset()
        inference_state.clear()

    def _masks_on(self, state: InferenceState, frame: int) -> Tensor:
        """(N, 1, H, W) logits of all objects on a frame, those without a result there as absent."""
        side = self.model.image_size // LOW_STRIDE
        logits = torch.full((len(state.numbers), side, side), ABSENT_LOGIT)
        for row, number in enumerate(state.numbers.values()):
            found = state.session.track(number).row(frame).prediction
            if found is not None:
                logits[row] = found.logits[0, 0]
        return self._finished(logits, state.session.size)

    def _finished(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """(N, h, w) -> (N, 1, H, W) on the model's device: holes filled, apart from one another if asked."""
        # Taking the larger fills holes and leaves sprinkles, which the reference leaves too.
        logits = torch.maximum(logits, fill_holes(logits, self.fill_hole_area))
        full = upsample_logits(logits.to(self.model.device), size)[:, None]
        if self.non_overlap_masks and len(full) > 1:
            rows = torch.arange(len(full), device=full.device).view(-1, 1, 1, 1)
            full = torch.where(rows == full.argmax(dim=0), full, full.clamp(max=LOSER_LOGIT))
        return full

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name != "model" and hasattr(self.model, name):
                return getattr(self.model, name)
            raise AttributeError(
                f"sam2_video.compat has no {type(self).__name__}.{name}; docs/compat.md lists what there is"
            ) from None

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """The network's weights under their released names."""
        return self.model.state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Load weights under their released names."""
        return self.model.load_state_dict(*args, **kwargs)


class _JpegFrames(Sequence[Any]):
    """Pictures on disk, read one at a time."""

    def __init__(self, files: list[Path]) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, frame: Any) -> Any:
        return read_picture(self._files[frame])


def _jpeg_folder(video_path: Any) -> tuple[Any, Resize]:
    """The source to open, and how the reference would resize its frames."""
    if not isinstance(video_path, str | Path) or not Path(video_path).is_dir():
        return video_path, "bilinear"
    files = [file for file in Path(video_path).iterdir() if file.suffix.lower() in JPEG_TYPES]
    if not files or not all(file.stem.isdecimal() for file in files):
        return video_path, "bicubic_pil"  # pictures of another kind or name: the folder's own rules
    # Other files of the folder, such as masks beside the frames, are none of the clip's frames.
    return _JpegFrames(sorted(files, key=lambda file: int(file.stem))), "bicubic_pil"


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _old_points_cleared(state: InferenceState, frame: int, number: int) -> Iterator[None]:
    """Let a prompt replace the clicks of a frame and still refine the mask that they led to.

    A session would start such a frame over; the reference feeds the mask back. An error changes nothing.
    """
    prompts = state.session.track(number).prompts if number in state.session.objects else {}
    earlier = prompts.get(frame)
    if earlier is not None:
        prompts[frame] = Prompt()
    try:
        yield
    except BaseException:
        if earlier is not None:
            prompts[frame] = earlier
        raise


def _known(state: InferenceState, obj_id: Any) -> int:
    if plain_id(obj_id) not in state.numbers:
        known = ", ".join(map(repr, state.numbers)) or "none yet"
        raise PromptError(f"there is no object {obj_id!r}; known objects: {known}")
    return state.numbers[plain_id(obj_id)]
