"""From conditioned pixels and prompt tokens to masks: SAM's two-way decoder with SAM 2's skip connections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from sam2_video.model.layers import MLP, Attention, LayerNorm2d, to_grid, to_tokens

NUM_MASKS = 4  # one for unambiguous prompts, three for whole, part and subpart


class TwoWayBlock(nn.Module):
    """Tokens attend to themselves and to the picture, then the picture attends to the tokens."""

    def __init__(self, width: int, heads: int, hidden: int, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = Attention(width, heads)
        self.norm1 = nn.LayerNorm(width)
        self.cross_attn_token_to_image = Attention(width, heads, inner=width // 2)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = self.make_mlp(width, hidden)
        self.norm3 = nn.LayerNorm(width)
        self.norm4 = nn.LayerNorm(width)
        self.cross_attn_image_to_token = Attention(width, heads, inner=width // 2)

    def make_mlp(self, width: int, hidden: int) -> nn.Module:
        return MLP((width, hidden, width))

    def forward(
        self, tokens: Tensor, pixels: Tensor, token_code: Tensor, pixel_code: Tensor
    ) -> tuple[Tensor, Tensor]:
        if self.first:  # tokens are still equal to their own code: no residual, no code added
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            coded = tokens + token_code
            tokens = tokens + self.self_attn(coded, coded, tokens)
        tokens = self.norm1(tokens)
        keys = pixels + pixel_code
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(tokens + token_code, keys, pixels))
        tokens = self.norm3(tokens + self.mlp(tokens))
        pixels = self.norm4(pixels + self.cross_attn_image_to_token(keys, tokens + token_code, tokens))
        return tokens, pixels


class TwoWayTransformer(nn.Module):
    block: ClassVar[type[TwoWayBlock]] = TwoWayBlock

    def __init__(self, *, width: int, depth: int = 2, heads: int = 8, hidden: int = 2048) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            self.block(width, heads, hidden, first=index == 0) for index in range(depth)
        )
        self.final_attn_token_to_image = Attention(width, heads, inner=width // 2)
        self.norm_final_attn = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, pixels: Tensor, pixel_code: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, P, C), pixels (B, N, C) and their position code (1, N, C) -> both, mixed."""
        code = tokens
        for layer in self.layers:
            tokens, pixels = layer(tokens, pixels, code, pixel_code)
        mixed = self.final_attn_token_to_image(tokens + code, pixels + pixel_code, pixels)
        return self.norm_final_attn(tokens + mixed), pixels


@dataclass(frozen=True)
class DecoderOutput:
    """What the decoder says of B objects, before pointers are made."""

    logits: Tensor  # (B, 4, S/4, S/4)
    iou: Tensor  # (B, 4)
    tokens: Tensor  # (B, 4, C), one for each mask
    presence: Tensor  # (B,)
    rows: Tensor | None = None  # which of the objects these are, where others were given up


class MaskDecoder(nn.Module):
    def __init__(self, *, width: int, transformer: TwoWayTransformer) -> None:
        super().__init__()
        self.transformer = transformer
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(NUM_MASKS, width)
        self.obj_score_token = nn.Embedding(1, width)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(width, width // 4, kernel_size=2, stride=2),
            LayerNorm2d(width // 4),
            nn.GELU(),
            nn.ConvTranspose2d(width // 4, width // 8, kernel_size=2, stride=2),
            nn.GELU(),
        )
        # Project the two finest levels of the pyramid; applied once for each frame, by SAM2.encode_image.
        self.conv_s0 = nn.Conv2d(width, width // 8, kernel_size=1)
        self.conv_s1 = nn.Conv2d(width, width // 4, kernel_size=1)
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP((width, width, width, width // 8)) for _ in range(NUM_MASKS)
        )
        self.iou_prediction_head = MLP((width, width, width, NUM_MASKS))
        self.pred_obj_score_head = MLP((width, width, width, 1))

    def forward(
        self,
        pixels: Tensor,
        code: Tensor,
        sparse: Tensor,
        dense: Tensor,
        fine: tuple[Tensor, ...],
        least_iou: float | None = None,
    ) -> DecoderOutput:
        """Decode B objects; those of which no mask has a predicted IoU above `least_iou` are given up.

        pixels (B, C, h, w), their position code (1, C, h, w), sparse (B, P, C),
        dense (1 or B, C, 1 or h, 1 or w), fine ((1 or B, C/8, 4h, 4w), (1 or B, C/4, 2h, 2w)).
        """
        height, width = pixels.shape[-2:]
        own = torch.cat((self.obj_score_token.weight, self.iou_token.weight, self.mask_tokens.weight))
        tokens = torch.cat((own.expand(len(sparse), -1, -1), sparse), dim=1)
        mixed, grid = self.transformer(tokens, to_tokens(pixels + dense), to_tokens(code))
        iou = in_float32(self.iou_prediction_head, mixed[:, 1]).sigmoid()
        rows = sure_rows(iou, least_iou)
        if rows is not None:  # before masks are made, which is half of the work
            mixed, grid, iou = mixed[rows], grid[rows], iou[rows]
        mask_tokens = mixed[:, 2 : 2 + NUM_MASKS]
        upscaled = self._upscale(to_grid(grid, height, width), fine)
        return DecoderOutput(
            logits=decoded_masks(self.output_hypernetworks_mlps, mask_tokens, upscaled),
            iou=iou,
            tokens=mask_tokens,
            presence=in_float32(self.pred_obj_score_head, mixed[:, 0])[:, 0],
            rows=rows,
        )

    def _upscale(self, grid: Tensor, fine: tuple[Tensor, ...]) -> Tensor:
        """(B, C, h, w) -> (B, C/8, 4h, 4w), with the finer levels added on the way up."""
        first, norm, _, second, _ = self.output_upscaling
        quarter, half = fine
        x = F.gelu(norm(first(grid) + half))
        return F.gelu(second(x) + quarter)


def in_float32(head: nn.Module, x: Tensor) -> Tensor:
    """What a small network makes of x, reckoned in float32 whatever type its weights have.

    Its outcome decides: the candidate with the highest predicted IoU is taken, an object is there or not. In
    bfloat16 IoUs near 0.9 are 0.004 apart, so that candidates tie, and a tie falls to the first.
    """
    if x.dtype == torch.float32:
        return torch.as_tensor(head(x))
    weights = {name: weight.float() for name, weight in head.named_parameters()}
    return torch.as_tensor(functional_call(head, weights, x.float()))


def sure_rows(iou: Tensor, least: float | None) -> Tensor | None:
    """Which objects have a predicted IoU (B, 4) above the least; None for all, where nothing is asked."""
    return None if least is None else (iou.float() > least).any(dim=1).nonzero()[:, 0]


def decoded_masks(mlps: nn.ModuleList, tokens: Tensor, upscaled: Tensor) -> Tensor:
    """Each of four tokens (B, 4, C) weighs the channels of `upscaled` (B, C/8, 4h, 4w): (B, 4, 4h, 4w)."""
    weights = torch.stack([mlp(tokens[:, index]) for index, mlp in enumerate(mlps)], dim=1)  # (B, 4, C/8)
    return torch.unflatten(weights @ upscaled.flatten(2), 2, upscaled.shape[-2:])
