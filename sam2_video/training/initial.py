"""A start from scratch that does not have to discover by chance where to look.

Trained from random weights, attention begins uniform, and for hundreds of steps nothing that a prompt or a
memory says reaches the place it speaks of. Two changes to the random start give attention a sense of place;
both are ordinary weights and free to change from the first step on.
"""

from __future__ import annotations

import torch
from torch import nn

from sam2_video.model.mask_decoder import TwoWayBlock, TwoWayTransformer
from sam2_video.model.memory_attention import MemoryAttentionLayer, RoPEAttention
from sam2_video.model.memory_encoder import CXBlock
from sam2_video.model.sam2 import SAM2

NEAR = 2.0  # bias on the fast rotary pairs: a recalled cell outweighs one two cells away by about ten to one
FAST_SHARE = 0.25  # of the rotary pairs of each axis: those that turn by a tenth of a radian or more per cell
TIED_GAIN = 2.0
LAYER_SCALE = 0.1
COARSE_SCALE = 0.25
QUIET = 0.25


@torch.no_grad()
def give_sense_of_place(model: SAM2) -> None:
    """Change random initial weights in place so that attention starts out local.

    Memory cross-attention gets equal biases on queries and keys in the fast rotary pairs: their product falls
    off with the distance between cells. In the mask decoder the projections of queries and keys start out
    equal, so that a click's position code matches the pixels it was clicked on. Half of the position code's
    waves are four times as long: with short ones alone the codes of a box's corners say nothing of the space
    between them. Coarse image features start quiet beside position codes, which they would drown in the
    products of the decoder's first block; the memory encoder is told the opposite. Layer scale starts large
    enough to matter.
    """
    waves = model.sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix  # (2, C / 2)
    waves[:, : waves.shape[1] // 2] *= COARSE_SCALE
    for lateral in model.image_encoder.neck.convs[:2]:  # the two levels that make the coarse map
        for parameter in lateral.parameters():
            parameter.mul_(QUIET)
    model.memory_encoder.pix_feat_proj.weight.div_(QUIET)
    for module in model.modules():
        if isinstance(module, MemoryAttentionLayer):
            _look_nearby(module.cross_attn_image)
        elif isinstance(module, TwoWayBlock):
            for attention in (module.cross_attn_token_to_image, module.cross_attn_image_to_token):
                _tie(attention.q_proj, attention.k_proj)
        elif isinstance(module, TwoWayTransformer):
            _tie(module.final_attn_token_to_image.q_proj, module.final_attn_token_to_image.k_proj)
        elif isinstance(module, CXBlock):
            module.gamma.fill_(LAYER_SCALE)


def _look_nearby(attention: RoPEAttention) -> None:
    for projection in (attention.q_proj, attention.k_proj):
        pairs = projection.bias.view(attention.heads, 2, -1, 2)  # heads, column and row, fast to slow, pair
        pairs[:, :, : int(FAST_SHARE * pairs.shape[2])] = NEAR


def _tie(query: nn.Linear, key: nn.Linear) -> None:
    query.weight.mul_(TIED_GAIN)
    key.weight.copy_(query.weight)
