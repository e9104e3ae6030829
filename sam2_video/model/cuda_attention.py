"""Attention on CUDA devices: several ways, of which the first that takes the shapes is used.

Memory attention has one head of 256 channels over 28,736 keys whose values are 64 wide. No kernel of the
framework is best at that on every device and release: cuDNN's takes such heads on Hopper only, flash
attention wants values as wide as keys. One object gives a kernel 32 blocks of queries, a quarter of what a
large device works on at once, so that keys may have to be dealt out as well: parts of a softmax are joined by
their sums. All ways compute the same; benchmarks/gpu_frame_time.py times them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from sam2_video.model.triton_attention import HAS_TRITON, attend_in_parts

Way = Callable[[Tensor, Tensor, Tensor], Tensor]

HALF_TYPES = (torch.bfloat16, torch.float16)
LONG = 2**20  # products of queries and keys from which on the choice matters
PROBED_QUERIES = 16
TOLERANCE = 0.05  # relative, of an outcome in bfloat16 next to float32

# In order of preference, by how wide values are next to keys and whether blocks of queries fill a device. The
# first that takes the arguments is used. Measured on an H200 with 32 and with 512 blocks: decision 0015.
PREFERRED = {
    ("narrow", "few"): ("triton", "cudnn", "flash"),
    ("narrow", "many"): ("cudnn", "triton", "flash"),
    ("wide", "few"): ("flash", "cudnn"),
    ("wide", "many"): ("cudnn", "flash"),
}
QUERIES = 128  # of a block
TURNS = 2  # of all multiprocessors: as many blocks are many
_chosen: dict[tuple[Any, ...], str] = {}


def takes(q: Tensor, bias: Tensor | None) -> bool:
    """Is this for the ways below: a GPU, a type of 16 bits, no bias?"""
    return q.device.type == "cuda" and bias is None and q.dtype in HALF_TYPES


def attend_on_cuda(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax attention of q (1 or B, heads, N, D) over k (B, heads, K, D) and v (B, heads, K, E)."""
    q = q.expand(len(k), -1, -1, -1)
    if q.shape[-2] * k.shape[-2] < LONG or torch.is_grad_enabled():
        return padded(q, k, v)
    return WAYS[chosen_way(q, k, v)](q, k, v)


def chosen_way(q: Tensor, k: Tensor, v: Tensor) -> str:
    """Name of the first preferred way that takes such arguments; tried once for each kind of them."""
    order = preferred(q, v, multiprocessors(q.device))
    kind = (q.device, q.dtype, q.shape[-1], v.shape[-1], q.shape[1], order)
    if kind not in _chosen:
        if torch.cuda.is_current_stream_capturing():
            return "framework"  # trying would break the capture; every shape is run before it is captured
        _chosen[kind] = next((name for name in order if is_right(WAYS[name], q, k, v)), "framework")
    return _chosen[kind]


def preferred(q: Tensor, v: Tensor, multiprocessors: int) -> tuple[str, ...]:
    """The ways to be tried for queries (B, heads, N, D) and values (B, heads, K, E), the best first."""
    blocks = q.shape[0] * q.shape[1] * -(-q.shape[2] // QUERIES)
    many = blocks >= TURNS * multiprocessors
    return PREFERRED["narrow" if v.shape[-1] < q.shape[-1] else "wide", "many" if many else "few"]


def is_right(way: Way, q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Does a way take these arguments, and give what plain products in float32 give?"""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the framework tells why it does not take the arguments
        try:
            few = way(q[:1], k[:1], v[:1])[:, :, :PROBED_QUERIES].float()
            torch.cuda.synchronize(q.device)
        except Exception:  # whatever a compiler or a driver says, there are other ways
            return False
    exact = q[:1, :, :PROBED_QUERIES].float() @ k[:1].float().transpose(-2, -1) * q.shape[-1] ** -0.5
    expected = exact.softmax(dim=-1) @ v[:1].float()
    return bool((few - expected).norm() <= TOLERANCE * expected.norm())


def padded(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """The framework's choice; narrower values are padded, or it would take a slow kernel."""
    missing = q.shape[-1] - v.shape[-1]
    if missing > 0:
        return F.scaled_dot_product_attention(q, k, F.pad(v, (0, missing)), bias)[..., :-missing]
    return F.scaled_dot_product_attention(q, k, v if v.stride(-1) == 1 else v.contiguous(), bias)


def _by_cudnn(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    with _only(SDPBackend.CUDNN_ATTENTION):
        return F.scaled_dot_product_attention(q, k, v.contiguous())


def _by_cudnn_padded(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    with _only(SDPBackend.CUDNN_ATTENTION):
        return padded(q, k, v)


def _by_flash(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    with _only(SDPBackend.FLASH_ATTENTION):
        return padded(q, k, v)


def _by_memory_efficient(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    with _only(SDPBackend.EFFICIENT_ATTENTION):
        return F.scaled_dot_product_attention(q, k, v.contiguous())


def _by_triton(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    if not HAS_TRITON:
        raise RuntimeError("there is no Triton in this installation")
    return attend_in_parts(q, k, v, multiprocessors(q.device))


def _only(backend: Any) -> AbstractContextManager[Any]:
    """Rule out all kernels but one: where it does not take the arguments there is an error."""
    context: AbstractContextManager[Any] = sdpa_kernel([backend])
    return context


@lru_cache(maxsize=8)
def multiprocessors(device: torch.device) -> int:
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


WAYS: dict[str, Way] = {
    "triton": _by_triton,
    "cudnn": _by_cudnn,
    "cudnn, padded": _by_cudnn_padded,
    "flash": _by_flash,
    "memory efficient": _by_memory_efficient,
    "framework": padded,
}
