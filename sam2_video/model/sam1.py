"""The SAM 1 network: its parts under their released names, and the verbs of SAM 2 that a picture needs."""

from __future__ import annotations

from os import PathLike, fspath
from typing import TypeAlias

import torch
from torch import Tensor, nn

from sam2_video.model.layers import MLP, LayerNorm2d, to_grid, to_tokens
from sam2_video.model.mask_decoder import NUM_MASKS, TwoWayBlock, TwoWayTransformer, decoded_masks, sure_rows
from sam2_video.model.prompt_encoder import FIRST_CORNER, PromptEncoder
from sam2_video.model.sam2 import COARSE_STRIDE, SAM2, no_prompt
from sam2_video.model.vit import PATCH, TwoLayerMLP, ViT
from sam2_video.types import ConfigError, ImageFeatures, MaskCandidates, PromptTensors, Recall

# SAM 1 does not tell whether there is an object at all: it is taken to be as certain as a user's own mask is.
ALWAYS_PRESENT = 10.0


class Sam1PromptEncoder(PromptEncoder):
    """SAM 2's, except for one token: where there is a box, no padding follows."""

    def sparse(self, points: Tensor, labels: Tensor, image_size: int) -> Tensor:
        """See PromptEncoder; all prompts of a batch have a box, or none has."""
        tokens = super().sparse(points, labels, image_size)
        boxed = labels.shape[1] > 0 and bool((labels[:, 0] == FIRST_CORNER).all())
        return tokens[:, :-1] if boxed else tokens


class Sam1TwoWayBlock(TwoWayBlock):
    def make_mlp(self, width: int, hidden: int) -> nn.Module:
        return TwoLayerMLP(width, hidden, gelu=False)


class Sam1TwoWayTransformer(TwoWayTransformer):
    """SAM 2's with other names inside its MLPs."""

    block = Sam1TwoWayBlock


class Sam1MaskDecoder(nn.Module):
    """SAM 2's decoder before it had skip connections and a presence score; IoUs may leave 0..1."""

    def __init__(self, *, width: int, transformer: Sam1TwoWayTransformer) -> None:
        super().__init__()
        self.transformer = transformer
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(NUM_MASKS, width)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(width, width // 4, kernel_size=2, stride=2),
            LayerNorm2d(width // 4),
            nn.GELU(),
            nn.ConvTranspose2d(width // 4, width // 8, kernel_size=2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP((width, width, width, width // 8)) for _ in range(NUM_MASKS)
        )
        self.iou_prediction_head = MLP((width, width, width, NUM_MASKS))

    def forward(
        self, pixels: Tensor, code: Tensor, sparse: Tensor, dense: Tensor, least_iou: float | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Decode B objects: logits (B, 4, S/4, S/4), predicted IoUs (B, 4), and rows, as in MaskDecoder."""
        height, width = pixels.shape[-2:]
        own = torch.cat((self.iou_token.weight, self.mask_tokens.weight))
        tokens = torch.cat((own.expand(len(sparse), -1, -1), sparse), dim=1)
        mixed, grid = self.transformer(tokens, to_tokens(pixels + dense), to_tokens(code))
        iou = self.iou_prediction_head(mixed[:, 0])
        rows = sure_rows(iou, least_iou)
        if rows is not None:
            mixed, grid, iou = mixed[rows], grid[rows], iou[rows]
        upscaled = self.output_upscaling(to_grid(grid, height, width))
        logits = decoded_masks(self.output_hypernetworks_mlps, mixed[:, 1 : 1 + NUM_MASKS], upscaled)
        return logits, iou, rows


class SAM1(nn.Module):
    """SAM 1 (arXiv 2304.02643): pictures only, there is no memory.

    Works at any picture side that is a multiple of 16. `image_size` is the side that predictors resize to.
    """

    def __init__(
        self,
        *,
        image_encoder: ViT,
        prompt_encoder: Sam1PromptEncoder,
        mask_decoder: Sam1MaskDecoder,
        image_size: int,
        width: int,
    ) -> None:
        super().__init__()
        check_side(image_size)
        self.image_size = image_size
        self.width = width
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder

    @property
    def dtype(self) -> torch.dtype:
        return self.image_encoder.pos_embed.dtype

    @property
    def device(self) -> torch.device:
        return self.image_encoder.pos_embed.device

    def encode_image(self, pixels: Tensor) -> ImageFeatures:
        """(B, 3, S, S) normalised and padded pixels -> features; S is a multiple of 16."""
        if pixels.shape[-1] != pixels.shape[-2]:
            raise ValueError(f"the model frame is square, got {tuple(pixels.shape[-2:])}")
        check_side(pixels.shape[-1])
        return ImageFeatures(self.image_encoder(pixels.to(self.dtype)), ())

    def attend_memory(self, features: ImageFeatures, recall: Recall) -> Tensor:
        """(B, C, h, w) features to decode from: as they are. Raises ValueError where there are memories."""
        if not recall.is_empty:
            raise ValueError("SAM 1 has no memory to attend to")
        return features.coarse

    def decode(
        self,
        pixels: Tensor,
        fine: tuple[Tensor, ...] = (),
        prompt: PromptTensors | None = None,
        least_iou: float | None = None,
    ) -> MaskCandidates:
        """Decode pixels (1 or B, C, h, w) into four candidate masks for each object; pointers are empty.

        With `least_iou` objects of which no mask has a higher predicted IoU are left out, early.
        """
        height, width = pixels.shape[-2:]
        if prompt is None:
            prompt = no_prompt(len(pixels), pixels.device)
        sparse, dense = self.prompt_encoder(prompt, COARSE_STRIDE * height)
        pixels = pixels.expand(len(sparse), -1, -1, -1)
        code = self.prompt_encoder.pe_layer.grid(height, width)
        logits, iou, rows = self.mask_decoder(pixels, code, sparse, dense, least_iou)
        presence = torch.full((len(iou),), ALWAYS_PRESENT, device=pixels.device)
        return MaskCandidates(logits.float(), iou.float(), iou.new_zeros((*iou.shape, 0)), presence, rows)

    def answers(self, candidates: MaskCandidates, *, multimask: bool) -> tuple[Tensor, Tensor]:
        """The alternatives, or the single mask: (B, K, h, w) and predicted IoUs (B, K)."""
        rows = slice(1, None) if multimask else slice(0, 1)
        return candidates.logits[:, rows], candidates.iou[:, rows]

    def feature_shapes(self, image_size: int) -> tuple[tuple[int, ...], ...]:
        """Shapes of what masks of one picture are decoded from: its coarse features alone."""
        side = image_size // COARSE_STRIDE
        return ((1, self.width, side, side),)


AnyModel: TypeAlias = SAM2 | SAM1


def check_model(model: object, taker: str) -> None:
    """Raise ConfigError for what is no network of ours; `taker`: the name of the class that was given it."""
    if isinstance(model, nn.Module) and hasattr(model, "encode_image"):
        return
    if isinstance(model, str | PathLike):
        name = fspath(model)
        raise ConfigError(
            f"{taker} takes a model, not its name; load {name!r} with {taker}.from_pretrained({name!r})"
        )
    raise ConfigError(
        f"{taker} takes a model as load_model gives it; got {type(model).__name__}. By a model's name, "
        f"{taker}.from_pretrained('nano') makes one"
    )


def with_memory(model: AnyModel, purpose: str) -> SAM2:
    """Return a model that can look back, or raise ConfigError: `purpose` says what needs one."""
    if isinstance(model, SAM1):
        raise ConfigError(
            f"{purpose} needs a model with memory, and SAM 1 has none: take a SAM 2 model (such as nano or "
            "sam2.1_hiera_tiny); SAM 1 works on pictures, with ImagePredictor and `sam2-video segment`"
        )
    return model


def check_side(size: int) -> None:
    if size < PATCH or size % PATCH:
        raise ValueError(f"image_size must be a positive multiple of {PATCH}, got {size}")
