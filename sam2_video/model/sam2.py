"""The SAM 2 network: its parts under their released names, and five verbs without history.

Released names that our words differ from: `maskmem_tpos_enc` holds one time code for each memory slot (recent
frame k steps back uses row k - 1, a prompted frame the last row); `obj_ptr` is an object pointer;
`no_mem_embed` stands in for memory on a frame that has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam2_video.model.hiera import Hiera
from sam2_video.model.image_encoder import FpnNeck, ImageEncoder
from sam2_video.model.layers import MLP, Linear, to_grid, to_tokens
from sam2_video.model.mask_decoder import MaskDecoder
from sam2_video.model.memory_attention import MemoryAttention, MemoryTokens
from sam2_video.model.memory_encoder import MemoryEncoder
from sam2_video.model.position import GridTable, sine_grid, sine_time
from sam2_video.model.prompt_encoder import PADDING_LABEL, PromptEncoder
from sam2_video.types import (
    ABSENT_LOGIT,
    FrameMemory,
    ImageFeatures,
    MaskCandidates,
    MaskPrediction,
    PromptTensors,
    Recall,
)

COARSE_STRIDE = 16
SIZE_MULTIPLE = 32
# A mask becomes logits of +-10 wherever the network expects them: 20 * probability - 10.
MASK_SCALE, MASK_BIAS = 20.0, -10.0
# The single mask is trusted when moving its threshold by +-STABILITY_DELTA changes its area by less than 2 %.
STABILITY_DELTA, STABILITY_THRESHOLD = 0.05, 0.98


class NoPointerTime(nn.Module):
    """SAM 2.0: object pointers carry no time."""

    def __init__(self, memory_width: int) -> None:
        super().__init__()
        self.memory_width = memory_width

    def forward(self, code: Tensor) -> Tensor:
        return code.new_zeros((len(code), self.memory_width))  # (P, C) -> (P, M)


class SAM2(nn.Module):
    """Parts and glue parameters of SAM 2 (arXiv 2408.00714); `version` is "2.0" or "2.1".

    Works at any picture side that is a multiple of 32, whatever `image_size` it was built for: every table is
    sized by the features that come in. `image_size` is the side that predictors resize to, `memory_policy`
    what they take for `MemoryPolicy` where nothing else is said; None among its values says nothing.
    """

    def __init__(
        self,
        *,
        trunk: Hiera,
        neck: FpnNeck,
        memory_attention: MemoryAttention,
        memory_encoder: MemoryEncoder,
        prompt_encoder: PromptEncoder,
        mask_decoder: MaskDecoder,
        image_size: int,
        width: int,
        memory_width: int,
        memory_slots: int,
        version: str,
        memory_policy: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        check_image_size(image_size)
        if version not in ("2.0", "2.1"):
            raise ValueError(f'version must be "2.0" or "2.1", got {version!r}')
        if width % memory_width:
            raise ValueError(
                f"width {width} must be a multiple of memory_width {memory_width}: pointers are split so"
            )
        self.image_size = image_size
        self.width = width
        self.memory_width = memory_width
        self.memory_policy = {k: v for k, v in (memory_policy or {}).items() if v is not None}
        self.image_encoder = ImageEncoder(trunk, neck)
        self.mask_downsample = nn.Conv2d(1, 1, kernel_size=4, stride=4)
        self.memory_attention = memory_attention
        self.memory_encoder = memory_encoder
        self.sam_prompt_encoder = prompt_encoder
        self.sam_mask_decoder = mask_decoder
        self.obj_ptr_proj = MLP((width, width, width, width))
        self.maskmem_tpos_enc = _embedding(memory_slots, 1, 1, memory_width)
        self.no_mem_embed = _embedding(1, 1, width)
        # Part of every released file, used by no released model.
        self.no_mem_pos_enc = _embedding(1, 1, width)
        self.no_obj_ptr = _embedding(1, width)
        if version == "2.1":
            self.obj_ptr_tpos_proj: nn.Module = Linear(width, memory_width)
            self.no_obj_embed_spatial = _embedding(1, memory_width)
        else:
            self.obj_ptr_tpos_proj = NoPointerTime(memory_width)
            self.register_buffer("no_obj_embed_spatial", torch.zeros(1, memory_width), persistent=False)
        self._frame_position = GridTable(partial(sine_grid, channels=width))
        self._memory_position = GridTable(partial(sine_grid, channels=memory_width))

    @property
    def dtype(self) -> torch.dtype:
        return self.no_mem_embed.dtype

    @property
    def device(self) -> torch.device:
        return self.no_mem_embed.device

    @property
    def memory_slots(self) -> int:
        """How many learned time codes there are: the last for prompted frames, the others for recent ones."""
        return self.maskmem_tpos_enc.shape[0]

    @property
    def object_bytes(self) -> int:
        """What a tracked object takes while the network works on it; an estimate, rather too high."""
        cells = (self.image_size // COARSE_STRIDE) ** 2
        keys = (len(self.memory_attention.layers) + 1) * self.memory_slots * self.width
        attention = cells * (keys + self.memory_attention.hidden + 8 * self.width)
        decoding = 16 * cells * (3 * self.width // 8 + 8) + 4 * cells * 3 * self.width // 4  # two fine levels
        remembering = 5 * self.image_size**2  # the mask and its first convolutions
        return int(self.no_mem_embed.itemsize * (attention + decoding + remembering))

    def encode_image(self, pixels: Tensor) -> ImageFeatures:
        """(B, 3, S, S) normalised pixels -> features; S is a multiple of 32."""
        if pixels.shape[-1] != pixels.shape[-2]:
            raise ValueError(f"the model frame is square, got {tuple(pixels.shape[-2:])}")
        check_image_size(pixels.shape[-1])
        heads = (self.sam_mask_decoder.conv_s0, self.sam_mask_decoder.conv_s1)
        quarter, half, coarse = self.image_encoder(pixels.to(self.dtype), heads)
        return ImageFeatures(coarse, (quarter, half))

    def attend_memory(self, features: ImageFeatures, recall: Recall) -> Tensor:
        """Condition a frame on what is recalled of N objects -> (N, C, h, w).

        With nothing to recall (an object seen for the first time) a learned embedding stands in for memory.
        """
        coarse = features.coarse
        if recall.is_empty:
            return coarse + self.no_mem_embed.view(1, -1, 1, 1)
        grid = (coarse.shape[-2], coarse.shape[-1])
        conditioned = self.memory_attention(
            to_tokens(coarse),
            to_tokens(self._frame_position(*grid, like=coarse)),
            self._memory_tokens(recall, grid),
            grid,
        )
        return to_grid(conditioned, *grid)

    def memory_keys(self, memory: FrameMemory) -> tuple[Tensor, ...]:
        """Make what memory attention needs of a memory when it is recalled: per object (layers, h * w, C).

        A memory that carries it as its `keys` is recalled faster.
        """
        return self.batch_keys(memory).unbind()

    def batch_keys(self, memory: FrameMemory) -> Tensor:
        """The same as one tensor (N, layers, h * w, C)."""
        grid = (memory.features.shape[-2], memory.features.shape[-1])
        place = self._memory_position(*grid, like=self.maskmem_tpos_enc)
        tokens = to_tokens(memory.features.to(self.dtype) + place)
        return self.memory_attention.memory_keys(tokens, grid)

    def decode(
        self,
        pixels: Tensor,
        fine: tuple[Tensor, ...],
        prompt: PromptTensors | None = None,
        least_iou: float | None = None,
    ) -> MaskCandidates:
        """Decode conditioned pixels (N, C, h, w) into four candidate masks for each object.

        With `least_iou` objects of which no mask has a higher predicted IoU are left out, early.
        """
        height, width = pixels.shape[-2:]
        if prompt is None:
            prompt = no_prompt(len(pixels), pixels.device)
        sparse, dense = self.sam_prompt_encoder(prompt, COARSE_STRIDE * height)
        pixels = pixels.expand(len(sparse), -1, -1, -1)
        code = self.sam_prompt_encoder.pe_layer.grid(height, width)
        out = self.sam_mask_decoder(pixels, code, sparse, dense, fine, least_iou)
        present = (out.presence > 0)[:, None, None]
        pointer = torch.where(present, self.obj_ptr_proj(out.tokens), self.no_obj_ptr)
        return MaskCandidates(out.logits.float(), out.iou.float(), pointer, out.presence.float(), out.rows)

    def answers(self, candidates: MaskCandidates, *, multimask: bool) -> tuple[Tensor, Tensor]:
        """What who points at a picture sees: K masks (B, K, h, w) of B objects, and predicted IoUs (B, K).

        The rule for absent objects does not apply: there is no other frame to look at.
        """
        if multimask:
            return candidates.logits[:, 1:], candidates.iou[:, 1:]
        chosen = best(replace(candidates, presence=torch.ones_like(candidates.presence)), multimask=False)
        return chosen.logits, chosen.iou[:, None]

    def feature_shapes(self, image_size: int) -> tuple[tuple[int, ...], ...]:
        """Shapes of what masks of one picture are decoded from: coarse features, then the fine ones."""
        side, width = image_size // COARSE_STRIDE, self.width
        return (
            (1, width, side, side),
            (1, width // 8, 4 * side, 4 * side),
            (1, width // 4, 2 * side, 2 * side),
        )

    def mask_as_prediction(self, features: ImageFeatures, mask: Tensor) -> MaskPrediction:
        """Take a user's mask (N, 1, S, S) of 0 and 1 as the prediction; the decoder gives its pointer."""
        logits = mask.float() * MASK_SCALE + MASK_BIAS
        side = mask.shape[-1] // 4
        logits = F.interpolate(
            logits, size=(side, side), mode="bilinear", align_corners=False, antialias=True
        )
        nothing = no_prompt(len(mask), mask.device)
        hint = self.mask_downsample(mask.to(self.dtype))
        # The decoder sees the frame without memory here, not even the embedding that stands in for it.
        candidates = self.decode(
            features.coarse, features.fine, PromptTensors(nothing.points, nothing.labels, previous=hint)
        )
        present = mask.flatten(1).any(dim=1)
        pointer = torch.where(present[:, None], best(candidates, multimask=False).pointer, self.no_obj_ptr)
        presence = present.float() * MASK_SCALE + MASK_BIAS
        return MaskPrediction(logits, torch.ones_like(presence), pointer, presence)

    def encode_memory(
        self, features: ImageFeatures, prediction: MaskPrediction, *, prompted: bool
    ) -> FrameMemory:
        """Make the memory of N objects on a frame from its features and the masks found on it.

        The mask of a prompted frame is taken as certain, that of a tracked frame as a probability.
        """
        side = COARSE_STRIDE * features.coarse.shape[-1]
        logits = F.interpolate(prediction.logits, size=(side, side), mode="bilinear", align_corners=False)
        probability = (logits > 0).float() if prompted else logits.sigmoid()
        mask = (probability * MASK_SCALE + MASK_BIAS).to(self.dtype)
        remembered = self.memory_encoder(features.coarse, mask)
        absent = (prediction.presence <= 0)[:, None, None, None]
        remembered = torch.where(absent, remembered + self.no_obj_embed_spatial[..., None, None], remembered)
        return FrameMemory(remembered.to(torch.bfloat16), prediction.pointer)

    def _memory_tokens(self, recall: Recall, grid: tuple[int, int]) -> MemoryTokens:
        """Put a recall of N objects into the form that memory attention reads."""
        known = [past.keys if past.keys is not None else self.batch_keys(past) for _, past in recall.masks]
        pool = self.memory_attention.pool
        maps = [past.features.to(self.dtype) for _, past in recall.masks]
        values = [(one if pool == 1 else F.avg_pool2d(one, pool)).flatten(2) for one in maps]  # (N, M, cells)
        count = len((recall.masks or recall.pointers)[0][1].pointer)
        placeless = self.maskmem_tpos_enc.new_zeros((count, 0, self.memory_width))
        if recall.pointers:
            times = recall.times if recall.times is not None else pointer_times(recall, self.device)
            code = sine_time(times.flatten(), self.width).to(self.dtype)  # (P, C), or (N * P, C)
            pointers = torch.stack([past.pointer for _, past in recall.pointers], dim=1)  # (N, P, C)
            # A pointer is too wide for one memory token: it becomes four.
            tokens = pointers.to(self.dtype).reshape(count, -1, self.memory_width)
            parts = self.width // self.memory_width
            placed = self.obj_ptr_tpos_proj(code)[:, None].expand(-1, parts, -1).flatten(0, 1)
            placeless = tokens + torch.unflatten(placed, 0, (-1, tokens.shape[1]))  # of all, or of each
            values.append(tokens.transpose(1, 2))
        return MemoryTokens(
            torch.cat(values, dim=2),
            known,
            [slot % self.memory_slots for slot, _ in recall.masks],
            self.maskmem_tpos_enc.flatten(1),
            placeless,
        )


def pointer_times(recall: Recall, device: torch.device) -> Tensor:
    """(P,) float32: how far back each pointer lies, over the span; on a CUDA device nothing waits for it."""
    on_cuda = device.type == "cuda"
    distances = torch.tensor([d for d, _ in recall.pointers], dtype=torch.float32, pin_memory=on_cuda)
    return (distances / max(recall.pointer_span, 1)).to(device, non_blocking=on_cuda)


def best(candidates: MaskCandidates, *, multimask: bool) -> MaskPrediction:
    """Choose one mask for each object, and blank it where the object is absent.

    With `multimask` the alternative with the best predicted IoU wins; otherwise the single mask, unless it is
    unstable.
    """
    chosen = candidates.iou[:, 1:].argmax(dim=1) + 1
    token = chosen
    if not multimask:
        chosen = torch.where(is_stable(candidates.logits[:, 0]), 0, chosen)
        token = torch.zeros_like(chosen)  # the pointer stays that of the single mask
    rows = torch.arange(len(chosen), device=chosen.device)
    present = (candidates.presence > 0)[:, None, None, None]
    logits = torch.where(present, candidates.logits[rows, chosen][:, None], ABSENT_LOGIT)
    pointer = candidates.pointer[rows, token]
    return MaskPrediction(logits, candidates.iou[rows, chosen], pointer, candidates.presence, candidates)


def is_stable(logits: Tensor) -> Tensor:
    """(B, H, W) -> (B,): does the mask's area hardly depend on the threshold?"""
    inner = (logits > STABILITY_DELTA).flatten(1).sum(dim=1)
    outer = (logits > -STABILITY_DELTA).flatten(1).sum(dim=1)
    return inner >= STABILITY_THRESHOLD * outer


def no_prompt(count: int, device: torch.device) -> PromptTensors:
    """The prompt of an object that has none on this frame: one padding point."""
    labels = torch.full((count, 1), PADDING_LABEL, dtype=torch.int64, device=device)
    return PromptTensors(torch.zeros((count, 1, 2), device=device), labels)


def check_image_size(size: int) -> None:
    if size < SIZE_MULTIPLE or size % SIZE_MULTIPLE:
        raise ValueError(f"image_size must be a positive multiple of {SIZE_MULTIPLE}, got {size}")


def _embedding(*shape: int) -> nn.Parameter:
    value = torch.empty(shape)
    nn.init.trunc_normal_(value, std=0.02)
    return nn.Parameter(value)
