"""Trunk and feature pyramid: a picture becomes maps at strides 4, 8 and 16."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from sam2_video.model.hiera import Hiera


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

    The released models add top-down only between levels 3 and 2, so levels 0 and 1 are plain projections, and level 3
    itself is used by nothing else: it is not returned.
    """

    def __init__(self, *, width: int, backbone_channel_list: Sequence[int]) -> None:
        super().__init__()
        self.width = width
        self.convs = nn.ModuleList(LateralConv(channels, width) for channels in backbone_channel_list)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Four maps, finest first -> three (B, width, H, W) maps at strides 4, 8 and 16."""
        lateral = [conv(x) for conv, x in zip(reversed(self.convs), maps, strict=True)]
        top_down = F.interpolate(lateral[3].float(), scale_factor=2.0, mode="nearest").to(lateral[3].dtype)
        return [lateral[0], lateral[1], lateral[2] + top_down]


class ImageEncoder(nn.Module):
    def __init__(self, trunk: Hiera, neck: FpnNeck) -> None:
        super().__init__()
        expected = [conv.conv.in_channels for conv in neck.convs]  # type: ignore[union-attr]
        if expected != list(reversed(trunk.widths)):
            raise ValueError(f"the neck expects widths {expected}, the trunk gives {list(reversed(trunk.widths))}")
        self.trunk = trunk
        self.neck = neck

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """(B, 3, S, S) normalised pixels -> three maps at strides 4, 8 and 16."""
        out: list[Tensor] = self.neck(self.trunk(pixels))
        return out
