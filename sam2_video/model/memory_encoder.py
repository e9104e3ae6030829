"""What is remembered of a frame: its pixels and the mask found on it, fused into one narrow map."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sam2_video.model.layers import LayerNorm2d, Linear


class MaskDownSampler(nn.Module):
    """(B, 1, S, S) mask -> (B, width, S/16, S/16), in strided convolutions to 4, 16, 64 and 256 channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for step in range(4):
            layers += [
                nn.Conv2d(4**step, 4 ** (step + 1), kernel_size=3, stride=2, padding=1),
                LayerNorm2d(4 ** (step + 1)),
                nn.GELU(),
            ]
        self.encoder = nn.Sequential(*layers, nn.Conv2d(4**4, width, kernel_size=1))

    def forward(self, mask: Tensor) -> Tensor:
        out: Tensor = self.encoder(mask)
        return out


class CXBlock(nn.Module):
    """A ConvNeXt block (arXiv 2201.03545) with layer scale."""

    def __init__(self, width: int, kernel: int = 7) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = LayerNorm2d(width)
        self.pwconv1 = Linear(width, 4 * width)
        self.pwconv2 = Linear(4 * width, width)
        self.gamma = nn.Parameter(torch.full((width,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.dwconv(x)).permute(0, 2, 3, 1)  # channels last for the linear layers
        y = self.gamma * self.pwconv2(self.pwconv1(y, "gelu"))
        return torch.add(x, y.permute(0, 3, 1, 2))


class Fuser(nn.Module):
    def __init__(self, width: int, num_layers: int = 2) -> None:
        super().__init__()
        self.layers = nn.ModuleList(CXBlock(width) for _ in range(num_layers))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class MemoryEncoder(nn.Module):
    def __init__(self, *, width: int, memory_width: int) -> None:
        super().__init__()
        self.mask_downsampler = MaskDownSampler(width)
        self.pix_feat_proj = nn.Conv2d(width, width, kernel_size=1)
        self.fuser = Fuser(width)
        self.out_proj = nn.Conv2d(width, memory_width, kernel_size=1)

    def forward(self, pixels: Tensor, mask: Tensor) -> Tensor:
        """Coarse map (1 or B, C, h, w) and mask (B, 1, S, S) of values in -10..10 -> (B, M, h, w)."""
        fused = self.pix_feat_proj(pixels) + self.mask_downsampler(mask)
        out: Tensor = self.out_proj(self.fuser(fused))
        return out
