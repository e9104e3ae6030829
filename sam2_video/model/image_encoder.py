"""Trunk and feature pyramid: a picture becomes maps at strides 4, 8 and 16."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from sam2_video.model.derived import Derived
from sam2_video.model.hiera import Hiera

FINE_LEVELS = 2  # levels that only the mask decoder reads


class LateralConv(nn.Module):
    """A 1 x 1 convolution, one level deeper in the tree because the released names say so."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width_in, width, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


class FpnNeck(nn.Module):
    """Bring every level of the trunk to one width; the coarsest level flows into the one above it.

    The released models add top-down only between levels 3 and 2, so levels 0 and 1 are plain projections, and
    level 3 itself is used by nothing else: it is not returned.
    """

    def __init__(self, *, width: int, backbone_channel_list: Sequence[int]) -> None:
        super().__init__()
        self.width = width
        self.convs = nn.ModuleList(LateralConv(channels, width) for channels in backbone_channel_list)
        self._fine = nn.ModuleList(Derived(_product) for _ in range(FINE_LEVELS))

    def forward(self, maps: Sequence[Tensor], heads: Sequence[nn.Conv2d]) -> list[Tensor]:
        """Four maps, finest first, and the projections after levels 0 and 1 -> maps at strides 4, 8 and 16.

        A level's own projection and the one in `heads` are both linear with nothing between them: their
        product is applied, so that the full width never exists at the fine levels.
        """
        lateral = [cast(LateralConv, conv).conv for conv in reversed(self.convs)]
        fine = [
            F.conv2d(x, *product(conv.weight, conv.bias, head.weight, head.bias))
            for x, conv, head, product in zip(maps, lateral, heads, self._fine, strict=False)
        ]
        coarse, coarsest = lateral[2](maps[2]), lateral[3](maps[3])
        top_down = F.interpolate(coarsest.float(), scale_factor=2.0, mode="nearest").to(coarse.dtype)
        return [*fine, coarse + top_down]


def _product(inner: Tensor, inner_bias: Tensor, outer: Tensor, outer_bias: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias of two 1 x 1 convolutions, one after the other, as one."""
    product = outer.flatten(1) @ inner.flatten(1)
    return product[..., None, None], outer.flatten(1) @ inner_bias + outer_bias


class ImageEncoder(nn.Module):
    def __init__(self, trunk: Hiera, neck: FpnNeck) -> None:
        super().__init__()
        expected = [cast(LateralConv, conv).conv.in_channels for conv in neck.convs]
        if expected != list(reversed(trunk.widths)):
            raise ValueError(
                f"the neck expects widths {expected}, the trunk gives {list(reversed(trunk.widths))}"
            )
        self.trunk = trunk
        self.neck = neck

    def forward(self, pixels: Tensor, heads: Sequence[nn.Conv2d]) -> list[Tensor]:
        """(B, 3, S, S) normalised pixels -> maps at strides 4, 8 (both through their head) and 16."""
        out: list[Tensor] = self.neck(self.trunk(pixels), heads)
        return out
