"""The Hiera trunk: a vision transformer in stages, with windows (arXiv 2306.00989, as SAM 2 has it)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam2_video.model.derived import Derived
from sam2_video.model.kernels import attend
from sam2_video.model.layers import MLP, Linear, merge_heads, split_heads

STAGE_STRIDE = 2  # every new stage halves the grid and doubles width and heads


def partition(x: Tensor, size: int) -> Tensor:
    """(B, H, W, C) -> (B * windows, size, size, C); the map is padded with zeros up to whole windows."""
    height, width = x.shape[1:3]
    x = F.pad(x, (0, 0, 0, -width % size, 0, -height % size))
    x = torch.unflatten(torch.unflatten(x, 2, (-1, size)), 1, (-1, size))  # (B, rows, size, columns, size, C)
    return x.transpose(2, 3).flatten(0, 2)


def unpartition(windows: Tensor, size: int, height: int, width: int) -> Tensor:
    """Put windows back together and cut the padding off: the inverse of `partition`."""
    rows, columns = -(-height // size), -(-width // size)
    x = torch.unflatten(windows, 0, (-1, rows, columns)).transpose(2, 3)  # (B, rows, size, columns, size, C)
    return x.flatten(3, 4).flatten(1, 2)[:, :height, :width]


def pool(x: Tensor) -> Tensor:
    """Max over 2 x 2 cells of a (B, H, W, C) map."""
    return F.max_pool2d(x.permute(0, 3, 1, 2), STAGE_STRIDE).permute(0, 2, 3, 1)


class WindowAttention(nn.Module):
    """Self-attention in one window; at a stage change the queries are pooled, so the output is smaller."""

    def __init__(self, width_in: int, width: int, heads: int, *, pool_queries: bool) -> None:
        super().__init__()
        self.heads = heads
        self.pool_queries = pool_queries
        self.qkv = Linear(width_in, 3 * width)
        self.proj = Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H', W', C'), with H' = H / 2 where queries are pooled."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)  # each (B, H, W, C')
        if self.pool_queries:
            q = pool(q)
        mixed = merge_heads(attend(*(split_heads(t.flatten(1, 2), self.heads) for t in (q, k, v))))
        return torch.as_tensor(self.proj(torch.unflatten(mixed, 1, q.shape[1:3])))


class HieraBlock(nn.Module):
    """Attention and MLP with residuals; `window` 0 means that the whole map is one window."""

    def __init__(self, width_in: int, width: int, heads: int, *, window: int, pool_queries: bool) -> None:
        super().__init__()
        self.window = window
        self.pool_queries = pool_queries
        self.norm1 = nn.LayerNorm(width_in, eps=1e-6)
        self.attn = WindowAttention(width_in, width, heads, pool_queries=pool_queries)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP((width, 4 * width, width), activation="gelu")
        self.proj = Linear(width_in, width) if width_in != width else None

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm1(x)
        shortcut = x if self.proj is None else pool(self.proj(normed))
        x = shortcut + self._attend_in_windows(normed, shortcut.shape[1], shortcut.shape[2])
        return torch.add(x, self.mlp(self.norm2(x)))

    def _attend_in_windows(self, x: Tensor, height: int, width: int) -> Tensor:
        # A window that would cover the map exactly needs no cutting: that is the global case.
        if not self.window or x.shape[1] == x.shape[2] == self.window:
            return torch.as_tensor(self.attn(x))
        # Padding cells take part as keys (with the bias alone as their content): the weights were trained so.
        size = self.window // STAGE_STRIDE if self.pool_queries else self.window
        return unpartition(self.attn(partition(x, self.window)), size, height, width)


class PatchEmbed(nn.Module):
    """Overlapping 7 x 7 patches at stride 4."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=7, stride=4, padding=3)

    def forward(self, pixels: Tensor) -> Tensor:
        # (B, 3, S, S) -> (B, S/4, S/4, C), channels last in memory, too: each norm and product would copy it
        return torch.as_tensor(self.proj(pixels)).permute(0, 2, 3, 1).contiguous()


class Hiera(nn.Module):
    """Pictures to four maps at strides 4, 8, 16 and 32.

    `stages` counts the blocks of each stage, `window_spec` gives each stage's window side (a stage's first
    block still has the window of the stage before), and the blocks listed in `global_att_blocks` see the
    whole map.
    """

    def __init__(
        self,
        *,
        embed_dim: int,
        num_heads: int,
        stages: Sequence[int],
        global_att_blocks: Sequence[int],
        window_spec: Sequence[int],
        window_pos_embed_bkg_spatial_size: Sequence[int],
    ) -> None:
        super().__init__()
        if len(stages) != 4 or len(window_spec) != 4:
            raise ValueError(
                f"Hiera has four stages; got stages {list(stages)}, window_spec {list(window_spec)}"
            )
        if any(not 0 <= block < sum(stages) for block in global_att_blocks):
            raise ValueError(
                f"global_att_blocks {list(global_att_blocks)} exceed the {sum(stages)} blocks of the trunk"
            )
        self.widths = tuple(embed_dim * 2**stage for stage in range(4))
        self.stage_ends = tuple(sum(stages[: stage + 1]) - 1 for stage in range(4))
        self.patch_embed = PatchEmbed(embed_dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, embed_dim, *window_pos_embed_bkg_spatial_size))
        self.pos_embed_window = nn.Parameter(torch.zeros(1, embed_dim, window_spec[0], window_spec[0]))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.trunc_normal_(self.pos_embed_window, std=0.02)
        self._position = Derived(_position)
        self.blocks = nn.ModuleList()
        for stage, count in enumerate(stages):
            for position in range(count):
                entering = stage > 0 and position == 0
                window = window_spec[stage - 1] if entering else window_spec[stage]
                self.blocks.append(
                    HieraBlock(
                        self.widths[stage - 1] if entering else self.widths[stage],
                        self.widths[stage],
                        num_heads * 2**stage,
                        window=0 if len(self.blocks) in global_att_blocks else window,
                        pool_queries=entering,
                    )
                )

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """(B, 3, S, S) -> four (B, C, H, W) maps, finest first."""
        x = self.patch_embed(pixels)
        x = x + self._position(self.pos_embed, self.pos_embed_window, of=(x.shape[1], x.shape[2]))
        maps = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.stage_ends:
                maps.append(x.permute(0, 3, 1, 2))
        return maps


def _position(whole: Tensor, window: Tensor, height: int, width: int) -> Tensor:
    """(1, H, W, C): a coarse map of the whole picture plus one window's positions, repeated."""
    coarse = F.interpolate(whole.float(), size=(height, width), mode="bicubic")
    rows, columns = (-(-side // window.shape[-1]) for side in (height, width))
    windows = window.tile(1, 1, rows, columns)[:, :, :height, :width]
    return (coarse.to(windows.dtype) + windows).permute(0, 2, 3, 1).contiguous()
