"""How long does one tracked frame take on a CUDA GPU, next to `transformers`' model with the same weights?

    python benchmarks/gpu_frame_time.py [--budget-seconds 90] [--size 1024] [--clip clip.mp4]

The state that a long clip settles in (7 memories, 16 pointers), random weights, bfloat16: ours, operation by
operation and with CUDA graphs, and `transformers`' model as the reference publishes its times (weights in
float32, bfloat16 by autocast) and cast to bfloat16. A frame ends when its logits are on the host (ours) or
made (theirs). Then: time by parts, masks in bfloat16 next to float32, mp4 to PNG with `nano`. What does not
fit into the budget is left out, and said.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sam2_video.benchmark.contestants import START, Ours, Theirs, stand_in
from sam2_video.benchmark.hub import hub_twin
from sam2_video.benchmark.timing import part_times
from sam2_video.demo_clip import BALL, CAT, Scene
from sam2_video.model import cuda_attention
from sam2_video.model.triton_attention import HAS_TRITON, Tile, attend_in_parts
from sam2_video.sinks import MaskPngSink
from sam2_video.sources import open_source
from sam2_video.steps import Steps
from sam2_video.video_predictor import VideoPredictor

WARM_UP, FRAMES = 5, 12
SIZES = ("tiny", "base_plus", "large", "small")


class Budget:
    """Runs items while there is time, and survives what goes wrong in one."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return self._end - time.monotonic()

    def run(self, what: str, item: Callable[[], None], need: float = 5.0) -> None:
        if self.left < need:
            print(f"-- {what}: left out, {self.left:.0f} s left of the budget", flush=True)
            return
        began = time.monotonic()
        try:
            item()
        except Exception:
            print(f"-- {what}: FAILED", flush=True)
            print(traceback.format_exc(limit=-6), flush=True)
        print(f"-- {what}: {time.monotonic() - began:.1f} s, {self.left:.0f} s left", flush=True)
        torch.cuda.empty_cache()


def say(*what: object) -> None:
    print(*what, flush=True)


def milliseconds(run: Callable[[], object], repeat: int) -> list[float]:
    """Times of single runs by the host's clock, each waited for."""
    found = []
    for _ in range(repeat):
        torch.cuda.synchronize()
        began = time.perf_counter()
        run()
        torch.cuda.synchronize()
        found.append(1000 * (time.perf_counter() - began))
    return found


def shown(found: list[float]) -> str:
    return f"{statistics.median(found):8.2f} ms ({min(found):.2f} to {max(found):.2f})"


def machine() -> None:
    properties = torch.cuda.get_device_properties(0)
    say(f"{torch.cuda.get_device_name(0)}, {properties.multi_processor_count} multiprocessors,",
        f"{properties.total_memory / 2**30:.0f} GiB; torch {torch.__version__},",
        f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()},",
        f"Python {sys.version.split()[0]}, {time.strftime('%Y-%m-%d')}")  # fmt: skip
    try:
        import transformers
        import triton

        say(f"transformers {transformers.__version__}, triton {triton.__version__}")
    except ImportError as error:
        say(error)
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    found = milliseconds(lambda: a @ a, 6)[1:]
    say(f"8192^3 product in bfloat16: {2 * 8192**3 / statistics.median(found) / 1e9:.0f} TFLOP/s")


def attention_shapes() -> list[tuple[str, int, int, int]]:
    """Name, objects, keys and channels of values."""
    return [
        ("cross, 1 object", 1, 28736, 64),
        ("self, 1 object", 1, 4096, 256),
        ("cross, 16 objects", 16, 28736, 64),
        ("self, 16 objects", 16, 4096, 256),
        ("cross, 1 object, wide values", 1, 28736, 256),
    ]


def attention() -> None:
    """Time each way of attention, and the kernel in Triton with other blocks."""
    tiles = [Tile(128, 64, 8, 2), Tile(64, 64, 4, 2)]
    for shape, objects, keys, width in attention_shapes():
        draw = partial(torch.randn, device="cuda", dtype=torch.bfloat16)
        q, k = draw(objects, 1, 4096, 256), draw(objects, 1, keys, 256)
        v = draw(objects, 1, width, keys).transpose(-2, -1)
        ways: dict[str, Any] = dict(cuda_attention.WAYS)
        if HAS_TRITON and width < 256:
            for tile in tiles:
                name = f"triton {tile.queries}x{tile.keys}, {tile.warps} warps, {tile.stages} stages"
                ways[name] = partial(_tiled, tile=tile)
        for name, way in ways.items():
            if not cuda_attention.is_right(way, q, k, v):
                say(f"  {shape}: {name}: not taken or not right")
                continue
            once = partial(way, q, k, v)
            ms = statistics.median(milliseconds(once, 7)[2:])
            work = 2 * objects * 4096 * keys * (256 + width) / ms / 1e9
            say(f"  {shape}: {name}: {ms:.3f} ms, {work:.0f} TFLOP/s")
        say(f"  {shape}: used is {cuda_attention.chosen_way(q, k, v)}")


def _tiled(q: Any, k: Any, v: Any, tile: Tile) -> Any:
    return attend_in_parts(q, k, v, cuda_attention.multiprocessors(q.device), tile=tile)


class Ahead(Ours):
    """Ours, with the next frame looked at while one is tracked."""

    def step(self, frame: int) -> Any:
        self._session._walker.look(frame + 1)
        return super().step(frame)


class Autocast(Theirs):
    """`transformers` as the reference publishes times: float32 weights, products in bfloat16 by autocast."""

    def step(self, frame: int) -> Any:
        with torch.autocast("cuda", torch.bfloat16):
            return super().step(frame)


def frame_times(size: str, objects: int, side: int, budget: Budget) -> None:
    name, count = f"sam2.1_hiera_{size}", WARM_UP + FRAMES + 1
    model = _model(name, side)
    medians: dict[str, float] = {}

    def measure(
        who: str,
        make: Callable[[], Any],
        frames: int = FRAMES,
        warm: int = WARM_UP,
        weights: Callable[[], Any] = lambda: model,
    ) -> None:
        if budget.left < 4:
            say(f"  {size}, {objects} objects, {who}: left out")
            return
        try:
            weights()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            one = make()
            steps = iter(range(START, START + count))
            for _ in range(warm):
                one.step(next(steps))
            found = milliseconds(lambda: one.step(next(steps)), frames)  # noqa: F821
        except Exception:
            say(f"  {size}, {objects} objects, {who}: FAILED\n{traceback.format_exc(limit=-4)}")
            return
        medians[who] = statistics.median(found)
        peak = (torch.cuda.max_memory_allocated() - before) / 2**30
        say(f"  {size}, {objects} objects, {who}: {shown(found)}, peak {peak:.2f} GiB beside weights")
        del one

    ours = partial(Ours, model, count, objects)
    measure("ours, eager", lambda: ours(graphs="off", retain="window"), frames=8, warm=2)
    few = 6 if objects < 16 else 3
    whole, half = (partial(_twin, name, side, dtype) for dtype in (torch.float32, torch.bfloat16))
    measure("transformers, autocast", lambda: Autocast(whole(), count, objects), few, 2, whole)
    if objects == 1:
        measure("transformers, cast", lambda: Theirs(half(), count, objects), few, 2, half)
    measure("ours, graphs", lambda: ours(retain="window"))
    if (size, objects) in (("tiny", 1), ("tiny", 16)):
        measure("ours, graphs, everything kept", ours)
        ahead = partial(Ahead, model, count + 1, objects, retain="window")
        measure("ours, graphs, looking ahead", ahead)
    mine = medians.get("ours, graphs") or medians.get("ours, eager")
    for who, ms in medians.items():
        if mine and who != "ours, graphs":
            say(f"  {size}, {objects} objects: {who} takes {ms / mine:.2f} times as long as ours")


@lru_cache(maxsize=8)
def _model(name: str, side: int) -> Any:
    return stand_in(name, side, torch.bfloat16, "cuda")


@lru_cache(maxsize=8)
def _twin(name: str, side: int, dtype: torch.dtype) -> Any:
    """Theirs with the same weights."""
    if dtype == torch.float32:
        return hub_twin(stand_in(name, side, dtype, "cuda"), name)
    return copy.deepcopy(_twin(name, side, torch.float32)).to(dtype)


def parts(size: str, side: int) -> None:
    """Where the time of a frame goes, operation by operation; a GPU that is waited for after each part."""
    model = _model(f"sam2.1_hiera_{size}", side)
    one = Ours(model, WARM_UP + FRAMES, graphs="off", retain="window")
    for frame in range(START, START + 3):
        one.step(frame)
    spent: dict[str, list[float]] = {}
    for frame in range(START + 3, START + 9):
        with part_times(model) as found:
            whole = milliseconds(partial(one.step, frame), 1)
        for part, seconds in {**found, "whole": whole[0] / 1000}.items():
            spent.setdefault(part, []).append(1000 * seconds)
    say(f"  {size}, eager, parts:", ", ".join(f"{p} {statistics.median(t):.2f} ms" for p, t in spent.items()))
    graphs = Steps(model, "auto")
    pixels = torch.randn(1, 3, side, side, device="cuda")
    with torch.inference_mode():
        for _ in range(4):
            graphs.wait(graphs.encode(lambda: pixels))
        found_ms = milliseconds(lambda: graphs.wait(graphs.encode(lambda: pixels)), 8)
    say(f"  {size}, graphs, encoder alone: {shown(found_ms)}, {graphs.look.replays} replays")


def kernels(size: str, side: int) -> None:
    """The operations that take longest within graphs."""
    from torch.profiler import ProfilerActivity, profile

    model = _model(f"sam2.1_hiera_{size}", side)
    one = Ours(model, WARM_UP + 6, retain="window")
    for frame in range(START, START + WARM_UP):
        one.step(frame)
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        for frame in range(START + WARM_UP, START + WARM_UP + 4):
            one.step(frame)
    say(found.key_averages().table(sort_by="self_cuda_time_total", row_limit=25, max_name_column_width=60))


def track_scene(model: Any, graphs: Any = "auto") -> list[Any]:
    scene = Scene(frames=20)
    frames = [scene.render(frame) for frame in range(20)]
    with VideoPredictor(model, graphs=graphs).open([rgb for rgb, _ in frames]) as session:
        for thing in (BALL, CAT):
            session.prompt(frame=0, object_id=thing, mask=frames[0][1][thing])
        return [result.masks for result in session.propagate()]


def mask_agreement() -> None:
    """Masks of 20 drawn frames with `nano`, next to those in float32 on the GPU."""
    from sam2_video import load_model

    def tracked(device: str, dtype: torch.dtype, graphs: Any = "auto") -> Any:
        return np.stack(track_scene(load_model("nano").to(device, dtype), graphs))

    whole = tracked("cuda", torch.float32)
    others = {
        "bfloat16, GPU": tracked("cuda", torch.bfloat16),
        "bfloat16, GPU, no graphs": tracked("cuda", torch.bfloat16, "off"),
        "float32, GPU, no graphs": tracked("cuda", torch.float32, "off"),
        "float32, CPU": tracked("cpu", torch.float32),
    }
    for who, masks in others.items():
        both, either = (whole & masks).sum((2, 3)), (whole | masks).sum((2, 3))
        iou = np.where(either == 0, 1.0, both / np.maximum(either, 1))
        say(f"  nano, masks of {who}: IoU {iou.mean():.5f} on the mean, {iou.min():.5f} at least")


def end_to_end(clip: Path | None, dtype: torch.dtype, objects: int) -> None:
    """mp4 to PNG with `nano`, in one thread, from the 30th frame on."""
    from sam2_video import load_model

    if clip is None:
        say("  no --clip was given")
        return
    predictor = VideoPredictor(load_model("nano").to("cuda", dtype))
    with tempfile.TemporaryDirectory() as folder, open_source(clip) as source:
        with MaskPngSink(Path(folder)) as sink, predictor.open(source, retain="window") as session:
            height, width = source.size
            for k in range(objects):
                spot = [(width * (0.3 + 0.05 * k), height * 0.6)]
                session.prompt(frame=0, object_id=k + 1, points=spot, labels=[1])
            times = []
            for result in session.propagate():
                sink.write(source.read(result.frame), result, source.frame_name(result.frame))
                times.append(time.perf_counter())
    rest = times[30:]
    rate = (len(rest) - 1) / (rest[-1] - rest[0])
    say(f"  nano, {dtype}, {objects} objects, {width} x {height} mp4 to PNG: {rate:.1f} frames/s")


def compiled(side: int, budget: Budget) -> None:
    """`transformers`' tiny with its parts compiled."""
    twin = hub_twin(stand_in("sam2.1_hiera_tiny", side, torch.float32, "cuda"), "sam2.1_hiera_tiny")
    twin.vision_encoder = torch.compile(twin.vision_encoder, mode="max-autotune-no-cudagraphs")
    twin.memory_encoder = torch.compile(twin.memory_encoder)
    twin.memory_attention = torch.compile(twin.memory_attention, dynamic=True)
    one = Autocast(twin, 12, 1)
    steps = iter(range(START, START + 12))
    for _ in range(3):
        one.step(next(steps))
    say(f"  tiny, 1 object, transformers, compiled: {shown(milliseconds(lambda: one.step(next(steps)), 6))}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--budget-seconds", type=float, default=90.0)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--clip", type=Path, default=None)
    args = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("this needs a CUDA device")
    budget, side = Budget(args.budget_seconds), args.size
    budget.run("machine", machine)
    budget.run("attention", attention)

    def frames(size: str, objects: int) -> None:
        budget.run(f"{size}, {objects}", partial(frame_times, size, objects, side, budget), need=6)

    for size, objects in (("tiny", 1), ("tiny", 4), ("tiny", 16), ("base_plus", 1)):
        frames(size, objects)
    budget.run("parts", partial(parts, "tiny", side))
    budget.run("mask agreement", mask_agreement)
    budget.run("mp4 to PNG", partial(end_to_end, args.clip, torch.bfloat16, 1))
    frames("large", 1)
    budget.run("kernels", partial(kernels, "tiny", side))
    for size, objects in (("base_plus", 4), ("base_plus", 16), ("small", 1), ("large", 4), ("large", 16)):
        frames(size, objects)
    budget.run("mp4 to PNG, 8 objects", partial(end_to_end, args.clip, torch.bfloat16, 8))
    for objects in (4, 16):
        frames("small", objects)
    budget.run("compiled", partial(compiled, side, budget), need=40)


if __name__ == "__main__":
    main()
